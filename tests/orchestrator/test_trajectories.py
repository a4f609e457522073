"""Stages that differ only in when they end share their way: each goes on from where the one before it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator import Stage
from orchestrator.backend import InProcessBackend
from orchestrator.estimate import Estimate
from orchestrator.launch import launch
from orchestrator.plan import plan
from orchestrator.progress import Progress
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.sweep import Sweep, Trial
from tests.orchestrator.fake_trainer import Lab, Walk, result, run

FIRST = Walk(lr=0.5)


def first(epochs: int, *, extendable: bool = True) -> Stage:
    """A first round that ends after so many epochs."""
    return Stage(Walk(lr=0.5, epochs=epochs), extendable=extendable)


def early_starts(epochs: int, seed: int) -> list[Stage]:
    """A walk of two epochs from where a first round is after so many."""
    parent = Stage(Walk(lr=0.5, seed=seed, epochs=epochs), extendable=True)
    return [Stage(Walk(start="parent", seed=seed, round=1, epochs=2), parent)]


def launched(store: Store, epochs: Sequence[int], lab: Lab | None = None) -> list[int | None]:
    """Launch early starts; how many epochs each of the first rounds found made, shortest first."""
    made = Sweep("made up", {"epochs": epochs}, early_starts, [0], "early")
    options = {"data_root": str(lab.folder)} if lab else {}
    assert launch(made, store, InProcessBackend, Progress(), source="early", options=options).exit_code == 0
    rows = store.sql("SELECT continued_from FROM stages WHERE round = 0 ORDER BY epochs").to_pylist()
    return [row["continued_from"] for row in rows]


def test_being_extendable_changes_no_key() -> None:
    """A first round that was paid for before anybody asked for its way must be found."""
    assert first(350).key == first(350, extendable=False).key


def test_stages_of_one_way_share_its_name_and_no_other_does() -> None:
    """A stage that went on from another one's way would be another experiment under its key."""
    ways = {first(5).trajectory[0], first(350).trajectory[0]}

    assert len(ways) == 1
    assert [first(n).trajectory[1] for n in (5, 350)] == [5, 350]
    for other in (Stage(Walk(lr=0.4)), Stage(Walk(lr=0.5, seed=1)), Stage(FIRST, parent=first(1))):
        assert other.trajectory[0] not in ways


def test_each_stage_follows_the_longest_shorter_one() -> None:
    """From there the least is left to train."""
    trials = [Trial({}, 0, [first(n)]) for n in (15, 5, 10)]

    follows = plan(trials).follows

    assert follows == {first(15).key: first(10), first(10).key: first(5)}


def test_a_stage_does_not_follow_one_that_keeps_no_end() -> None:
    """It would wait for a state that never comes."""
    stages = [first(5), first(10, extendable=False), first(15)]

    follows = plan([Trial({}, 0, [stage]) for stage in stages]).follows

    assert follows[stages[2].key] == stages[0]


def test_a_stage_is_extendable_if_any_trial_says_so() -> None:
    """Whoever comes first in the sweep must not decide whether 70 children share one way."""
    trials = [Trial({}, 0, [first(5, extendable=flag)]) for flag in (False, True)]

    assert [stage.extendable for stage in plan(trials).stages] == [True]


def test_a_child_starts_when_its_state_is_there() -> None:
    """Figure 4's first child would otherwise wait for 345 epochs that it does not need."""
    made = Sweep("made up", {"epochs": [5, 10]}, early_starts, [0], "early")
    planned = plan(made.trials())
    schedule = Schedule(planned.to_run, lambda stage: stage.config.work(), planned.follows)
    only = schedule.next_ready()
    assert (only.config.epochs, schedule.ready) == (5, 0)

    schedule.finish(only.key)

    ready = {stage.key for stage in iter(schedule.next_ready, None)}
    assert ready == {only_child.key for only_child in planned.stages if only_child.parent == only} | {
        stage.key for stage in planned.stages if stage.config.epochs == 10
    }


def test_what_waits_for_two_stages_waits_for_both() -> None:
    """A stage with a parent and a way behind it would start without one of them."""
    parent = Stage(Walk(seed=7))
    short, long = (Stage(Walk(round=1, epochs=n), parent, extendable=True) for n in (1, 2))
    schedule = Schedule([parent, long, short], lambda _: 1.0, {long.key: short})
    for expected in (parent, short, long):
        assert schedule.ready == 1
        handed = schedule.next_ready()
        assert handed == expected
        schedule.finish(handed.key)
    assert schedule.is_over


def test_a_failure_blocks_what_goes_on_from_it_once() -> None:
    """A stage counted as blocked twice would make the launch's sum wrong."""
    parent = Stage(Walk(seed=7))
    short, long = (Stage(Walk(round=1, epochs=n), parent, extendable=True) for n in (1, 2))
    schedule = Schedule([parent, short, long], lambda _: 1.0, {long.key: short})

    assert sorted(schedule.fail(schedule.next_ready().key)) == sorted([short.key, long.key])
    assert schedule.is_over


