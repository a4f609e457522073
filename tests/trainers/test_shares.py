"""Stages that share a device are charged what they used of it, and one of their steps is timed alone."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.seam import run_to_end
from tests.trainers.made import FIRST, MemoryIO, run
from tests.trainers.test_waiting import Streams
from trainers import shares
from trainers.shares import SKIPPED, SOLO_STEPS, SharedTime, SoloTime, own_turns, shared_turns
from trainers.stopping import Epochs
from trainers.supervised import turns
from trainers.waiting import on_own_stream

CUDA = torch.device("cuda")


class Clock:
    """A clock that only `pass_` moves."""

    now = 0.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of `trainers.shares`."""
    made = Clock()
    monkeypatch.setattr(shares, "time", made)
    return made


def steps(clock: Clock, seconds: Sequence[float]) -> Generator[bool, None, str]:
    """Work that takes `seconds`, a turn each, and 1 s at its end."""
    for each in seconds:
        clock.pass_(each)
        yield True
    clock.pass_(1)
    return "result"


def test_on_a_cpu_the_turns_of_others_cost_a_stage_nothing(clock: Clock) -> None:
    """Figures are drawn over train_seconds; a neighbour must not move a point in them."""
    timed = own_turns(steps(clock, [2, 3]))
    for _ in range(2):
        next(timed)
        clock.pass_(100)

    with pytest.raises(StopIteration) as end:
        next(timed)

    result, seconds = end.value.value
    assert (result, seconds()) == ("result", 6)


class Event:
    """A moment in the work of a device that has come there `at` a time of `clock`."""

    def __init__(self, clock: Clock, at: float) -> None:
        self.clock, self.at = clock, at

    def record(self) -> None:
        """It is as it was made."""

    def query(self) -> bool:
        return self.clock.now >= self.at

    def synchronize(self) -> None:
        self.clock.now = max(self.clock.now, self.at)


def test_on_a_shared_device_each_is_charged_its_share(clock: Clock) -> None:
    """Alone 2 s, 4 s of two, 6 s of three: 2 + 2 + 2. Wall time would charge a second as often as there are stages."""
    shared = SharedTime(clock.perf_counter)
    first = shared.join()
    clock.pass_(2)
    second = shared.join()
    clock.pass_(4)
    third = shared.join()
    clock.pass_(6)

    for seat in (first, second, third):
        shared.leave(seat)

    assert [seat.seconds for seat in (first, second, third)] == [6, 4, 2]


def test_charges_add_up_to_the_time_that_the_device_was_used(clock: Clock) -> None:
    """Hours of a card that are counted twice, or by nobody, make every plan wrong."""
    draw, shared, seats, used = random.Random(7), SharedTime(clock.perf_counter), [], 0.0
    here: list[Any] = []
    for _ in range(200):
        seconds = draw.random()
        used += seconds if here else 0
        clock.pass_(seconds)
        if here and draw.random() < 0.5:
            shared.leave(here.pop(draw.randrange(len(here))))
        else:
            here.append(shared.join())
            seats.append(here[-1])
    for seat in here:
        shared.leave(seat)

    assert sum(seat.seconds for seat in seats) == pytest.approx(used)


def test_a_stage_leaves_when_the_device_has_ended_its_work_not_when_it_was_asked(clock: Clock) -> None:
    """The host is done with an epoch long before the card: the rest would be charged to nobody."""
    shared = SharedTime(clock.perf_counter)
    slow, quick = shared.join(), shared.join()
    shared.leave_after(slow, Event(clock, 4))
    clock.pass_(2)
    shared.look()
    assert slow.seconds is None
    clock.pass_(2)
    shared.look()
    clock.pass_(3)
    shared.leave(quick)

    assert (slow.seconds, quick.seconds) == (2, 5)


