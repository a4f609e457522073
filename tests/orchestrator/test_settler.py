"""Whatever a worker says of a stage is settled once: finished, failed, or handed out again when its time has come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import backend
from orchestrator.backend import Settler, backoff
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Report
from tests.orchestrator.trees import tree


class Bench:
    """A schedule of stages that a test settles by hand, on a clock of its own.

    Attributes:
        told: What the user hears: status and blocked stages.
        noted: Events.
    """

    def __init__(self, parents: list[int | None], retries: int = 2) -> None:
        self.now, self.told, self.noted = 0.0, [], []
        self.schedule = Schedule(tree(parents), lambda _: 1.0)
        self.settler = Settler(
            self.schedule,
            lambda report, blocked: self.told.append((report.status, blocked)),
            retries=retries,
            note=lambda kind, **facts: self.noted.append({"kind": kind, **facts}),
            clock=lambda: self.now,
        )

    def end(self, status: Status, **said: Any) -> str:
        """Hand out the next stage, and settle it."""
        key = self.schedule.next_ready().key
        self.settler.settle(Report(key, status, **said))
        return key

    def wait(self) -> float:
        """Let time go on until something is due; how long that was."""
        seconds = self.settler.next_due()
        self.now += seconds
        assert self.settler.due() == 1
        return seconds


def test_a_stage_that_raised_is_tried_again_later_and_later() -> None:
    """What hindered it, a full node say, needs time to pass."""
    bench = Bench([None], retries=4)

    waits = []
    for _ in range(4):
        bench.end(Status.FAILED, error="e", retry=True)
        waits.append(bench.wait())

    assert all(0.75 <= wait / 2**tries <= 1.25 for tries, wait in enumerate(waits))
    assert bench.told == []


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_stage_that_always_raises_fails_after_its_retries(retries: int) -> None:
    """One more or fewer, and the option lies; without an end, a broken cell trains for ever."""
    bench = Bench([None, 0], retries=retries)

    for _ in range(retries):
        bench.end(Status.FAILED, error="e", retry=True)
        bench.wait()
    key = bench.end(Status.FAILED, error="e", retry=True)

    assert bench.told == [(Status.FAILED, bench.schedule.children[key])]
    assert bench.schedule.is_over
    assert [(event["kind"], event["key"], event["failures"]) for event in bench.noted] == [
        ("retried", key, failures) for failures in range(1, retries + 1)
    ]


def test_a_failure_that_says_what_is_wrong_is_not_tried_again() -> None:
    """A missing data set is missing also after four seconds."""
    bench = Bench([None])

    bench.end(Status.FAILED, error="the data are missing", retry=False)

    assert bench.told == [(Status.FAILED, [])]
    assert bench.settler.next_due() is None


def test_nothing_is_due_before_its_time() -> None:
    """A back-off that does not hold is a loop."""
    bench = Bench([None])
    bench.end(Status.INTERRUPTED, again_s=1.0)

    bench.now = 0.99

    assert (bench.settler.due(), bench.schedule.ready) == (0, 0)
    bench.now = 1.0
    assert (bench.settler.next_due(), bench.settler.due(), bench.schedule.ready) == (0.0, 1, 1)
    assert bench.settler.next_due() is None


def test_a_held_stage_is_looked_at_again_less_and_less_often() -> None:
    """Another worker may hold it for hours, and each look is a trial of Ray's."""
    bench = Bench([None])

    waits = []
    for _ in range(1200):
        bench.end(Status.INTERRUPTED, again_s=1.0)
        waits.append(bench.wait())

    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert set(waits[4:]) == {8.0}


def test_a_long_wait_for_another_worker_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A launch that does nothing for an hour looks dead, and one line for each look hides all others."""
    bench = Bench([None, None])
    for _ in range(20):
        bench.end(Status.INTERRUPTED, again_s=1.0)
        bench.end(Status.INTERRUPTED, again_s=1.0)
        bench.now += 10
        bench.settler.due()

    assert caplog.text.count("is still held by another worker") == 1


def test_a_report_may_ask_for_a_longer_wait() -> None:
    """It knows better."""
    bench = Bench([None])
    bench.end(Status.INTERRUPTED, again_s=100.0)

    assert bench.wait() == 100.0


def test_waiting_for_another_worker_is_no_failure() -> None:
    """A stage that was held twice would have no try left."""
    bench = Bench([None], retries=1)
    for _ in range(3):
        bench.end(Status.INTERRUPTED, again_s=1.0)
        bench.wait()

    bench.end(Status.FAILED, error="e", retry=True)

    assert (bench.told, bench.wait() < 2) == ([], True)


def test_after_a_stop_everything_ends_as_it_is() -> None:
    """Ctrl-C would wait for a stage that nobody hands out again."""
    bench = Bench([None, None, None])
    running = [bench.schedule.next_ready().key for _ in range(3)]
    bench.settler.settle(Report(running[0], Status.INTERRUPTED, again_s=1.0))
    bench.schedule.stop()

    bench.settler.settle(Report(running[1], Status.INTERRUPTED, again_s=1.0))
    bench.settler.settle(Report(running[2], Status.FAILED, error="e", retry=True))

    assert bench.told == [(Status.INTERRUPTED, []), (Status.FAILED, [])]
    assert bench.schedule.is_over


@given(st.text(), st.integers(1, 5000))
def test_a_backoff_is_between_nothing_and_a_minute_and_the_same_each_time(key: str, failures: int) -> None:
    """A day's wait is a stage that never ends."""
    assert 0.75 <= backoff(key, failures) == backoff(key, failures) <= backend.LONGEST_BACKOFF_S


def test_stages_that_failed_together_come_back_apart() -> None:
    """All at once they would fill the node again that they have filled."""
    assert len({backoff(f"key {i}", 1) for i in range(100)}) == 100
