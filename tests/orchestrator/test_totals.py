"""What a sweep's stages add up to: each counted where it is needed, seconds spent once and saved by sharing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import Stage
from orchestrator.estimate import Estimate
from orchestrator.plan import Plan, plan
from orchestrator.printing import sharing_text
from orchestrator.seam import Status
from orchestrator.sweep import Trial
from orchestrator.totals import Sharing, per_axis, seconds
from tests.orchestrator.fake_trainer import Walk, made_sweep, two_rounds
from tests.orchestrator.made_store import made_row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLANNED = plan(made_sweep().trials())
PARENTS = [two_rounds(0.1, "parent", seed)[0].parent.key for seed in (0, 1)]
ALL_DONE = dict.fromkeys((stage.key for stage in PLANNED.stages), Status.DONE)
LIKELY = 0.75  # seconds of a stage, by its work of 3; 10 were measured for 10 examples in 4 epochs


def rows(statuses: Mapping[str, Status]) -> dict[str, dict[str, Any]]:
    """Rows of the final stages; each took 10 s."""
    return {stage.key: made_row(stage) for stage in PLANNED.stages if statuses[stage.key].is_final}


def told(statuses: Mapping[str, Status], planned: Plan = PLANNED, **notes: Mapping[str, Any]) -> dict[str, Any]:
    """The seconds of the made sweep."""
    return seconds(planned, statuses, rows(statuses), notes, NOW)


def lengths(*epochs: int) -> Plan:
    """First rounds of several lengths, each of which goes on from the shorter ones."""
    return plan(Trial({}, 0, [Stage(Walk(epochs=n), extendable=True)]) for n in epochs)


def but(**others: Status) -> dict[str, Status]:
    """All done, but these."""
    return {**ALL_DONE, **others}


def test_every_value_of_every_axis_is_counted() -> None:
    """Which learning rate still runs is what one asks in the morning."""
    failed = two_rounds(0.2, "fresh", 0)[0].key

    (lr, start) = per_axis(PLANNED, but(**{failed: Status.FAILED}))

    assert lr == {
        "axis": "lr",
        "values": [
            {"value": 0.1, "stages": 6, "counts": {"done": 6}},
            {"value": 0.2, "stages": 6, "counts": {"done": 5, "failed": 1}},
        ],
    }
    assert [(one["value"], one["stages"]) for one in start["values"]] == [("fresh", 4), ("parent", 6)]


def test_a_value_that_makes_no_difference_comes_last() -> None:
    """Cells that run the same stages are one cell, whose axis is None."""
    planned = plan(made_sweep(lr=[0.1, 0.1, 0.2]).trials())

    (lr, _) = per_axis(planned, ALL_DONE)

    assert [one["value"] for one in lr["values"]] == [0.1, 0.2]


def test_a_stage_that_k_trials_share_saves_k_minus_1_times_its_seconds() -> None:
    """Two first rounds serve two learning rates each: 20 s saved, whatever is still to come."""
    seen = told(ALL_DONE)

    assert (seen["seconds_saved"], seen["seconds_saved_at_end"], seen["seconds_left"]) == (20.0, 20.0, 0.0)


def test_what_is_not_trained_yet_has_saved_nothing_yet() -> None:
    """Hours that were never spent cannot have been saved."""
    seen = told(but(**{PARENTS[0]: Status.PENDING}))

    assert seen["seconds_saved"] == 10.0
    assert seen["seconds_saved_at_end"] == pytest.approx(10.0 + LIKELY)


def test_time_left_is_shared_by_the_workers_that_live() -> None:
    """Two of four stages run now: two workers."""
    keys = [two_rounds(lr, "fresh", seed)[0].key for lr in (0.1, 0.2) for seed in (0, 1)]
    statuses = but(**dict(zip(keys, [Status.RUNNING, Status.RUNNING, Status.PENDING, Status.PENDING], strict=True)))

    seen = told(statuses)

    assert (seen["workers"], seen["seconds_left"]) == (2, pytest.approx(2 * LIKELY))


def test_a_running_stage_has_only_its_rest_left() -> None:
    """Else the time left of the last stage would not fall until it ends."""
    key = two_rounds(0.1, "fresh", 0)[0].key
    note = {"wall_seconds": 0.2, "noted_at": (NOW - timedelta(seconds=0.3)).isoformat()}

    assert told(but(**{key: Status.RUNNING}), **{key: note})["seconds_left"] == pytest.approx(LIKELY - 0.5)


def test_an_interrupted_stage_has_all_left_but_what_it_kept() -> None:
    """What was interrupted last week has not trained since: nothing left would be a lie for days."""
    key = two_rounds(0.1, "fresh", 0)[0].key
    note = {"wall_seconds": 0.25, "noted_at": (NOW - timedelta(days=7)).isoformat()}

    assert told(but(**{key: Status.INTERRUPTED}), **{key: note})["seconds_left"] == pytest.approx(LIKELY - 0.25)


def test_a_chain_takes_its_stages_one_after_the_other() -> None:
    """A thousand workers make the rounds of one trial no faster."""
    child = two_rounds(0.1, "parent", 0)[0].key
    others = {two_rounds(lr, "fresh", seed)[0].key: Status.RUNNING for lr in (0.1, 0.2) for seed in (0, 1)}
    notes = {key: {"wall_seconds": 0.0, "noted_at": (NOW - timedelta(days=1)).isoformat()} for key in others}

    seen = told(but(**others, **{PARENTS[0]: Status.PENDING, child: Status.PENDING}), **notes)

    assert (seen["workers"], seen["seconds_left"]) == (4, pytest.approx(2 * LIKELY))


def test_what_failed_is_not_waited_for() -> None:
    """It goes on by itself never."""
    child = two_rounds(0.1, "parent", 0)[0].key

    assert told(but(**{PARENTS[0]: Status.FAILED, child: Status.BLOCKED}))["seconds_left"] == 0.0


def test_without_a_measured_stage_the_time_left_is_unknown() -> None:
    """A number out of nothing would be believed."""
    seen = told(dict.fromkeys(ALL_DONE, Status.PENDING))

    assert (seen["seconds_saved"], seen["seconds_saved_at_end"], seen["seconds_left"]) == (0.0, None, None)


def test_a_stage_that_goes_on_from_another_saves_the_way_to_there() -> None:
    """Figure 4's 70 first rounds are one run: counted by stages alone, sharing would have saved nothing."""
    planned = lengths(2, 8)
    short, long = planned.stages
    went_on = {"epochs": 8, "continued_from": 2, "train_seconds": 12.0}  # the other one's 2 epochs in it
    made = {short.key: made_row(short) | {"epochs": 2}, long.key: made_row(long) | went_on}

    seen = seconds(planned, dict.fromkeys(made, Status.DONE), made, {}, NOW)

    assert seen["seconds_saved"] == pytest.approx(3.0)


