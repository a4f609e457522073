"""A worker's process runs what it is fed and says what ended, without its driver's having to wait or to ask often."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Stage, Store, ray_trial
from orchestrator.ray_trial import Runner, packed, unpacked
from orchestrator.seam import Status
from orchestrator.worker import Handout, Options, Report
from tests.orchestrator import turns_trainer
from tests.orchestrator.fake_trainer import Lab, Walk
from tests.orchestrator.turns_trainer import Stroll

LONG_S = 60.0


@pytest.fixture
def runner_of(store: Store, lab: Lab) -> Callable[..., Runner]:
    """Makes a runner of packs of some width."""

    def make(width: int = 1, pause_s: float = 0.05) -> Runner:
        return Runner(store, Options("t", str(lab.folder), checkpoint_every_s=LONG_S, pack_size=width), pause_s)

    return make


def fed(runner: Runner, *configs: Walk) -> list[str]:
    """Feed stages of these configs; their keys."""
    stages = [Stage(config) for config in configs]
    runner.feed([Handout.of(stage) for stage in stages])
    return [stage.key for stage in stages]


def ended(runner: Runner, count: int) -> list[tuple[str, Status]]:
    """What it reports of so many stages."""
    found: list[tuple[str, Status]] = []
    while len(found) < count:
        found += [(report.key, report.status) for report in runner.reports()]
    return found


def test_stages_are_reported_as_they_end(runner_of: Callable[..., Runner]) -> None:
    """In the order in which they were handed out; the most urgent one goes first."""
    runner = runner_of()
    keys = fed(runner, *(Walk(seed=seed) for seed in range(3)))

    assert ended(runner, 3) == [(key, Status.DONE) for key in keys]


def test_short_stages_are_reported_together(runner_of: Callable[..., Runner]) -> None:
    """A driver that hears of each by itself is the slowest part of a sweep of short ones."""
    runner = runner_of(pause_s=LONG_S)
    fed(runner, *(Walk(seed=seed) for seed in range(3)))

    assert len(runner.reports()) >= 2  # of the last one it is told as soon as nothing waits behind it


def test_an_end_is_reported_while_the_next_stage_runs(
    runner_of: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that starts from a stage would wait for whatever its worker happens to do next."""
    may_end = threading.Event()
    monkeypatch.setattr(turns_trainer, "after_epoch", lambda config, _: config.seed and may_end.wait(LONG_S))
    runner = runner_of()
    keys = fed(runner, Stroll(), Stroll(seed=1))

    first = ended(runner, 1)
    may_end.set()

    assert first + ended(runner, 1) == [(key, Status.DONE) for key in keys]
    assert len(first) == 1


def test_a_worker_with_room_asks_for_more(runner_of: Callable[..., Runner]) -> None:
    """A stage that becomes ready while it has nothing to do must not wait for anything."""
    runner = runner_of()

    assert runner.reports() == []


def test_a_worker_without_room_does_not_ask(runner_of: Callable[..., Runner]) -> None:
    """A thousand workers that ask ten times a second keep a driver from its work."""
    runner = runner_of(width=2)
    fed(runner, Stroll(), Stroll(seed=1))

    assert runner._patience_s is None


def test_a_worker_that_was_just_fed_asks_for_what_it_still_has_room_for(runner_of: Callable[..., Runner]) -> None:
    """It is asked before its thread has looked; else three quarters of a GPU would idle until its one stage ends."""
    runner = runner_of(width=2)
    runner._new.append(Handout.of(Stage(Walk())))

    assert runner._patience_s is not None


def test_a_worker_that_waits_longer_asks_less_often(
    runner_of: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a long chain the others wait for hours."""
    now = [0.0]
    monkeypatch.setattr(ray_trial.time, "monotonic", lambda: now[0])
    runner = runner_of()
    waits = []
    for now[0] in (0.0, 2.0, 900.0):
        waits.append(runner._patience_s)

    assert waits == [0.05, 0.5, ray_trial.ASK_S]


def test_what_no_stage_may_raise_ends_the_worker(
    runner_of: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swallowed in a thread, it would leave a worker that does nothing for ever."""

    def broken(_pack: Any) -> Any:
        raise AssertionError("made to fail")

    monkeypatch.setattr(ray_trial.Pack, "turn", broken)
    runner = runner_of()
    fed(runner, Walk())

    with pytest.raises(AssertionError, match="made to fail"):
        runner.reports()


def test_what_ended_is_told_before_the_worker_ends(runner_of: Callable[..., Runner]) -> None:
    """A failure that nobody hears of is trained once more, and its try is not counted."""
    runner = runner_of()
    keys = fed(runner, Walk())
    with runner._changed:
        runner._changed.wait_for(runner._has_news, LONG_S)
        runner._error = AssertionError("made to fail")

    assert ended(runner, 1) == [(keys[0], Status.DONE)]
    with pytest.raises(AssertionError, match="made to fail"):
        runner.reports()


def test_a_stage_that_a_worker_cannot_read_fails_alone(runner_of: Callable[..., Runner]) -> None:
    """A node lacks a module of the user's: nobody hears what is raised there, and the launch would wait for hours."""
    runner, sound, strange = runner_of(), Stage(Walk()), b"cmissing_module\nThing\n."
    runner.feed(*unpacked([("strange", strange), *packed([Handout.of(sound)])]))

    found: dict[str, Report] = {}
    while len(found) < 2:
        found |= {report.key: report for report in runner.reports()}

    assert found[sound.key].status is Status.DONE
    assert (found["strange"].status, found["strange"].retry) == (Status.FAILED, False)
    assert "No module named 'missing_module'" in str(found["strange"].error)
