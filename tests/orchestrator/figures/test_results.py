"""A sweep's results are read as they are stored: what is of it, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from orchestrator.figures.results import EpochsOf, Results, read, results_of, rows_of
from orchestrator.store import Store
from orchestrator.sweep import Sweep
from sweeps.protocols import half_then_all
from tests.orchestrator.made_store import EPOCHS, fill
from trainers.data import Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP
from trainers.optimizers import SGD
from trainers.stopping import Epochs


def sweep(name: str, lr: float) -> Sweep:
    """Two inits, the second from a first round."""
    fixed = {"data": [Digits()], "model": [MLP()], "optimizer": [SGD()], "batch_size": [32], "stop": [Epochs(2)]}
    return Sweep(name, {**fixed, "lr": [lr], "init": [RandomInit(), WarmStart()]}, half_then_all, [0], name=name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two sweeps."""
    made = Store(str(tmp_path / "store"))
    fill(made, sweep("one", 0.1), lambda stage: {"test_accuracy": 0.25 if stage.config.round else 0.5})
    fill(made, sweep("other", 0.2))
    return made


def test_a_sweep_is_read_without_the_others(store: Store) -> None:
    """A figure of ten models in a store of a hundred thousand would take as long as one of all."""
    assert len(read(store, "one").stages) == 3
    assert len(read(store).stages) == 6


def test_ancestors_are_read_with_a_sweep(store: Store) -> None:
    """First rounds are in no row of results, and learning curves begin with them."""
    found = results_of(store, "one")

    (warm,) = (row for row in found.rows if row["init"] == "warm_start")
    assert [row["round"] for row in found.ancestors(warm["key"])] == [1, 0]
    assert found.stages == {key: row for key, row in read(store).stages.items() if key in found.stages}


def test_rows_are_those_of_the_table(store: Store) -> None:
    """Read by columns, a value of one row could come to stand in another."""
    table = store.sql("SELECT * FROM results ORDER BY key")

    assert rows_of(table) == table.to_pylist()


def by_epoch(results: Results, keys: Sequence[str]) -> list[tuple[float, float]]:
    """Epochs with test accuracies, as pairs."""
    return list(zip(*(column.tolist() for column in results.by_epoch(keys, "test_accuracy")), strict=True))


def test_epochs_are_read_by_columns_as_by_rows(store: Store) -> None:
    """A curve under another stage's name is a wrong result that nobody sees."""
    found = results_of(store, "one")
    rows = Results("one", found.rows, found.stages, 2, {key: found.epochs[key] for key in found.epochs})

    keys = sorted(found.stages)[::-1]
    assert by_epoch(found, keys) == by_epoch(rows, keys)
    for key in keys:
        curve = by_epoch(found, [key])
        assert [epoch for epoch, _ in curve] == [*range(1, EPOCHS + 1)]
        assert curve[-1][1] == found.stages[key]["test_accuracy"]


def test_epochs_of_other_sweeps_are_not_there(store: Store) -> None:
    """Whoever asks for what is not of the sweep has mistaken something."""
    one, other = results_of(store, "one"), results_of(store, "other")

    assert set(one.epochs) == set(one.stages)
    assert by_epoch(one, list(other.stages)) == []


def test_nothing_asked_is_nothing_read(store: Store) -> None:
    """A sweep that has only begun has no epochs, and SQL no empty list."""
    assert list(EpochsOf(store, [])) == []
    assert EpochsOf(store, []).by_epoch([], "test_loss")[0].dtype == np.float64