def test_a_way_that_is_still_to_be_gone_is_saved_in_the_end() -> None:
    """A launch of which one first round is done foretells what the others save."""
    planned = lengths(2, 8)
    short, long = planned.stages
    made = {short.key: made_row(short) | {"epochs": 2}}

    seen = seconds(planned, {short.key: Status.DONE, long.key: Status.PENDING}, made, {}, NOW)

    whole = Estimate(made.values()).seconds(long)
    assert whole
    assert (seen["seconds_saved"], seen["seconds_saved_at_end"]) == (0.0, pytest.approx(whole * 2 / 8))


def test_a_plan_says_which_share_of_the_training_is_saved() -> None:
    """Before anything was measured, epochs tell more than numbers of stages: two of these differ fourfold."""
    found = Sharing.of(lengths(2, 8), Estimate([])).facts()

    assert found == {"stages_saved": 0, "examples": 8, "examples_saved": 2, "seconds": None, "seconds_saved": None}
    assert sharing_text(found).startswith("sharing saves 20% of the training")
    assert "hours are not known yet" in sharing_text(found)


def test_a_plan_says_the_hours_where_they_are_known() -> None:
    """Nobody decides about a night of a cluster by epochs."""
    estimate = Estimate(rows(ALL_DONE).values())

    found = Sharing.of(PLANNED, estimate).facts()

    assert (found["seconds"], found["seconds_saved"]) == (pytest.approx(10 * LIKELY), pytest.approx(2 * LIKELY))
    assert sharing_text({**found, "seconds": 36_000, "seconds_saved": 12_000}) == (
        "sharing saves 3 h 20 min of 13 h 20 min of worker time (25%)"
    )
