"""Results: what a store holds of one sweep, as figures, claims and the report read it; draws nothing."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.schema import SETTINGS, names

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from orchestrator.store import Store

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """The committed results of one sweep.

    Attributes:
        sweep: Its name.
        rows: One per reported stage: the columns of the view `results`, where settings are the cell's and
            measurements the stage's. Diverged ones are among them, with measurements that are None.
        stages: Rows of the table `stages` by key, of every committed stage of the store that `rows` or their
            ancestors are.
        planned: How many reported stages the launches of the sweep asked for, `rows` among them.
        epochs: Rows of the table `epochs` by key, in order; of the stages in `stages`.
        absent: Rows of the table `cells` whose stage is not committed, axes named as in the view `results`.
    """

    sweep: str
    rows: Sequence[Row]
    stages: Mapping[str, Row] = field(default_factory=dict)
    planned: int = 0
    epochs: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    absent: Sequence[Row] = ()

    @property
    def missing(self) -> str:
        """What is not there yet, as a sentence for a subtitle; "" if nothing is missing."""
        absent = self.planned - len(self.rows)
        diverged = sum(row["status"] == "diverged" for row in self.rows)
        said = [f"{absent:,} of {self.planned:,} models are not trained yet"] if absent > 0 else []
        said += [f"{diverged:,} diverged"] if diverged else []
        return f"Missing: {', '.join(said)}." if said else ""

    def ancestors(self, key: str) -> list[Row]:
        """Rows of the stage and of its ancestors, the stage first, as far as they are committed."""
        chain: list[Row] = []
        at: str | None = key
        while at is not None and at in self.stages:
            chain.append(self.stages[at])
            at = self.stages[at]["parent"]
        return chain

    def parent(self, key: str) -> Row | None:
        """The row of the stage's parent, None if it has none or it is not committed."""
        above = self.ancestors(key)[1:2]
        return above[0] if above else None

    def only(self, keys: Collection[str]) -> Results:
        """The same, of these reported stages alone."""
        kept, absent = ([row for row in rows if row["key"] in keys] for rows in (self.rows, self.absent))
        return Results(self.sweep, kept, self.stages, len(keys), self.epochs, absent)


def results_of(store: Store, sweep: str) -> Results:
    """What `store` holds of the sweep called `sweep`, a name that `orchestrator.store.file_name` lets pass.

    Raises:
        StoreError: there is no store.
    """
    return read(store, sweep).results_of(sweep)


@dataclass(frozen=True)
class Tables:
    """All rows of a store, read once: a sweep more must not mean reading everything again.

    Attributes:
        store: What was read, for the table `epochs`, which was not.
        results, cells: Rows by sweep.
        stages: Rows by key, failed ones too.
    """

    store: Store
    results: Mapping[str, Sequence[Row]]
    cells: Mapping[str, Sequence[Row]]
    stages: Mapping[str, Row]

    def results_of(self, sweep: str) -> Results:
        """What there is of one sweep; nothing of one that was never launched."""
        rows, cells = self.results.get(sweep, []), self.cells.get(sweep, [])
        own = {key for row in rows for key in self.lineage(row["key"])}
        committed = {key: row for key, row in self.stages.items() if key in own and row["status"] != "failed"}
        absent = [as_in_results(row) for row in cells if row["key"] not in committed]
        return Results(sweep, rows, committed, len(cells), EpochsOf(self.store, own), absent)

    def lineage(self, key: str) -> list[str]:
        """The stage and its ancestors, as far as they are known."""
        chain: list[str] = []
        at: str | None = key
        while at is not None and at in self.stages:
            chain.append(at)
            at = self.stages[at]["parent"]
        return chain


def read(store: Store, sweep: str | None = None) -> Tables:
    """Read all tables but `epochs`; of `results` and `cells` what is of one sweep, if one is named.

    Raises:
        StoreError: there is no store.
    """
    where = f" WHERE sweep = '{sweep}'" if sweep is not None else ""
    asked = (f"SELECT * FROM results{where}", f"SELECT * FROM cells{where}", "SELECT * FROM stages")
    results, cells, stages = (table.to_pylist() for table in store.sql_all(asked))
    return Tables(store, by_sweep(results), by_sweep(cells), {row["key"]: row for row in stages})


def as_in_results(cell: Row) -> Row:
    """A row of the table `cells` with its columns named as in the view `results` (`orchestrator.query`)."""
    measured = {*names("stages")} - {*SETTINGS, *names("cells")}
    return {f"axis_{name}" if name in measured else name: value for name, value in cell.items()}


def by_sweep(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their column sweep."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["sweep"], []).append(row)
    return found


class EpochsOf(Mapping[str, Sequence[Row]]):
    """Rows of the table `epochs` by key; read when first looked at, because most figures need none."""

    def __init__(self, store: Store, keys: Collection[str]) -> None:
        """Of the stages `keys` alone."""
        self._store, self._keys = store, frozenset(keys)

    @cached_property
    def _read(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self._store.sql("SELECT * FROM epochs ORDER BY key, epoch").to_pylist():
            if row["key"] in self._keys:
                found.setdefault(row["key"], []).append(row)
        return found

    def __getitem__(self, key: str) -> Sequence[Row]:
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


class Figure(abc.ABC):
    """A form in which a sweep is drawn; members are frozen dataclasses, written in a sweep's file."""

    @abc.abstractmethod
    def draw(self, results: Results) -> go.Figure:
        """Draw what there is; its ``layout.meta`` holds "title" and "subtitle" as plain text.

        The title names data sets and models, the subtitle what is missing (`Results.missing`).

        Raises:
            ConfigError: there is nothing to draw; says what to launch.
        """

    def text(self, results: Results) -> str:
        """What a terminal shows beside the picture, as rich markup; by default nothing."""
        return ""
