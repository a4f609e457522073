"""Merged: the rows of up to a thousand stages in one Parquet file that never changes; knows of no folder.

A merged file is plain Parquet for other tools. For us its row groups hold about a hundred stages each, and its metadata
say of each whose rows it holds, how many, and the SHA-256 of its bytes and of each column's; the file's name carries
the SHA-256 of the metadata. So every bit is covered, a bit that flips costs one row group, and who wants few columns
reads and verifies just these (`orchestrator.parts`). Of cells, a name stands for one small file of cells instead of a
stage.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from orchestrator.columns import TableName
from orchestrator.errors import DamageError
from orchestrator.schema import as_declared, schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FOLDER = "merged"
FILE = re.compile(r"(stages|epochs|cells)-(\d{8,})-([0-9a-f]{32})\.parquet")
NOTES = "warmgrid_merged"  # the metadata's name
MOST_NAMES = 1000  # in a file
MOST_BYTES = 2**27  # of a file's rows in memory
GROUP_NAMES = 100  # in a row group
LENGTH, MAGIC = 4, 4  # bytes at a Parquet file's end: how long its metadata are, and PAR1
DIGITS = 32  # of a digest in a file's name
CHUNK_DIGITS = 16  # of the digest of a column in a row group
SEARCHED: Mapping[str, list[str]] = {"stages": ["key"], "epochs": ["key", "epoch"], "cells": ["sweep"]}
"""Columns with statistics, for readers that want few row groups."""


@dataclass(frozen=True)
class MergedName:
    """What a merged file's name says.

    Attributes:
        generation: Higher goes before lower.
        digest: Of the file's metadata, hex.
    """

    table: TableName
    generation: int
    digest: str

    @property
    def path(self) -> str:
        """Name in the store."""
        return f"{FOLDER}/{self.table}-{self.generation:08d}-{self.digest}.parquet"

    @classmethod
    def of(cls, file: str) -> MergedName | None:
        """What the name of a file in `FOLDER` says; None if it is none of ours."""
        found = FILE.fullmatch(file)
        return found and cls(cast(TableName, found[1]), int(found[2]), found[3])


@dataclass(frozen=True)
class Group:
    """One row group.

    Attributes:
        number: Its place in the file.
        end: Where its bytes end; they begin where those of the one before end.
        digest: SHA-256 of its bytes, hex.
        names: Whose rows it holds, in order.
        rows: How many of each.
        chunks: SHA-256 of the bytes of each column, hex, in the order of the file's columns, one after the other; "" in
            files of before there were such.
    """

    number: int
    begin: int
    end: int
    digest: str
    names: tuple[str, ...]
    rows: tuple[int, ...]
    chunks: str = ""

    def is_sound(self, data: bytes) -> bool:
        """Whether the file's bytes are still those that were written."""
        return sha256(memoryview(data)[self.begin : self.end]).hexdigest() == self.digest


@dataclass(frozen=True)
class Index:
    """What a merged file holds, as far as it is sound.

    Attributes:
        pair: Of stages: digest of the merged file that has the epochs of all of them.
        is_full: Whether no more should be put into it.
        columns: Names and types of its columns.
        footer: What Parquet says of the file; None of one of which nothing is sound.
    """

    name: MergedName
    groups: tuple[Group, ...]
    pair: str | None
    is_full: bool
    columns: tuple[str, ...]
    footer: pq.FileMetaData | None = field(default=None, compare=False, repr=False)

    @cached_property
    def names(self) -> frozenset[str]:
        """Whose rows it holds."""
        return frozenset(chain(*(group.names for group in self.groups)))

    @cached_property
    def places(self) -> dict[str, tuple[Group, int, int]]:
        """For each name its row group, its first row there, and how many there are."""
        found: dict[str, tuple[Group, int, int]] = {}
        for group in self.groups:
            first = 0
            for name, rows in zip(group.names, group.rows, strict=True):
                found[name] = (group, first, rows)
                first += rows
        return found

    def pieces(self) -> list[tuple[str, int, int]]:
        """Each name with its first row and number of rows in the table of all groups, as `rows_of` gives it."""
        found, first = [], 0
        for group in self.groups:
            for name, rows in zip(group.names, group.rows, strict=True):
                found.append((name, first, rows))
                first += rows
        return found


class Merging:
    """One merged file while it is written, in memory."""

    def __init__(self, table: TableName, columns: pa.Schema) -> None:
        """Begin a file of rows with these columns."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.table, self.schema, self._groups, self._sink = table, columns, list[dict[str, Any]](), io.BytesIO()
        texts = [field.name for field in columns if pa.types.is_string(field.type)]
        told = {"compression": "zstd", "use_dictionary": texts or False, "write_statistics": SEARCHED[table]}
        self._writer = pq.ParquetWriter(self._sink, columns, write_page_checksum=True, **told)
        self._unknown = "0" * CHUNK_DIGITS * leaves(columns)  # what Parquet tells at the end: where each column is
        self.names = self.bytes = 0

    def add(self, pieces: Mapping[str, pa.Table]) -> None:
        """Write the rows of some names as one row group."""
        import pyarrow as pa

        rows, begin = pa.concat_tables(pieces.values()).cast(self.schema).combine_chunks(), self._sink.tell()
        self._writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
        with self._sink.getbuffer() as written:
            digest = sha256(written[begin if self._groups else 0 :]).hexdigest()
        counts = [piece.num_rows for piece in pieces.values()]
        facts = {"names": list(pieces), "rows": counts, "end": self._sink.tell(), "digest": digest}
        self._groups.append({**facts, "chunks": self._unknown})
        self.names, self.bytes = self.names + len(pieces), self.bytes + rows.nbytes

    @property
    def is_full(self) -> bool:
        """Whether it is time for the next file."""
        return self.names >= MOST_NAMES or self.bytes >= MOST_BYTES

    def end(self, generation: int, *, pair: str | None = None, is_full: bool = False) -> tuple[MergedName, bytes]:
        """The file's name and bytes; the same bytes for the same rows. The arguments are told by `Index`."""
        notes = {"groups": self._groups, "pair": pair, "is_full": is_full, "columns": columns_of(self.schema)}
        unfinished = text_of(notes)
        self._writer.add_key_value_metadata({NOTES: unfinished})
        self._writer.close()
        data = self._sink.getvalue()
        for group, chunks in zip(self._groups, digests_of(data), strict=True):
            group["chunks"] = chunks
        begin = data.index(unfinished.encode(), self._groups[-1]["end"])
        data = data[:begin] + text_of(notes).encode() + data[begin + len(unfinished.encode()) :]
        return MergedName(self.table, generation, sha256(tail_of(data)).hexdigest()[:DIGITS]), data


