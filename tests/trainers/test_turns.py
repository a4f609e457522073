"""Stages that take turns in one process end as they do alone, bit for bit, and are charged what they used."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from orchestrator.errors import InterruptedStage
from orchestrator.seam import Outcome, Status, run_to_end
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, second
from tests.trainers.test_resume import check_same
from tests.trainers.test_supervised import Waits
from trainers import evaluate, shares
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.inits import WarmStart
from trainers.models import LinearSVM, Logistic, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.regularizers import Adversarial
from trainers.selection import Margin
from trainers.shares import SKIPPED, SOLO_STEPS, SharedTime, SoloTime, own_turns, shared_turns
from trainers.stopping import Epochs, TrainAccuracy
from trainers.supervised import turns
from trainers.waiting import on_own_stream

if TYPE_CHECKING:
    from orchestrator.seam import Turns

SMALL_RESNET = replace(FIRST, model=ResNet18(width=2))
MIXED = [
    FIRST,
    replace(FIRST, seed=4, batch_size=3, optimizer=Adam(), stop=Epochs(2)),
    replace(SMALL_RESNET, optimizer=SGD(momentum=0.9), augmentation=CropFlipJitter(), evaluate_every=0),
    replace(FIRST, model=Logistic(), stop=TrainAccuracy(target=0.4, cap=9), precision="bf16"),
    replace(FIRST, model=LinearSVM(), regularizer=Adversarial(size=0.1), evaluate_every=2),
    replace(FIRST, after_step=ShrinkPerturbEachStep(shrink=0.99, perturb=0.01)),
    replace(FIRST, lr=1e30),  # diverges
]


def together(packed: Sequence[Turns], seed: int = 0) -> list[Outcome | Exception]:
    """Take turns in a drawn order until all have ended; what each returned or raised."""
    draw, ended = random.Random(seed), dict[int, Outcome | Exception]()
    while left := [n for n in range(len(packed)) if n not in ended]:
        which = draw.choice(left)
        try:
            next(packed[which])
        except StopIteration as end:
            ended[which] = end.value
        except (InterruptedStage, ZeroDivisionError) as error:
            ended[which] = error
    return [ended[n] for n in range(len(packed))]


# Bits


def test_stages_that_take_turns_end_as_they_do_alone() -> None:
    """How many share a card is an option; were it a setting, a table would mix two experiments."""
    packed = together([turns(config, MemoryIO()) for config in MIXED])

    assert packed[-1].status == Status.DIVERGED  # type: ignore[union-attr] # none of these raises
    for config, outcome in zip(MIXED, packed, strict=True):
        assert isinstance(outcome, Outcome)
        check_same(outcome, run(config))


def test_second_rounds_that_take_turns_end_as_they_do_alone() -> None:
    """Children of one parent share its state, and choose examples and measure gradients between others' steps."""
    parent = run(SMALL_RESNET).state
    norms = second(SMALL_RESNET, init=WarmStart(), old_examples=30, gradient_norms_every=2)
    configs = [norms, replace(norms, selection=Margin(), examples=45), second(SMALL_RESNET, init=WarmStart())]

    for config, outcome in zip(configs, together([turns(c, MemoryIO(parent)) for c in configs]), strict=True):
        assert isinstance(outcome, Outcome)
        check_same(outcome, run(config, parent))


def test_a_stage_that_raises_or_is_taken_away_leaves_the_others_alone() -> None:
    """One poisoned stage of a pack must not cost its neighbours their night."""
    away, broken, well = TakenAwayIO(), MemoryIO(), MemoryIO()
    away.epoch = 2
    broken.end_epoch = lambda *_: 1 // 0  # type: ignore[assignment, method-assign] # a fault in the middle

    interrupted, failed, ended = together([turns(FIRST, away), turns(SMALL_RESNET, broken), turns(MIXED[1], well)])

    assert isinstance(interrupted, InterruptedStage)
    assert isinstance(failed, ZeroDivisionError)
    check_same(ended, run(MIXED[1]))  # type: ignore[arg-type] # it ended
    resumed, _ = together([turns(FIRST, away), turns(SMALL_RESNET, MemoryIO())], seed=1)
    check_same(resumed, run(FIRST))  # type: ignore[arg-type] # it went on


def test_a_stage_gives_way_in_every_step_and_every_batch_that_it_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that keeps the device for a whole epoch makes a pack a queue."""
    monkeypatch.setitem(evaluate.BATCH, "cpu", 10)  # 30 held-out examples, and 30 of training at the end

    gaps = list(turns(FIRST, MemoryIO()))

    assert gaps == [True] * (3 * (4 + 3) + 3)


def test_nothing_begins_before_the_first_turn() -> None:
    """A pack makes a stage's turns before it is the stage's turn to fail."""
    turns(replace(FIRST, init=WarmStart()), MemoryIO())  # has no parent


def test_the_numbers_of_an_epoch_leave_the_device_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation that reads each batch's sum leaves a GPU idle as often."""
    counts = []
    for batch in (30, 10, 3):
        monkeypatch.setitem(evaluate.BATCH, "cpu", batch)
        with Waits() as waits:
            run(FIRST)
        counts.append(waits.count)

    assert len(set(counts)) == 1


def test_one_that_only_waits_is_asked_again() -> None:
    """A stage that is alone on its card must not be given up, nor keep a core busy by asking."""

    def waiting() -> Generator[bool, None, str]:
        yield True
        yield False
        return "ended"

    assert run_to_end(waiting()) == "ended"


class Streams:
    """In place of CUDA's streams: which one is entered."""

    entered: Any = None

    @contextlib.contextmanager
    def stream(self, one: object) -> Iterator[None]:
        """Enter `one`."""
        before, self.entered = self.entered, one
        yield
        self.entered = before


def test_each_stage_keeps_to_its_own_stream_within_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour's kernels in a stage's stream wait for it; in the middle of a capture they end in its graph."""
    streams, within = Streams(), list[tuple[str, object]]()
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: object())
    monkeypatch.setattr(torch.cuda, "stream", streams.stream)

    def stage(name: str) -> Generator[bool, None, str]:
        for _ in range(3):
            within.append((name, streams.entered))
            yield True
        return name

    pack = [on_own_stream(stage(name), torch.device("cuda")) for name in "ab"]
    for turn in (0, 1, 1, 0, 1, 0):
        next(pack[turn])
        assert streams.entered is None

    assert len(set(within)) == len({stream for _, stream in within}) == 2
    assert [run_to_end(one) for one in pack] == ["a", "b"]


# Seconds


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
