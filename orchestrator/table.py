"""Table: the store's Parquet files, small and merged, as one Arrow table each. Reads everything, joins nothing.

A file that is torn or foreign is set aside with a message and does not count; it never stops a query. While files are
merged, no row is seen twice, and none is missed: small files are read first, and their rows go before merged ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import DamageError
from orchestrator.schema import TableName, axis_field, metadata, read_bytes, schema
from orchestrator.shelf import READERS, Shelf

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.files import Files

SUFFIX = ".parquet"


@dataclass(frozen=True)
class Piece:
    """Rows of one stage, or of one small file of cells: so many from `first` on in `table`."""

    table: pa.Table
    first: int
    rows: int


Pieces = dict[str, Piece]


def load(files: Files, name: TableName, stages: pa.Table | None = None) -> pa.Table:
    """One table of the store, with all columns of its schema, also where the store is empty.

    Args:
        files: The store's files.
        name: ``stages``: committed stages, and those whose last attempt failed; each key once. ``epochs``: of
            committed stages only. ``cells``: of all sweeps, each row once; a sweep without some axis is null there.
        stages: The table `stages` if the caller has it already, so that `epochs` need not read it again.

    Raises:
        ConfigError: a newer warmgrid wrote a file that this one would misread.
    """
    if name == "cells":
        return cells(files)
    if stages is None:
        stages = all_stages(files)
    return stages if name == "stages" else epochs_of(files, stages)


def all_stages(files: Files) -> pa.Table:
    """Rows of all committed stages, then of the failed ones that are not committed; each sorted by key."""
    committed = gather(files, "stages")
    failed = small_pieces(files, "failures", "stages", lambda key: key not in committed)
    return joined([*laid(committed), *laid(failed)], schema("stages"))


def epochs_of(files: Files, stages: pa.Table) -> pa.Table:
    """The epochs of those of `stages` that are committed, sorted by key."""
    import pyarrow.compute as pc

    keys = set(stages.filter(pc.not_equal(stages["status"], "failed"))["key"].to_pylist())
    return joined(laid(gather(files, "epochs", keys.__contains__)), schema("epochs"))


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
    keys = [key for n in files.list(folder) if n.endswith(SUFFIX) and wanted(key := n.removesuffix(SUFFIX))]
    return small(files, name, folder, keys)


def small(files: Files, name: TableName, folder: str, keys: Sequence[str]) -> Pieces:
    """The rows in the small files of `keys`; unsound files are set aside, vanished ones left out."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda key: read_file(files, name, f"{folder}/{key}{SUFFIX}", key), keys)
        return {key: Piece(t, 0, t.num_rows) for key, t in zip(keys, found, strict=True) if t is not None}


def sound(files: Files, name: TableName, folder: str, keys: Sequence[str]) -> set[str]:
    """Those of `keys` whose small file is sound; keeps no rows, of which each small file costs 60 KiB of memory."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda key: read_file(files, name, f"{folder}/{key}{SUFFIX}", key) is not None, keys)
        return {key for key, is_sound in zip(keys, found, strict=True) if is_sound}


def read_file(files: Files, name: TableName, path: str, key: str) -> pa.Table | None:
    """The table in one small file, None if it cannot count or another process has just moved it."""
    data = b""
    try:
        data = files.read(path)
        return read_own(name, data, key)
    except FileNotFoundError:
        return None
    except DamageError as error:
        files.set_aside(path, str(error), data)
        return None


def read_own(name: TableName, data: bytes, key: str) -> pa.Table:
    """The table in the small file of `key`.

    Raises:
        DamageError: it is damaged or foreign, or holds rows of another stage.
    """
    table = read_bytes(name, data)
    if name == "stages" and table["key"].to_pylist() != [key]:
        raise DamageError("not the row of this stage")
    if name == "epochs" and set(table["key"].to_pylist()) - {key}:
        raise DamageError("not the epochs of this stage")
    return table


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
    # Of equal rows the first is kept. By hand: pyarrow's group_by loads all of pandas, which takes seconds.
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    first = {row: place for place, row in reversed(list(enumerate(rows)))}
    return table if len(first) == len(rows) else table.take(sorted(first.values()))


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