def text_of(notes: Mapping[str, Any]) -> str:
    """The notes as they are written."""
    return json.dumps(notes, separators=(",", ":"))


def leaves(columns: pa.Schema) -> int:
    """How many columns Parquet makes of these; a list is one, as a number is."""
    import pyarrow as pa

    assert not any(pa.types.is_struct(field.type) for field in columns)
    return len(columns)


def digests_of(data: bytes) -> Iterator[str]:
    """What `Group.chunks` says of each row group of a Parquet file."""
    footer = parquet(data).metadata
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        spans = [chunk_span(group.column(place)) for place in range(group.num_columns)]
        yield "".join(chunk_digest(memoryview(data)[begin:end]) for begin, end in spans)


def chunk_span(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Where the bytes of one column in one row group begin and end in the file."""
    begin = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return begin, begin + chunk.total_compressed_size


def chunk_digest(data: bytes | memoryview) -> str:
    """What `Group.chunks` says of the bytes of one column."""
    return sha256(data).hexdigest()[:CHUNK_DIGITS]


def columns_of(columns: pa.Schema) -> list[str]:
    """Names and types of columns, for `Index.columns`."""
    return [f"{field.name}: {field.type}" for field in columns]


def tail_of(data: bytes) -> memoryview:
    """All of a Parquet file that is no row group: its metadata, their length and the magic bytes."""
    return memoryview(data)[max(len(data) - tail_length(data), 0) :]


def tail_length(data: bytes) -> int:
    """How many bytes of a Parquet file are no row group, by what its last bytes say."""
    return int.from_bytes(data[-LENGTH - MAGIC : -MAGIC], "little") + LENGTH + MAGIC


def index_of(name: MergedName, data: bytes) -> Index:
    """What a merged file holds, if its metadata are sound; its row groups may be damaged.

    Args:
        name: The file's.
        data: All of it, or an end of it that is long enough (`tail_length`).

    Raises:
        DamageError: they are not.
    """
    if len(data) < LENGTH + MAGIC or sha256(tail_of(data)).hexdigest()[:DIGITS] != name.digest:
        raise DamageError("its metadata are torn or changed, so that it cannot be known how many stages it held")
    try:
        footer = parquet(data).metadata
        notes = json.loads(footer.metadata[NOTES.encode()])
        ends = [0, *(group["end"] for group in notes["groups"])]
        groups = tuple(
            Group(
                *(number, ends[number], one["end"], one["digest"]),
                *(tuple(one["names"]), tuple(one["rows"]), one.get("chunks", "")),
            )
            for number, one in enumerate(notes["groups"])
        )
        return Index(name, groups, notes["pair"], notes["is_full"], tuple(notes["columns"]), footer)
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"not what warmgrid merges: {error!r}") from None


def rows_of(index: Index, data: bytes) -> pa.Table:
    """The rows of all row groups of `index`, one below the other, in the columns that this version knows.

    Raises:
        DamageError: they are not rows of this table.
        ConfigError: a newer warmgrid wrote them in a way that this one would misread.
    """
    import pyarrow as pa

    if not index.groups:
        return pa.Table.from_batches([], schema=schema(index.name.table))
    try:
        with parquet(data) as file:
            found = file.read_row_groups([group.number for group in index.groups], use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"not a sound Parquet file: {(str(error).splitlines() or ['?'])[0]}") from error
    return as_declared(index.name.table, found)


def without(index: Index, data: bytes, *, key: str | None = None) -> tuple[MergedName, bytes] | None:
    """A merged file of the row groups of `index` alone, in the generation after it if `key` is left out too.

    Returns:
        Its name and bytes; None if nothing is left.
    """
    rows, first = rows_of(index, data), 0
    merging = Merging(index.name.table, rows.schema)
    for group in index.groups:
        pieces = {}
        for name, count in zip(group.names, group.rows, strict=True):
            pieces[name] = rows.slice(first, count)
            first += count
        pieces.pop(key or "", None)
        if pieces:
            merging.add(pieces)
    if not merging.names:
        return None
    return merging.end(index.name.generation + (key is not None), pair=index.pair)


def parquet(data: bytes) -> pq.ParquetFile:
    """An open Parquet file.

    Raises:
        DamageError: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamageError(f"not a sound Parquet file: {(str(error).splitlines() or ['?'])[0]}") from error


def mended(index: Index, data: bytes) -> tuple[Index, tuple[MergedName, bytes] | None]:
    """A merged file without its damaged row groups.

    Returns:
        What is sound of `data`, as it lies there, and a file of that alone: None if nothing is missing, or all.

    Raises:
        DamageError: it holds no rows of this table.
    """
    sound = tuple(group for group in index.groups if group.is_sound(data))
    left = replace(index, groups=sound)
    return left, without(left, data) if len(sound) < len(index.groups) else None
