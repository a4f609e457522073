"""Waiting: how a stage that takes turns reads from its device, keeps to a stream of its own, and lets others in.

This is a torch module.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TypeVar

import torch

from trainers.shares import of_device

T = TypeVar("T")
AHEAD = 4  # steps: longer than the host sleeps while it waits, fewer launches than a driver's queue holds
IDLE: list[torch.cuda.Stream] = []  # streams of stages that have ended


def read(numbers: torch.Tensor) -> Generator[bool, None, list[float]]:
    """Return `numbers`, one-dimensional, as the device will have computed them; False while it has not.

    On CUDA they are copied into pinned memory by the device itself, in the order of its stream.
    """
    if numbers.device.type == "cpu":
        return numbers.tolist()
    here = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    here.copy_(numbers, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch's own
    copied.record()
    while not copied.query():  # type: ignore[no-untyped-call] # the same
        yield False
    return here.tolist()


def fill(place: torch.Tensor, numbers: torch.Tensor) -> None:
    """Overwrite `place`, on any device, with `numbers` of the CPU, after what was asked of the device before."""
    if place.device.type == "cpu":
        place.copy_(numbers)
    else:
        place.copy_(numbers.pin_memory(), non_blocking=True)


class Ahead:
    """Keeps the host no more than AHEAD steps ahead of its device.

    Further ahead, the steps of a slow stage fill the driver's queue, and the launch for which there is no room holds
    up all stages of the process, as the host then waits for that stage alone.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._asked: deque[torch.cuda.Event] = deque()

    def room(self) -> Generator[bool, None, None]:
        """To be taken before each step; False while the device has AHEAD steps to do."""
        if self._on_cpu:
            return
        asked = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch's own
        asked.record()
        self._asked.append(asked)
        while len(self._asked) > AHEAD:
            if self._asked[0].query():  # type: ignore[no-untyped-call] # the same
                self._asked.popleft()
            else:
                yield False


def on_own_stream(turns: Generator[bool, None, T], device: torch.device) -> Generator[bool, None, T]:
    """Take each turn of a stage within a CUDA stream of its own, if `device` is one; else take them as they are.

    Stages that take turns in one process then overlap on the card. The stream is left after each turn, so that nobody
    else's work gets into it. At each turn those stages are noted whose training the device has ended meanwhile. The
    next stage takes the stream of one that has ended: memory of a card that was freed can be used again on its stream.
    """
    if device.type == "cpu":
        return (yield from turns)
    stream = IDLE.pop() if IDLE else torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's own
    shared = of_device(device)
    try:
        while True:
            with torch.cuda.stream(stream):
                try:
                    has_worked = next(turns)
                except StopIteration as end:
                    result: T = end.value
                    return result
            shared.look()  # who has ended meanwhile
            yield has_worked
    finally:
        turns.close()
        IDLE.append(stream)
