"""Every stage of a sweep's launches has one status, and what failed is found at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage
from orchestrator.backend import InProcessBackend
from orchestrator.catalogue import find
from orchestrator.errors import ConfigError
from orchestrator.launch import launch
from orchestrator.overview import grouped, overview, stage_statuses
from orchestrator.plan import plan
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import Lab, made_sweep, names_of, run, two_rounds
from tests.orchestrator.launches import Watch
from tests.orchestrator.trees import tree

STAGES = [*plan(made_sweep().trials()).stages, *tree([None, 0, 1, 1, 3])]  # five are a family of four generations
FACTS = {"attempts": 1, "wall_seconds": 0.0, "started_at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def begun(store: Store, sweep_file: Path) -> Store:
    """A store that remembers a launch of the made sweep, of which no stage has run yet."""
    found = find(str(sweep_file))

    class NoWorkers(InProcessBackend):
        def run(self, *_: Any) -> None: ...

    launch(found.sweep, store, NoWorkers, Watch(), source=found.source)
    return store


def facts(store: Store, **given: Any) -> dict[str, Any]:
    """The overview of all launches of the made sweep."""
    return overview(store, "made", given.get("axes", {}), given.get("seeds"))


@contextmanager
def held(store: Store, stage: Stage) -> Iterator[None]:
    """While a worker trains `stage`."""
    store.note_running(stage.key, FACTS)
    with store.lock(stage.key):
        yield


def test_a_new_launch_is_all_pending(begun: Store) -> None:
    """The counts are the plan's: 10 stages, 2 fewer than without sharing."""
    seen = facts(begun)

    assert seen["counts"] == {"pending": 10}
    assert (seen["sweep"], seen["store"], seen["stages"], seen["stages_shared"]) == ("made", begun.root, 10, 2)
    assert (seen["wall_seconds"], seen["failures"]) == (0.0, [])


def test_every_status_is_told(begun: Store, lab: Lab) -> None:
    """Six ways for a stage to be: a user must know which of them will not go on by themselves."""
    lab.spoil("raise", 1, seed=0, round=0)
    lab.spoil("diverge", 1, seed=1, round=0)
    for seed in (0, 1):
        run(two_rounds(0.1, "parent", seed)[0].parent, begun, lab)
    run(two_rounds(0.1, "fresh", 0)[0], begun, lab)
    begun.note_running(two_rounds(0.1, "fresh", 1)[0].key, FACTS)

    with held(begun, two_rounds(0.2, "fresh", 0)[0]):
        seen = facts(begun)

    counts = {"failed": 1, "blocked": 2, "diverged": 1, "done": 1, "interrupted": 1, "running": 1, "pending": 3}
    assert seen["counts"] == counts
    assert sum(counts.values()) == seen["stages"]
    assert set(seen["sentences"]) >= set(counts)
    assert [(one["error"], one["count"]) for one in seen["failures"]] == [("ValueError: made to fail at this place", 1)]


def test_a_failed_stage_that_is_tried_again_is_running(begun: Store, lab: Lab) -> None:
    """Else a user would stop a launch that is about to mend it."""
    stage = two_rounds(0.1, "parent", 0)[0].parent
    lab.spoil("raise", 1, seed=0, round=0)
    run(stage, begun, lab)

    with held(begun, stage):
        seen = facts(begun)

    assert seen["counts"] == {"pending": 9, "running": 1}
    assert seen["failures"] == []


def test_a_stage_that_has_lost_its_epochs_is_not_done(begun: Store) -> None:
    """`status` must not say done of what `plan` means to run."""
    stage = two_rounds(0.1, "fresh", 0)[0]
    run(stage, begun)
    begun.files.delete(f"epochs/{stage.key}.parquet")

    assert facts(begun)["counts"] == {"pending": 10}


def test_seconds_of_done_and_failed_stages_are_added_up(begun: Store, lab: Lab) -> None:
    """What a sweep has cost includes what went wrong."""
    lab.spoil("raise", 2, seed=0, round=0)
    reports = [
        run(stage, begun, lab) for stage in (*two_rounds(0.1, "fresh", 1), two_rounds(0.1, "parent", 0)[0].parent)
    ]

    assert facts(begun)["wall_seconds"] == pytest.approx(sum(report.row["wall_seconds"] for report in reports))


def test_looking_changes_nothing(begun: Store, lab: Lab) -> None:
    """A status asked for while workers run must not disturb them."""
    begun.note_running(STAGES[0].key, FACTS)
    before = names_of(begun)

    facts(begun)

    assert names_of(begun) == before
    assert not Path(begun.root, "locks").exists()


def test_only_the_launches_that_were_asked_for_count(begun: Store, lab: Lab) -> None:
    """One of several grids of a sweep."""
    source = begun.launches("made")[0]["source"]
    axes = {"lr": [0.7]}
    found = find(source).sweep.replace(axes, [3])
    launch(found, begun, InProcessBackend, Watch(), source=source, overrides=axes)

    assert facts(begun)["counts"] == {"pending": 10, "done": 3}
    assert facts(begun, axes=axes)["counts"] == facts(begun, seeds=[3])["counts"] == {"done": 3}


def test_a_running_stage_is_told_with_its_worker(begun: Store) -> None:
    """Whoever wonders why nothing moves looks at that machine first."""
    with held(begun, STAGES[0]):
        begun.note_running(STAGES[0].key, {**FACTS, "host": "far", "pid": 7, "epoch": 4, "attempts": 2})
        (seen,) = facts(begun)["running"]

    assert (seen["key"], seen["host"], seen["pid"], seen["epoch"]) == (STAGES[0].key, "far", 7, 4)
    assert seen["started_at"] == FACTS["started_at"]
    assert (seen["attempts"], seen["since"][:5]) == (2, "2026-")


