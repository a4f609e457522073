"""Shelf: a store's merged files: which there are, and what in them is sound. It merges nothing; compaction does.

A merged file never changes, and goes away only after all of its rows are in others. So a reader that looks at small
files first, then at merged ones, and again at the list when one of these is gone, misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.columns import TableName
from orchestrator.errors import DamageError, StoreError
from orchestrator.files import Files, log
from orchestrator.merged import FOLDER, Index, MergedName, index_of, mended, rows_of
from orchestrator.parts import read_index
from orchestrator.small import READERS

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
REPAIR = "`warmgrid resume` trains again what is missing"


@dataclass(frozen=True)
class Holding:
    """What all merged files hold of stages and epochs, as far as their metadata say; what is newer first.

    Attributes:
        stages: Of each file with stages.
        epochs: Digests of all files with epochs.
        odd: Of each file with epochs that is no stages file's pair.
    """

    stages: Sequence[Index]
    epochs: frozenset[str]
    odd: Sequence[Index]

    def has_row(self, key: str) -> bool:
        """Whether there is a row of the table `stages`."""
        return any(key in index.places for index in self.stages)

    def has_epochs(self, key: str) -> bool:
        """Whether there are rows of the table `epochs`, be it none that any epoch made."""
        return any(key in index.places for index in (*self.whole, *self.odd))

    @property
    def whole(self) -> list[Index]:
        """Of each file with stages whose epochs are all here too."""
        return [index for index in self.stages if index.pair in self.epochs]

    def rows(self) -> set[str]:
        """All keys that `has_row`."""
        return {key for index in self.stages for key in index.places}

    def epoch_keys(self) -> set[str]:
        """All keys that `has_epochs`."""
        return {key for index in (*self.whole, *self.odd) for key in index.places}


class Shelf:
    """The merged files of one store; what each holds is looked up once."""

    def __init__(self, files: Files) -> None:
        """Read nothing yet."""
        self.files = files
        self._indexes: dict[MergedName, Index] = {}  # of files whose row groups were all looked at
        self._glances: dict[MergedName, Index] = {}

    def listed(self) -> list[MergedName]:
        """All merged files, what is newer first; of equal names in them those of the first count."""
        before, now = None, self.files.list(FOLDER)
        while now and now != before:  # a list taken while files come and go may lack an old one and its successor
            before, now = now, self.files.list(FOLDER)
        found = [name for file in now if (name := MergedName.of(file)) is not None]
        return sorted(found, key=lambda name: (-name.generation, name.table, name.digest))

    def holding(self) -> Holding:
        """What all merged files hold of stages and epochs."""
        while True:
            names = self.listed()
            if gone := self._indexes.keys() - names:
                self._indexes = {name: index for name, index in self._indexes.items() if name not in gone}
            stages = [self.index(name) for name in names if name.table == "stages"]
            pairs = {index.pair for index in stages if index is not None}
            epochs = [name for name in names if name.table == "epochs"]
            odd = [self.index(name) for name in epochs if name.digest not in pairs]
            found, beside = [one for one in stages if one is not None], [one for one in odd if one is not None]
            if len(found) == len(stages) and len(beside) == len(odd):
                return Holding(found, frozenset(name.digest for name in epochs), beside)

    def tables(self, table: TableName) -> list[tuple[Index, pa.Table]]:
        """The rows of all merged files of a table, in the order of `Index.pieces`; what is newer first."""
        return self._each(table, self.rows)

    def indexes(self, table: TableName) -> list[Index]:
        """What all merged files of a table hold; what is newer first."""
        return self._each(table, self.index)

    def glances(self, table: TableName) -> list[Index]:
        """What all merged files of a table hold by their metadata alone; what is newer first."""
        found = self._each(table, self.glance)
        known = {index.name for index in found}
        gone = [name for name in self._glances if name.table == table and name not in known]
        for name in gone:
            self._glances.pop(name, None)
        return found

    def _each(self, table: TableName, look: Callable[[MergedName], T | None]) -> list[T]:
        """`look` at all merged files of a table; where one is gone, at what came in its place."""
        seen: dict[MergedName, T] = {}
        while True:
            names = [name for name in self.listed() if name.table == table]
            if fresh := [name for name in names if name not in seen]:
                with ThreadPoolExecutor(READERS) as pool:
                    found = zip(fresh, pool.map(look, fresh), strict=True)
                    seen |= {name: one for name, one in found if one is not None}
            if all(name in seen for name in names):
                return [seen[name] for name in names]

    def index(self, name: MergedName) -> Index | None:
        """What a merged file holds; None if it is gone."""
        if name in self._indexes:
            return self._indexes[name]
        opened = self.opened(name)
        return opened and opened[0]

    def glance(self, name: MergedName) -> Index | None:
        """What a merged file holds by its metadata alone, unless more is known; None if it is gone."""
        found = self._indexes.get(name) or self._glances.get(name)
        if found is not None:
            return found
        try:
            found = self._glances[name] = read_index(self.files, name)
        except FileNotFoundError:
            return None
        except DamageError:
            return self.index(name)
        return found

    def rows(self, name: MergedName) -> tuple[Index, pa.Table] | None:
        """What a merged file holds, with its rows; None if it is gone."""
        opened = self.opened(name)
        if opened is None:
            return None
        try:
            return opened[0], rows_of(*opened)
        except DamageError as error:
            return self._refused(name, str(error), opened[1]), rows_of(replace(opened[0], groups=()), opened[1])

    def row(self, index: Index, key: str) -> pa.Table | None:
        """The rows of one key; None if the file is gone, or was damaged since it was looked at: look again."""
        try:
            data = self.files.read(index.name.path)
        except FileNotFoundError:
            return None
        group, first, rows = index.places[key]
        if not group.is_sound(data):
            self.opened(index.name)
            return None
        return rows_of(replace(index, groups=(group,)), data).slice(first, rows)

    def opened(self, name: MergedName) -> tuple[Index, bytes] | None:
        """What is sound of a merged file, and its bytes; damage is told, and repaired as far as it can be."""
        try:
            data = self.files.read(name.path)
        except FileNotFoundError:
            return None
        try:
            whole = index_of(name, data)
            sound, written = mended(whole, data)
        except DamageError as error:
            return self._refused(name, str(error), data), data
        if len(sound.groups) < len(whole.groups):
            self._repair(whole, sound, written)
        self._indexes[name] = sound
        return sound, data

    def _refused(self, name: MergedName, why: str, data: bytes) -> Index:
        """Set aside a merged file of which nothing is sound, and what it holds then: nothing."""
        self.files.set_aside(name.path, f"{why}; {REPAIR}", data)
        self._indexes[name] = Index(name, (), None, True, ())
        return self._indexes[name]

    def _repair(self, whole: Index, sound: Index, written: tuple[MergedName, bytes] | None) -> None:
        """Put a file of what is sound beside a damaged one, which is set aside then; a full store keeps it as it is."""
        held, left, name = len(whole.places), len(sound.places), whole.name
        parts = f"{len(whole.groups) - len(sound.groups)} of {len(whole.groups)} row groups are damaged"
        counts = f"{parts}: of {held} {'launches' if name.table == 'cells' else 'stages'} {held - left} are lost"
        try:
            if written is not None:
                self.files.write(written[0].path, written[1])
        except StoreError as error:
            log.warning("%s: %s; %s. %s", self.files.where(name.path), counts, REPAIR, error)
            return
        kept = f", the others go on in {written[0].path}" if written else ""
        self.files.set_aside(name.path, f"{counts}{kept}; {REPAIR}")
