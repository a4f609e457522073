"""Progress tells people what a launch does: live on a terminal, in plain lines elsewhere, failures at once."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from orchestrator import Stage, Sweep
from orchestrator.backend import Settler
from orchestrator.files import log
from orchestrator.plan import plan
from orchestrator.progress import Progress, duration
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import made_sweep


class Shown:
    """A launch of `sweep` that a test drives by hand, on a clock of its own, and what is written meanwhile.

    Attributes:
        now: The clock, in seconds.
    """

    def __init__(self, sweep: Sweep, workers: int = 1, **console: Any) -> None:
        self.now = 0.0
        self.written = io.StringIO()
        self.progress = Progress(Console(file=self.written, **console), clock=lambda: self.now)
        self.plan = plan(sweep.trials())
        self.schedule = Schedule(self.plan.to_run, lambda stage: stage.config.work())
        cost = {stage.key: stage.config.work() for stage in self.plan.to_run}
        self.progress.begin(self.plan, self.schedule, cost, workers)

    def end(self, status: Status = Status.DONE, error: str | None = None, after: float = 10.0, **row: Any) -> Stage:
        """Hand out the next stage, and let it end `after` seconds."""
        stage = self.schedule.next_ready()
        self.now += after
        report = Report(stage.key, status, {**stage.config.stage_columns(), **row}, error)
        Settler(self.schedule, self.progress.report).settle(report)
        return stage

    def facts(self) -> dict[str, str]:
        return dict(self.progress.facts())

    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


ONE = {"lr": [0.1], "start": ["parent"]}  # a first and a second round under each of two seeds: 1 cell, 4 stages


def test_the_first_line_says_how_much_there_is_to_do() -> None:
    """The user sees before the first hour whether it is what was meant."""
    assert Shown(made_sweep(), workers=2).lines() == [
        "10 of 10 stages to run (12 without sharing), 0 done before; 2 at once."
    ]


def test_plain_lines_hold_no_escape_codes() -> None:
    """A batch system's log file would be unreadable."""
    shown = Shown(made_sweep())
    while not shown.schedule.is_over:
        shown.end(test_accuracy=0.5)
    shown.progress.end()

    assert len(shown.lines()) == 11
    assert re.fullmatch(r"[ -~\n]+", shown.written.getvalue())


def test_lines_are_not_more_frequent_than_every_five_seconds() -> None:
    """Ten thousand stages of a second each would drown their failures."""
    shown = Shown(made_sweep())

    for _ in range(9):
        shown.end(after=1.0)

    assert [line.split(";")[0] for line in shown.lines()[1:]] == ["done 1/10", "done 6/10"]


def test_the_last_line_is_always_written() -> None:
    """A log that ends in the middle looks like a launch that died."""
    shown = Shown(made_sweep(**ONE))

    for _ in range(4):
        shown.end(after=0.1)

    assert shown.lines()[-1].startswith("done 4/4; running 0; failed 0; cells left 0; time left 0 s")


def test_a_failure_is_told_at_once_with_its_settings() -> None:
    """Hours later the whole grid has failed for the same reason."""
    shown = Shown(made_sweep())
    shown.end(after=0.1)

    stage = shown.end(Status.FAILED, "ValueError: [bold]no[/bold] :warning: [Errno 2] " + "long " * 40, after=0.1)

    error, settings = shown.lines()[2:4]
    assert error == "failed: ValueError: [bold]no[/bold] :warning: [Errno 2] " + "long " * 40
    assert settings == (
        f"  stage {stage.key}: data=made, model=made, init=fresh, optimizer=made, regularizer=made, lr=0.5, "
        "batch_size=1, seed=1, round=0; 2 stages behind it are blocked. The rest goes on."
    )
    assert shown.facts()["failed"] == "1 (2 blocked)"


def test_an_interrupted_stage_is_no_failure() -> None:
    """Whoever pressed Ctrl-C must not look for a fault."""
    shown = Shown(made_sweep())

    shown.end(Status.INTERRUPTED)

    assert shown.facts()["failed"] == "0"
    assert shown.facts()["done"] == "0/10"


def test_no_more_stages_are_running_than_there_are_workers() -> None:
    """Ray is handed a few more, which wait in its queue."""
    shown = Shown(made_sweep(), workers=2)

    counts = [shown.facts()["running"]]
    for _ in range(4):
        shown.schedule.next_ready()
        counts.append(shown.facts()["running"])

    assert counts == ["0", "1", "2", "2", "2"]


