"""A schedule hands out every stage once, parents first, longest remaining path first, at a cost that does not grow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage
from orchestrator.schedule import Schedule
from tests.orchestrator.trees import Simulation, seeds, tree, trees

costs = st.lists(st.floats(0.1, 10), min_size=20, max_size=20)
LONG_LAST = [*[None] * 20, *[None, *range(20, 29)]]  # twenty single stages, then a chain of ten


def scheduled(stages: Sequence[Stage], cost: Sequence[float] = (1.0,) * 99) -> Schedule:
    """A schedule of all of `stages`, which cost what stands at their seed's place."""
    return Schedule(stages, lambda stage: cost[stage.config.seed])


def one_second(_: Stage) -> float:
    """All stages take the same time."""
    return 1.0


def handed_out(schedule: Schedule) -> list[Stage]:
    """All that is ready now."""
    return list(iter(schedule.next_ready, None))


def simulated(stages: Sequence[Stage], cost: Sequence[float], workers: int) -> Simulation:
    """The whole run of `stages` without trouble."""
    schedule = scheduled(stages, cost)
    return Simulation(schedule, lambda stage: cost[stage.config.seed], schedule.finish).run(workers)


def longest_chain(stages: Sequence[Stage], cost: Sequence[float]) -> float:
    """Seconds that no number of workers can beat."""
    return max((sum(cost[s.config.seed] for s in stage.lineage()) for stage in stages), default=0.0)


@given(trees, costs, st.integers(1, 6))
def test_every_stage_is_handed_out_once_after_its_parent(stages: list[Stage], cost: list[float], workers: int) -> None:
    """A stage left out is an empty cell; one that comes before its parent finds no weights."""
    order = simulated(stages, cost, workers).order

    assert sorted(seeds(order)) == seeds(stages)
    assert all(order.index(stage.parent) < order.index(stage) for stage in stages if stage.parent)


@given(trees, costs, st.integers(1, 6))
def test_no_worker_idles_while_a_stage_is_ready(stages: list[Stage], cost: list[float], workers: int) -> None:
    """Graham's bound, which every schedule without idling keeps: within work / workers plus the longest chain."""
    work, chain = sum(cost[: len(stages)]), longest_chain(stages, cost)

    makespan = simulated(stages, cost, workers).makespan

    assert max(work / workers, chain) <= makespan + 1e-9
    assert makespan <= work / workers + (1 - 1 / workers) * chain + 1e-9


def test_a_long_chain_that_is_listed_last_begins_first() -> None:
    """In the order of the plan it would begin when all else is done: 20 units of time instead of 15."""
    made = simulated(tree(LONG_LAST), [1.0] * 30, workers=2)

    assert seeds(made.order)[0] == 20
    assert made.makespan == 15


@given(trees, costs)
def test_what_is_handed_out_has_the_longest_remaining_path(stages: list[Stage], cost: list[float]) -> None:
    """Otherwise the last hours of a launch run on one worker."""

    def path(stage: Stage) -> float:
        below = (end.lineage() for end in stages if stage in end.lineage())
        return max(sum(cost[s.config.seed] for s in chain[chain.index(stage) :]) for chain in below)

    paths = [path(stage) for stage in handed_out(scheduled(stages, cost))]

    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(paths))


def test_equal_paths_run_in_the_order_of_the_plan() -> None:
    """Two launches of one sweep should look alike."""
    assert seeds(handed_out(scheduled(tree([None] * 9)))) == list(range(9))


def test_a_parent_that_is_done_already_is_not_waited_for() -> None:
    """A second launch holds only what is missing; it would wait for ever."""
    _, child = tree([None, 0])

    assert scheduled([child]).next_ready() == child


@given(trees, st.integers(0, 19))
def test_a_failure_blocks_its_descendants_and_nothing_else(stages: list[Stage], which: int) -> None:
    """One poisoned stage must not stop the sweep, nor may its children start from weights that do not exist."""
    poisoned = {stage.key for stage in stages[which : which + 1]}
    below = {s.key for s in stages if poisoned & {above.key for above in s.lineage()[:-1]}}
    schedule = scheduled(stages)
    told: list[str] = []

    def after(key: str) -> None:
        told.extend(schedule.fail(key)) if key in poisoned else schedule.finish(key)

    made = Simulation(schedule, one_second, after).run(workers=2)

    assert sorted(told) == sorted(below)
    assert schedule.blocked == below
    assert {s.key for s in made.order} == {s.key for s in stages} - below
    assert not schedule.waiting


