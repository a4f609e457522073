"""Compaction: puts the rows of many small files into a few merged ones, while others read and write.

New merged files are written first, in pairs: epochs, then the rows of the same stages. Then the small files that they
stand for are deleted, each only if it still holds what was merged, and at last the merged files that they replace. So a
compaction that dies anywhere leaves some rows twice, which readers drop and the next compaction removes, and none lost.
Full merged files stay as they are: the work is for what is new, not for what is there. Weights stay where they are.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from orchestrator.columns import TableName
from orchestrator.errors import LeaseLost, StoreError
from orchestrator.files import Files
from orchestrator.lease import Lease, hold
from orchestrator.merged import GROUP_NAMES, Index, MergedName, Merging, columns_of, without
from orchestrator.schema import schema, to_bytes
from orchestrator.shelf import Shelf
from orchestrator.small import READERS, read_file, small_name, small_names
from orchestrator.table import gather

if TYPE_CHECKING:
    import pyarrow as pa

LEASE = "compaction"
MARK, MERGED_MARK = "warmgrid.json", {"format": 2}  # of a store with merged files, which older versions refuse
LOOK_AGAIN_S = 0.1
TABLES_KEPT = 4  # merged files in memory at once


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        files_before: Files with rows of stages, epochs and cells before it, small and merged.
        files_after: The same afterwards.
        stages: Stages whose rows are in merged files now.
    """

    files_before: int
    files_after: int
    stages: int


@dataclass(frozen=True)
class Work:
    """What there is to do for one kind of rows.

    Attributes:
        names: Of which rows are to be merged, or put back into small files; sorted.
        gone: Merged files that are not needed afterwards, in the order in which they are deleted.
    """

    names: Sequence[str]
    gone: Sequence[MergedName]

    def __bool__(self) -> bool:
        return bool(self.names or self.gone)


def compact(files: Files) -> Compacted:
    """Merge the rows of all committed stages, and of all cells; does nothing where nothing is to do.

    Raises:
        StoreError: another process compacts this store, or it cannot be written.
    """
    before = count_files(files)
    if not compact_if_free(files):
        raise StoreError(f"{files.root}: another process compacts this store. Wait until it is done.")
    return Compacted(before, count_files(files), len(Shelf(files).holding().rows()))


def compact_if_free(files: Files, leave: Callable[[], bool] = lambda: False) -> bool:
    """The same; whether it was done, and not left to another process that is at it.

    Args:
        files: The store's files.
        leave: Asked before each row group, and before each file is deleted, whether to stop here; nothing is lost, and
            the next compaction goes on.

    Raises:
        StoreError: the store cannot be written, or another process has taken over meanwhile.
    """
    if not (stages_work(files) or cells_work(files)):
        return True
    with hold(files, LEASE) as lease:
        if lease is None:
            return False
        compaction = Compaction(files, lease, leave)
        try:
            compaction.merge_stages(stages_work(files))
            compaction.merge_cells(cells_work(files))
        except LeaseLost as lost:
            text = f"{files.root}: {lost}. Nothing is lost, and nothing more was merged. Compact again."
            raise StoreError(text) from lost
    return True


def count_files(files: Files) -> int:
    """How many files hold rows of stages, epochs and cells."""
    return len(Shelf(files).listed()) + sum(len(small_names(files, table)) for table in ("stages", "epochs", "cells"))


def stages_work(files: Files) -> Work:
    """What there is to do for stages and their epochs."""
    rows, epochs, shelf = small_names(files, "stages"), small_names(files, "epochs"), Shelf(files)
    held = shelf.holding()
    fresh = (rows | held.rows()) & (epochs | held.epoch_keys()) & (rows | epochs)
    stay, again = sorted_out(held.stages, fresh, is_whole=lambda index: index.pair in held.epochs)
    pairs = {index.pair for index in stay}
    epochs_gone = [name for name in shelf.listed() if name.table == "epochs" and name.digest not in pairs]
    indexes = [*again, *(index for name in epochs_gone if (index := shelf.index(name)) is not None)]
    done = {key for index in stay for key in index.places}
    names = fresh.union(*(index.places for index in indexes)) - done
    return Work(sorted(names), [*(index.name for index in again), *epochs_gone])


