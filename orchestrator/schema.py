"""Schema: rows of the store's tables to Parquet bytes and back, checked. No paths, no files.

Files of different age stay readable together: a column added later is nullable, an old file reads as null there, and
an old program drops columns it does not know. Only a change that would mislead an old program raises VERSION.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.columns import CELLS, STAGES, STATUSES, TABLES, Column, TableName, Type, names
from orchestrator.errors import ConfigError, DamageError, StoreError
from orchestrator.spec import plain

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
SMALL = 2**16  # bytes; below, zstd saves little, and setting it up once a column makes a file four times slower to read
SEAL_NAME = "warmgrid_digest"  # in a file's metadata: SHA-256 of all its other bytes
SEAL = SEAL_NAME.encode() + b"\x18\x40"  # and then 64 bytes of text, as Thrift writes it
UNSEALED = b"0" * 64

CHECKS: dict[Type, tuple[str, Callable[[Any], bool]]] = {
    "text": ("text", lambda v: isinstance(v, str)),
    "integer": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**63),
    "number": ("a number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)),
    "boolean": ("True or False", lambda v: isinstance(v, bool)),
    "time": ("a datetime with a time zone", lambda v: isinstance(v, datetime.datetime) and v.tzinfo is not None),
    "numbers": ("a list of numbers", lambda v: isinstance(v, list) and all(CHECKS["number"][1](one) for one in v)),
}


@cache
def arrow_type(type_: Type) -> pa.DataType:
    """The Arrow type that holds a column's values."""
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    types |= {"time": pa.timestamp("us", tz="UTC"), "numbers": pa.list_(pa.field("element", pa.float64()))}
    return types[type_]


@cache
def schema(name: TableName) -> pa.Schema:
    """Arrow schema of a table; units and sentences are in the fields' metadata."""
    import pyarrow as pa

    fields = [
        pa.field(c.name, arrow_type(c.type), c.nullable, {"unit": c.unit, "sentence": c.sentence}) for c in TABLES[name]
    ]
    return pa.schema(fields, metadata(name))


def metadata(name: TableName) -> dict[str, str]:
    """What marks a Parquet file as one of ours."""
    return {"warmgrid_table": name, "warmgrid_schema": str(VERSION)}


