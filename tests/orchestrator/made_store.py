"""A store filled with made-up results of a real sweep's stages, without training; no test."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orchestrator.columns import names
from orchestrator.launch import cell_rows, recipe
from orchestrator.plan import plan
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.sweep import Sweep

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
EPOCHS, BATCHES = 4, 10
NOTHING = dict.fromkeys(names("stages"))
Made = Callable[[Stage], Mapping[str, Any] | None]


def fill(store: Store, sweep: Sweep, made: Made = lambda _: {}, source: str = "") -> list[Stage]:
    """Launch `sweep` in words only: remember it, and commit each stage with made-up numbers.

    Args:
        store: Where to.
        sweep: With a name.
        made: Columns of the table `stages` in place of the made-up ones; None for a stage that was never run.
            With ``status="failed"`` the stage fails.
        source: Of the launch, by default the sweep's name.

    Returns:
        All stages, parents first.
    """
    planned = plan(sweep.trials())
    store.check_format()
    store.record_launch(sweep.name, recipe(sweep, source or sweep.name, {}, planned), cell_rows(sweep, planned))
    for stage in planned.stages:
        if (given := made(stage)) is not None:
            commit(store, stage, given)
    return list(planned.stages)


def commit(store: Store, stage: Stage, given: Mapping[str, Any]) -> None:
    """Put one stage with made-up numbers into `store`."""
    accuracy = given.get("test_accuracy", 0.5)
    row = {**made_row(stage), **given}
    if row["status"] == "failed":
        store.record_failure(stage.key, {**row, "error": given.get("error", "ValueError: made to fail")}, "made")
        return
    epochs = [epoch_row(number, accuracy) for number in range(1, EPOCHS + 1)]
    store.commit(stage.key, row, epochs, {"w": np.zeros(1, np.float32)})


def made_row(stage: Stage) -> dict[str, Any]:
    """A row of the table `stages`."""
    where = {"key": stage.key, "parent": stage.parent.key if stage.parent else None, "trainer": stage.config.trainer}
    ended = {"status": "done", "stop_reason": "epochs", "attempts": 1, "error": None, "pack_size": 1, "config": "{}"}
    counts = {"epochs": EPOCHS, "steps": EPOCHS * BATCHES, "examples_seen": EPOCHS * 100}
    times = {"train_seconds": 8.0, "wall_seconds": 10.0, "started_at": NOON, "finished_at": NOON}
    reached = {"train_accuracy": 1.0, "train_loss": 0.0, "test_accuracy": 0.5, "test_loss": 1.0}
    versions = {"torch_version": "2.15.0", "warmgrid_version": "0.1.0", "device": "cpu", "host": "made"}
    own = {"version": stage.config.version, "round": stage.config.round, "seed": stage.config.seed}
    told = {**where, **ended, **counts, **times, **reached, **versions, **own, "weights_digest": None}
    return {**NOTHING, **told, **stage.config.stage_columns()}


def epoch_row(epoch: int, accuracy: float) -> dict[str, Any]:
    """A row of the table `epochs` on the way to `accuracy`."""
    share = epoch / EPOCHS
    so_far = {"train_seconds": 2.0 * epoch, "steps": BATCHES * epoch, "examples": 100 * epoch}
    norms = {"measured_steps": [float(BATCHES * (epoch - 1) + step) for step in (0, 5)]}
    norms |= {"old_gradient_norms": [2.0 / epoch] * 2, "new_gradient_norms": [6.0 / epoch] * 2}
    losses = {"train_loss": 1.0, "train_accuracy": share, "test_loss": 1.0, "test_accuracy": share * accuracy}
    return {"epoch": epoch, **losses, **so_far, **norms}
