"""A plan has every stage once, parents first, and runs exactly what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage, Trial
from orchestrator.plan import Plan, plan
from tests.orchestrator.fake_trainer import made_sweep
from tests.orchestrator.trees import seeds, tree, trees

subsets = st.lists(st.booleans(), min_size=20, max_size=20).map(lambda holds: {i for i in range(20) if holds[i]})


def planned(stages: list[Stage], done: set[int] = frozenset(), startable: set[int] | None = None) -> Plan:
    """A plan of one trial per stage; what is done and startable is given by place."""
    keys = [stage.key for stage in stages]
    held = None if startable is None else {keys[i] for i in startable if i < len(keys)}
    return plan([Trial({}, 0, [s]) for s in reversed(stages)], {keys[i] for i in done if i < len(keys)}, held)


@given(trees, subsets, subsets)
def test_parents_come_first_and_every_stage_once(stages: list[Stage], done: set[int], startable: set[int]) -> None:
    """A stage that is handed out before its parent finds no weights; one that is listed twice is paid twice."""
    made = planned(stages, done, startable)

    for listed in (made.stages, made.to_run):
        place = {stage.key: i for i, stage in enumerate(listed)}
        assert len(place) == len(listed)
        assert all(place.get(s.parent.key, -1) < place[s.key] for s in listed if s.parent)
    assert set(made.stages) == set(stages)


@given(trees, subsets, subsets)
def test_what_runs_is_what_is_missing_and_what_that_starts_from(
    stages: list[Stage], done: set[int], startable: set[int]
) -> None:
    """Running less leaves cells empty, running more pays twice."""
    wanted = {s.config.seed for s in stages} - done
    starts_from = {s.config.seed: s.parent.config.seed for s in stages if s.parent}
    while more := {starts_from[i] for i in wanted if i in starts_from} - startable - wanted:
        wanted |= more

    assert set(seeds(planned(stages, done, startable).to_run)) == wanted


@pytest.mark.parametrize(
    ("done", "startable", "runs"),
    [
        ({0, 1}, {1}, []),  # the parent's weights are gone, but nobody starts from them
        ({0}, set(), [0, 1]),
        ({0}, {0}, [1]),
        ({1}, {1}, [0]),  # a result that was lost, but not its child's
    ],
)
def test_a_done_stage_runs_again_only_for_a_child(done: set[int], startable: set[int], runs: list[int]) -> None:
    """Deleting weights to save space must not cost the results that are there."""
    assert seeds(planned(tree([None, 0]), done, startable).to_run) == runs


def test_weights_that_are_lost_far_up_are_trained_again_from_there() -> None:
    """Each stage of an online chain starts from the one before; all of them are needed to reach the last."""
    assert seeds(planned(tree([None, 0, 1, 2]), {0, 1, 2}, startable={0}).to_run) == [1, 2, 3]


def test_what_is_done_can_be_started_from_by_default() -> None:
    """Otherwise a plan without a look at the weights would run everything again."""
    assert seeds(planned(tree([None, 0, 1]), {0, 1}).to_run) == [2]


def test_stages_that_trials_share_are_planned_once() -> None:
    """Without sharing the 36 first rounds of Figure 3 would be 432."""
    made = plan(made_sweep().trials())

    assert (len(made.stages), made.stages_without_sharing) == (10, 12)


def test_a_trial_that_reports_a_parent_too_counts_it_once() -> None:
    """Online sweeps report every round; what sharing saves would be overstated."""
    stages = tree([None, 0, 1])

    made = plan([Trial({}, 0, [stages[2], stages[0], stages[1]])])

    assert made.stages_without_sharing == 3
    assert seeds(made.stages) == [0, 1, 2]


@given(trees, subsets)
def test_every_stage_is_done_or_to_run(stages: list[Stage], done: set[int]) -> None:
    """The two counts that a user reads must add up."""
    made = planned(stages, done)

    assert made.done + len(made.to_run) == len(made.stages)


def test_cells_are_counted_once_for_all_seeds() -> None:
    """The text 'None' and no value at all, or 1 and '1', are different cells."""
    values = [None, "None", 1, "1"]
    trials = [Trial({"a": value}, seed, tree([None])) for value in values for seed in range(3)]

    assert plan(trials).cells == 4


def test_a_plan_names_no_trajectories_where_no_stage_goes_on_from_another() -> None:
    """They take as long to make as keys: of 10,000 stages seconds, for nobody."""
    made = plan(made_sweep().trials())

    assert made.follows == {}
    assert not any("trajectory" in vars(stage) for stage in made.stages)
