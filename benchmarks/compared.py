"""Compared: what a disturbed grid lost, doubled or changed beside an undisturbed one. Reads, judges nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.raw_tune import NAME, SETTINGS

# What no two attempts have in common.
TIMES = {"train_seconds", "solo_step_seconds", "wall_seconds", "started_at", "finished_at", "attempts", "host"} | {
    "solo_seconds",
    "continued_from",
}
Rows = Mapping[Hashable, list[Any]]  # by what names a row, all rows of that name


@dataclass(frozen=True)
class Difference:
    """Of rows and weights, by their names.

    Attributes:
        rows: How many there are in the undisturbed grid.
        lost: How many of them are not in the disturbed one.
        doubled: How many rows of one name the disturbed one has beyond the first.
        differing: How many hold another value.
    """

    rows: int
    lost: int
    doubled: int
    differing: int

    @classmethod
    def between(cls, undisturbed: Rows, disturbed: Rows) -> Difference:
        """Compare by names; a row that nobody expects counts as doubled."""
        differing = sum(
            any(row != undisturbed[name][0] for row in rows) for name, rows in disturbed.items() if name in undisturbed
        )
        doubled = sum(len(rows) - (name in undisturbed) for name, rows in disturbed.items())
        return cls(len(undisturbed), len(undisturbed.keys() - disturbed.keys()), doubled, differing)


def rows_of_store(folder: Path, axes: Sequence[str] = ("lr", "init")) -> Rows:
    """Every row of a store's tables but its times, and its weights' bytes, each by its name; `axes` name a cell."""
    from orchestrator.store import Store

    store, found = Store(str(folder)), {}
    names = {"stages": ["key"], "epochs": ["key", "epoch"], "results": ["sweep", *axes, "seed", "round"]}
    for table, columns in names.items():
        for row in store.to_pandas(table).astype(object).where(lambda frame: frame.notna(), None).to_dict("records"):
            name = (table, *(str(row[column]) for column in columns))
            found.setdefault(name, []).append({key: str(row[key]) for key in row if key not in TIMES})
    for file in sorted(folder.glob("weights/*.safetensors")):
        found[("weights", file.stem)] = [file.read_bytes()]
    return found


def rows_of_tune(folder: Path) -> Rows:
    """Every row that Tune's own files hold of a grid: one for each epoch of each stage of each trial."""
    found: dict[Hashable, list[Any]] = {}
    for file in sorted((folder / NAME).glob("*/result.json")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if "epoch" in row:  # the last line of a trial repeats its last report, and says that it is done
                cell = tuple(str(row["config"][name]) for name in SETTINGS)
                found.setdefault((*cell, row["stage"], row["epoch"]), []).append(row["train_loss"])
    return found


def trials_of_tune(folder: Path) -> Counter[str]:
    """How often Tune's own result has each cell and seed; those with an error under ``error``."""
    said = json.loads((folder / "results.json").read_text())
    counts = Counter(json.dumps(one["config"]) for one in said)
    counts["error"] = sum(bool(one["error"]) for one in said)
    return counts