def cells_work(files: Files) -> Work:
    """What there is to do for cells."""
    fresh = small_names(files, "cells")
    _, again = sorted_out(Shelf(files).indexes("cells"), fresh)
    return Work(sorted(fresh.union(*(index.places for index in again))), [index.name for index in again])


def sorted_out(
    indexes: Sequence[Index], fresh: set[str], is_whole: Callable[[Index], bool] = lambda _: True
) -> tuple[list[Index], list[Index]]:
    """The merged files of one table that stay as they are, and those whose rows are merged again.

    Args:
        indexes: What is newer first.
        fresh: Names with a small file, which goes before.
        is_whole: Whether a file has all that belongs to it.
    """
    stay, again, seen = list[Index](), list[Index](), set[str]()
    for index in indexes:
        own = set(index.places)
        (stay if own and is_whole(index) and not own & (fresh | seen) else again).append(index)
        seen |= own
    partial = [index for index in stay if not index.is_full]
    if fresh or again or len({index.columns for index in partial}) < len(partial):
        again += partial
        stay = [index for index in stay if index.is_full]
    return stay, again


@dataclass(frozen=True)
class Found:
    """The rows of one name, and where they were if that was a small file: its path, and the SHA-256 of its bytes."""

    rows: pa.Table
    small: tuple[str, str] | None


class Compaction:
    """One compaction, by the holder of its lease."""

    def __init__(self, files: Files, lease: Lease, leave: Callable[[], bool]) -> None:
        """Write nothing yet."""
        self.files, self.lease, self.leave, self.shelf = files, lease, leave, Shelf(files)
        self.generation = 1 + max((name.generation for name in self.shelf.listed()), default=0)
        self.rows_in = lru_cache(TABLES_KEPT)(self._rows_in)

    def merge_stages(self, work: Work) -> None:
        """Merge rows and epochs of the stages of `work`; those without row or epochs go back into small files."""
        pair = Pair()
        for start in range(0, len(work.names), GROUP_NAMES):
            if self.leave():  # and leave what would be deleted at the end
                return
            keys = work.names[start : start + GROUP_NAMES]
            rows, epochs = self._found("stages", keys, work.gone), self._found("epochs", keys, work.gone)
            both = rows.keys() & epochs.keys()
            self._put_back("stages", rows, both)
            self._put_back("epochs", epochs, both)
            pair.add({key: rows[key] for key in keys if key in both}, {key: epochs[key] for key in keys if key in both})
            if pair.is_full:
                self._write_pair(pair)
                pair = Pair()
        if pair.stages.names:
            self._write_pair(pair)
        self._delete_merged(work.gone)

    def merge_cells(self, work: Work) -> None:
        """Merge the cells of `work`, in one file for each list of columns, so that no value changes its type."""
        open_: dict[tuple[str, ...], tuple[Merging, list[Found]]] = {}
        for name in work.names:
            if self.leave():
                return
            for found in self._found("cells", [name], work.gone).values():
                columns = tuple(columns_of(found.rows.schema))
                merging, merged = open_.setdefault(columns, (Merging("cells", found.rows.schema), []))
                merging.add({name: found.rows})
                merged.append(found)
                if merging.is_full:
                    self._write_cells(*open_.pop(columns))
        for merging, merged in open_.values():
            self._write_cells(merging, merged)
        self._delete_merged(work.gone)

    def _found(self, table: TableName, names: Sequence[str], merged: Sequence[MergedName]) -> dict[str, Found]:
        """The rows of each of `names` that has sound ones: in its small file, else in the newest of `merged`."""
        with ThreadPoolExecutor(READERS) as pool:
            small = pool.map(lambda name: self._small(table, name), names)
            found = {name: one for name, one in zip(names, small, strict=True) if one is not None}
        for file in merged:
            if file.table == table and not found.keys() >= set(names):
                rows = self.rows_in(file)
                found |= {name: Found(rows[name], None) for name in names if name in rows and name not in found}
        return found

    def _small(self, table: TableName, name: str) -> Found | None:
        """The rows in one small file; one that is damaged is set aside."""
        path = small_name(table, name)
        read = read_file(self.files, table, path, name)
        return None if read is None else Found(read[0], (path, sha256(read[1]).hexdigest()))

    def _rows_in(self, file: MergedName) -> dict[str, pa.Table]:
        """The rows of a merged file by name; {} if it is gone, because a reader repaired it under another name."""
        opened = self.shelf.rows(file)
        if opened is None:
            return {}
        index, table = opened
        return {name: table.slice(first, rows) for name, first, rows in index.pieces()}

    def _put_back(self, table: TableName, found: Mapping[str, Found], merged: Collection[str]) -> None:
        """Write small files again of rows that make no committed stage, and whose merged file will go."""
        for name, one in found.items():
            if name not in merged and one.small is None:
                self.files.write_once(small_name(table, name), to_bytes(one.rows))

    def _write_pair(self, pair: Pair) -> None:
        """Write two merged files, and delete the small ones that they stand for: rows before their epochs."""
        epochs, epochs_data = pair.epochs.end(self.generation, is_full=pair.is_full)
        stages, stages_data = pair.stages.end(self.generation, pair=epochs.digest, is_full=pair.is_full)
        self._write({epochs: epochs_data, stages: stages_data})
        self._delete_small(pair.merged["stages"])
        self._delete_small(pair.merged["epochs"])

    def _write_cells(self, merging: Merging, merged: Sequence[Found]) -> None:
        """Write a merged file, and delete the small ones that it stands for."""
        self._write(dict([merging.end(self.generation, is_full=merging.is_full)]))
        self._delete_small(merged)

    def _write(self, merged: Mapping[MergedName, bytes]) -> None:
        """Write merged files, the first time after saying that the store has such."""
        if json.loads(self.files.read(MARK)) != MERGED_MARK:
            self.files.write(MARK, json.dumps(MERGED_MARK).encode())
        for name, data in merged.items():
            self.lease.check(sure=True)
            self.files.write(name.path, data)

    def _delete_small(self, merged: Iterable[Found]) -> None:
        """Delete small files that still hold what was merged; who is in haste leaves them twice."""

        def delete(small: tuple[str, str]) -> None:
            path, digest = small
            if self.leave():
                return
            with contextlib.suppress(FileNotFoundError):
                if sha256(self.files.read(path)).hexdigest() == digest:
                    self.files.delete(path)

        self.lease.check(sure=True)
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(delete, [one.small for one in merged if one.small is not None]))

    def _delete_merged(self, gone: Sequence[MergedName]) -> None:
        """Delete merged files whose rows are in others now."""
        self.lease.check(sure=bool(gone))
        for name in gone:
            self.files.delete(name.path)


