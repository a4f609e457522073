"""Runs: results as other programs take them: settings, numbers at the end, and numbers by epoch; writes nothing."""

from __future__ import annotations

import datetime
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator.ask import axes_of, in_results, no_sweep
from orchestrator.columns import EPOCHS, SETTINGS, STAGES, names
from orchestrator.errors import ConfigError
from orchestrator.quoting import literal
from orchestrator.store import file_name

if TYPE_CHECKING:
    from orchestrator.store import Store

Scalar = str | int | float | bool
MOST_KEYS = 200  # stages whose epochs are in memory at once
LONGEST = 120  # characters of a name
BY_EPOCH = tuple(c.name for c in EPOCHS if c.type in ("integer", "number") and c.name not in ("key", "epoch"))
AT_END = tuple(c.name for c in STAGES if c.type in ("integer", "number") and c.unit and c.name not in SETTINGS)


@dataclass(frozen=True)
class Run:
    """One committed result: a cell of a sweep under one seed, in one round.

    Attributes:
        id: 12 hex digits of all that tells it from other results; the same in every export.
        sweep: Its name.
        name: For people: the axes that vary, seed and round.
        settings: What the cell decides, without what is empty.
        numbers: What its stage measured, at its end; without what is empty.
        facts: What else is known of its stage, such as status, key and device.
        started: When its first attempt started, UTC.
        finished: When it was committed, UTC.
        epochs: Numbers of each epoch, in order; with `epoch`, from 1.
    """

    id: str
    sweep: str
    name: str
    settings: Mapping[str, Scalar]
    numbers: Mapping[str, float]
    facts: Mapping[str, str]
    started: datetime.datetime
    finished: datetime.datetime
    epochs: Sequence[Mapping[str, float | None]]

    def time_of(self, epoch: Mapping[str, float | None]) -> float:
        """About when an epoch ended, in seconds since 1970: its training time after the start."""
        return self.started.timestamp() + (epoch["train_seconds"] or 0.0)

    @property
    def file_name(self) -> str:
        """Its name as that of a file, with its id."""
        return f"{re.sub(r'[^A-Za-z0-9_.,=+-]+', '_', self.name)[:LONGEST]}-{self.id}"


class Tracker(ABC):
    """A folder of another program that takes runs."""

    @abstractmethod
    def held(self) -> set[str]:
        """Ids of the runs that are there, whole; what an export that was interrupted left is removed first."""

    @abstractmethod
    def add(self, run: Run) -> None:
        """Put a run there, whole or not at all."""

    @classmethod
    @abstractmethod
    def opened(cls, folder: Path) -> Tracker:
        """The one in `folder`, which need not exist yet.

        Raises:
            ConfigError: its program's package is not installed.
        """


def missing(package: str, extra: str) -> ConfigError:
    """What to say where an optional package is not installed."""
    return ConfigError(f"--format {extra} needs {package}, which is not installed: pip install 'warmgrid[{extra}]'")


@dataclass(frozen=True)
class Rows:
    """Rows of `results` whose runs are to be written.

    Attributes:
        rows: As the store gives them.
        axes: By sweep, the columns that tell its cells apart.
        named: By sweep, all columns of its cells.
    """

    rows: Sequence[Mapping[str, Any]]
    axes: Mapping[str, Sequence[str]]
    named: Mapping[str, Sequence[str]]


def rows_of(store: Store, sweep: str | None) -> Rows:
    """The committed results of a sweep, or of all.

    Raises:
        ConfigError: the store has no such sweep.
        StoreError: one in it is called as no launch can call it; as a folder's name it could lead anywhere.
    """
    chosen = "" if sweep is None else f" AND sweep = {literal(sweep)}"
    rows, cells = store.sql_all(
        [f"SELECT * FROM results WHERE status <> 'failed'{chosen}", f"SELECT * FROM cells WHERE true{chosen}"]
    )
    if sweep is not None and not cells.num_rows:
        raise ConfigError(no_sweep(store, sweep))
    import pyarrow.compute as pc

    axes, named = {}, {}
    for name in map(file_name, cells["sweep"].unique().to_pylist()):
        own = cells.filter(pc.equal(cells["sweep"], name))
        axes[name] = axes_of(own)
        filled = [one for one in own.column_names if own[one].null_count < own.num_rows and one not in names("cells")]
        named[name] = [in_results(one) for one in filled]
    return Rows(rows.to_pylist(), axes, named)


def runs_of(store: Store, found: Rows, held: Collection[str]) -> Iterator[Run]:
    """Those of the runs of `found` that are not `held`, a few at a time."""
    fresh = [(row, id_) for row in found.rows if (id_ := id_of(row, found.named[row["sweep"]])) not in held]
    for start in range(0, len(fresh), MOST_KEYS):
        part = fresh[start : start + MOST_KEYS]
        keys = ", ".join(sorted({literal(row["key"]) for row, _ in part}))
        epochs = store.sql(f"SELECT * FROM epochs WHERE key IN ({keys}) ORDER BY key, epoch").to_pylist()
        by_key = {key: list(rows) for key, rows in groupby(epochs, lambda epoch: cast(str, epoch["key"]))}
        for row, id_ in part:
            yield run_of(row, id_, found, by_key.get(row["key"], []))


def id_of(row: Mapping[str, Any], named: Sequence[str]) -> str:
    """12 hex digits for a cell, seed, round and key of a sweep.

    All settings count, whether they are axes or not, nothing that is empty, and numbers alike as 1 and 1.0: a later
    launch that adds an axis, or gives one other values, changes no id.
    """
    told = {name: row[name] for name in (*SETTINGS, *named, "sweep", "seed", "round", "key") if row[name] is not None}
    plain = {name: float(value) if isinstance(value, int) else value for name, value in told.items()}
    return sha256(repr(sorted(plain.items())).encode()).hexdigest()[:12]


def run_of(row: Mapping[str, Any], id_: str, found: Rows, epochs: Sequence[Mapping[str, Any]]) -> Run:
    """The run of one row of `results`."""
    sweep = row["sweep"]
    settings = (*dict.fromkeys((*SETTINGS, *found.named[sweep])),)
    told = [f"{name.removesuffix('_text')}={row[name]}" for name in found.axes[sweep] if row[name] is not None]
    kept = ("key", "parent", "status", "stop_reason", "device", "host", "torch_version", "warmgrid_version")
    return Run(
        id_,
        sweep,
        " ".join([*told, f"seed={row['seed']}", f"round={row['round']}"]),
        {name: row[name] for name in settings if row[name] is not None},
        {name: float(row[name]) for name in AT_END if row[name] is not None},
        {name: str(row[name]) for name in kept if row[name] is not None},
        row["started_at"] or row["finished_at"] or datetime.datetime.fromtimestamp(0, datetime.UTC),
        row["finished_at"] or datetime.datetime.fromtimestamp(0, datetime.UTC),
        [{name: epoch[name] for name in ("epoch", *BY_EPOCH)} for epoch in epochs],
    )
