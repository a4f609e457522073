"""Table: the store's many small Parquet files as one Arrow table each. Reads everything, joins nothing.

A file that is torn or foreign is set aside with a message and does not count; it never stops a query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError
from orchestrator.schema import TableName, axis_field, metadata, read_bytes, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.files import Files

SUFFIX = ".parquet"
READERS = 4  # threads; they hide the latency of a network folder, and more of them only wait for each other


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
        stages = once(all_stages(files))
    return stages if name == "stages" else epochs_of(files, stages)


def all_stages(files: Files) -> pa.Table:
    """Rows of all committed stages, then of the failed ones that are not committed."""
    committed = read_folder(files, "stages", "stages", lambda _: True)
    keys = set(committed["key"].to_pylist())
    failed = read_folder(files, "failures", "stages", lambda key: key not in keys)
    return joined([committed, failed], schema("stages"))


def epochs_of(files: Files, stages: pa.Table) -> pa.Table:
    """The epochs of those of `stages` that are committed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    committed = stages.filter(pc.not_equal(stages["status"], "failed"))["key"]
    keys = set(committed.to_pylist())
    table = read_folder(files, "epochs", "epochs", lambda key: key in keys)
    return table.filter(pc.is_in(table["key"], pa.array(committed.to_pylist(), pa.string())))


def read_folder(files: Files, folder: str, name: TableName, wanted: Callable[[str], bool]) -> pa.Table:
    """All sound files of `folder` whose name without suffix is `wanted`, one below the other."""
    names = [n for n in files.list(folder) if n.endswith(SUFFIX) and wanted(n.removesuffix(SUFFIX))]
    return joined(read_files(files, name, [f"{folder}/{n}" for n in names]), schema(name))


def read_files(files: Files, name: TableName, paths: Sequence[str]) -> list[pa.Table]:
    """The tables in `paths`, in order; unsound files are set aside, vanished ones left out."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda path: read_file(files, name, path), paths)
        return [table for table in found if table is not None]


def read_file(files: Files, name: TableName, path: str) -> pa.Table | None:
    """The table in one file, None if it cannot count or another process has just moved it."""
    try:
        return read_bytes(name, files.read(path))
    except FileNotFoundError:
        return None
    except StoreError as error:
        files.set_aside(path, str(error))
        return None


def empty(schema_: pa.Schema) -> pa.Table:
    """A table without rows; pyarrow's own ``empty_table`` would import pandas, which takes a second."""
    import pyarrow as pa

    return pa.Table.from_batches([], schema=schema_)


def joined(tables: Sequence[pa.Table], into: pa.Schema) -> pa.Table:
    """`tables` of one schema below each other, in one piece."""
    import pyarrow as pa

    return pa.concat_tables([empty(into), *tables]).combine_chunks()


def once(table: pa.Table) -> pa.Table:
    """The first row of each key."""
    seen: set[str] = set()
    keep = [not (key in seen or seen.add(key)) for key in table["key"].to_pylist()]  # type: ignore[func-returns-value]
    return table if all(keep) else table.filter(keep)


def cells(files: Files) -> pa.Table:
    """Cells of all sweeps: the union of all files by column name, each column as wide as its widest file."""
    import pyarrow as pa

    paths = [f"cells/{n}" for n in files.list("cells") if n.endswith(SUFFIX)]
    tables = read_files(files, "cells", paths) or [empty(schema("cells"))]
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
