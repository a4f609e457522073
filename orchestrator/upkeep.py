"""Upkeep: merges the small files of a store while a launch fills it and when it ends, beside the launch's own work.

Small files cost a reader about two milliseconds of work each: with 250 of them a query over `results` takes 0.4 s, with
2,000 it takes 4 s, and merged 0.1 s. To merge 2,000 takes 6 s of work, in a thread that holds up the hand-out of stages
by 30 ms at most once in a hundred times (2 cores, pyarrow 26). So a launch merges after each `EVERY` stages that it
committed, and at its end if there are `AT_END` small ones or more; the few files of a small launch stay as they are.
"""

from __future__ import annotations

import threading

from orchestrator.errors import SweepError
from orchestrator.files import log
from orchestrator.store import Store

EVERY = 2000  # stages
AT_END = 250  # stages
PATIENCE_S = 5.0  # of a user who waits for the prompt


class Upkeep:
    """Merges the small files of one store; what goes wrong with it is said, and is no fault of the launch."""

    def __init__(self, store: Store) -> None:
        """Begin nothing yet."""
        self._store = store
        self._committed = 0  # since the last time that files were merged
        self._thread: threading.Thread | None = None
        self._leave = threading.Event()

    def committed(self) -> None:
        """A stage was committed: from time to time, begin to merge; returns at once."""
        self._committed += 1
        if self._committed >= EVERY and (self._thread is None or not self._thread.is_alive()):
            self._begin()

    def end(self, *, in_haste: bool) -> None:
        """Wait until what was begun is done, and merge what is left, if that is enough; Ctrl-C leaves it as it is.

        Args:
            in_haste: Whether somebody waits for the process to end; then the rest is left to the next launch.
        """
        try:
            self._end(in_haste)
        except KeyboardInterrupt:
            self.hurry()
            self._wait()

    def hurry(self) -> None:
        """Leave what is not merged yet to the next launch; what waits in `end` goes on soon."""
        if not self._leave.is_set():
            log.warning("%s: small files are not all merged. The next launch goes on with it.", self._store.root)
        self._leave.set()

    def _end(self, in_haste: bool) -> None:
        """As `end`, once."""
        if in_haste:
            self._leave.set()
        self._wait()
        if not self._leave.is_set() and self._is_worth_it():
            self._begin()
            self._wait()

    def _wait(self) -> None:
        """Wait for the thread, if there is one; say so if it takes long, as in a bucket."""
        if self._thread is None:
            return
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive() and not self._leave.is_set():
            log.warning("%s: all stages are done; small files are being merged. Ctrl-C leaves that.", self._store.root)
        self._thread.join()

    def _is_worth_it(self) -> bool:
        """Whether there are many small files."""
        try:
            return len(self._store.files.list("stages")) >= AT_END
        except SweepError as error:
            self._say(error)
            return False

    def _begin(self) -> None:
        """Merge in a thread."""
        self._committed = 0
        self._thread = threading.Thread(target=self._merge, name="warmgrid-upkeep")
        self._thread.start()

    def _merge(self) -> None:
        """Merge, unless another process does so."""
        from orchestrator.compaction import compact_if_free

        try:
            compact_if_free(self._store.files, self._leave.is_set)
        except SweepError as error:
            self._say(error)

    def _say(self, error: SweepError) -> None:
        """Tell the user that files were not merged, and that it does no harm."""
        log.warning(
            "%s: small files were not merged: %s No result is lost, and queries are slower.", self._store.root, error
        )
