"""Stages that take turns in one process end as they do alone, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from orchestrator.errors import InterruptedStage
from orchestrator.seam import Outcome, Status, run_to_end
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, second
from tests.trainers.test_resume import check_same
from tests.trainers.test_supervised import Waits
from trainers import evaluate, supervised
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.inits import WarmStart
from trainers.models import LinearSVM, Logistic, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.regularizers import Adversarial
from trainers.selection import Margin
from trainers.stopping import Epochs, TrainAccuracy
from trainers.supervised import train, turns
from trainers.waiting import Ahead

if TYPE_CHECKING:
    from orchestrator.seam import Turns

CUDA = torch.device("cuda")
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


def test_a_stage_asks_for_room_before_each_step_and_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide network's evaluation fills the queue as its steps do."""
    monkeypatch.setitem(evaluate.BATCH, "cpu", 10)
    monkeypatch.setattr(Ahead, "room", lambda _: iter([False]))

    gaps = list(turns(FIRST, MemoryIO()))

    assert gaps == [False, True] * (3 * (4 + 3) + 3)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_stage_that_is_alone_keeps_to_a_stream_too(graphs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there that the end of its training is noticed, and graphs are not captured on CUDA's default stream."""
    asked = []
    monkeypatch.setattr(supervised, "on_own_stream", lambda turns, device: asked.append(device) or turns)
    io = MemoryIO()
    io.cuda_graphs = graphs

    train(replace(FIRST, stop=Epochs(1)), io)

    assert asked == [torch.device("cpu")]
