"""Waiting: how a stage that takes turns reads from its device, and keeps to a stream of its own (a torch module)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import torch

from trainers.shares import of_device

T = TypeVar("T")


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


def on_own_stream(turns: Generator[bool, None, T], device: torch.device) -> Generator[bool, None, T]:
    """Take each turn of a stage within a CUDA stream of its own, if `device` is one; else take them as they are.

    Stages that take turns in one process then overlap on the card. The stream is left after each turn, so that nobody
    else's work gets into it. At each turn those stages are noted whose training the device has ended meanwhile.
    """
    if device.type == "cpu":
        return (yield from turns)
    stream, shared = torch.cuda.Stream(device), of_device(device)  # type: ignore[no-untyped-call] # torch's own
    while True:
        with torch.cuda.stream(stream):
            try:
                has_worked = next(turns)
            except StopIteration as end:
                result: T = end.value
                return result
        shared.look()
        yield has_worked
