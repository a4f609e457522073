"""Results: what a store holds of one sweep, as figures, claims and the report read it; draws nothing."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
    """

    sweep: str
    rows: Sequence[Row]
    stages: Mapping[str, Row] = field(default_factory=dict)
    planned: int = 0
    epochs: Mapping[str, Sequence[Row]] = field(default_factory=dict)

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
        kept = [row for row in self.rows if row["key"] in keys]
        return Results(self.sweep, kept, self.stages, len(keys), self.epochs)


def results_of(store: Store, sweep: str) -> Results:
    """What `store` holds of the sweep called `sweep`, a name that `orchestrator.store.file_name` lets pass.

    Raises:
        StoreError: there is no store.
    """
    rows = store.sql(f"SELECT * FROM results WHERE sweep = '{sweep}'").to_pylist()
    planned = store.sql(f"SELECT count(*) AS planned FROM cells WHERE sweep = '{sweep}'").to_pylist()[0]["planned"]
    stages = {row["key"]: row for row in store.sql("SELECT * FROM stages WHERE status <> 'failed'").to_pylist()}
    own: set[str] = set()
    for row in rows:
        at: str | None = row["key"]
        while at is not None and at in stages and at not in own:
            own.add(at)
            at = stages[at]["parent"]
    return Results(sweep, rows, {key: stages[key] for key in stages if key in own}, planned, EpochsOf(store, own))


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
