"""Launches of the made-up sweep in this process, and what tests look at afterwards; no test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.backend import InProcessBackend
from orchestrator.launch import Summary, launch
from orchestrator.store import Store
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import Lab, made_sweep, names_of, result


class Watch:
    """Keeps what a launch tells its watcher, and may do something at each report."""

    def __init__(self, at_report: Callable[[int], None] = lambda _: None) -> None:
        self.told: list[str] = []
        self.blocked: list[str] = []
        self.at_report = at_report

    def begin(self, *args: Any) -> None:
        self.told.append("begin")

    def report(self, report: Report, blocked: Sequence[str]) -> None:
        self.told.append(str(report.status))
        self.blocked += blocked
        self.at_report(len(self.told) - 1)

    def stopping(self) -> None:
        self.told.append("stopping")

    def end(self) -> None:
        self.told.append("end")


def go(store: Store, lab: Lab, sweep: Sweep | None = None, watch: Watch | None = None, **given: Any) -> Summary:
    """Launch `sweep` here, by default the made one, with a checkpoint after each epoch and no second try."""
    options = {"data_root": str(lab.folder), "checkpoint_every_s": 0.0, "retries": 0}
    return launch(
        sweep or made_sweep(),
        store,
        given.pop("backend", InProcessBackend),
        watch or Watch(),
        **{"source": "made", "options": options, **given},
    )


def no_backend() -> InProcessBackend:
    """A backend that must not be made."""
    pytest.fail("a backend was started")


def contents(store: Store) -> dict[str, bytes]:
    """Every file of the store with its bytes."""
    return {name: store.files.path(name).read_bytes() for name in names_of(store)}


def stage_keys(sweep: Sweep) -> set[str]:
    """Keys of all stages of a sweep."""
    return {stage.key for trial in sweep.trials() for one in trial.stages for stage in one.lineage()}


def results(store: Store) -> list[Any]:
    """All of the made sweep that must not depend on how its launch went."""
    return [result(store, key) for key in sorted(stage_keys(made_sweep()))]