@given(trees, st.sets(st.integers(0, 19)))
def test_a_stage_whose_worker_was_lost_runs_again(stages: list[Stage], lost: set[int]) -> None:
    """A node that dies costs time, never a cell."""
    schedule = scheduled(stages)
    dead = {stage.key for stage in stages if stage.config.seed in lost}

    def after(key: str) -> None:
        if key in dead:
            dead.discard(key)
            schedule.hand_back(key)
        else:
            schedule.finish(key)

    made = Simulation(schedule, one_second, after).run(workers=3)

    twice = [seed for seed in seeds(stages) if seed in lost]
    assert sorted(seeds(made.order)) == sorted(seeds(stages) + twice)


def test_after_a_stop_nothing_more_is_handed_out() -> None:
    """Also not what a stage makes ready that was nearly through: Ctrl-C would train on through the whole tree."""
    schedule = scheduled(tree([None, 0, None, 2, None]))
    running = [schedule.next_ready(), schedule.next_ready()]
    schedule.stop()

    schedule.finish(running[0].key)
    schedule.hand_back(running[1].key)

    assert schedule.next_ready() is None
    assert schedule.is_over


def test_a_stop_waits_for_what_runs() -> None:
    """A launch that is over before its workers have saved their checkpoints loses their epochs."""
    schedule = scheduled(tree([None, None]))
    stage = schedule.next_ready()

    schedule.stop()

    assert not schedule.is_over
    schedule.finish(stage.key)
    assert schedule.is_over


def test_a_postponed_stage_is_not_ready_before_it_is_handed_back() -> None:
    """It would be handed out in a circle, as fast as workers can refuse it."""
    schedule = scheduled(tree([None, 0]))
    stage = schedule.next_ready()

    schedule.postpone(stage.key)

    assert (schedule.next_ready(), schedule.ready, schedule.running, schedule.postponed) == (
        None,
        0,
        set(),
        {stage.key},
    )
    schedule.hand_back(stage.key)
    assert (schedule.next_ready(), schedule.postponed) == (stage, set())


def test_a_schedule_is_not_over_while_a_stage_is_postponed() -> None:
    """The launch would end without it, and call itself complete."""
    schedule = scheduled(tree([None]))
    schedule.postpone(schedule.next_ready().key)

    assert not schedule.is_over
    schedule.stop()
    assert schedule.is_over


@given(trees, st.sets(st.integers(0, 19)))
def test_what_was_postponed_is_handed_out_again_and_its_children_after_it(stages: list[Stage], held: set[int]) -> None:
    """Two users' launches share stages; each must end with all of its own."""
    schedule, ends = scheduled(stages), []
    while not schedule.is_over:
        for key in sorted(schedule.postponed):
            schedule.hand_back(key)
        while (stage := schedule.next_ready()) is not None:
            is_held = stage.config.seed in held
            held = held - {stage.config.seed}
            schedule.postpone(stage.key) if is_held else (schedule.finish(stage.key), ends.append(stage))

    assert sorted(seeds(ends)) == seeds(stages)
    assert all(ends.index(stage.parent) < ends.index(stage) for stage in stages if stage.parent)


@pytest.mark.parametrize("end", ["finish", "fail", "hand_back", "postpone"])
def test_one_handing_out_ends_once(end: str) -> None:
    """Told twice, the children would be handed out twice and trained at the same time."""
    schedule = scheduled(tree([None, 0]))
    stage = schedule.next_ready()
    schedule.finish(stage.key)

    with pytest.raises(KeyError):
        getattr(schedule, end)(stage.key)


def test_waiting_running_and_ready_are_what_they_say() -> None:
    """Progress and backends count by them."""
    schedule = scheduled(tree([None, 0, None]))
    stage = schedule.next_ready()

    assert (schedule.running, len(schedule.waiting), schedule.ready) == ({stage.key}, 2, 1)


def test_an_empty_plan_is_over() -> None:
    """A second launch must end, and not wait for a first stage."""
    assert scheduled([]).is_over


@dataclass(frozen=True)
class Bare:
    """A stage as the schedule sees it, without the time that a key takes."""

    key: str
    parent: Bare | None = None
    cpu_only: bool = False


class Counted(float):
    """A cost that counts how often it is compared."""

    compared = 0

    def __add__(self, other: float) -> Counted:
        return Counted(float(self) + other)

    def __neg__(self) -> Counted:
        return Counted(-float(self))

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < other


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_handing_out_does_not_look_at_every_stage(count: int) -> None:
    """A driver that scans 10^5 stages for each of 10^5 would keep a cluster waiting."""
    roots = [Bare(f"r{i}") for i in range(count // 2)]
    stages = [*roots, *(Bare(f"c{i}", root) for i, root in enumerate(roots))]
    schedule = Schedule(stages, lambda stage: Counted(int(stage.key[1:]) * 7919 % 997))  # type: ignore[arg-type]
    most = 0

    for _ in range(200):
        Counted.compared = 0
        schedule.finish(schedule.next_ready().key)
        most = max(most, Counted.compared)

    assert most < 6 * math.log2(count)
