"""Stages that nobody trained, committed in a millisecond, for tests that need many; no test."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.columns import names
from orchestrator.store import Store
from orchestrator.table import load

LEAST = {"trainer": "t", "version": 1, "round": 0, "seed": 0, "status": "done", "attempts": 1, "warmgrid_version": "0"}
EPOCHS = 3


def key_of(number: int) -> str:
    """A key; keys sort otherwise than their numbers."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def put(store: Store, number: int, *, weight: float = 0.5, **values: Any) -> str:
    """Commit the stage of this number; its key."""
    key = key_of(number)
    row = {**dict.fromkeys(names("stages")), **LEAST, "lr": number / 7, "test_accuracy": 1 / (1 + number), **values}
    epochs = [{**dict.fromkeys(names("epochs")), "epoch": i + 1, "test_loss": number + i / 3} for i in range(EPOCHS)]
    epochs = [{**epoch, "train_seconds": 1.0, "steps": 1, "examples": 1} for epoch in epochs]
    store.commit(key, {**row, "epochs": EPOCHS}, epochs, {"w": np.full(2, weight + number, np.float32)})
    return key


def filled(store: Store, numbers: range) -> list[str]:
    """Make a store of these stages, and of one launch that lists them; their keys."""
    store.check_format()
    keys = [put(store, number) for number in numbers]
    cells = [{"sweep": "made", "lr": number / 7, "seed": 0, "round": 0, "key": key_of(number)} for number in numbers]
    recipe = {"sweep": "made", "source": "made", "axes": {}, "overrides": [], "seeds": [0], "stages": str(numbers)}
    store.record_launch("made", recipe, cells)
    return keys


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, in their order."""
    return {name: load(store.files, name).to_pylist() for name in ("stages", "epochs", "cells")}
