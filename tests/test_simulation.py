"""Whatever dies, a launch trains each stage once, parents first, without idle GPUs; what it does for one never grows.

The real plan, schedule, gate, watch and retries, on a made-up cluster with a made-up clock.
"""

from __future__ import annotations

import logging
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import pytest

from benchmarks.made_cluster import NO_TROUBLES, Cluster, Troubles, bound, hand_out, simulate, troubles_of
from benchmarks.made_stages import A_SEED, drawn_seconds, expected_seconds, longest_chain, trials_of
from benchmarks.simulation import HEAD, TROUBLED, measure, table
from orchestrator import backend, estimate, launch, pace, ray_gate, ray_places, schedule
from orchestrator.estimate import Estimate
from orchestrator.plan import Plan, plan
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from trainers.inits import WarmStart

BAD = Troubles(deaths=0.1, lost_answers=0.05, silent=0.02, errors=0.1, held=0.05, node_losses=10)
SEEDS = range(3)
HANDING = {
    module.__file__ for module in (backend, launch, pace, ray_gate, ray_places, schedule)
}  # what a driver does for each stage


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A warning for each retry is for people."""
    caplog.set_level(logging.ERROR, "warmgrid")


@cache
def planned(seeds: int = 2) -> Plan:
    """The mixture of protocols under so many seeds."""
    return plan(trials_of(seeds))


@cache
def troubled(seed: int) -> Cluster:
    """A launch in which nearly everything goes wrong that can."""
    return simulate(planned(), 24, BAD, seed)


def test_the_mixture_shares_its_first_rounds() -> None:
    """Simulated without trees, a schedule would have no order to keep."""
    assert len(planned().stages) == 2 * A_SEED < planned().stages_without_sharing
    assert sum(stage.parent is not None for stage in planned().stages) > A_SEED
    assert planned().follows


@pytest.mark.parametrize("seed", SEEDS)
def test_each_stage_is_done_exactly_once_whatever_dies(seed: int) -> None:
    """A stage lost or doubled among 100,000 is never noticed by hand."""
    cluster = troubled(seed)
    summary = cluster.summary

    assert cluster.store.commits == Counter(stage.key for stage in planned().to_run)
    assert (summary.exit_code, summary.count(Status.DONE), summary.settled) == (0, 2 * A_SEED, 2 * A_SEED)
    assert sorted(report.key for report in summary.reports) == sorted(cluster.store.commits)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_handed_out_before_its_parent_or_after_its_commit(seed: int) -> None:
    """A child that starts from a state that is not there yet trains from nothing; one trained again costs GPU hours."""
    assert (troubled(seed).early, troubled(seed).repeated) == ([], [])


def test_the_troubles_did_happen() -> None:
    """A simulation in which nothing went wrong would keep all promises."""
    events: Counter[str] = sum((troubled(seed).store.events for seed in SEEDS), Counter())

    assert {"retried", "worker_died", "answer_lost", "node_lost", "node_added"} <= events.keys()
    assert all(len(troubled(seed).order) > 2 * A_SEED for seed in SEEDS)


def test_a_stage_that_raises_too_often_blocks_its_descendants_alone() -> None:
    """The rest of a grid of days must not wait for one bad learning rate."""
    spoilt = next(
        stage for stage in planned().to_run if isinstance(stage.config.init, WarmStart) and stage.config.round == 9
    )
    cluster = simulate(planned(), 24, Troubles(hopeless=frozenset([spoilt.key])))
    below = {stage.key for stage in planned().to_run if spoilt in stage.lineage()[:-1]}

    assert cluster.order.count(spoilt.key) == 3
    assert set(cluster.summary.blocked) == below != set()
    assert len(cluster.store.commits) == 2 * A_SEED - 1 - len(below)


@pytest.mark.parametrize("troubles", [NO_TROUBLES, troubles_of(1000)])
def test_gpus_are_idle_for_less_than_a_twentieth(troubles: Troubles) -> None:
    """Of a month on 1,000 GPUs, a poor order wastes GPU years."""
    cluster = simulate(planned(5), 10, troubles)

    assert bound(cluster) / cluster.ended >= 0.95


def test_a_cluster_with_room_for_all_is_as_fast_as_the_longest_chain() -> None:
    """With enough GPUs nothing but the order of the stages themselves may hold a launch up."""
    cluster = simulate(planned(), 400)

    assert cluster.ended == pytest.approx(longest_chain(planned(), cluster.seconds))


class Cost(float):
    """Seconds that count how often they are compared, in whatever loop of C."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Cost.compared += 1
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        Cost.compared += 1
        return float(self) > float(other)

    def __eq__(self, other: object) -> bool:
        Cost.compared += 1
        return float(self) == other

    def __add__(self, other: float) -> Cost:
        return Cost(float(self) + float(other))

    def __neg__(self) -> Cost:
        return Cost(-float(self))

    __hash__ = float.__hash__


