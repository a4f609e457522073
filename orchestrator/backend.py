"""Backend: the contract of what executes stages, and the in-process one, the debugger's friend."""

from __future__ import annotations

import abc
from collections.abc import Callable

from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report, run_stage


class Backend(abc.ABC):
    """Executes the stages of a schedule.

    A backend hands out what the schedule gives it, runs it with `orchestrator.worker.run_stage`,
    and settles every report with `settle`. The store, not the backend, knows what is done: a
    backend that dies in the middle loses nothing but the epochs since the last checkpoints.
    """

    @property
    @abc.abstractmethod
    def workers(self) -> int | None:
        """How many stages run at once; None where a cluster decides."""

    @abc.abstractmethod
    def run(
        self, schedule: Schedule, store: Store, options: Options, on_report: Callable[[Report, list[str]], None]
    ) -> None:
        """Run all that is ready and becomes ready; return when the schedule is over.

        Args:
            schedule: What to hand out; `Schedule.stop` makes this method return early.
            store: Where stages are committed.
            options: Passed to the workers as they are.
            on_report: Called in this process for each stage that a worker lets go of, with its
                report and the keys of the descendants that it blocks.
        """


def settle(schedule: Schedule, report: Report, on_report: Callable[[Report, list[str]], None]) -> None:
    """Tell the schedule and the user what became of one stage."""
    blocked: list[str] = []
    if report.status.is_final:
        schedule.finish(report.key)
    else:
        blocked = schedule.fail(report.key)
    on_report(report, blocked if report.status is Status.FAILED else [])


class InProcessBackend(Backend):
    """One stage after the other in this process: no start-up, and a debugger can step in."""

    workers = 1

    def run(
        self, schedule: Schedule, store: Store, options: Options, on_report: Callable[[Report, list[str]], None]
    ) -> None:
        """See `Backend.run`."""
        while (stage := schedule.next_ready()) is not None:
            settle(schedule, run_stage(Handout.of(stage), store, options), on_report)