def test_the_way_is_trained_once(store: Store) -> None:
    """Seventy first rounds of up to 350 epochs cost 350, not 12,425."""
    assert launched(store, [1, 2, 4]) == [None, 1, 2]


def test_a_stage_that_goes_on_ends_with_the_same_bits(store: Store, tmp_path: Path) -> None:
    """Its state is that of a first round of its own; else Figure 4 would be another experiment."""
    launched(store, [1, 2, 4])
    alone = Store(str(tmp_path / "alone"))
    run(first(4, extendable=False), alone)

    (weights, epochs, row), (other, other_epochs, other_row) = (result(s, first(4).key) for s in (store, alone))

    assert (weights, epochs) == (other, other_epochs)
    assert {n: v for n, v in row.items() if n != "continued_from"} == {
        n: v for n, v in other_row.items() if n != "continued_from"
    }


def test_children_that_ask_later_cost_only_what_is_missing(store: Store) -> None:
    """A finer grid of starting epochs is added after the coarse one was paid for."""
    launched(store, [2, 4])

    assert launched(store, [2, 3, 4, 6]) == [None, 2, 2, 4]


def test_a_shorter_stage_never_starts_beyond_its_end(store: Store) -> None:
    """A first round of 3 epochs that went on from 4 would be one of 4."""
    launched(store, [4])

    launched(store, [3, 4])

    row = store.stage_row(first(3).key)
    assert (row["epochs"], row["continued_from"]) == (3, None)


def test_a_damaged_end_is_set_aside_and_the_one_before_it_used(store: Store) -> None:
    """A bad sector must not end a sweep, nor be trained on from."""
    launched(store, [1, 2])
    way = first(2).trajectory[0]
    store.files.write(f"points/{way}/00000002", b"torn")

    launched(store, [1, 2, 3])

    assert store.stage_row(first(3).key)["continued_from"] == 1
    assert store.files.list("set_aside")


def test_what_a_stage_went_on_from_survives_an_interruption(store: Store, lab: Lab) -> None:
    """The hours that sharing saved would be counted as spent."""
    run(first(2), store)
    lab.spoil("raise", 3, epochs=4)
    assert run(first(4), store, lab).status is Status.FAILED
    lab.mend()

    run(first(4), store, lab)

    assert store.stage_row(first(4).key)["continued_from"] == 2


@pytest.mark.parametrize(("follows", "seconds"), [(True, 4.0), (False, 6.0)])
def test_only_the_rest_of_the_way_is_estimated(follows: bool, seconds: float) -> None:
    """`plan` would promise 35 times the hours of Figure 4's first rounds."""
    texts = {"data_text": "made", "model_text": "made", "optimizer_text": "made", "regularizer_text": "made"}
    known = {"init_text": "fresh", "lr": 0.5, "batch_size": 1, "round": 0, "stop_reason": "epochs", "status": "done"}
    row = {
        **texts,
        **known,
        "stop": "Epochs(4)",
        "examples": 10,
        "epochs": 4,
        "wall_seconds": 20.0,
    }  # a second an epoch and example
    estimate = Estimate([{**row, "continued_from": 2}])

    stages = [first(2), first(4)]

    assert estimate.total_seconds(stages, plan([Trial({}, 0, stages)]).follows if follows else {}) == seconds


def test_converged_stages_say_nothing_of_a_fixed_length() -> None:
    """A store of stages that converge in 5 epochs would promise Figure 1's 350 in the same time."""
    texts = {"data_text": "made", "model_text": "made", "optimizer_text": "made", "regularizer_text": "made"}
    known = {"init_text": "fresh", "lr": 0.5, "batch_size": 1, "round": 0, "stop_reason": "plateau", "status": "done"}
    row = {**texts, **known, "stop": "another", "examples": 1, "epochs": 5, "wall_seconds": 5.0, "continued_from": None}

    assert Estimate([row]).seconds(Stage(Walk(lr=0.5, epochs=350))) == 350.0


def test_a_worker_that_died_before_its_commit_made_its_epochs_itself(store: Store) -> None:
    """Its hours would be counted as saved by sharing."""
    run(first(3), store)
    store.files.delete(f"stages/{first(3).key}.parquet")

    run(first(3), store)

    assert store.stage_row(first(3).key)["continued_from"] is None


def test_an_end_that_vanishes_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker sets a damaged one aside between two looks; the stage must not fail over it."""
    run(first(1), store)
    run(first(2), store)
    read = store.files.read

    def vanished(name: str) -> bytes:
        if name.endswith("00000002"):
            raise FileNotFoundError(name)
        return read(name)

    monkeypatch.setattr(store.files, "read", vanished)

    checkpoint, made = store.resume_point("other", first(3).trajectory)

    assert made == len(checkpoint.facts["rows"]) == 1
