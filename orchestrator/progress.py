"""Progress: what a person sees while a launch runs; a live view on a terminal, plain lines elsewhere.

The live view is drawn by a thread of rich's. What it reads is replaced as a whole and never changed in
place, because a lock could be held by the very line of code that Ctrl-C interrupts to print something.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.files import log
from orchestrator.plan import Plan
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

LINE_EVERY_S = 5.0  # between two plain lines, failures excepted
TOLD = ("data_text", "model_text", "init_text", "optimizer_text", "regularizer_text", "lr", "batch_size")


@dataclass(frozen=True)
class Tally:
    """What a launch has done so far.

    Attributes:
        done: Stages committed in this launch, diverged ones included.
        diverged: Those of them that diverged.
        failed: Stages that raised.
        blocked: Stages that cannot run because of these.
        cells_left: Cells of which a reported stage is missing, for some seed.
        cost_done: Cost of the committed stages, in the schedule's unit.
        cost_left: Cost of the stages that may still be committed.
        best: Best test accuracy by init, of the stages reported in this launch.
    """

    done: int = 0
    diverged: int = 0
    failed: int = 0
    blocked: int = 0
    cells_left: int = 0
    cost_done: float = 0.0
    cost_left: float = 0.0
    best: Mapping[str, float] = field(default_factory=dict)


class Progress:
    """A `orchestrator.launch.Watcher` for people."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `console`, by default standard error, so that standard output stays for results."""
        from rich.console import Console

        self._console = console or Console(file=sys.stderr)
        self._clock = clock
        self._live: Live | None = None

    def begin(self, plan: Plan, schedule: Schedule, cost: Mapping[str, float], workers: int | None) -> None:
        """Start counting."""
        self._schedule, self._cost, self._workers = schedule, cost, workers
        self._began = self._clock()
        self._last_line = -LINE_EVERY_S
        self._total = len(plan.to_run)
        self._missing = missing_by_cell(plan)
        self._cells_of = inverted(self._missing)
        self._tally = Tally(cells_left=len(self._missing), cost_left=sum(cost.values()))
        at_once = "as many as the cluster has room for" if workers is None else workers
        self._say(
            f"{self._total} of {len(plan.stages)} stages to run ({plan.stages_without_sharing} without sharing), "
            f"{plan.done} done before; {at_once} at once."
        )
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._view)
            self._live.start()
            self._lines = Lines(self._say)

    def report(self, report: Report, blocked: Sequence[str]) -> None:
        """Count one stage; say at once if it failed."""
        self._tally = self._counted(report, blocked)
        if report.status is Status.FAILED:
            self._say(failure(report, len(blocked)))
        is_due = self._clock() - self._last_line >= LINE_EVERY_S
        if self._live is None and (is_due or self._schedule.is_over):
            self._last_line = self._clock()
            self._say("; ".join(f"{name} {value}" for name, value in self.facts()))

    def _counted(self, report: Report, blocked: Sequence[str]) -> Tally:
        tally, cost = self._tally, self._cost.get(report.key, 0.0)
        left = tally.cost_left - cost - sum(self._cost.get(key, 0.0) for key in blocked)
        return Tally(
            done=tally.done + report.status.is_final,
            diverged=tally.diverged + (report.status is Status.DIVERGED),
            failed=tally.failed + (report.status is Status.FAILED),
            blocked=tally.blocked + len(blocked),
            cells_left=tally.cells_left - (self._completed(report.key) if report.status.is_final else 0),
            cost_done=tally.cost_done + (cost if report.status.is_final else 0.0),
            cost_left=max(0.0, left),
            best=self._best(report),
        )

    def _completed(self, key: str) -> int:
        """How many cells have all their stages, now that `key` is committed."""
        cells = self._cells_of.get(key, [])
        for cell in cells:
            self._missing[cell].discard(key)
        return sum(not self._missing[cell] for cell in cells)

    def _best(self, report: Report) -> Mapping[str, float]:
        best, row = self._tally.best, report.row
        accuracy, init = row.get("test_accuracy"), row.get("init_text")
        if report.key not in self._cells_of or accuracy is None or init is None:
            return best
        return {**best, init: max(accuracy, best.get(init, 0.0))}

    def facts(self) -> list[tuple[str, str]]:
        """Name and value of all that is shown, in order."""
        tally = self._tally
        running = len(self._schedule.running)
        if self._workers is not None:
            running = min(running, self._workers)  # Ray is handed a few more, which wait in its queue
        blocked = f" ({tally.blocked} blocked)" if tally.blocked else ""
        facts = [("done", f"{tally.done}/{self._total}"), ("running", str(running))]
        facts += [("failed", f"{tally.failed}{blocked}")]
        facts += [("diverged", str(tally.diverged))] if tally.diverged else []
        facts += [("cells left", str(tally.cells_left)), ("time left", self._time_left())]
        return facts + [(f"best {init}", f"{100 * best:.2f} %") for init, best in sorted(tally.best.items())]

    def _time_left(self) -> str:
        """From the seconds that a unit of cost took so far, in this launch."""
        if not self._tally.cost_done:
            return "not known yet"
        return duration((self._clock() - self._began) * self._tally.cost_left / self._tally.cost_done)

    def _view(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, value in self.facts():
            table.add_row(Text(name), Text(value))
        return table

    def _say(self, text: str) -> None:
        """One line or more, as they are: brackets in an error are no markup, and nothing is wrapped."""
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def stopping(self) -> None:
        """Say that workers are saving, and how to be quicker."""
        self._say("Stopping: running stages save a checkpoint at the end of their epoch. Ctrl-C again: now.")

    def end(self) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._lines.close()
            self._live.stop()
            self._live = None


class Lines(logging.Handler):
    """While it is open, what is logged of nodes, workers and tries goes above the live view, not through it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Take over from the handlers above."""
        super().__init__()
        self._say = say
        log.addHandler(self)
        log.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message."""
        self._say(f"warmgrid: {record.getMessage()}")

    def close(self) -> None:
        """Give back."""
        log.removeHandler(self)
        log.propagate = True
        super().close()


def missing_by_cell(plan: Plan) -> dict[str, set[str]]:
    """Keys of the reported stages that must run, by cell; complete cells are left out."""
    waiting = {stage.key for stage in plan.to_run}
    missing: dict[str, set[str]] = {}
    for trial in plan.trials:
        keys = {stage.key for stage in trial.stages} & waiting
        if keys:
            missing.setdefault(repr(sorted(trial.cell.items())), set()).update(keys)
    return missing


def inverted(sets: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Names of the sets that hold each key."""
    names: dict[str, list[str]] = {}
    for name, keys in sets.items():
        for key in keys:
            names.setdefault(key, []).append(name)
    return names


def failure(report: Report, blocked: int) -> str:
    """What a person needs to know of a failed stage: the error, its settings, and what it holds up."""
    behind = f"; {blocked} stages behind it are blocked" if blocked else ""
    return f"failed: {report.error}\n  stage {report.key}: {settings(report.row)}{behind}. The rest goes on."


def settings(row: Mapping[str, object]) -> str:
    """What a person tells a stage by, from its row of the table `stages`."""
    return ", ".join(f"{name.removesuffix('_text')}={row.get(name)}" for name in (*TOLD, "seed", "round"))


def duration(seconds: float) -> str:
    """`seconds` in words, with two units at most: ``2 h 5 min``, ``48 s``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
