"""On a real Ray cluster every stage ends as in one process, whatever Tune, a worker or a trainer does."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Store, ray_backend
from orchestrator.errors import ConfigError
from orchestrator.plan import plan
from orchestrator.ray_backend import Gate, RayBackend, Searcher, Watch
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Options, Report
from tests.orchestrator.fake_trainer import Lab, made_sweep
from tests.orchestrator.launches import go, results


@pytest.fixture
def gate(store: Store) -> Gate:
    """A gate before the ten stages of the made sweep; its reports are in `gate.told`."""
    schedule = Schedule(list(plan(made_sweep().trials()).to_run), lambda stage: stage.config.work())
    gate = Gate(schedule, store, Options("t"), lambda report, blocked: gate.told.append((report, blocked)))
    gate.told = []
    return gate


def done(gate: Gate, trial_id: str) -> dict[str, Any]:
    """What Tune gives back for a trial whose stage is done."""
    return {"report": Report(gate.live[trial_id].key, Status.DONE)}


def hand_out(gate: Gate) -> list[str]:
    """Ids of the trials that can run at once."""
    ids = []
    while gate.suggest(f"trial{len(ids)}") not in (None, Searcher.FINISHED):
        ids.append(f"trial{len(ids)}")
    return ids


def test_children_wait_for_their_parents_and_the_end_is_said(gate: Gate) -> None:
    """Tune would wait for ever for a searcher that never says FINISHED."""
    first = hand_out(gate)

    waiting = gate.suggest("more")
    for trial_id in first:
        gate.on_trial_complete(trial_id, done(gate, trial_id))
    second = hand_out(gate)
    for trial_id in second:
        gate.on_trial_complete(trial_id, done(gate, trial_id))

    assert (len(first), waiting, len(second)) == (6, None, 4)
    assert gate.suggest("more") == Searcher.FINISHED


def test_a_trial_is_settled_once(gate: Gate) -> None:
    """Tune may say twice that a trial ended; its children must not be handed out twice."""
    (first, *_) = hand_out(gate)
    result = done(gate, first)

    gate.on_trial_complete(first, result)
    gate.on_trial_complete(first, result)

    assert len(gate.told) == 1


def test_a_trial_that_tune_ended_in_silence_is_found(gate: Gate) -> None:
    """Tune forgets to tell its searcher of a failed reset; the launch would hang."""

    class Trial:
        trial_id, status, last_result = hand_out(gate)[0], "ERROR", None

    key = gate.live["trial0"].key

    Watch(gate).on_step_end(0, [Trial()])

    assert gate.suggest("again") is not None
    assert gate.live["again"].key == key


def test_a_stage_whose_workers_die_is_tried_again_so_many_times(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed for another one's sake must cost nothing; one that its stage kills must not go on for ever."""
    monkeypatch.setattr(ray_backend, "WORKER_DEATHS", 2)
    hand_out(gate)
    key, trial_id = gate.live["trial0"].key, "trial0"

    for attempt in range(3):
        gate.on_trial_complete(trial_id, None, error=True)
        trial_id = f"again{attempt}"
        gate.suggest(trial_id)

    assert [(report.key, report.status) for report, _ in gate.told] == [(key, Status.FAILED)]


def test_a_stage_that_asks_for_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would wait for such a machine for ever, and say nothing."""
    monkeypatch.setattr(ray_backend.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])

    with pytest.raises(ConfigError, match=r"asks for 1 GPU, and no node of the cluster has as many.*--gpus-per-stage"):
        RayBackend(gpus_per_stage=1)._shape({"CPU": 2.0})


@pytest.mark.parametrize("gpus", [-0.5, 1.5])
def test_half_a_gpu_more_than_one_is_refused(gpus: float) -> None:
    """Ray refuses it too, but only after workers started."""
    with pytest.raises(ConfigError, match=rf"gpus_per_stage={gpus}"):
        RayBackend(gpus_per_stage=gpus)


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    """Ray itself tries for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    with pytest.raises(ConfigError, match=rf"--address {address}: no Ray cluster answers there"):
        RayBackend(address)


def test_a_grid_on_ray_ends_like_one_in_process(store: Store, lab: Lab, straight: list[Any], on_ray: Any) -> None:
    """The backend decides when a stage runs, never what comes out of it."""
    summary = on_ray(store, lab)

    assert (summary.exit_code, len(summary.reports)) == (0, 10)
    assert results(store) == straight


def test_one_bad_stage_blocks_only_what_is_behind_it(store: Store, lab: Lab, on_ray: Any) -> None:
    """A poisoned stage must not end the night's sweep; neither one that raises nor one that kills its worker."""
    lab.spoil("raise", epoch=2, seed=0, round=0)
    lab.spoil("SIGKILL", epoch=2, seed=1, round=0)

    summary = on_ray(store, lab)
    errors = [row["error"] for row in store.stages().to_pylist() if row["status"] == "failed"]

    assert (summary.count(Status.FAILED), len(summary.blocked), summary.count(Status.DONE)) == (2, 4, 4)
    assert [error.split(":")[0].split(",")[0] for error in sorted(errors)] == [
        "ValueError",
        "its worker process died 2 times",
    ]


def test_tune_giving_up_is_not_the_end(
    store: Store, lab: Lab, straight: list[Any], on_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker that is out of memory makes Tune raise and drop all trials; the missing ones are started again."""
    fit, calls = RayBackend._fit, []

    def raise_once(self: RayBackend, gate: Gate, *rest: Any) -> None:
        calls.append(gate)
        if len(calls) > 1:
            return fit(self, gate, *rest)
        gate.suggest("lost with Tune")
        raise RuntimeError("Caught unexpected exception: 1 worker(s) were killed")

    monkeypatch.setattr(RayBackend, "_fit", raise_once)
    summary = on_ray(store, lab)

    assert (summary.exit_code, len(calls)) == (0, 2)
    assert results(store) == straight


@pytest.fixture
def on_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Launches the made sweep on a Ray cluster of two cores, in which a worker may die once."""
    monkeypatch.setattr(ray_backend, "WORKER_DEATHS", 1)
    return lambda store, lab: go(store, lab, backend=lambda: RayBackend(slots=2))
