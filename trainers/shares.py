"""Shares: how many of a device's seconds each of the stages trains that take turns on it; no torch until CUDA is used.

On a CPU a turn is one stage's own work, so its seconds are those of its own turns. On a GPU the work of several stages
overlaps, and nobody can say whose a second was: while n stages train there, each is charged 1/n of the time that
passes. Alone, that is the time on the wall in both cases; and the charges of all stages add up to the time in which
the device was used, so an hour of a pack is an hour, however many were in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
SKIPPED, SOLO_STEPS = 4, 8  # of the first epoch: a step captured as a graph is ready after 4
Seconds = Callable[[], float]  # to be asked once the device has ended the work that it times


class Moment(Protocol):
    """A point in a device's work, as `torch.cuda.Event` is one."""

    def query(self) -> bool:
        """Whether the device has come so far."""

    def synchronize(self) -> None:
        """Wait until it has."""


@dataclass(eq=False)
class Seat:
    """A stage's place on a shared device, for one epoch.

    Attributes:
        began: Virtual time at which it joined.
        seconds: What it was charged; None while it is there.
    """

    began: float
    seconds: float | None = None


class SharedTime:
    """Virtual time of one device: it passes 1/n as fast as time on the wall while n stages train there."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives seconds that only grow."""
        self._clock, self._looked = clock, clock()
        self._virtual, self._members = 0.0, 0
        self._leaving: list[tuple[Seat, Moment]] = []

    def join(self) -> Seat:
        """A stage begins to train."""
        self.look()
        self._pass()
        self._members += 1
        return Seat(self._virtual)

    def leave(self, seat: Seat) -> None:
        """It has ended."""
        self._pass()
        self._members -= 1
        seat.seconds = self._virtual - seat.began

    def leave_after(self, seat: Seat, ended: Moment) -> None:
        """It has ended once the device comes to `ended`, which is found out at the next `look`."""
        self._leaving.append((seat, ended))

    def look(self) -> None:
        """Let those leave whose work the device has ended; called at every turn, so that it is noticed in time."""
        for place in [place for place in self._leaving if place[1].query()]:
            self._leaving.remove(place)
            self.leave(place[0])

    def _pass(self) -> None:
        """Let the time since the last change of members pass."""
        now = self._clock()
        if self._members:
            self._virtual += (now - self._looked) / self._members
        self._looked = now


SHARED: dict[str, SharedTime] = {}  # by type of device: a process trains on one card, called cuda as well as cuda:0


def of_device(device: torch.device) -> SharedTime:
    """The one virtual time of a device in this process."""
    return SHARED.setdefault(device.type, SharedTime())


def timed(turns: Generator[bool, None, T], device: torch.device) -> Generator[bool, None, tuple[T, Seconds]]:
    """Take `turns`, which train, and say beside their result how many seconds they are charged; see the module."""
    return own_turns(turns) if device.type == "cpu" else shared_turns(turns, of_device(device))


def own_turns(turns: Generator[bool, None, T]) -> Generator[bool, None, tuple[T, Seconds]]:
    """Count the time within turns alone."""
    seconds, began = 0.0, time.perf_counter()
    try:
        while True:
            has_worked = next(turns)
            seconds += time.perf_counter() - began
            yield has_worked
            began = time.perf_counter()
    except StopIteration as end:
        result: T = end.value
    seconds += time.perf_counter() - began
    return result, lambda: seconds


def shared_turns(turns: Generator[bool, None, T], shared: SharedTime) -> Generator[bool, None, tuple[T, Seconds]]:
    """Count the virtual time from now until the device has ended what the turns asked of it."""
    import torch

    seat, ended = shared.join(), None
    try:
        result = yield from turns
        ended = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch's own
        ended.record()
    finally:
        if ended is None:  # it failed, or was closed, in the middle: nobody reads its seconds
            shared.leave(seat)
        else:
            shared.leave_after(seat, ended)
    return result, lambda: seconds_of(seat, ended, shared)


def seconds_of(seat: Seat, ended: Moment, shared: SharedTime) -> float:
    """What the stage on `seat` was charged."""
    ended.synchronize()
    shared.look()
    assert seat.seconds is not None
    return seat.seconds


class SoloTime:
    """Seconds of one step of a stage with nobody else on its device, measured once, on steps that it makes anyway.

    On CUDA the device is emptied and SOLO_STEPS steps of the first epoch are taken without giving way, after SKIPPED
    others. On a CPU a turn is the stage's own work, so all of its training is solo. Other processes are not kept away.

    Attributes:
        seconds: What was measured on CUDA; None so far, or because no epoch has as many steps.
    """

    def __init__(self, device: torch.device, synchronize: Callable[[], None] | None = None) -> None:
        """`synchronize` waits for the whole device, all streams; by default CUDA's."""
        self.seconds: float | None = None
        self._on_cpu, self._synchronize = device.type == "cpu", synchronize

    def watched(self, turns: Generator[bool, None, T], steps: int) -> Generator[bool, None, T]:
        """Take `turns`, of which the first `steps` are steps of one size, and measure, unless that has been done."""
        if self.seconds is None and not self._on_cpu and steps >= SKIPPED + SOLO_STEPS:
            skipped = 0
            while skipped < SKIPPED:
                has_worked = next(turns)
                skipped += has_worked
                yield has_worked
            self._measure(turns)
            yield True
        return (yield from turns)

    def _measure(self, turns: Generator[bool, None, T]) -> None:
        """Take SOLO_STEPS steps with the device to themselves."""
        import torch

        synchronize = self._synchronize or torch.cuda.synchronize
        synchronize()
        began, taken = time.perf_counter(), 0
        while taken < SOLO_STEPS:
            taken += next(turns)
        synchronize()
        self.seconds = (time.perf_counter() - began) / SOLO_STEPS

    def step_seconds(self, train_seconds: float, steps: int) -> float | None:
        """The column `solo_step_seconds` of a stage that took `steps` in `train_seconds`."""
        return train_seconds / steps if self._on_cpu else self.seconds