def to_table(name: TableName, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Make a table of `rows`; every row gives every column but later ones, None where there is nothing to say.

    Raises:
        StoreError: columns are unknown or missing, or values do not fit; the message names all of them.
    """
    import pyarrow as pa

    if name == "cells":
        return cells_table(rows)
    faults = [fault for row in rows for fault in row_faults(name, row)]
    if faults:
        raise StoreError(f"a row for the table {name} cannot be stored: {'; '.join(dict.fromkeys(faults))}.")
    arrays = [
        pa.array([stored(row.get(c.name)) for row in rows], arrow_type(c.type), from_pandas=False) for c in TABLES[name]
    ]
    return pa.Table.from_arrays(arrays, schema=schema(name))


def stored(value: Any) -> Any:
    """`value` as Arrow takes it: no numpy scalar, no enum of texts."""
    value = plain(value)
    return str(value) if isinstance(value, str) else value


def row_faults(name: TableName, row: Mapping[str, Any]) -> list[str]:
    """What keeps one row out of a table, a phrase for each fault; empty if nothing does."""
    known = names(name)
    faults = [unknown_column(given, known) for given in row if given not in known]
    faults += [f"{column.name} is missing" for column in TABLES[name] if column.name not in row and not column.later]
    faults += [fault for c in TABLES[name] if c.name in row for fault in value_faults(c, plain(row[c.name]))]
    return faults


def unknown_column(given: str, known: Sequence[str]) -> str:
    """Phrase for a column that a table does not have, with the nearest that it has."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"it has no column {given!r}" + (f" (nearest: {near[0]})" if near else "")


def value_faults(column: Column, value: Any) -> list[str]:
    """What is wrong with a value of a column, in no phrase or one."""
    if value is None:
        return [] if column.nullable else [f"{column.name} is None and must be given"]
    wanted, fits = CHECKS[column.type]
    if not fits(value):
        return [f"{column.name}={value!r} is not {wanted}"]
    if column.unit == "fraction" and (value < 0 or value > 1):
        return [f"{column.name}={value!r} is not a fraction in [0, 1]"]
    if column.name == "status" and value not in STATUSES:
        return [f"status={str(value)!r} is none of {', '.join(STATUSES)}"]
    return []


def cells_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Make the table of a sweep's cells: sweep, the axes' columns as they first appear, seed, round, key.

    An axis column holds whole numbers, numbers, text or booleans; one that the table `stages` has too, such as lr,
    takes its type from there where the values allow it. A row without an axis column is null there.

    Raises:
        StoreError: a fixed column is missing, or a value is neither number, text nor boolean.
    """
    import pyarrow as pa

    fixed = names("cells")
    axes = list(dict.fromkeys(given for row in rows for given in row if given not in fixed))
    faults = [f"{name} is missing" for row in rows for name in fixed if name not in row]
    faults += [fault for row in rows for c in CELLS for fault in value_faults(c, plain(row.get(c.name, "")))]
    faults += [fault for row in rows for name in axes for fault in axis_faults(name, plain(row.get(name)))]
    if faults:
        raise StoreError(f"a row for the table cells cannot be stored: {'; '.join(dict.fromkeys(faults))}.")
    columns = {name: pa.array([stored(row[name]) for row in rows], schema("cells").field(name).type) for name in fixed}
    columns |= {name: axis_array(name, [stored(row.get(name)) for row in rows]) for name in axes}
    ordered = ["sweep", *axes, "seed", "round", "key"]
    fields = [axis_field(name, columns[name].type) for name in ordered]
    return pa.Table.from_arrays([columns[name] for name in ordered], schema=pa.schema(fields, metadata("cells")))


def axis_faults(name: str, value: Any) -> list[str]:
    """What keeps a value out of an axis column, in no phrase or one."""
    if name not in names("stages") and name.lower() in names("stages"):
        return [f"the axis {name} is {name.lower()} to SQL, which knows no case: give it another name"]
    if value is None or isinstance(value, (bool, str)) or CHECKS["integer"][1](value):
        return []
    if isinstance(value, float) and math.isfinite(value):
        return []
    return [f"{name}={value!r} is neither a finite number, text nor a boolean"]


def axis_field(name: str, type_: pa.DataType) -> pa.Field:
    """Field of a column of `cells`, fixed or axis, with what is known of it as metadata."""
    import pyarrow as pa

    known = {c.name: c for c in (*STAGES, *CELLS)}.get(name)
    note = {"unit": known.unit, "sentence": known.sentence} if known else {"sentence": "Axis of the sweep."}
    return pa.field(name, type_, nullable=name not in names("cells"), metadata=note)


def axis_array(name: str, values: Sequence[Any]) -> pa.Array:
    """Values of an axis as one Arrow column of the narrowest type that holds them all."""
    import pyarrow as pa

    present = [value for value in values if value is not None]
    known = {c.name: c.type for c in STAGES}.get(name)
    if known and all(CHECKS[known][1](value) for value in present):
        return pa.array(values, arrow_type(known))
    for type_ in ("boolean", "integer", "number"):
        if present and all(CHECKS[type_][1](value) for value in present):
            return pa.array(values, arrow_type(type_))
    return pa.array([axis_text(value) for value in values], pa.string() if present else pa.null())


def axis_text(value: Any) -> str | None:
    """A value of an axis that holds text beside other values, as Arrow would cast it: 1.0 is "1", True is "true"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def to_bytes(table: pa.Table) -> bytes:
    """The Parquet file of a table: a digest of it all, checksums on all pages; zstd and statistics where they pay."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    large = table.nbytes > SMALL
    sink, codec = pa.BufferOutputStream(), "zstd" if large else "none"
    told = {"compression": codec, "use_dictionary": large, "write_statistics": large, "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, **told) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL_NAME: UNSEALED.decode()})
    return sealed(sink.getvalue().to_pybytes())


def sealed(data: bytes) -> bytes:
    """`data`, a Parquet file with room for a digest in its metadata, with the digest of everything else."""
    at = seal_of(data)
    assert at is not None, "written without room for its digest"
    return data[:at] + seal(data, at) + data[at + len(UNSEALED) :]


def seal_of(data: bytes) -> int | None:
    """Where the digest in a Parquet file's metadata begins; None in a file of before there were digests."""
    at = data.rfind(SEAL)
    return None if at < 0 else at + len(SEAL)


def seal(data: bytes, at: int) -> bytes:
    """SHA-256, in hex, of all of `data` but the digest that begins at `at`."""
    found = hashlib.sha256(memoryview(data)[:at])
    found.update(memoryview(data)[at + len(UNSEALED) :])
    return found.hexdigest().encode()


def check_seal(data: bytes) -> None:
    """Make sure that a Parquet file is what was written; page checksums alone do not cover its footer.

    Raises:
        DamageError: it is not.
    """
    at = seal_of(data)
    if at is not None and seal(data, at) != data[at : at + len(UNSEALED)]:
        raise DamageError("not a sound Parquet file: its bytes are not those that were written")


def read_bytes(name: TableName, data: bytes) -> pa.Table:
    """Read the table that a Parquet file holds; its columns are those of `schema(name)`, of `cells` also the axes.

    Raises:
        DamageError: the bytes are torn, foreign, or of another table; such a file can be set aside.
        ConfigError: a newer warmgrid wrote them in a way that this one would misread. Not a StoreError, so that
            nobody sets such a file aside.
    """
    check_seal(data)
    return as_declared(name, parse(data))


def as_declared(name: TableName, table: pa.Table) -> pa.Table:
    """`table` as the table `name`, if it is one.

    Raises:
        DamageError: as `read_bytes`.
        ConfigError: as `read_bytes`.
    """
    if table.schema.equals(schema(name)):
        return table.replace_schema_metadata(metadata(name))  # without the digest
    notes = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
    }
    check_marks(name, notes)
    return cells_as_stored(table) if name == "cells" else conform(name, table)


