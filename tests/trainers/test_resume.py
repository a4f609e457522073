"""An interrupted and resumed stage ends like an uninterrupted one: the same bits, the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from orchestrator.errors import InterruptedStage
from orchestrator.seam import Checkpoint, Outcome, Status
from orchestrator.spec import Spec
from orchestrator.tensors import seal_checkpoint
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, same_bits, second, without_times
from trainers.after_step import AfterStep
from trainers.augmentation import Augmentation, CropFlipJitter
from trainers.data import Digits
from trainers.inits import Init, ShrinkPerturb, WarmStart
from trainers.models import MLP, Model, ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.regularizers import Adversarial, Penalty, Regularizer
from trainers.selection import Margin, Selection
from trainers.stage_config import Supervised
from trainers.stopping import Epochs, TrainAccuracy
from trainers.supervised import train

if TYPE_CHECKING:
    from orchestrator.seam import State

GIVEN = {  # what a member cannot be made without, or is slow without
    "ResNet18": {"width": 2},
    "MLP": {"width": 8},
    "ShrinkPerturb": {"shrink": 0.4, "perturb": 0.1},
    "ShrinkLastLayer": {"shrink": 0.4, "perturb": 0.1},
    "PartialWarmStart": {"layers": 2},
    "NewHead": {"init": WarmStart()},
    "ShrinkPerturbEachStep": {"shrink": 0.99, "perturb": 0.01},
    "EWC": {"size": 1.0, "examples": 20},
}


def members(base: type[Spec]) -> list[Any]:
    """One value of every member of a kind of setting that `trainers` has; a new one is tested by existing."""
    found = [m for m in Spec.members.values() if issubclass(m, base) and m.__module__ == base.__module__]
    sizes = {"size": 0.01}
    return [m(**GIVEN.get(m.__name__, sizes if issubclass(m, Penalty) else {})) for m in found]


def variants() -> list[Supervised]:
    """Stages that differ from `FIRST` in one setting, or in what only goes wrong together."""
    several: list[dict[str, Any]] = [{"optimizer": optimizer} for optimizer in members(Optimizer)]
    several += [{"model": model} for model in members(Model)]
    several += [{"regularizer": one} for one in members(Regularizer) if not one.needs_parent]
    several += [{"augmentation": augmentation} for augmentation in members(Augmentation)]
    several += [{"after_step": after_step} for after_step in members(AfterStep)]
    several += [
        {"optimizer": SGD(momentum=0.9, weight_decay=0.01)},
        {"model": ResNet18(width=2), "optimizer": Adam(), "regularizer": Adversarial(size=0.1)},
        {"model": ResNet18(width=2), "optimizer": SGD(momentum=0.9), "evaluate_every": 0},
        {"evaluate_every": 2},
    ]
    return [replace(FIRST, **settings) for settings in several]


def inits() -> list[Init]:
    """One of every init, and their other choices."""
    gaussian = ShrinkPerturb(shrink=0.4, perturb=0.1, noise="gaussian", keep_buffers=True)
    return [*members(Init), WarmStart(keep_buffers=True), gaussian]


def second_rounds() -> list[Supervised]:
    """Stages with a parent of 30 examples that differ in one setting, or in what only goes wrong together."""
    several: list[dict[str, Any]] = [{"init": init} for init in inits()]
    asking: list[dict[str, Any]] = [{"selection": selection, "examples": 45} for selection in members(Selection)]
    asking += [{"regularizer": one} for one in members(Regularizer) if one.needs_parent]
    asking += [
        {"gradient_norms_every": 3},
        {"gradient_norms_every": 2, "selection": Margin(), "augmentation": CropFlipJitter(), "examples": 45},
    ]
    several += [{"init": WarmStart(), "old_examples": 30, **settings} for settings in asking]
    return [second(model=ResNet18(width=2), optimizer=Adam(), lr=0.01, **settings) for settings in several]


def check_same(outcome: Outcome, expected: Outcome) -> None:
    """Both are one stage, whatever the time it took."""
    assert same_bits(outcome.state, expected.state)
    assert without_times(outcome) == without_times(expected)
    assert (outcome.status, outcome.stop_reason) == (expected.status, expected.stop_reason)


def check_every_interruption(config: Supervised, parent: State | None = None, **options: Any) -> Outcome:
    """Train `config` in one go, and resume it from the end of each epoch."""
    io = MemoryIO(parent, **options)
    straight = train(config, io)
    for epoch in range(1, len(straight.epochs) + 1):
        check_same(train(config, MemoryIO(parent, io.saved[:epoch], **options)), straight)
    return straight


@pytest.fixture(scope="module")
def parent() -> State:
    """Final state of a tiny ResNet18's first round."""
    return run(replace(FIRST, model=ResNet18(width=2))).state


@pytest.mark.parametrize("config", variants(), ids=str)
def test_an_interrupted_stage_ends_with_the_same_bits(config: Supervised) -> None:
    """Otherwise a preempted node would change the science."""
    assert len(check_every_interruption(config).epochs) == 3


