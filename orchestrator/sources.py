"""Sources: tables that DuckDB reads as it needs them: these columns, and of these stages. They know no SQL.

To DuckDB a source is an Arrow data set, of which it asks `scanner` alone, with the columns that a statement uses and
those of its conditions that Arrow understands as DuckDB does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.scan import Keys, Scan
from orchestrator.schema import schema
from orchestrator.table import load

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

ABSENCE = ("is_null(", "is_valid(")
Read = Callable[[list[str], "Keys | None"], "Iterable[pa.Table]"]  # columns, keys that are enough


class Sources:
    """The tables `stages` and `epochs` of one reading of a store.

    Attributes:
        trouble: What went wrong in a reading that DuckDB asked for, or Ctrl-C; its own error says less.
    """

    def __init__(self, scan: Scan) -> None:
        """Read nothing yet."""
        self.scan = scan
        self.trouble: list[BaseException] = []

    @property
    def cells(self) -> pa.Table:
        """The table `cells`, which is small."""
        return load(self.scan.files, "cells")

    @property
    def stages(self) -> Any:
        """The table `stages`, as an Arrow data set."""
        return data_set()(schema("stages"), lambda columns, keys: [self.scan.stages(columns, keys)], self)

    @property
    def epochs(self) -> Any:
        """The table `epochs`, as an Arrow data set."""
        return data_set()(schema("epochs"), self.scan.epochs, self)


@cache
def data_set() -> Any:
    """The class of a source; made here, because Arrow's data sets take long to import."""
    import pyarrow.dataset

    class Source(pyarrow.dataset.Dataset):  # type: ignore[misc]
        """One table."""

        def __init__(self, columns: pa.Schema, read: Read, sources: Sources) -> None:
            self._columns, self._read, self._sources = columns, read, sources

        @property
        def schema(self) -> pa.Schema:
            return self._columns

        def scanner(self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None) -> Scanner:
            names = self._columns.names if columns is None else list(columns)
            wanted = pyarrow.schema([self._columns.field(name) for name in names])
            return Scanner(wanted, self._tables(wanted, filter), self._sources)

        def _tables(self, wanted: pa.Schema, filter: pc.Expression | None) -> Iterator[pa.Table]:
            """The rows that `filter` is true of, in the columns `wanted`."""
            if filter is None:
                yield from self._read(wanted.names, None)
                return
            used = fields(filter, self._columns)
            keys = candidates(filter, used, self._columns, self._sources.scan.keys)
            for table in self._read(list(dict.fromkeys([*wanted.names, *used])), keys):
                found = pyarrow.dataset.dataset(table).to_table(wanted.names, filter=filter, use_threads=False)
                yield found.cast(wanted)

    return Source


class Scanner:
    """One reading of a source."""

    def __init__(self, columns: pa.Schema, tables: Iterable[pa.Table], sources: Sources) -> None:
        """Read nothing yet."""
        self.projected_schema, self._tables, self._sources = columns, tables, sources

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows, read while they are asked for."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.projected_schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for table in self._tables:
                yield from table.to_batches()
        except (Exception, KeyboardInterrupt) as error:
            self._sources.trouble.append(error)
            raise


def fields(filter: pc.Expression, columns: pa.Schema) -> list[str]:
    """The columns that a condition uses, and perhaps some whose name it has as a text."""
    text = str(filter)
    return [name for name in columns.names if name in text]


def candidates(filter: pc.Expression, used: Sequence[str], columns: pa.Schema, keys: Keys) -> Keys | None:
    """Those of `keys` that can have rows that a condition is true of; None where that cannot be told.

    Whatever else it asks for is taken as unknown, so that it is false of a key only where no row of it can fit. But a
    condition that asks whether something is known would be told that it is not.
    """
    import pyarrow as pa
    import pyarrow.dataset

    others = [name for name in used if name != "key"]
    if "key" not in used or any(f"{asks}{name}" in str(filter) for asks in ABSENCE for name in others):
        return None
    named = pa.table({"key": pa.array(list(keys), pa.string())})
    for name in others:
        named = named.append_column(columns.field(name), pa.nulls(len(named), columns.field(name).type))
    found = pyarrow.dataset.dataset(named).to_table(
        {"key": pyarrow.dataset.field("key"), "fits": filter}, use_threads=False
    )
    fits = zip(found["key"].to_pylist(), found["fits"].to_pylist(), strict=True)
    return {key for key, is_true in fits if is_true is not False}