class Pair:
    """Two merged files that are being written: rows of stages, and the epochs of the same stages."""

    def __init__(self) -> None:
        """Begin both."""
        self.stages, self.epochs = Merging("stages", schema("stages")), Merging("epochs", schema("epochs"))
        self.merged: dict[str, list[Found]] = {"stages": [], "epochs": []}

    def add(self, stages: Mapping[str, Found], epochs: Mapping[str, Found]) -> None:
        """Put a row group into each, unless there is nothing to put."""
        for merging, found in ((self.stages, stages), (self.epochs, epochs)):
            if found:
                merging.add({name: one.rows for name, one in found.items()})
                self.merged[merging.table] += found.values()

    @property
    def is_full(self) -> bool:
        """Whether it is time for the next two."""
        return self.stages.is_full or self.epochs.is_full


@contextlib.contextmanager
def exclusive(files: Files) -> Iterator[Lease]:
    """Keep compactions away meanwhile; one that runs is waited for."""
    while True:
        with hold(files, LEASE) as lease:
            if lease is not None:
                yield lease
                return
        time.sleep(LOOK_AGAIN_S)


def unmerge(files: Files, key: str) -> None:
    """Put a stage's row and epochs back into small files, and take its row out of the merged ones.

    To be called in `exclusive`. Readers see the same row throughout.
    """
    shelf = Shelf(files)
    if not shelf.holding().has_row(key):
        return
    for table in ("epochs", "stages"):
        if (piece := gather(files, table, key.__eq__).get(key)) is not None:
            rows = piece.table.slice(piece.first, piece.rows)
            files.write_once(small_name(table, key), to_bytes(rows))
    for name in [index.name for index in shelf.holding().stages if key in index.places]:
        opened = shelf.opened(name)
        if opened is None or key not in opened[0].places:
            continue
        if (left := without(*opened, key=key)) is not None:
            files.write(left[0].path, left[1])
        files.delete(name.path)
