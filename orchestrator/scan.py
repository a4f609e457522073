"""Scan: rows of the tables `stages` and `epochs` in the columns that are asked for, whatever files they are in.

Of merged files only the metadata and the columns and row groups that are needed are read. Which stages there are is
settled once, when a scan is made; one that had failed may be done by the time it is read. The files may be merged, or
repaired, while they are read: a row that is no longer where it was is looked for again, and none is given twice. It
writes nothing but what repairs damage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from orchestrator.columns import TableName, names
from orchestrator.errors import DamageError
from orchestrator.files import Files
from orchestrator.merged import Group, Index
from orchestrator.parts import read_rows
from orchestrator.schema import schema
from orchestrator.shelf import Shelf
from orchestrator.small import READERS, read_file, small_name, small_names

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
U = TypeVar("U")
SMALL_AT_ONCE = 256  # small files in one batch
FEW = 16  # small files that are not worth to be kept
AHEAD = 4  # row groups that are read before they are asked for

Keys = AbstractSet[str]


@dataclass(frozen=True)
class Rows:
    """Rows of some stages, one stage after the other."""

    keys: Sequence[str]
    counts: Sequence[int]
    table: pa.Table

    def pieces(self) -> Iterator[tuple[str, int, int]]:
        """Each key with its first row and number of rows."""
        return pieces(self.keys, self.counts)


@dataclass(frozen=True)
class Unit:
    """Row groups of one merged file that are read at once, and the keys whose rows are wanted."""

    index: Index
    groups: Sequence[Group]
    keys: Keys

    def pieces(self) -> Iterator[tuple[str, int, int]]:
        """Each key in them with its first row and number of rows, once they are read."""
        return pieces(chain(*(group.names for group in self.groups)), chain(*(group.rows for group in self.groups)))


class Scan:
    """One reading of a store's stages and epochs."""

    def __init__(self, files: Files, shelf: Shelf) -> None:
        """Settle which stages there are."""
        self.files, self.shelf = files, shelf
        self._failed = small_names(files, "failures")  # first, as a stage that is committed meanwhile is in both
        self._small = small_names(files, "stages")  # before merged files, as what is merged meanwhile is in both
        self._merged = merged_keys(shelf)
        self._sound: dict[str, bool] = {}
        self._kept: dict[str, list[Rows]] = {}  # by folder: rows of stages in small files, which cost most to read

    @property
    def keys(self) -> Keys:
        """Of all stages, committed or failed."""
        return self._merged | self._small | self._failed

    def stages(self, columns: Sequence[str], among: Keys | None = None) -> pa.Table:
        """Rows of committed stages, then of failed ones that are not committed, each sorted by key.

        Args:
            columns: Which, in this order.
            among: Keys that are enough, by default all.
        """
        import pyarrow as pa

        needed = list(dict.fromkeys(["key", *columns]))
        committed = list(self.rows("stages", needed, chosen(self._small | self._merged, among)))
        known = {key for rows in committed for key in rows.keys}
        wanted = chosen(self._failed - known, among)
        failed = list(self._small_rows("stages", "failures", needed, sorted(wanted)))
        gone = set(wanted).difference(*(rows.keys for rows in failed))  # committed since we looked, or damaged
        later = list(self.rows("stages", needed, gone))
        self._merged |= {key for rows in later for key in rows.keys}  # so that its epochs are there too
        committed += later
        parts = [sorted_by_key("stages", found, needed) for found in (committed, failed)]
        return pa.concat_tables(parts).select(list(columns))

    def epochs(self, columns: Sequence[str], among: Keys | None = None) -> Iterator[pa.Table]:
        """Rows of the epochs of committed stages; those of one stage are together, and in order.

        Args:
            columns: Which, in this order.
            among: Keys that are enough, by default all.
        """
        for rows in self.rows("epochs", columns, self._committed(among)):
            yield rows.table

    def _committed(self, among: Keys | None) -> Keys:
        """Keys of the stages whose row is here; those of small files are looked at."""
        small = chosen(self._small, among)
        unknown = sorted(small - self._sound.keys())
        for rows in self._small_rows("stages", "stages", ["key"], unknown):
            self._sound.update(dict.fromkeys(rows.keys, True))
        lost = [key for key in unknown if key not in self._sound]
        again = merged_keys(self.shelf) if lost else frozenset()
        self._sound.update((key, key in again) for key in lost)  # merged since we looked, or damaged
        return chosen(self._merged, among) | {key for key in small if self._sound[key]}

    def rows(self, table: TableName, columns: Sequence[str], wanted: Keys) -> Iterator[Rows]:
        """The rows of `wanted`, each key once: from small files, else the newest merged ones, as they come."""
        left, looked, before = set(wanted), set[str](), None
        while left:  # and look again where some were moved or damaged meanwhile, be it back into small files
            small = left & small_names(self.files, table) - looked
            for rows in self._small_rows(table, table, columns, sorted(small)):
                left.difference_update(rows.keys)
                yield rows
            indexes = self.shelf.glances(table) if left else []
            if not small and indexes == before:
                return
            looked, before = looked | small, indexes
            units = planned(indexes, frozenset(left), at_once=table == "stages")
            for found in ahead(lambda unit: self._read(unit, columns), units):
                if found is not None:
                    left.difference_update(found.keys)
                    yield found

    def _small_rows(self, table: TableName, folder: str, columns: Sequence[str], keys: Sequence[str]) -> Iterator[Rows]:
        """The rows in the small files of `keys`; unsound files are set aside, vanished ones left out."""
        if table != "stages" or (folder not in self._kept and len(keys) <= FEW):
            yield from self._read_small(table, folder, columns, keys)
            return
        every = self._small if folder == "stages" else self._failed
        yield from self._read_small("stages", folder, columns, [key for key in keys if key not in every])
        if folder not in self._kept:
            self._kept[folder] = list(self._read_small("stages", folder, names("stages"), sorted(every)))
        for rows in self._kept[folder]:
            yield picked(rows.table.select(list(columns)), rows.pieces(), set(keys))

    def _read_small(self, table: TableName, folder: str, columns: Sequence[str], keys: Sequence[str]) -> Iterator[Rows]:
        """The same, from the files."""
        import pyarrow as pa

        def read_one(key: str) -> tuple[pa.Table, bytes] | None:
            return read_file(self.files, table, small_name(folder, key), key)

        for start in range(0, len(keys), SMALL_AT_ONCE):
            batch = keys[start : start + SMALL_AT_ONCE]
            with ThreadPoolExecutor(READERS) as pool:
                read = pool.map(read_one, batch)
                found = {key: one[0].select(list(columns)) for key, one in zip(batch, read, strict=True) if one}
            if found:
                counts = [table.num_rows for table in found.values()]
                yield Rows(list(found), counts, pa.concat_tables(found.values()).combine_chunks())

    def _read(self, unit: Unit, columns: Sequence[str]) -> Rows | None:
        """The rows of a unit as far as they are sound; None if the file is gone."""
        try:
            rows = read_rows(self.files, unit.index, unit.groups, columns)
        except FileNotFoundError:
            return None
        except DamageError:
            return self._read_damaged(unit, columns)
        return picked(rows, unit.pieces(), unit.keys)

    def _read_damaged(self, unit: Unit, columns: Sequence[str]) -> Rows | None:
        """The same after all of the file was looked at, and repaired if it is damaged indeed."""
        opened = self.shelf.rows(unit.index.name)
        if opened is None:
            return None
        index, rows = opened
        return picked(rows.select(list(columns)), index.pieces(), unit.keys)