def test_what_comes_after_an_epoch_is_not_charged(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation is no training: a figure over train_seconds would depend on how often a stage was measured."""
    Streams().replace(monkeypatch)
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(clock, clock.now))
    monkeypatch.setattr(shares, "SHARED", {"cuda": SharedTime(clock.perf_counter)})

    def page() -> Generator[bool, None, float]:
        _, seconds = yield from shares.timed(steps(clock, [1, 1]), CUDA)
        for _ in range(5):
            yield True
            clock.pass_(100)
        return seconds()

    assert run_to_end(on_own_stream(page(), CUDA)) == 3


def test_a_card_has_one_time_whatever_it_is_called() -> None:
    """Tensors call it cuda:0, options cuda: on two clocks nobody would notice who has left."""
    named, found = torch.device("cuda"), torch.device("cuda:0")

    assert shares.of_device(named) is shares.of_device(found)


def test_a_stage_that_fails_in_an_epoch_leaves(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there are would make every later stage look faster than it is."""
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(clock, clock.now))
    shared = SharedTime(clock.perf_counter)
    failing = shared_turns(steps(clock, [1, 1]), shared)
    next(failing)
    failing.close()

    _, seconds = run_to_end(shared_turns(steps(clock, [1, 1]), shared))

    assert seconds() == 3


@pytest.mark.parametrize("steps_of_epoch", [SKIPPED + SOLO_STEPS, 30])
def test_a_step_is_timed_with_the_device_to_itself(clock: Clock, steps_of_epoch: int) -> None:
    """Between the two synchronisations nobody else gets a turn; the first steps, which set things up, do not count."""
    solo = SoloTime(torch.device("cuda"), synchronize=lambda: clock.pass_(0.5))
    seconds = [100.0] * SKIPPED + [2.0] * SOLO_STEPS + [7.0] * (steps_of_epoch - SKIPPED - SOLO_STEPS)
    watched = solo.watched(steps(clock, seconds), steps_of_epoch)

    for _ in watched:
        clock.pass_(1000)

    assert solo.seconds == 2.0 + 0.5 / SOLO_STEPS
    assert solo.step_seconds(99.0, 3) == solo.seconds


def test_turns_that_wait_are_no_steps(clock: Clock) -> None:
    """The host keeps only some steps ahead of a card: most turns of a slow stage wait."""

    def waiting_steps() -> Generator[bool, None, None]:
        for step in range(30):
            yield False
            clock.pass_(2 if step >= SKIPPED else 100)
            yield True

    solo = SoloTime(CUDA, synchronize=lambda: None)
    run_to_end(solo.watched(waiting_steps(), 30))

    assert solo.seconds == 2


def test_a_step_is_timed_once_and_only_where_there_are_enough(clock: Clock) -> None:
    """Steps that were captured and timed together would say that a small stage is a slow one."""
    short, known = (SoloTime(torch.device("cuda"), synchronize=lambda: clock.pass_(1)) for _ in range(2))
    known.seconds = 0.25
    run_to_end(short.watched(steps(clock, [1.0] * 11), 11))
    run_to_end(known.watched(steps(clock, [1.0] * 30), 30))

    assert (short.seconds, known.seconds) == (None, 0.25)


def test_on_a_cpu_the_time_of_a_step_is_the_mean_over_its_own_turns() -> None:
    """There a turn is nobody else's work."""
    metrics = run(FIRST).metrics

    assert metrics["train_seconds"] is not None
    assert metrics["solo_step_seconds"] == metrics["train_seconds"] / 12


def test_a_resumed_stage_keeps_the_step_time_that_it_measured() -> None:
    """On another card it would be another time, and the stage has one."""
    io = MemoryIO()
    run_to_end(turns(replace(FIRST, stop=Epochs(1)), io))
    checkpoint = io.load_checkpoint()
    assert checkpoint is not None
    facts = SimpleNamespace(tensors=checkpoint.tensors, facts={**checkpoint.facts, "solo_step_seconds": 0.25})
    io.load_checkpoint = lambda: facts  # type: ignore[assignment, method-assign, return-value] # as a card saved it
    points: list[Any] = []
    io.end_epoch = lambda _, point: points.append(point().facts["solo_step_seconds"])  # type: ignore[method-assign]

    run_to_end(turns(FIRST, io))

    assert points == [0.25, 0.25]
