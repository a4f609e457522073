"""Watch: what the page is told, kept up to date by two threads while somebody looks; answers at once with what it has.

One thread follows the rows, the other makes what takes longer: a sweep's `overview`. Neither does anything once nobody
has asked for a while.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.live.follow import Follower, Row
from orchestrator.live.models import COLUMNS, Models, by_sweep
from orchestrator.live.overviews import Overviews
from orchestrator.store import Store

if TYPE_CHECKING:
    from orchestrator.live.follow import News

EVERY_S = {"folder": 1.0, "bucket": 5.0}  # between two looks; each costs a bucket some requests, which cost money
IDLE = 9  # times as long as it took, a thread rests after its work, or longer
NOBODY_S = 60.0  # without a question for so long, nobody looks at the page
OVERVIEW_EVERY_S = 3.0


class Watch:
    """What one store holds, for the page.

    Attributes:
        store: As it is named in messages; every thread reads through a store of its own.
        overviews: Makes the overviews, and finds sweeps.
    """

    def __init__(self, root: str, own: str | None = None) -> None:
        """Read nothing yet.

        Args:
            root: Of the store.
            own: As `Overviews` takes it.
        """
        self.store = Store(root)
        self._follower, self.overviews = Follower(Store(root)), Overviews(Store(root), own)
        self._lock, self._asked, self._ended = threading.Condition(), dict[str, float](), False
        self._models: dict[str, Models] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        self._life, self._changes, self._trouble, self._looked_at = uuid.uuid4().hex, 0, "", 0.0
        self._is_whole, self._fault = False, ""
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Watch:
        """Start looking."""
        for work in (self._follow, self._oversee):
            self._threads.append(threading.Thread(target=self._told, args=(work,), name=work.__name__, daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after what is being read now."""
        with self._lock:
            self._ended = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(timeout=2)

    # What is asked.

    def news(self, sweep: str, life: str, since: int) -> dict[str, Any]:
        """All that the page shows by itself of `sweep`: of its models, those that became known after the first `since`.

        Args:
            sweep: Its name; of none, or one that the store does not hold, nothing but which sweeps there are.
            life: What the last answer called the list of models; of another one, the whole list is told.
        """
        with self._lock:
            self._asked[sweep] = time.monotonic()
            self._lock.notify_all()
            models = self._models.get(sweep)
            found = {
                "store": self.store.root,
                "life": self._life,
                "changes": self._changes,
                "looked_at": self._looked_at,
                "is_whole": self._is_whole,
                "trouble": self._fault or self._trouble,
                "sweeps": [{"name": name, "latest": one.latest} for name, one in self._models.items()],
            }
            if models is not None:
                since = since if life == self._life else 0
                found |= {"sweep": sweep, "planned": models.planned, "counts": models.counts()}
                found |= {"columns": [*COLUMNS, *(axis.name for axis in models.axes)], "models": models.entries[since:]}
                found |= {"known": len(models.entries), "axes": [axis.facts() for axis in models.axes]}
                found |= {"progress": self._progress.get(sweep)}
        return found

    def row(self, key: str) -> Row | None:
        """The row of a stage that is committed or failed."""
        return self._follower.row(key)

    def lineage(self, row: Row) -> tuple[list[Row], list[Row]]:
        """The rows of a stage's ancestors, the nearest first, and of its children, as far as they ran."""
        above, seen = list[Row](), {row["key"]}  # in a made-up store a stage may descend from itself
        while (parent := self.row((above[-1] if above else row)["parent"] or "")) and parent["key"] not in seen:
            above.append(parent)
            seen.add(parent["key"])
        rows = [*self._follower.committed.values(), *self._follower.failed.values()]
        return above, [one for one in rows if one["parent"] == row["key"]]

    def models(self, sweep: str) -> Models | None:
        """The models of a sweep, None if the store does not hold it."""
        with self._lock:
            return self._models.get(sweep)

    @property
    def changes(self) -> int:
        """How often something was new; what was computed from the rows holds as long as this does."""
        return self._changes

    # What the threads do.

    def _told(self, work: Callable[[], None]) -> None:
        """Do the work of one thread; where a fault of ours ends it, the page, which then stands still, says so."""
        try:
            work()
        except BaseException as error:
            self._fault = (
                f"A fault of warmgrid or in the store: {error!r}. What is shown is not renewed any more. What led to "
                f"it is in the terminal of `warmgrid serve`, which has to be started again."
            )
            raise

    def _follow(self) -> None:
        """Look for new rows as long as somebody asks."""
        every_s = EVERY_S["bucket" if "://" in self.store.root else "folder"]
        while self._is_asked():
            began = time.monotonic()
            is_more = self._look()
            self._pause(0.0 if is_more else max(every_s, (time.monotonic() - began) * IDLE))

    def _look(self) -> bool:
        """Look once; whether there is more to read at once."""
        try:
            news = self._follower.look()
        except (SweepError, OSError) as error:
            with self._lock:
                self._trouble = str(error)
            return False
        with self._lock:
            self._take(news)
            self._trouble, self._looked_at, self._is_whole = "", time.time(), not news.is_more
        return news.is_more

    def _take(self, news: News) -> None:
        """Add what is new to the models."""
        follower = self._follower
        if news.is_other:
            self._models, self._life = by_sweep(follower.cells), uuid.uuid4().hex
        for key in [*follower.committed, *follower.failed] if news.is_other else news.fresh:
            row = follower.row(key)
            for models in self._models.values():
                if row is not None and key in models.keys:
                    models.add(row)
        self._changes += bool(news.is_other or news.fresh)

    def _oversee(self) -> None:
        """Make the overview of each sweep that somebody asks for."""
        while self._is_asked():
            began = time.monotonic()
            with self._lock:
                sweeps = [sweep for sweep in self._asked if sweep in self._models] if self._is_whole else []
            for sweep in sweeps:
                facts = self.overviews.of(sweep, self._follower, self.models(sweep))
                with self._lock:
                    self._progress[sweep] = facts
            self._pause(max(OVERVIEW_EVERY_S, (time.monotonic() - began) * IDLE), self._is_new)

    def _is_new(self) -> bool:
        """Whether somebody asks for a sweep of which there is no overview yet."""
        return self._is_whole and any(sweep in self._models and sweep not in self._progress for sweep in self._asked)

    def _pause(self, seconds: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Wait, unless it is urgent or the end."""
        with self._lock:
            self._lock.wait_for(lambda: self._ended or is_urgent(), seconds)

    def _is_asked(self) -> bool:
        """Wait until somebody asks; False at the end."""
        with self._lock:
            self._lock.wait_for(lambda: self._ended or bool(self._recent()))
            return not self._ended

    def _recent(self) -> dict[str, float]:
        """Sweeps that were asked for lately."""
        begin = time.monotonic() - NOBODY_S
        self._asked = {sweep: asked for sweep, asked in self._asked.items() if asked >= begin}
        return self._asked
