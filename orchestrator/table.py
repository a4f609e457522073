"""Table: the store's Parquet files, small and merged, as one Arrow table each. Reads everything, joins nothing.

A file that is torn or foreign is set aside with a message and does not count; it never stops a query. While files are
merged, no row is seen twice, and none is missed: small files are read first, and their rows go before merged ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.columns import TableName, names
from orchestrator.scan import Scan
from orchestrator.schema import axis_field, metadata, schema
from orchestrator.shelf import Shelf
from orchestrator.small import READERS, read_file, small_name, small_names

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.files import Files


@dataclass(frozen=True)
class Piece:
    """Rows of one stage, or of one small file of cells: so many from `first` on in `table`."""

    table: pa.Table
    first: int
    rows: int


Pieces = dict[str, Piece]


def load(files: Files, name: TableName, stages: pa.Table | None = None, shelf: Shelf | None = None) -> pa.Table:
    """One table of the store, with all columns of its schema, also where the store is empty.

    Args:
        files: The store's files.
        name: ``stages``: committed stages, and those whose last attempt failed; each key once. ``epochs``: of
            committed stages only. ``cells``: of all sweeps, each row once; a sweep without some axis is null there.
        stages: The table `stages` if the caller has it already, so that `epochs` need not read it again.
        shelf: Of the same files, where a caller keeps one: what it knows of merged files is not read again.

    Raises:
        ConfigError: a newer warmgrid wrote a file that this one would misread.
    """
    if name == "cells":
        return cells(files)
    scan = Scan(files, shelf or Shelf(files))
    if stages is None:
        stages = scan.stages(names("stages")).combine_chunks()
    return stages if name == "stages" else epochs_of(scan, stages)


def epochs_of(scan: Scan, stages: pa.Table) -> pa.Table:
    """The epochs of those of `stages` that are committed, sorted by key."""
    import pyarrow.compute as pc

    keys = set(stages.filter(pc.not_equal(stages["status"], "failed"))["key"].to_pylist())
    pieces = Pieces()
    for rows in scan.rows("epochs", names("epochs"), keys):
        pieces |= {key: Piece(rows.table, first, count) for key, first, count in rows.pieces()}
    return joined(laid(pieces), schema("epochs"))


def gather(files: Files, name: TableName, wanted: Callable[[str], bool] = lambda _: True) -> Pieces:
    """The rows of each stage, or small file of cells, that is `wanted`; from its small file, else the newest merged."""
    found = small_pieces(files, name, name, wanted)
    for index, table in Shelf(files).tables(name):
        for key, first, rows in index.pieces():
            if key not in found and wanted(key):
                found[key] = Piece(table, first, rows)
    return found


def small_pieces(files: Files, folder: str, name: TableName, wanted: Callable[[str], bool]) -> Pieces:
    """All sound files of `folder` whose name without suffix is `wanted`."""
    return small(files, name, folder, sorted(filter(wanted, small_names(files, folder))))


def small(files: Files, name: TableName, folder: str, keys: Sequence[str]) -> Pieces:
    """The rows in the small files of `keys`; unsound files are set aside, vanished ones left out."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda key: read_file(files, name, small_name(folder, key), key), keys)
        tables = {key: read[0] for key, read in zip(keys, found, strict=True) if read is not None}
    return {key: Piece(table, 0, table.num_rows) for key, table in tables.items()}


def laid(pieces: Mapping[str, Piece]) -> Iterator[pa.Table]:
    """The rows of `pieces` sorted by name; neighbours in one table come in one slice."""
    run: Piece | None = None
    for _, piece in sorted(pieces.items()):
        if run is not None and run.table is piece.table and run.first + run.rows == piece.first:
            run = replace(run, rows=run.rows + piece.rows)
            continue
        if run is not None:
            yield run.table.slice(run.first, run.rows)
        run = piece
    if run is not None:
        yield run.table.slice(run.first, run.rows)


def empty(schema_: pa.Schema) -> pa.Table:
    """A table without rows; pyarrow's own ``empty_table`` would import pandas, which takes a second."""
    import pyarrow as pa

    return pa.Table.from_batches([], schema=schema_)


def joined(tables: Sequence[pa.Table] | Iterator[pa.Table], into: pa.Schema) -> pa.Table:
    """`tables` of one schema below each other, in one piece."""
    import pyarrow as pa

    return pa.concat_tables([empty(into), *tables]).combine_chunks()


def cells(files: Files) -> pa.Table:
    """Cells of all sweeps: the union of all files by column name, each column as wide as its widest file."""
    import pyarrow as pa

    tables = list(laid(gather(files, "cells"))) or [empty(schema("cells"))]
    types = widest([table.schema for table in tables])
    fixed = schema("cells").names
    ordered = ["sweep", *(name for name in types if name not in fixed), "seed", "round", "key"]
    wide = pa.schema([axis_field(name, types[name]) for name in ordered], metadata("cells"))
    table = pa.concat_tables([widened(table, wide) for table in tables])
    return once(table.combine_chunks())


def once(table: pa.Table) -> pa.Table:
    """The first of each set of equal cells."""
    import pyarrow as pa

    places = alike(table)
    rows = list(zip(*(column.to_pylist() for column in table.take(pa.array(places, pa.int64())).columns), strict=True))
    first = {row: place for place, row in zip(reversed(places), reversed(rows), strict=True)}
    again = set(places).difference(first.values())
    kept = [place for place in range(len(table)) if place not in again]
    return table.take(pa.array(kept, pa.int64())) if again else table


def alike(table: pa.Table) -> list[int]:
    """Places of the cells that share sweep, seed, round and key with another one; few, or none at all."""
    import numpy as np

    if len(table["key"].combine_chunks().dictionary_encode().dictionary) == len(table):
        return []
    groups = np.zeros(len(table), np.int64)
    for name in names("cells"):
        values = table[name].combine_chunks().dictionary_encode()
        together = groups * max(len(values.dictionary), 1) + values.indices.to_numpy()
        groups = np.unique(together, return_inverse=True)[1]
    found: list[int] = np.flatnonzero(np.bincount(groups)[groups] > 1).tolist() if len(groups) else []
    return found


def widest(schemas: Sequence[pa.Schema]) -> dict[str, pa.DataType]:
    """The type of each column that holds its values of all `schemas`; text where nothing else does."""
    import pyarrow as pa

    found: dict[str, set[pa.DataType]] = {}
    for fields in schemas:
        for field in fields:
            found.setdefault(field.name, set()).add(field.type)
    return {name: common(types - {pa.null()}) for name, types in found.items()}


def common(types: set[pa.DataType]) -> pa.DataType:
    """The narrowest of int64, float64, boolean and text that holds all of `types`."""
    import pyarrow as pa

    if len(types) == 1:
        return next(iter(types))
    return pa.float64() if types == {pa.int64(), pa.float64()} else pa.string()


def widened(table: pa.Table, wide: pa.Schema) -> pa.Table:
    """`table` with the columns of `wide`, null where it has none."""
    import pyarrow as pa

    found = set(table.column_names)
    columns = [
        table[f.name].cast(f.type, safe=False) if f.name in found else pa.nulls(table.num_rows, f.type) for f in wide
    ]
    return pa.Table.from_arrays(columns, schema=wide)
