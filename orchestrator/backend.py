"""Backend: the contract of what executes stages, and the in-process one, the debugger's friend."""

from __future__ import annotations

import abc
import contextlib
import heapq
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial

from orchestrator.files import log
from orchestrator.pack import Pack
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report

OnReport = Callable[[Report, list[str]], None]
Note = Callable[..., None]  # kind of an event, and its facts by name
BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
LONGEST_WAIT_S = 8.0  # between two looks at a stage that another worker holds
LOOK_AGAIN_S = 0.1  # at whether the launch was stopped, while all that is left is postponed


class Backend(abc.ABC):
    """Executes the stages of a schedule.

    A backend hands out what the schedule gives it, runs it with an `orchestrator.pack.Pack`,
    and settles every report with a `Settler`. The store, not the backend, knows what is done: a
    backend that dies in the middle loses nothing but the epochs since the last checkpoints.
    """

    @property
    @abc.abstractmethod
    def workers(self) -> int | None:
        """How many stages run at once; None where a cluster decides."""

    @abc.abstractmethod
    def run(self, schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> None:
        """Run all that is ready and becomes ready; return when the schedule is over.

        Args:
            schedule: What to hand out; `Schedule.stop` makes this method return early.
            store: Where stages are committed.
            options: Passed to the workers as they are.
            on_report: Called in this process for each stage that ends in this launch, with its last
                report and the keys of the descendants that it blocks.
        """


def nothing(_kind: str, **_facts: object) -> None:
    """In place of a store that keeps events."""


class Settler:
    """Tells the schedule and the user what became of each stage, and which are handed out again, and when.

    A stage that another worker holds, or whose own worker must leave, is postponed for as long as its report
    says, longer each time; a stage that raised is postponed `retries` times, for about 1 s, 2 s, 4 s, ...
    Only what ends a stage in this launch reaches `on_report`. O(log n) a report, whatever waits.
    """

    def __init__(
        self,
        schedule: Schedule,
        on_report: OnReport,
        *,
        retries: int = 0,
        note: Note = nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Settle the stages of `schedule`; `note` is told of what is tried again, `clock` gives seconds."""
        self.schedule = schedule
        self._on_report, self._retries, self._note, self._clock = on_report, retries, note, clock
        self._failures: Counter[str] = Counter()
        self._waits: Counter[str] = Counter()
        self._due: list[tuple[float, str]] = []
        self._has_said_who = False

    def settle(self, report: Report) -> None:
        """Finish, postpone or fail the stage that a worker let go of."""
        key, is_failed = report.key, report.status is Status.FAILED
        if self.schedule.is_stopped:
            self._end(report)
        elif report.status is Status.INTERRUPTED and report.again_s is not None:
            self._look_again(key, report.again_s)
        elif is_failed and report.retry and self._failures[key] < self._retries:
            self._try_again(report)
        else:
            self._end(report)

    def _look_again(self, key: str, again_s: float) -> None:
        """Postpone a stage that its worker could not train, for longer each time; say once why nothing goes on."""
        seconds = min(again_s * 2.0 ** min(self._waits[key], 16), max(again_s, LONGEST_WAIT_S))
        self._waits[key] += 1
        self._postpone(key, seconds)
        if seconds == LONGEST_WAIT_S and not self._has_said_who:
            self._has_said_who = True
            text = (
                "stage %s is still held by another worker, of another launch or lost with its machine; looking again."
            )
            log.warning(text, key)

    def _end(self, report: Report) -> None:
        """The stage is over in this launch."""
        blocked: list[str] = []
        if report.status.is_final:
            self.schedule.finish(report.key)
        else:
            blocked = self.schedule.fail(report.key)
        self._on_report(report, blocked if report.status is Status.FAILED else [])

    def _try_again(self, report: Report) -> None:
        """Postpone a stage that raised, and say so."""
        key = report.key
        self._failures[key] += 1
        failures, seconds = self._failures[key], backoff(key, self._failures[key])
        self._postpone(key, seconds)
        which = f"try {failures + 1} of {self._retries + 1} in {seconds:.0f} s"
        log.warning("stage %s failed: %s. It goes on from its last checkpoint, %s.", key, report.error, which)
        self._note("retried", key=key, error=report.error, failures=failures, again_s=round(seconds, 1))

    def _postpone(self, key: str, seconds: float) -> None:
        self.schedule.postpone(key)
        heapq.heappush(self._due, (self._clock() + seconds, key))

    def due(self) -> int:
        """Hand back the postponed stages whose time has come; how many they were."""
        count = 0
        while self._due and self._due[0][0] <= self._clock():
            self.schedule.hand_back(heapq.heappop(self._due)[1])
            count += 1
        return count

    def next_due(self) -> float | None:
        """Seconds until `due` will hand something back, at least 0; None if nothing is postponed."""
        return max(0.0, self._due[0][0] - self._clock()) if self._due else None


def backoff(key: str, failures: int) -> float:
    """Seconds before the next try of a stage that raised `failures` times: 1, 2, 4, ... to 60, a quarter more or less.

    What is added is drawn from the key, so that stages that failed together do not come back together.
    """
    drawn = zlib.crc32(f"{key} {failures}".encode()) / 2**32
    return min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures - 1, 16) * (0.75 + 0.5 * drawn))


def settler(schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> Settler:
    """The settler of one launch, whose events go into `store`."""
    note = partial(store.note_event, launch=options.launch, sweep=options.sweep)
    return Settler(schedule, on_report, retries=options.retries, note=note)


class InProcessBackend(Backend):
    """One pack of stages in this process, by default one stage after the other; a debugger can step in."""

    workers = 1

    def run(self, schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> None:
        """See `Backend.run`."""
        settles = settler(schedule, store, options, on_report)
        with contextlib.closing(Pack(store, options, options.pack_size)) as pack:
            while not schedule.is_over:
                settles.due()
                while pack.room and (stage := schedule.next_ready()) is not None:
                    pack.add([Handout.of(stage)])
                for report in pack.turn():
                    settles.settle(report)
                if pack.is_empty and not schedule.ready and (wait := settles.next_due()) is not None:
                    time.sleep(min(wait, LOOK_AGAIN_S))  # and look whether the launch was stopped meanwhile
