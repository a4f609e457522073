"""Parts: rows of some row groups of a merged file in some columns; the bytes of these alone are read and verified."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from orchestrator.columns import TABLES, Column
from orchestrator.errors import DamageError
from orchestrator.files import Files
from orchestrator.merged import CHUNK_DIGITS, Group, Index, MergedName, chunk_digest, chunk_span, index_of, tail_length
from orchestrator.schema import arrow_type, check_marks, declared, schema

if TYPE_CHECKING:
    import pyarrow as pa

LAST = 128 * 1024  # bytes at a file's end, which mostly hold all of its metadata
Check = Callable[[bytes], bool]


def read_index(files: Files, name: MergedName) -> Index:
    """What a merged file holds, from the bytes at its end; its row groups are not looked at.

    Raises:
        FileNotFoundError: it is gone.
        DamageError: its metadata are not what was written.
    """
    size = files.size(name.path)
    data = files.read_part(name.path, max(size - LAST, 0), LAST)
    if LAST < tail_length(data) <= size:
        data = files.read_part(name.path, size - tail_length(data), tail_length(data))
    return index_of(name, data)


def read_rows(files: Files, index: Index, groups: Sequence[Group], columns: Sequence[str]) -> pa.Table:
    """Rows of some row groups, one below the other, in these columns as the table's schema declares them.

    The column `key` is not read: `Group.names` says it, and is as sound.

    Raises:
        FileNotFoundError: the file is gone.
        DamageError: bytes are not those that were written, or hold no such rows.
        ConfigError: a newer warmgrid wrote them in a way that this one would misread.
    """
    import pyarrow as pa

    table = index.name.table
    fields = [column for column in TABLES[table] if column.name in columns]
    read = decoded(files, index, groups, [c.name for c in fields if c.name != "key"])
    made = {column.name: keys_of(groups) if column.name == "key" else conformed(read, column) for column in fields}
    wanted = pa.schema([schema(table).field(name) for name in columns])
    return pa.Table.from_arrays([made[name] for name in columns], schema=wanted)


def conformed(table: pa.Table, column: Column) -> pa.ChunkedArray:
    """One column as it is declared."""
    wanted = arrow_type(column.type)
    place = table.schema.get_field_index(column.name)
    if place >= 0 and table.schema.field(place).type == wanted and column.nullable:
        return table.column(place)
    return declared(table, column)


def keys_of(groups: Sequence[Group]) -> pa.ChunkedArray:
    """The column `key` of some row groups."""
    import numpy as np
    import pyarrow as pa

    arrays = []
    for group in groups:
        places = np.repeat(np.arange(len(group.names), dtype=np.int32), group.rows)
        arrays.append(pa.array(group.names, pa.string()).take(pa.array(places)))
    return pa.chunked_array(arrays, pa.string())


def decoded(files: Files, index: Index, groups: Sequence[Group], columns: Sequence[str]) -> pa.Table:
    """Rows of some row groups in those of the columns that the file has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spans = [span for group in groups for span in spans_of(index, group, columns)]
    parts = files.read_parts(index.name.path, [(begin, end - begin) for begin, end, _ in spans])
    space = mmap.mmap(-1, max((end for _, end, _ in spans), default=1))  # takes memory only where it is filled
    for (begin, end, is_sound), part in zip(spans, parts, strict=True):
        if len(part) != end - begin or not is_sound(part):
            raise DamageError(f"its bytes from {begin} to {end} are not those that were written")
        space[begin:end] = part
    try:
        with pq.ParquetFile(pa.BufferReader(pa.py_buffer(space)), metadata=index.footer, pre_buffer=False) as file:
            numbers = [group.number for group in groups]
            table = file.read_row_groups(numbers, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"not a sound Parquet file: {(str(error).splitlines() or ['?'])[0]}") from error
    check_marks(index.name.table, marks(table))
    return table


def marks(table: pa.Table) -> dict[str, str]:
    """What the file says of itself."""
    return {name.decode(): text.decode() for name, text in (table.schema.metadata or {}).items()}


def spans_of(index: Index, group: Group, columns: Collection[str]) -> list[tuple[int, int, Check]]:
    """Where the bytes of some columns of a row group begin and end, and what tells whether they are sound."""
    if not group.chunks:
        return [(group.begin, group.end, partial(has_digest, group.digest))]
    assert index.footer is not None, "only a file of which something is sound has row groups"
    of_file, spans = index.footer.row_group(group.number), list[tuple[int, int, Check]]()
    for place, column in enumerate(index.columns):
        if column.partition(": ")[0] in columns:
            begin, end = chunk_span(of_file.column(place))
            digest = group.chunks[place * CHUNK_DIGITS : (place + 1) * CHUNK_DIGITS]
            spans.append((begin, end, partial(has_chunk_digest, digest)))
    return spans


def has_digest(digest: str, data: bytes) -> bool:
    """Whether these are the bytes of a row group with this digest."""
    return sha256(data).hexdigest() == digest


def has_chunk_digest(digest: str, data: bytes) -> bool:
    """Whether these are the bytes of a column with this digest."""
    return chunk_digest(data) == digest