@pytest.mark.parametrize("config", second_rounds(), ids=str)
def test_an_interrupted_second_round_ends_with_the_same_bits(config: Supervised, parent: State) -> None:
    """A resumed stage that started over from its parent would have trained twice as long."""
    assert len(check_every_interruption(config, parent).epochs) == 3


@pytest.mark.parametrize("evaluate_every", [0, 1, 2])
@pytest.mark.parametrize("shorter", [1, 3])
def test_a_stage_goes_on_from_a_shorter_one_with_the_same_bits(shorter: int, evaluate_every: int) -> None:
    """The states of Figure 4's one first round must be those of 70 first rounds, and so must the rows."""
    config = replace(FIRST, model=ResNet18(width=2), optimizer=Adam(), lr=0.01, evaluate_every=evaluate_every)
    end = run(replace(config, stop=Epochs(shorter))).resume_point
    straight = run(replace(config, stop=Epochs(4)))

    assert end is not None
    check_same(train(replace(config, stop=Epochs(4)), MemoryIO(saved=[seal_checkpoint(end())])), straight)


def test_a_resumed_stage_trains_on_the_examples_that_it_chose(parent: State) -> None:
    """On a machine that rounds otherwise, a choice made anew would be another training set in the middle."""
    config = second(init=WarmStart(), model=ResNet18(width=2), selection=Margin(), examples=45, old_examples=30)
    io = MemoryIO(parent)
    expected = train(config, io)
    other = {name: -array if name.startswith("head") else array for name, array in parent.items()}

    resumed = train(config, MemoryIO(other, io.saved[:1]))

    assert same_bits(resumed.state, expected.state)
    assert not same_bits(run(config, other).state, expected.state)


def test_a_stage_interrupted_after_every_epoch_ends_with_the_same_bits() -> None:
    """A cluster of cheap machines takes them away all day."""
    config = replace(FIRST, model=ResNet18(width=2), optimizer=SGD(momentum=0.9))
    io = TakenAwayIO()
    for io.epoch in (1, 2, 3):
        with pytest.raises(InterruptedStage):
            train(config, io)

    check_same(train(config, io), run(config))
    assert [row["epoch"] for row in io.rows] == [1, 2, 3]


def test_a_stage_without_checkpoints_ends_with_the_same_bits() -> None:
    """How often a stage is saved is an option, in no key."""
    io = MemoryIO()
    io.end_epoch = lambda *_: None  # type: ignore[method-assign]

    check_same(train(FIRST, io), run(FIRST))


def test_a_stage_interrupted_at_its_end_trains_no_epoch_more() -> None:
    """Every interruption there would add an epoch that the uninterrupted stage never had."""
    io = TakenAwayIO()
    io.epoch = 3
    with pytest.raises(InterruptedStage):
        train(FIRST, io)

    outcome = train(FIRST, io)

    assert len(io.rows) == len(outcome.epochs) == 3


@pytest.mark.parametrize(
    "stop", [TrainAccuracy(target=0.4, cap=9), TrainAccuracy(window=3, tolerance=1.0), TrainAccuracy(cap=3)], ids=str
)
def test_every_rule_stops_a_resumed_stage_at_the_same_epoch(stop: TrainAccuracy) -> None:
    """A plateau is looked for in epochs from before the interruption too."""
    config = replace(FIRST, stop=stop)
    assert len(check_every_interruption(config).epochs) >= 2


def test_a_diverged_stage_stays_diverged_after_an_interruption() -> None:
    """Resumed, it must not train on with a network of NaN, nor count as done."""
    assert check_every_interruption(replace(FIRST, lr=1e30)).status == Status.DIVERGED


def test_a_checkpoint_does_not_change_while_training_goes_on() -> None:
    """Rows that were added after it was taken would be counted twice after a resume."""
    io = MemoryIO()
    taken: list[Checkpoint] = []
    io.end_epoch = lambda _, checkpoint: taken.append(checkpoint())  # type: ignore[method-assign]

    train(FIRST, io)

    assert [len(checkpoint.facts["rows"]) for checkpoint in taken] == [1, 2, 3]


def test_the_parent_is_not_trained_by_its_children(parent: State) -> None:
    """Twelve children of one first round start from the same weights, whoever comes first."""
    before = {name: array.copy() for name, array in parent.items()}

    run(second(init=WarmStart(keep_buffers=True), model=ResNet18(width=2)), parent)

    assert same_bits(parent, before)


@pytest.mark.parametrize(
    ("config", "threads", "precision"),
    [
        (replace(FIRST, model=ResNet18(width=8), stop=Epochs(1)), 2, "highest"),
        (replace(FIRST, model=MLP(width=512), data=Digits(), examples=512, batch_size=256), 1, "medium"),
    ],
    ids=["threads", "bfloat16"],
)
def test_a_stage_ends_with_the_same_bits_whatever_torch_was_set_to(
    config: Supervised, threads: int, precision: str
) -> None:
    """A notebook's settings, and the cores of a machine, are no part of an experiment."""
    expected = run(config)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)

    try:
        check_same(run(config), expected)
    finally:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