def test_a_cell_is_left_until_all_its_seeds_are_done() -> None:
    """A mean over the seeds that happen to be there is not yet the cell's result."""
    shown = Shown(made_sweep(**ONE))
    left = [shown.facts()["cells left"]]

    for _ in range(4):
        shown.end()
        left.append(shown.facts()["cells left"])

    assert left == ["1", "1", "1", "1", "0"]


def test_cells_that_were_done_before_are_not_left() -> None:
    """The second launch of a grid has only its new cells to do."""
    trials = made_sweep().trials()
    done = {stage.key for trial in trials[:4] for stage in plan([trial]).stages}

    shown = Shown(made_sweep())
    again = plan(trials, done)
    shown.progress.begin(again, Schedule([], float), {}, 1)

    assert shown.facts()["cells left"] == "2"


def test_the_best_accuracy_is_that_of_reported_stages() -> None:
    """A first round is trained on half of the data; its accuracy is no cell's."""
    shown = Shown(made_sweep(**ONE))

    for accuracy in (0.99, 0.98, 0.625, 0.5):  # two first rounds, then two second ones
        shown.end(test_accuracy=accuracy)

    assert shown.facts()["best parent"] == "62.50 %"
    assert "best fresh" not in shown.facts()


def test_a_stage_without_an_accuracy_has_none() -> None:
    """A diverged network has none; 0 % would be a number that was not measured."""
    shown = Shown(made_sweep(start=["fresh"]))

    shown.end(Status.DIVERGED, test_accuracy=None)

    assert not [name for name in shown.facts() if name.startswith("best")]
    assert shown.facts()["diverged"] == "1"


@pytest.mark.parametrize("workers", [1, 3])
def test_time_left_is_what_the_rest_takes_at_the_speed_so_far(workers: int) -> None:
    """That is what decides whether to wait or to go home."""
    shown = Shown(made_sweep(), workers)
    assert shown.facts()["time left"] == "not known yet"

    shown.end(after=60.0)
    shown.end(after=0.0)

    assert shown.facts()["time left"] == "4 min 0 s"


def test_what_fails_or_is_blocked_is_not_taken_for_speed() -> None:
    """A stage that fails within a second would promise that the rest ends within seconds."""
    shown = Shown(made_sweep())
    shown.end(after=60.0)

    shown.end(Status.FAILED, "ValueError: no", after=0.0)

    assert shown.facts()["time left"] == duration(60 * (10 - 1 - 3))


def test_a_terminal_shows_a_live_view() -> None:
    """Someone who watches wants to see it move, not scroll."""
    shown = Shown(made_sweep(), force_terminal=True, width=80)
    shown.end(test_accuracy=0.75)
    shown.progress.stopping()
    shown.progress.end()

    assert "\x1b[" in shown.written.getvalue()
    assert re.search(r"done +1/10 .*time left +1 min 30 s", shown.written.getvalue(), re.DOTALL)
    assert "done 1/10;" not in shown.written.getvalue()


def test_what_is_logged_does_not_cut_through_the_live_view(capsys: pytest.CaptureFixture[str]) -> None:
    """A lost node that is drawn over at once is one that nobody hears of; and nothing is said twice."""
    shown = Shown(made_sweep(), force_terminal=True, width=80)

    log.warning("node %s is lost.", "far")
    said_twice = log.propagate
    shown.progress.end()
    log.warning("afterwards")

    assert shown.written.getvalue().count("warmgrid: node far is lost.") == 1
    assert "afterwards" not in shown.written.getvalue()
    assert (said_twice, log.propagate) == (False, True)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's shell window cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    shown = Shown(made_sweep(), force_terminal=True)
    shown.end()
    shown.progress.end()

    assert "done 1/10;" in shown.written.getvalue()


def test_a_stop_says_how_to_be_quicker() -> None:
    """A user who does not know that a stop takes an epoch reaches for kill -9."""
    shown = Shown(made_sweep())

    shown.progress.stopping()

    assert shown.lines()[-1].endswith("Ctrl-C again: now.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (47.99 * 3600, "47 h 59 min"),
        (50 * 3600, "2 d 2 h"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, words: str) -> None:
    """6,273.41 s has to be worked out first."""
    assert duration(seconds) == words
