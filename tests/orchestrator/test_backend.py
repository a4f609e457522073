"""The in-process backend runs what the schedule hands out, one stage after the other, and settles each once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import Stage, Store
from orchestrator.backend import InProcessBackend
from orchestrator.plan import plan
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Options, Report
from tests.orchestrator.fake_trainer import Lab, Walk, made_sweep


class Run:
    """One run of stages in this process.

    Attributes:
        reports: What workers said, in order.
        blocked: Keys that were blocked, in order.
        options: Of all workers; by default nothing is tried again.
    """

    def __init__(self, folder: Path) -> None:
        self.store, self.lab = Store(str(folder / "store")), Lab(folder)
        self.reports: list[Report] = []
        self.blocked: list[str] = []
        self.options = Options("t", str(folder), checkpoint_every_s=0.0, retries=0)

    def run(self, stages: list[Stage], then: Callable[[Schedule], object] = bool) -> Schedule:
        """Run `stages`; `then` is called after each report."""
        schedule = Schedule(stages, lambda stage: stage.config.work())

        def on_report(report: Report, blocked: list[str]) -> None:
            self.reports.append(report)
            self.blocked.extend(blocked)
            then(schedule)

        InProcessBackend().run(schedule, self.store, self.options, on_report)
        return schedule

    def statuses(self) -> list[tuple[str, Status]]:
        return [(report.key, report.status) for report in self.reports]


@pytest.fixture
def here(tmp_path: Path) -> Run:
    """A store and a lab of the test's own."""
    return Run(tmp_path)


def chain(count: int) -> list[Stage]:
    """Stages of which each starts from the one before."""
    stages = [Stage(Walk())]
    for i in range(1, count):
        stages.append(Stage(Walk(round=i), stages[-1]))
    return stages


def test_every_stage_is_committed_and_reported_once(here: Run) -> None:
    """The debugger's friend must compute the same grid as the cluster."""
    stages = list(plan(made_sweep().trials()).to_run)

    assert here.run(stages).is_over

    assert sorted(here.statuses()) == sorted((stage.key, Status.DONE) for stage in stages)
    assert here.store.committed() == {stage.key for stage in stages}


def test_a_failure_blocks_what_is_behind_it_and_the_rest_goes_on(here: Run) -> None:
    """One poisoned stage must not end a night's launch."""
    (first, *behind), other = chain(3), Stage(Walk(seed=9))
    here.lab.spoil("raise", epoch=1, seed=0, round=0)

    schedule = here.run([first, *behind, other])

    assert here.statuses() == [(first.key, Status.FAILED), (other.key, Status.DONE)]
    assert set(here.blocked) == schedule.blocked == {stage.key for stage in behind}


def test_a_diverged_parent_is_a_result(here: Run) -> None:
    """Its children run: what a warm start from NaN does is the experiment's business."""
    stages = chain(2)
    here.lab.spoil("diverge", epoch=1, round=0)

    here.run(stages)

    assert here.statuses()[0] == (stages[0].key, Status.DIVERGED)
    assert len(here.reports) == 2


def test_after_a_stop_the_next_stage_does_not_begin(here: Run) -> None:
    """Ctrl-C while the last epoch of a parent runs must not start its children."""
    stages = chain(3)

    here.run(stages, then=Schedule.stop)

    assert here.statuses() == [(stages[0].key, Status.DONE)]


def test_an_interrupted_stage_blocks_nothing_in_the_eyes_of_the_user(here: Run) -> None:
    """Interrupted is not failed: a summary that says so would send users looking for a fault."""
    stages = chain(2)
    here.store.request_stop("t")

    schedule = here.run(stages)

    assert here.statuses() == [(stages[0].key, Status.INTERRUPTED)]
    assert here.blocked == []
    assert schedule.is_over


def test_it_runs_one_stage_at_a_time() -> None:
    """Progress divides by it."""
    assert InProcessBackend().workers == 1
