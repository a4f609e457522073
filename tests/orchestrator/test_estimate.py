"""An estimate promises what was measured of like stages, scaled by their size, and says when it knows nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage, open_store
from orchestrator.estimate import Estimate
from sweeps.protocols import half_then_all
from tests.orchestrator import fake_trainer
from tests.orchestrator.fake_trainer import Walk
from trainers.data import CIFAR10, Data, Digits
from trainers.inits import RandomInit
from trainers.models import MLP, Logistic, Model
from trainers.stopping import Epochs, Stop, TrainAccuracy

DIGITS, NET, USUAL = Digits(), MLP(), TrainAccuracy(0.99, cap=200)


def stage(data: Data = DIGITS, model: Model = NET, stop: Stop = USUAL, lr: float = 0.1, batch_size: int = 16) -> Stage:
    """A random init on all of the data."""
    return half_then_all(data, model, RandomInit(), lr, batch_size, stop, seed=0)[0]


def row(like: Stage, seconds: float, epochs: int = 10, **other: Any) -> dict[str, Any]:
    """A row of the table stages that `like` may have left."""
    measured = {"wall_seconds": seconds, "epochs": epochs, "status": "done", "stop_reason": "train_accuracy"}
    return {**like.config.stage_columns(), **measured, **other}


def expected(like: Stage, *rows: dict[str, Any]) -> float | None:
    """What is expected of `like` after these rows."""
    seconds = Estimate(rows).seconds(like)
    return None if seconds is None else round(seconds, 6)


def test_the_same_settings_take_the_median_of_their_seconds() -> None:
    """One stage on a busy machine must not double what all others are said to take."""
    assert expected(stage(), row(stage(), 4.0), row(stage(), 5.0), row(stage(), 60.0)) == 5


def test_the_most_alike_decides() -> None:
    """A small batch takes many times as long as a large one; the mean of both is wrong for both."""
    rows = [row(stage(batch_size=128), 1.0), row(stage(batch_size=16), 8.0), row(stage(model=Logistic()), 0.1)]

    assert expected(stage(batch_size=16), *rows) == 8
    assert expected(stage(batch_size=128), *rows) == 1
    assert expected(stage(batch_size=16, lr=0.3), *rows) == 8
    assert expected(stage(batch_size=64), *rows) == 4.5


def test_nothing_alike_is_no_estimate() -> None:
    """A made-up number would be believed."""
    assert expected(stage()) is None
    assert expected(stage(), row(stage(model=Logistic()), 1.0)) is None


def test_seconds_grow_with_the_examples() -> None:
    """A trial run on a part of the data says what all of it will take."""
    part = stage(data=Digits(limit=600))

    assert expected(stage(), row(part, 4.0)) == pytest.approx(4.0 * 1198 / 400, abs=1e-6)
    assert expected(stage(data=CIFAR10()), row(part, 4.0)) == pytest.approx(4.0 * 33_333 / 400, abs=1e-6)


def test_a_capped_trial_run_promises_no_full_run_in_seconds() -> None:
    """After launch --axis epochs=2, the full sweep would be said to take a hundredth of its hours."""
    capped = row(stage(stop=USUAL.capped(2)), 1.0, epochs=2, stop_reason="cap")

    assert expected(stage(), capped) == 100.0


def test_a_full_run_promises_a_capped_one() -> None:
    """The other way round: what converged in 50 epochs says what 2 epochs take."""
    assert expected(stage(stop=USUAL.capped(2)), row(stage(), 100.0, epochs=50)) == 4


def test_other_rules_expect_the_epochs_of_what_converged() -> None:
    """A higher cap does not make a stage longer that converges before it."""
    rows = [row(stage(), 50.0, epochs=50), row(stage(stop=Epochs(3)), 3.0, epochs=3, stop_reason="epochs")]

    assert expected(stage(stop=TrainAccuracy(0.99, cap=500)), *rows) == 50


@pytest.mark.parametrize(
    "other", [{"status": "failed"}, {"wall_seconds": None}, {"wall_seconds": 0.0}, {"examples": None}, {"epochs": None}]
)
def test_what_was_not_measured_is_passed_over(other: dict[str, Any]) -> None:
    """A stage that failed at once would promise that its like are free."""
    assert expected(stage(), row(stage(), 5.0, **other)) is None


def test_the_total_is_known_only_if_every_part_is() -> None:
    """Leaving out what is not known would promise too little, without a word."""
    known, unknown = stage(), stage(model=Logistic())
    estimate = Estimate([row(known, 5.0)])

    assert estimate.total_seconds([known, known]) == pytest.approx(10)
    assert estimate.total_seconds([known, unknown]) is None
    assert estimate.total_seconds([]) == 0


@given(st.lists(st.tuples(st.sampled_from([MLP(), Logistic()]), st.floats(1e-3, 1e6), st.integers(1, 500))))
def test_a_cost_is_always_positive(history: list[tuple[Model, float, int]]) -> None:
    """A stage that costs nothing would be handed out last, however long the chain behind it."""
    rows = [row(stage(model=model), seconds, epochs) for model, seconds, epochs in history]
    stages = [stage(), stage(model=Logistic()), stage(model=MLP(width=7)), stage(data=CIFAR10())]

    cost = Estimate(rows).cost(stages)

    assert list(cost) == [s.key for s in stages]
    assert min(cost.values()) > 0


def test_without_history_more_examples_and_epochs_cost_more() -> None:
    """The first launch of all must begin with the longest chains too."""
    stages = [stage(), stage(data=CIFAR10()), stage(stop=Epochs(350))]

    digits, cifar, long = Estimate([]).cost(stages).values()

    assert digits < long < cifar


def test_what_is_not_known_is_scaled_to_what_is() -> None:
    """Else a rough count of thousands would come before every measured hour."""
    known, twice = stage(), stage(model=Logistic(), stop=Epochs(400))

    cost = Estimate([row(known, 5.0)]).cost([known, twice])

    assert cost[known.key] == pytest.approx(5)
    assert cost[twice.key] == pytest.approx(10)


def test_a_store_teaches_what_it_measured(tmp_path: Any) -> None:
    """The columns that are read must be those that the store has."""
    store = open_store(str(tmp_path))
    measured = Stage(Walk())
    assert Estimate.of(store.stages()).seconds(measured) is None

    fake_trainer.run(measured, store)

    assert Estimate.of(store.stages()).seconds(measured) > 0
