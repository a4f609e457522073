"""A loss that becomes NaN or infinite ends its stage as `diverged`: a result without numbers, not a crash."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.seam import Outcome, Status
from orchestrator.stage import Stage
from orchestrator.store import open_store
from orchestrator.worker import Handout, Options, run_stage
from tests.trainers.made import FIRST, run, second
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, LinearSVM, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.regularizers import NoRegularizer
from trainers.stage_config import Supervised
from trainers.stopping import Epochs

MEASURED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
EXPLODING = replace(FIRST, lr=1e30)
ONE_STEP_TOO_FAR = replace(
    FIRST, lr=1e38, batch_size=30, stop=Epochs(1)
)  # the loss is finite, then the weights are not


def check_diverged(outcome: Outcome) -> None:
    """The stage has its status and counts, and no measured number."""
    assert (outcome.status, outcome.stop_reason) == (Status.DIVERGED, "diverged")
    assert {name: outcome.metrics[name] for name in MEASURED} == dict.fromkeys(MEASURED)
    assert outcome.metrics["epochs"] == len(outcome.epochs)
    json.dumps([outcome.epochs, dict(outcome.metrics)], allow_nan=False)


def with_losses(odd: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Add `odd[i]` to the loss of the i-th batch of the next run; no gradient changes."""
    plain, batches = NoRegularizer.loss, iter(range(1000))

    def loss(*args: Any) -> Any:
        value, logits = plain(*args)
        return value + odd.get(next(batches), 0.0), logits

    monkeypatch.setattr(NoRegularizer, "loss", loss)


@pytest.mark.parametrize(
    "config",
    [
        EXPLODING,
        replace(FIRST, lr=1e37, model=LinearSVM(), optimizer=SGD(momentum=0.9)),
        replace(FIRST, lr=1e35, model=ResNet18(width=2), optimizer=Adam()),
        replace(FIRST, lr=1e38, model=MLP(width=8, activation="tanh"), stop=Epochs(2)),
        replace(EXPLODING, evaluate_every=0),
    ],
    ids=str,
)
def test_a_learning_rate_that_explodes_gives_no_numbers(config: Supervised) -> None:
    """An accuracy of chance level, from weights of NaN, would enter the averages of its cell."""
    check_diverged(run(config))


def test_no_epoch_follows_the_one_that_diverged() -> None:
    """A network of NaN trains for hundreds of epochs and learns nothing."""
    outcome = run(EXPLODING)

    assert [row["epoch"] for row in outcome.epochs] == [1]
    assert {name: outcome.epochs[-1][name] for name in MEASURED} == dict.fromkeys(MEASURED)


@pytest.mark.parametrize("odd", [{5: math.inf}, {5: -math.inf}, {5: math.nan}, {5: math.inf, 6: -math.inf}], ids=str)
def test_a_single_batch_without_a_loss_counts(odd: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of an epoch must not hide it: it is in the second epoch, and the weights stay finite."""
    with_losses(odd, monkeypatch)

    outcome = run(FIRST)

    check_diverged(outcome)
    assert [row["train_loss"] is None for row in outcome.epochs] == [False, True]


def test_a_last_step_that_leaves_no_weights_counts() -> None:
    """All losses were finite, the network is not: a stage that is done would hand NaN to its children."""
    outcome = run(ONE_STEP_TOO_FAR)

    check_diverged(outcome)
    assert outcome.epochs[0]["train_loss"] is not None
    assert outcome.epochs[0]["test_accuracy"] is None


def test_a_large_finite_loss_is_no_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks recover from a bad step; a sum that overflows would end them."""
    with_losses({1: 3e38, 2: 3e38}, monkeypatch)

    outcome = run(FIRST)

    assert (outcome.status, len(outcome.epochs)) == (Status.DONE, 3)


def test_what_was_measured_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve up to the end is what shows why it diverged."""
    expected = run(FIRST).epochs[0]
    with_losses({7: math.nan}, monkeypatch)

    row = run(FIRST).epochs[0]

    assert row | {"train_seconds": 0} == expected | {"train_seconds": 0}


def test_the_next_round_goes_its_way() -> None:
    """A child of NaN diverges in its turn; a random init beside it does not."""
    parent = run(EXPLODING).state

    check_diverged(run(second(init=WarmStart()), parent))
    assert run(second(init=RandomInit()), parent).status == Status.DONE


def test_a_diverged_stage_is_stored_as_a_result(tmp_path: Path) -> None:
    """Refused by the store, it would be trained again at every launch."""
    store, stage = open_store(str(tmp_path)), Stage(EXPLODING)

    report = run_stage(Handout.of(stage), store, Options(launch="a-test", device="cpu"))

    assert (report.status, report.error) == (Status.DIVERGED, None)
    assert store.is_committed(stage.key)
