"""Follow: the rows of a store, kept in memory and renewed by reading only what is new. Joins and shows nothing.

Rows of committed stages never change, so a look at a store where nothing is new is three lists of names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.columns import names
from orchestrator.shelf import Shelf
from orchestrator.small import small_names
from orchestrator.table import gather, laid, load, small

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.table import Pieces

Row = Mapping[str, Any]
COLUMNS = [name for name in names("stages") if name not in ("config", "weights_digest")]  # the longest, and not shown
MOST_FILES = 1000  # small files that one look reads, so that a page over many of them fills in from the start
AGAIN_S = 30.0  # between two readings of what may have changed under its name: failures, and files without sound rows


@dataclass(frozen=True)
class News:
    """What a look has found.

    Attributes:
        fresh: Keys of stages whose row is new, or another one than before.
        is_other: Whether rows went away, or sweeps were launched: then all that was made of the rows is void.
        is_more: Whether files were left for the next look.
    """

    fresh: frozenset[str] = frozenset()
    is_other: bool = False
    is_more: bool = False


class Follower:
    """The rows of one store, as of its last look.

    One thread looks; others may read meanwhile, as what they read is replaced and never changed. A stage that was
    committed, set aside and committed again with other bits between two looks keeps its old row.

    Attributes:
        committed: Rows of the table `stages` by key, without `config` and `weights_digest`.
        failed: The same of stages whose last attempt failed, and that are not committed.
        cells: Rows of the table `cells`.
    """

    def __init__(self, store: Store) -> None:
        """Look at nothing yet."""
        self.store, self.shelf = store, Shelf(store.files)
        self.committed: dict[str, Row] = {}
        self.failed: dict[str, Row] = {}
        self.cells: list[Row] = []
        self._launched: frozenset[str] = frozenset()
        self._without_rows: set[tuple[str, str]] = set()  # folder and key
        self._again = 0.0

    def look(self) -> News:
        """Read what is new.

        Raises:
            StoreError: the store cannot be read now, or not by this version.
        """
        self.store.check_readable()
        is_due = time.monotonic() >= self._again
        if is_due:
            self._again = time.monotonic() + AGAIN_S
            self._without_rows.clear()
        small_files, failures = small_names(self.store.files, "stages"), small_names(self.store.files, "failures")
        here = small_files | self.shelf.holding().rows()  # the small files first: what is merged meanwhile is in both
        gone = self.committed.keys() - here
        self.committed = {key: row for key, row in self.committed.items() if key in here} if gone else self.committed
        fresh, is_more = self._read_committed(small_files, here)
        forgotten = self.failed.keys() - failures - here
        fresh |= self._read_failed(failures - here, is_due)
        return News(frozenset(fresh), self._read_cells() or bool(gone) or bool(forgotten), is_more)

    def _read_committed(self, small_files: set[str], here: set[str]) -> tuple[set[str], bool]:
        """Read the rows that are new; their keys, and whether there are more."""
        wanted = here - self.committed.keys()
        files = self._with_rows("stages", wanted & small_files)
        merged = set(self._with_rows("merged", wanted - small_files))
        found = rows_of(small(self.store.files, "stages", "stages", files[:MOST_FILES]))
        if merged:
            found |= rows_of(gather(self.store.files, "stages", merged.__contains__))
        self._without_rows.update(("stages", key) for key in files[:MOST_FILES] if key not in found)
        self._without_rows.update(("merged", key) for key in merged if key not in found)
        self.committed = self.committed | found if found else self.committed
        return set(found), len(files) > MOST_FILES

    def _read_failed(self, failures: set[str], is_due: bool) -> set[str]:
        """Read the failures that are new, or all of them if that is due; keys of those that are other ones now."""
        known = {key: row for key, row in self.failed.items() if key in failures}
        wanted = self._with_rows("failures", failures if is_due else failures - known.keys())
        found = rows_of(small(self.store.files, "stages", "failures", wanted))
        self._without_rows.update(("failures", key) for key in wanted if key not in found)
        self.failed = known | found
        return {key for key, row in found.items() if known.get(key) != row}

    def _with_rows(self, folder: str, keys: Iterable[str]) -> list[str]:
        """Those of `keys`, sorted, that did not turn out to have no sound row there: the file was gone, or damaged."""
        return sorted(key for key in keys if (folder, key) not in self._without_rows)

    def _read_cells(self) -> bool:
        """Read the cells if a launch was added since; whether one was."""
        merged = (name for index in self.shelf.indexes("cells") for name in index.places)
        launched = frozenset(small_names(self.store.files, "cells").union(merged))
        if launched == self._launched:
            return False
        self.cells, self._launched = load(self.store.files, "cells").to_pylist(), launched
        return True

    def row(self, key: str) -> Row | None:
        """The row of a stage that is committed or failed."""
        return self.committed.get(key) or self.failed.get(key)


def rows_of(pieces: Pieces) -> dict[str, Row]:
    """Rows of the table `stages` by key."""
    rows: Iterable[Row] = (row for table in laid(pieces) for row in table.select(COLUMNS).to_pylist())
    return {row["key"]: row for row in rows}
