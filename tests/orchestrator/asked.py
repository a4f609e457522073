"""Stores of two sweeps with different axes, made up, for tests that ask; no test."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.request import prepare
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.sweep import Sweep
from tests.orchestrator.made_store import fill

FIGURE3 = ["lr=0.01,0.1", "batch_size=16,64", "first_lr=0.1", "first_batch_size=16"]


def accuracy(stage: Stage) -> float:
    """A made-up accuracy, another for each stage."""
    return int(stage.key[:6], 16) / 16**6


def sweep(name: str, *axes: str) -> Sweep:
    """The small version of one of our sweeps, with seeds 0 and 1."""
    return prepare(name, axes, "0-1", small=True)[0].sweep


def made(path: Path) -> Store:
    """A store with results of figure3, all done but one that failed and one that diverged."""
    store = Store(str(path))
    asked = sweep("figure3", *FIGURE3)
    ends = [trial.stages[-1].key for trial in asked.trials()]

    def values(stage: Stage) -> dict[str, object]:
        if stage.key == ends[0]:
            nothing = {"test_accuracy": None, "started_at": None, "epochs": None}
            return {"status": "failed", "error": "ValueError: made to fail", **nothing}
        if stage.key == ends[1]:
            return {"status": "diverged", "test_accuracy": 0.1}
        return {"test_accuracy": accuracy(stage), "train_seconds": 10 * accuracy(stage)}

    fill(store, asked, values)
    return store


def kinds(folder: Path) -> dict[str, Path]:
    """Stores that hold the same: in small files, compacted, and as a compaction that was killed leaves it."""
    places = {name: folder / name for name in ("small", "compacted", "mixed")}
    store = made(places["small"])
    for name in ("compacted", "mixed"):
        shutil.copytree(places["small"], places[name])
    Store(str(places["compacted"])).compact()
    Store(str(places["mixed"])).compact()
    for kept in sorted(places["small"].glob("stages/*"))[:4]:  # as if they had not been deleted yet
        for table in ("stages", "epochs"):
            shutil.copy(places["small"] / table / kept.name, places["mixed"] / table)
    later = sweep("augmentation")
    for place in places.values():
        fill(Store(str(place)), later, lambda stage: {"test_accuracy": accuracy(stage)})
    Store(str(places["compacted"])).compact()
    assert store.has_results()
    return places
