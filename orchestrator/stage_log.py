"""Stage log: the last lines that were logged while a stage ran, kept in memory and written once; it decides nothing."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InterruptedStage
from orchestrator.files import log

if TYPE_CHECKING:
    from orchestrator.store import Store

LINES = 200  # that are kept, the last ones
LONGEST = 500  # characters of a line, so that a log never has more than 100 KB
TOLD = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "train_seconds")  # of each epoch


class StageLog:
    """The last lines of one stage, each with its time in UTC.

    Attributes:
        lines: Oldest first.
    """

    def __init__(self, before: Sequence[str] = ()) -> None:
        """Go on after the lines of the attempts `before`."""
        self.lines: deque[str] = deque(before, LINES)

    def say(self, text: str) -> None:
        """Keep `text`, of one line or more."""
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z"
        self.lines.extend(f"{now} {line[:LONGEST]}" for line in text.splitlines())

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Keep what was measured in an epoch; `row` is of the table `epochs`."""
        measured = (f"{name} {row[name]:.4g}" for name in TOLD if row.get(name) is not None)
        self.say(f"epoch {row['epoch']}: {', '.join(measured)}")


@contextlib.contextmanager
def kept_log(store: Store, key: str, *, attempts: int) -> Iterator[StageLog]:
    """The log of one attempt at a stage, kept in the store once the stage ends, fails or is handed back.

    A worker that dies, or has lost its stage to another one, keeps nothing.

    Args:
        attempts: Which one this is, from 1; the lines of those before stay.
    """
    told = StageLog(store.log_lines(key) if attempts > 1 else ())
    with listening(told):
        try:
            yield told
        except InterruptedStage as stopped:
            told.say(f"handed back: {stopped}")
            store.keep_log(key, told.lines)
            raise
    store.keep_log(key, told.lines)


@contextlib.contextmanager
def listening(told: StageLog) -> Iterator[None]:
    """Let `told` have what any library logs meanwhile from INFO on; nobody else hears more or less than before.

    Of several logs that listen at the same time, each has what is logged in its own `contextvars.Context`.
    """
    EAR.listen(told)
    before = WHOSE.get()
    WHOSE.set(told)
    try:
        yield
    finally:
        WHOSE.set(before)  # not by a token: what is closed after a Ctrl-C is closed in another context
        EAR.leave(told)


class Ear(logging.Handler):
    """The one handler of all stages that this process runs; it is there as long as there are any."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self._logs: list[StageLog] = []
        self._undo = contextlib.ExitStack()

    def listen(self, told: StageLog) -> None:
        """`told` is one of those that may be meant."""
        with self._of_all():
            if not self._logs:
                self._attach()
            self._logs.append(told)

    def leave(self, told: StageLog) -> None:
        """`told` is not meant any more; with the last one everything is as before."""
        with self._of_all():
            self._logs.remove(told)
            if not self._logs:
                self._undo.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line where it belongs; what comes from another thread belongs to the only stage, if it is the only."""
        told = WHOSE.get() or (self._logs[0] if len(self._logs) == 1 else None)
        if told is not None:
            told.say(self.format(record))

    @contextlib.contextmanager
    def _of_all(self) -> Iterator[None]:
        """One thread at a time."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _attach(self) -> None:
        """Hear all; INFO is asked for only where no other handler would print it too, as a notebook's may."""
        root, level = logging.getLogger(), logging.getLogger().level
        loggers = [root] if log.propagate else [root, log]  # a live view has taken `log` over
        others = [] if root.handlers or logging.lastResort is None else [logging.lastResort]  # steps back for any other
        self._undo.callback(root.setLevel, level)
        if all(other.level > logging.INFO for other in (*root.handlers, *others)):
            root.setLevel(min(level, logging.INFO))
        for logger, handler in [(root, other) for other in others] + [(logger, self) for logger in loggers]:
            logger.addHandler(handler)
            self._undo.callback(logger.removeHandler, handler)


WHOSE: ContextVar[StageLog | None] = ContextVar("warmgrid_stage_log", default=None)
EAR = Ear()
