"""Pack: several stages that train in one process by turns, and those that wait in it; it decides on no stage's end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace

from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report, stage_turns

NAP_S = 1e-4  # while all stages wait for their device


@dataclass
class Running:
    """A stage that has begun.

    Attributes:
        context: In which all its turns are taken.
        began: When it took its place, by this process' clock.
    """

    key: str
    turns: Generator[bool, None, Report]
    context: Context = field(default_factory=copy_context)
    began: float = field(default_factory=time.monotonic)


class Pack:
    """Stages of one process: some run, one turn after the other, the others wait for a place.

    Each ends by its own rule, and the next one takes its place at once. What one raises is its own failure.
    """

    def __init__(self, store: Store, options: Options, width: int) -> None:
        """Run up to `width` stages at a time."""
        self._store, self._options, self.width = store, options, width
        self._waiting: deque[Handout] = deque()
        self._running: list[Running] = []

    def add(self, handouts: Iterable[Handout]) -> None:
        """Have these run too, after those that wait already."""
        self._waiting.extend(handouts)

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs or waits."""
        return not (self._running or self._waiting)

    @property
    def room(self) -> int:
        """How many more could run at once."""
        return max(0, self.width - len(self._running) - len(self._waiting))

    @property
    def has_waiting(self) -> bool:
        """Whether a stage that ended was followed by another one at once."""
        return bool(self._waiting)

    def turn(self) -> list[Report]:
        """Give each stage that runs a turn, and fill free places first; the reports of those that ended with it."""
        while self._waiting and len(self._running) < self.width:
            handout = self._waiting.popleft()
            self._running.append(Running(handout.key, stage_turns(handout, self._store, self._options)))
        reports, has_worked = [], False
        for stage in list(self._running):
            try:
                has_worked |= stage.context.run(next, stage.turns)
            except StopIteration as end:
                self._running.remove(stage)
                reports.append(replace(end.value, held_s=time.monotonic() - stage.began))
        if any(report.status is Status.INTERRUPTED and report.again_s is None for report in reports):
            reports += [Report(handout.key, Status.INTERRUPTED) for handout in self._waiting]  # the launch is stopped
            self._waiting.clear()
        if not reports and not has_worked:
            time.sleep(NAP_S)
        return reports

    def close(self) -> None:
        """End what runs, without a word: as if the process died, but that leases are given back."""
        for stage in self._running:
            stage.context.run(stage.turns.close)
        self._running.clear()
        self._waiting.clear()