def merged_keys(shelf: Shelf) -> Keys:
    """Keys of all stages whose rows are in merged files."""
    return frozenset[str]().union(*(index.names for index in shelf.glances("stages")))


def chosen(keys: Keys, among: Keys | None) -> Keys:
    """Those of `keys` that are wanted."""
    return keys if among is None else keys & among


def planned(indexes: Iterable[Index], wanted: Keys, *, at_once: bool) -> Iterator[Unit]:
    """What is to be read for the rows of `wanted`, each in the first of `indexes` that has them.

    Args:
        indexes: What is newer first.
        wanted: Keys.
        at_once: Whether all row groups of a file make one unit.
    """
    taken = set[str]()
    for index in indexes:
        keys = {group: (wanted & set(group.names)) - taken for group in index.groups}
        groups = [group for group in index.groups if keys[group]]
        taken.update(*keys.values())
        if at_once and groups:
            yield Unit(index, groups, set().union(*(keys[group] for group in groups)))
        elif not at_once:
            yield from (Unit(index, [group], keys[group]) for group in groups)


def ahead(call: Callable[[T], U], given: Iterable[T]) -> Iterator[U]:
    """What `call` gives for each of `given`, in order; the next few are worked on meanwhile."""
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(AHEAD) as pool:
        try:
            for one in given:
                waiting.append(pool.submit(call, one))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def pieces(keys: Iterable[str], counts: Iterable[int]) -> Iterator[tuple[str, int, int]]:
    """Each of `keys` with its first row and number of rows, where so many rows of each lie one after the other."""
    first = 0
    for key, count in zip(keys, counts, strict=True):
        yield key, first, count
        first += count


def picked(table: pa.Table, among: Iterable[tuple[str, int, int]], keys: Keys) -> Rows:
    """The rows of `keys`, given where each key's are in `table`."""
    import pyarrow as pa

    found, counts, runs = list[str](), list[int](), list[list[int]]()
    for key, first, count in among:
        if key in keys:
            found.append(key)
            counts.append(count)
            if runs and sum(runs[-1]) == first:
                runs[-1][1] += count
            else:
                runs.append([first, count])
    slices = [table.slice(first, count) for first, count in runs]
    return Rows(found, counts, slices[0] if len(slices) == 1 else pa.concat_tables([table.slice(0, 0), *slices]))


def sorted_by_key(name: TableName, found: Sequence[Rows], columns: Sequence[str]) -> pa.Table:
    """One row of each key, sorted by key."""
    import pyarrow as pa

    keys = [key for rows in found for key in rows.keys]
    declared = pa.schema([schema(name).field(column) for column in columns])
    table = pa.concat_tables(
        [pa.Table.from_batches([], schema=declared), *(rows.table.cast(declared) for rows in found)]
    )
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return table if order == list(range(len(keys))) else table.combine_chunks().take(pa.array(order, pa.int64()))