def test_what_a_running_stage_has_cost_counts(begun: Store) -> None:
    """The hours of ten stages that run since yesterday are hours."""
    with held(begun, STAGES[0]):
        begun.note_running(STAGES[0].key, {**FACTS, "wall_seconds": 3600.0})

        assert facts(begun)["wall_seconds"] == 3600.0


def test_stages_that_took_more_than_one_attempt_are_named(begun: Store, lab: Lab) -> None:
    """A machine that loses one stage in three costs a third of the money, and nobody would know."""
    first, second = two_rounds(0.1, "fresh", 0)[0], two_rounds(0.1, "fresh", 1)[0]
    begun.note_running(first.key, {**FACTS, "attempts": 3})
    for stage in (first, second):
        run(stage, begun, lab)

    assert facts(begun)["attempts"] == [{"key": first.key, "attempts": 4, "status": "done"}]


def test_a_stage_that_waits_for_its_next_try_is_told_until_then(begun: Store, lab: Lab) -> None:
    """It has failed, and still nobody need do anything."""
    lab.spoil("raise", 1, seed=0, round=1)
    keys = [two_rounds(0.1, "fresh", 0)[0].key, two_rounds(0.2, "fresh", 0)[0].key]
    for lr, key, again_s in zip((0.1, 0.2), keys, (60, -1), strict=True):
        run(two_rounds(lr, "fresh", 0)[0], begun, lab)
        begun.note_event("retried", sweep="made", key=key, error="made", again_s=again_s)

    (seen,) = facts(begun)["waiting"]
    assert (seen["key"], seen["error"]) == (keys[0], "made")


def test_a_failed_stage_is_told_with_all_that_it_blocks(begun: Store, lab: Lab) -> None:
    """One bad learning rate at the root may be the whole night's sweep."""
    lab.spoil("raise", 1, seed=0, round=0)
    parent = two_rounds(0.1, "parent", 0)[0].parent
    run(parent, begun, lab)

    (group,) = facts(begun)["failures"]
    (failed,) = group["stages"]
    assert failed["key"] == parent.key
    assert "lr=0.5" in failed["settings"]
    assert sorted(failed["blocks"]) == sorted(two_rounds(lr, "parent", 0)[0].key for lr in (0.1, 0.2))


def test_only_what_happened_to_the_sweep_is_told(begun: Store) -> None:
    """A store holds many sweeps; a node is all of theirs."""
    key = STAGES[0].key
    begun.note_event("hung", sweep="other", key="0" * 16, host="far", seconds=9)
    begun.note_event("node_added", sweep="other", node="n", name="n")
    begun.note_event("node_added", sweep="made", node="n", name="n")
    begun.note_event("hung", sweep="made again", key=key, host="far", seconds=9)

    seen = facts(begun)

    assert [event["kind"] for event in seen["events"]] == ["node_added", "hung"]
    assert [line.split(": ", 1)[1] for line in seen["happened"]] == [
        "node n joined",
        "a worker on far made no progress for 9 s, and was killed (now 1 pending)",
    ]


def test_a_sweep_that_was_never_launched_is_named(store: Store) -> None:
    """No stages at all would look like all done."""
    with pytest.raises(ConfigError, match="no launch of 'made'"):
        facts(store)


def test_failures_are_grouped_the_most_frequent_first() -> None:
    """Two hundred stages that fail for one reason are one line."""
    failed = [{"error": error, "key": str(i)} for i, error in enumerate(["one", "many", "many", "two", "many"])]

    assert grouped(failed) == [
        {"error": "many", "count": 3, "key": "1"},
        {"error": "one", "count": 1, "key": "0"},
        {"error": "two", "count": 1, "key": "3"},
    ]


FOUND = ("nothing", "done", "diverged", "failed", "no epochs")


def test_a_failure_blocks_every_generation_behind_it(store: Store) -> None:
    """The last rounds of an online trial would look as if they were about to run."""
    family = tree([None, 0, 1, 2])

    statuses = stage_statuses(store, family, {family[0].key: {"status": "failed"}})

    assert list(statuses.values()) == [Status.FAILED, *[Status.BLOCKED] * 3]


@given(
    st.lists(
        st.tuples(st.sampled_from(FOUND), st.booleans(), st.booleans()), min_size=len(STAGES), max_size=len(STAGES)
    )
)
def test_counts_add_up_for_every_mixture(found: list[tuple[str, bool, bool]]) -> None:
    """Whatever a store holds, no stage is counted twice or forgotten, and blocked means that an ancestor failed."""
    of = dict(zip((stage.key for stage in STAGES), found, strict=True))
    rows = {key: {"status": row if row != "no epochs" else "done"} for key, (row, *_) in of.items() if row != "nothing"}
    store = SimpleNamespace(
        noted=lambda: {key for key, (_, noted, _) in of.items() if noted},
        held=lambda: {key for key, (_, _, is_held) in of.items() if is_held},
        committed=lambda among: {key for key in among if of[key][0] in ("done", "diverged")},
    )

    statuses = stage_statuses(store, STAGES, rows)

    assert sum(Counter(statuses.values()).values()) == len(STAGES)
    for stage in STAGES:
        status, (row, noted, is_held) = statuses[stage.key], of[stage.key]
        above = statuses[stage.parent.key] if stage.parent else None
        assert (status is Status(row)) if row in ("done", "diverged") else not status.is_final
        is_untouched = row in ("nothing", "no epochs") and not (noted and is_held)
        assert (status is Status.BLOCKED) == (is_untouched and above in (Status.FAILED, Status.BLOCKED))
        assert (status is Status.RUNNING) == (noted and is_held and row not in ("done", "diverged"))
        assert (status is Status.FAILED) == (row == "failed" and not (noted and is_held))
