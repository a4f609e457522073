"""Results: what a store holds of one sweep, as figures, claims and the report read it; draws nothing."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.columns import SETTINGS, names
from orchestrator.quoting import literal, quoted

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go
    import pyarrow as pa

    from orchestrator.store import Store

Row = Mapping[str, Any]
LINEAGES = """
WITH RECURSIVE own AS (
  SELECT key FROM cells{where}
  UNION SELECT stages.parent FROM stages JOIN own ON stages.key = own.key WHERE stages.parent IS NOT NULL
) SELECT key FROM own
"""


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

    def by_epoch(self, keys: Collection[str], column: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs of some stages, and what a column of the table `epochs` says there, as numbers; None is NaN."""
        import numpy as np

        if isinstance(self.epochs, EpochsOf):
            return self.epochs.by_epoch(keys, column)
        rows = [row for key in keys for row in self.epochs.get(key, ())]
        return np.array([row["epoch"] for row in rows], float), np.array([row[column] for row in rows], float)

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
    """Read all tables but `epochs`; what is of one sweep, if one is named, and of its stages' ancestors.

    Raises:
        StoreError: there is no store.
    """
    where = f" WHERE sweep = {literal(sweep)}" if sweep is not None else ""
    among = f" WHERE key IN ({LINEAGES.format(where=where)})" if sweep is not None else ""
    asked = (f"SELECT * FROM results{where}", f"SELECT * FROM cells{where}", f"SELECT * FROM stages{among}")
    results, cells, stages = map(rows_of, store.sql_all(asked))
    return Tables(store, by_sweep(results), by_sweep(cells), {row["key"]: row for row in stages})


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a table; several times as fast as pyarrow's ``to_pylist``, which goes row by row."""
    columns = [column.to_pylist() for column in table.columns]
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


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
    """Rows of the table `epochs` by key; read when first looked at, because most figures need none.

    Rows are made when they are asked for, from columns, which take a tenth of the memory.
    """

    def __init__(self, store: Store, keys: Collection[str]) -> None:
        """Of the stages `keys` alone."""
        self._store, self._keys = store, sorted(keys)
        self._columns: dict[str, tuple[Mapping[str, slice], np.ndarray, np.ndarray]] = {}

    def by_epoch(self, keys: Collection[str], column: str) -> tuple[np.ndarray, np.ndarray]:
        """As `Results.by_epoch`; reads no other column."""
        import numpy as np

        if column not in self._columns:
            table = self._select(f"key, epoch, {quoted(column)}")
            self._columns[column] = (
                slices(table),
                *(table[name].to_numpy().astype(float) for name in ("epoch", column)),
            )
        places, epochs, values = self._columns[column]
        chosen = [places[key] for key in keys if key in places]
        epochs, values = (np.concatenate([np.empty(0), *(of[one] for one in chosen)]) for of in (epochs, values))
        return epochs, values

    def _select(self, columns: str) -> pa.Table:
        """These columns of the epochs of all of the stages, each one's together and in order."""
        keys = ", ".join(map(literal, self._keys))
        return self._store.sql(f"SELECT {columns} FROM epochs WHERE key IN ({keys}) ORDER BY key, epoch")

    @cached_property
    def _all(self) -> tuple[Mapping[str, slice], pa.Table]:
        table = self._select("*")
        return slices(table), table

    def __getitem__(self, key: str) -> Sequence[Row]:
        places, table = self._all
        rows: list[Row] = table[places[key]].to_pylist()
        return rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._all[0])

    def __len__(self) -> int:
        return len(self._all[0])


def slices(table: pa.Table) -> dict[str, slice]:
    """Where the rows of each key are, which stand together."""
    import numpy as np

    if not table.num_rows:
        return {}
    keys = table["key"].combine_chunks().dictionary_encode()
    starts = [0, *(np.flatnonzero(np.diff(keys.indices.to_numpy())) + 1).tolist(), table.num_rows]
    names = keys.dictionary.to_pylist()  # in the order in which they come
    return {name: slice(*ends) for name, ends in zip(names, itertools.pairwise(starts), strict=True)}


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