def parse(data: bytes) -> pa.Table:
    """Read Parquet bytes, whatever they hold; a DamageError if they are not sound Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as file:
            return file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"not a sound Parquet file: {(str(error).splitlines() or ['?'])[0]}") from error


def check_marks(name: TableName, notes: Mapping[str, str]) -> None:
    """Check what a file's metadata says of itself; a file without marks, e.g. from pandas, passes."""
    table, version = notes.get("warmgrid_table", name), notes.get("warmgrid_schema", str(VERSION))
    if table != name:
        raise DamageError(f"it holds the table {table!r}, not {name!r}")
    if not version.isdigit():
        raise DamageError(f"its schema version {version!r} is not a number")
    if int(version) > VERSION:
        raise ConfigError(
            f"the store's table {name} has schema {version}, and this warmgrid knows schemas up to {VERSION}. "
            f"Install the warmgrid that wrote it, or a newer one."
        )


def conform(name: TableName, table: pa.Table) -> pa.Table:
    """`table` with exactly the columns of a schema: missing nullable ones null, unknown ones dropped."""
    import pyarrow as pa

    return pa.Table.from_arrays([declared(table, c) for c in TABLES[name]], schema=schema(name))


def cells_as_stored(table: pa.Table) -> pa.Table:
    """Check a table of cells; its axis columns become int64, float64, text or boolean, others are dropped."""
    import pyarrow as pa

    fixed = {c.name: declared(table, c) for c in CELLS}
    axes = {field.name: axis_type(field.type) for field in table.schema if field.name not in fixed}
    columns = fixed | {name: cast(table, name, type_) for name, type_ in axes.items() if type_ is not None}
    ordered = [name for name in dict.fromkeys(table.column_names) if name in columns]
    fields = [axis_field(name, columns[name].type) for name in ordered]
    return pa.Table.from_arrays([columns[name] for name in ordered], schema=pa.schema(fields, metadata("cells")))


def declared(table: pa.Table, column: Column) -> pa.ChunkedArray:
    """One column of `table` as it is declared, or a DamageError that names it."""
    import pyarrow as pa

    if column.nullable and column.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, arrow_type(column.type))])
    values = cast(table, column.name, arrow_type(column.type))
    if values.null_count and not column.nullable:
        raise DamageError(f"column {column.name} has {values.null_count} empty rows and may have none")
    return values


def cast(table: pa.Table, name: str, type_: pa.DataType) -> pa.ChunkedArray:
    """One column of `table` in the type `type_`, or a DamageError that names it."""
    import pyarrow as pa

    count = table.column_names.count(name)
    if count != 1:
        raise DamageError(f"not one of our tables: it has {count} columns {name!r}")
    found = table.column(name).type
    if pa.types.is_string(type_) and axis_type(found) not in (type_, pa.null()):
        raise DamageError(f"column {name} holds {found}, not {type_}")  # a cast would make text of any number
    try:
        return table.column(name).cast(type_)
    except (pa.ArrowException, ValueError) as error:
        raise DamageError(f"column {name} holds {table.column(name).type}, not {type_}") from error


def axis_type(type_: pa.DataType) -> pa.DataType | None:
    """The type in which an axis column of Arrow type `type_` is kept, None where it cannot be an axis."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_null(type_) or pa.types.is_boolean(type_):
        return type_
    if pa.types.is_integer(type_):
        return pa.int64()
    if pa.types.is_floating(type_):
        return pa.float64()
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    return pa.string() if is_text else None
