"""Half, then all: the second round sees all of the data and starts where the first one ended, or fresh."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage
from orchestrator.errors import ConfigError
from sweeps.protocols import half_then_all
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.data import CIFAR10, Digits
from trainers.inits import Init, RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP
from trainers.optimizers import Adam
from trainers.regularizers import EWC, L2, NoRegularizer
from trainers.stopping import Epochs, TrainAccuracy

USUAL: dict[str, Any] = {
    "data": CIFAR10(),
    "model": MLP(),
    "init": WarmStart(),
    "lr": 0.01,
    "batch_size": 64,
    "stop": Epochs(350),
    "seed": 3,
}


def trial(**other: Any) -> Stage:
    """The reported stage of a trial with some settings changed."""
    (stage,) = half_then_all(**{**USUAL, **other})
    return stage


@pytest.mark.parametrize("init", [WarmStart(), ShrinkPerturb(shrink=0.4, perturb=0.1)])
def test_a_warm_start_has_half_of_the_data_first(init: Init) -> None:
    """16,666 examples, then all 33,333: the authors' two-phase mode (Ash & Adams 2020, section 2.1)."""
    second = trial(init=init)
    first = second.parent

    assert (first.config.examples, second.config.examples) == (16_666, 33_333)
    assert (first.config.round, second.config.round) == (0, 1)
    assert (first.config.init, second.config.init) == (RandomInit(), init)
    assert first.parent is None


def test_a_random_init_has_no_first_round() -> None:
    """It would be paid for, and never used."""
    assert trial(init=RandomInit()).parent is None


def test_both_inits_are_compared_in_the_same_round() -> None:
    """Another round is another stream of fresh weights and orders, and one more difference than the init."""
    warm, cold = trial().config, trial(init=RandomInit()).config

    assert (warm.round, warm.examples, warm.seed) == (cold.round, cold.examples, cold.seed)


def test_the_first_round_has_the_settings_of_the_second_unless_it_is_given_its_own() -> None:
    """Figure 3 varies both rounds on their own, all others vary them together."""
    alike, own = trial().parent.config, trial(first_lr=0.1, first_batch_size=16).parent.config

    assert (alike.lr, alike.batch_size) == (0.01, 64)
    assert (own.lr, own.batch_size) == (0.1, 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", Adam()),
        ("regularizer", L2(size=0.1)),
        ("evaluate_every", 0),
        ("augmentation", CropFlipJitter()),
        ("after_step", ShrinkPerturbEachStep(shrink=0.9999, perturb=0)),
        ("precision", "bf16"),
    ],
    ids=str,
)
def test_how_it_is_trained_is_the_same_in_both_rounds(name: str, value: object) -> None:
    """The paper's penalty is in both rounds (Ash & Adams 2020, section 3.3); all else then is too."""
    second = trial(**{name: value})

    assert getattr(second.config, name) == getattr(second.parent.config, name) == value


def test_first_rounds_are_shared_by_all_second_rounds() -> None:
    """36 of Figure 3 instead of 432."""
    firsts = {
        trial(init=init, lr=lr, first_lr=0.1).parent.key
        for init in (WarmStart(), ShrinkPerturb(0.4, 0.1))
        for lr in (1, 2)
    }

    assert len(firsts) == 1


@given(st.floats(0, 1, exclude_min=True), st.integers(6, 2000))
def test_the_first_part_has_an_example_and_no_more_than_all(fraction: float, limit: int) -> None:
    """A round without data cannot be trained; one with more than there is, neither."""
    second = trial(data=Digits(), first_fraction=fraction, limit=limit)

    assert 1 <= second.parent.config.examples <= second.config.examples == Digits(limit=limit).fit_size


@pytest.mark.parametrize("fraction", [-0.5, 0.0, 1.0001, 2])
def test_an_impossible_fraction_is_refused(fraction: float) -> None:
    """No share of the data, or more than all of it."""
    with pytest.raises(ConfigError, match=rf"first_fraction={fraction}: give a share"):
        trial(first_fraction=fraction)


@pytest.mark.parametrize(
    ("stop", "most"), [(Epochs(350), 2), (TrainAccuracy(0.99, cap=500), 2), (Epochs(1), 1)], ids=str
)
def test_the_cap_on_epochs_is_one_on_both_rounds(stop: Any, most: int) -> None:
    """It makes stages shorter, never longer."""
    second = trial(stop=stop, epochs=2)

    assert second.config.stop.most_epochs == second.parent.config.stop.most_epochs == most


def test_the_limit_is_that_of_the_data_set() -> None:
    """Two thirds of 600 are fitted, the rest is held out; the same stages as with the data set's own limit."""
    assert trial(limit=600) == trial(data=CIFAR10(limit=600))
    assert trial(limit=600).config.examples == 400


def test_no_cap_is_no_change() -> None:
    """Results of the full sweep must not move because caps exist."""
    assert trial(epochs=None, limit=None) == trial() == trial(epochs=350) == trial(limit=50_000)


def test_the_first_round_can_end_after_some_epochs() -> None:
    """Figure 4 starts from the weights after 5, 10, ... 350 epochs on half; the second round trains to its own end."""
    second = trial(stop=TrainAccuracy(0.99), first_epochs=35)

    assert (second.parent.config.stop, second.config.stop) == (Epochs(35), TrainAccuracy(0.99))


@pytest.mark.parametrize("init", [RandomInit(), WarmStart()], ids=str)
def test_first_rounds_that_end_sooner_are_parts_of_one_run(init: Init) -> None:
    """Trained one by one, the 70 first rounds of Figure 4 would cost 36 times as much."""
    lineages = [trial(init=init, first_epochs=n).lineage() for n in (5, 350)]

    assert all(stage.extendable for lineage in lineages for stage in lineage[:-1])
    assert len({stage.trajectory[0] for lineage in lineages for stage in lineage[:-1]}) <= 1
    assert not trial(init=init).lineage()[0].extendable


def test_the_cap_on_epochs_is_one_on_a_first_round_of_given_length() -> None:
    """Otherwise a trial run of Figure 4 would train half of the data for 350 epochs."""
    assert trial(first_epochs=350, epochs=2).parent.config.stop == Epochs(2)


def test_consolidation_begins_with_the_second_round() -> None:
    """There is nothing to hold on to in the first; the second must know which examples its Fisher information is of."""
    second = trial(regularizer=EWC(size=10.0))

    assert second.parent == trial().parent
    assert (second.config.regularizer, second.config.old_examples) == (EWC(size=10.0), 16_666)


def test_consolidation_means_nothing_to_a_random_init() -> None:
    """Its cells of all strengths are one; each strength would train the same network again."""
    assert trial(init=RandomInit(), regularizer=EWC(size=10.0)) == trial(init=RandomInit())


def test_gradient_norms_are_those_of_a_second_round() -> None:
    """Old and new examples part where a first round ended; a first round is shared with sweeps that measure none."""
    second = trial(gradient_norms_every=20)

    assert (second.config.gradient_norms_every, second.config.old_examples) == (20, 16_666)
    assert second.parent == trial().parent
    assert trial(init=RandomInit(), gradient_norms_every=20) == trial(init=RandomInit())


def test_old_examples_are_counted_only_where_something_asks() -> None:
    """The keys of all other warm starts would move, and their results be lost."""
    assert trial().config.old_examples == 0
    assert trial().config.regularizer == NoRegularizer()