@dataclass
class Lines:
    """Counts the lines of the driver's own code that every seventh call of a method runs."""

    calls: int = 0
    lines: int = 0

    def of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, counted."""

        def counted(*args: Any, **given: Any) -> Any:
            self.calls += 1
            if self.calls % 7:  # no divisor of a pattern of calls
                return method(*args, **given)
            before = sys.gettrace()
            sys.settrace(self._trace)
            try:
                return method(*args, **given)
            finally:
                sys.settrace(before)

        return counted

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        self.lines += event == "line"
        return self._trace if frame.f_code.co_filename in HANDING else None


def work_a_stage(seeds: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Comparisons of costs for each stage of a plan, and lines for each call of the gate."""
    given, lines = planned(seeds), Lines()
    expected = expected_seconds(given, 0)
    made = Schedule(given.to_run, lambda stage: Cost(expected[stage.key]), given.follows)
    Cost.compared = 0
    with monkeypatch.context() as patch:
        for name in ("suggest", "began", "told"):
            patch.setattr(ray_gate.Gate, name, lines.of(getattr(ray_gate.Gate, name)))
        hand_out(Cluster(given, drawn_seconds(expected, 0), 50), made)
    return Cost.compared / len(given.to_run), 7 * lines.lines / lines.calls


def test_handing_out_costs_no_more_in_a_plan_of_ten_times_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at all stages for each one that is handed out makes a driver of 100,000 stages the slowest part."""
    few, many = (work_a_stage(seeds, monkeypatch) for seeds in (4, 40))

    assert 0 < many[0] <= 1.5 * few[0]  # a heap of ten times the size is 3.3 levels deeper
    assert 0 < many[1] <= 1.1 * few[1]


def test_expected_seconds_of_stages_that_are_alike_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A median over 10,000 measured stages for each of 10,000 that are to run keeps all GPUs waiting for minutes."""
    taken: list[int] = []
    monkeypatch.setattr(estimate, "median", lambda values: taken.append(len(values)) or statistics.median(values))
    measured = {"status": "done", "stop_reason": "cap", "wall_seconds": 9.0, "epochs": 3}
    rows = [{**stage.config.stage_columns(), **measured} for stage in planned().stages]

    cost = Estimate(rows).cost(planned().to_run)

    kinds = {tuple(row[name] for name in estimate.TIERS[0]) for row in rows}
    assert len(cost) == 2 * A_SEED
    assert len(taken) <= 2 * len(kinds) + 1 < 2 * A_SEED


def test_a_summary_keeps_no_rows() -> None:
    """The store has them; in the driver's memory, those of 100,000 stages take half a gigabyte."""
    assert all(report.row == {} for report in troubled(0).summary.reports)


def test_the_measurement_itself_is_whole() -> None:
    """A benchmark that cannot run is found only when its figure is needed."""
    result = measure(200, TROUBLED)

    assert (result.once, result.wrong, result.stages) == (A_SEED, 0, A_SEED)
    assert all(len(line.split("|")) == len(HEAD) + 2 for line in table({(TROUBLED, 200): [result]}).splitlines())
