"""A real sweep trained in packs leaves the store that it leaves stage by stage: the same weights, rows and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.backend import InProcessBackend
from orchestrator.catalogue import find
from orchestrator.launch import launch
from orchestrator.store import Store
from tests.end_to_end.run import TIMES
from trainers.data import Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import Logistic, ResNet18
from trainers.optimizers import SGD
from trainers.stopping import Epochs

AXES: Mapping[str, Any] = {  # 8 cells, 12 stages, some of which diverge
    "data": [Digits(limit=300)],
    "model": [Logistic(), ResNet18(width=2)],
    "batch_size": [64],
    "lr": [0.003, 1e30],
    "optimizer": [SGD()],
    "init": [RandomInit(), WarmStart()],
    "stop": [Epochs(2)],
}


class Nobody:
    """A watcher that looks away."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: None


def rows(folder: Path, pack_size: int) -> dict[str, dict[str, Any]]:
    """The table `stages` that the sweep leaves, by key, without what differs from run to run."""
    store = Store(str(folder))
    sweep = find("quickstart").sweep.replace(AXES, seeds=[0])
    options = {"pack_size": pack_size, "checkpoint_every_s": 0.0}

    launch(sweep, store, InProcessBackend, Nobody(), source="quickstart", options=options)

    table = store.to_arrow("stages").to_pylist()
    return {row["key"]: {n: v for n, v in row.items() if n not in {*TIMES, "pack_size"}} for row in table}


def test_packs_of_real_stages_leave_the_same_store(tmp_path: Path) -> None:
    """The weights' digests are in it: a neighbour that leaks into a stage changes the science without a word."""
    packed, alone = rows(tmp_path / "packed", 5), rows(tmp_path / "alone", 1)

    assert len(alone) == 12
    assert {row["status"] for row in alone.values()} == {"done", "diverged"}
    assert packed == alone
