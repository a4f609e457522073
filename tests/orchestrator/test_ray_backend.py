"""On a real Ray cluster every stage ends as in one process, whatever Tune, a worker or a trainer does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Store, Sweep, ray_backend, ray_cluster, ray_gate
from orchestrator.backend import Settler
from orchestrator.errors import ConfigError, SweepError
from orchestrator.plan import plan
from orchestrator.ray_api import RayError, ray
from orchestrator.ray_backend import Gate, RayBackend
from orchestrator.ray_cluster import Node
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.worker import Options
from tests.conftest import ray_processes
from tests.orchestrator.card_trainer import on_card
from tests.orchestrator.fake_trainer import SWEEP_FILE, Lab, made_sweep
from tests.orchestrator.launches import Watch, go, results
from tests.orchestrator.turns_trainer import one

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}  # as /proc says it


def test_a_stage_that_asks_for_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would wait for such a machine for ever, and say nothing."""
    monkeypatch.setattr(ray_backend, "live_nodes", lambda: {"a": Node("a", "a", {"CPU": 2.0})})

    with pytest.raises(ConfigError, match=r"asks for 1 GPU, and no node of the cluster has as many.*--gpus-per-stage"):
        RayBackend(gpus_per_stage=1)._shape(None)


@pytest.mark.parametrize(("slots", "cpus", "most"), [(8, 0.25, 10), (3, 0.25, 3), (2, 1.0, 4), (2, 1.5, 4)])
def test_no_more_stages_run_than_were_asked_for(slots: int, cpus: float, most: int) -> None:
    """Two may wait, where there is no room for them; where there is, they would run, and share cores with others."""
    assert RayBackend(slots=slots, cpus_per_stage=cpus)._most == most


def test_gpus_are_used_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not by stages that were told to train on the CPU: they would keep others away from the card."""
    monkeypatch.setattr(ray_backend, "live_nodes", lambda: {"a": Node("a", "a", {"CPU": 2.0, "GPU": 1.0})})

    assert [RayBackend()._shape(device).gpus for device in (None, "cuda", "cpu")] == [0.25, 0.25, 0]


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


def test_a_grid_on_ray_ends_like_one_in_process(
    store: Store, lab: Lab, straight: list[Any], on_ray: Any, tmp_path: Path
) -> None:
    """The backend decides when a stage runs, never what comes out of it; and nobody else gets at our cluster."""
    seen: dict[str, Any] = {}

    def look(count: int) -> None:
        if count == 1:
            seen["addresses"] = listening(ray_processes().keys() | {os.getpid()})
            seen["stranger"] = stranger(ray.get_runtime_context().gcs_address, tmp_path)

    summary = on_ray(store, lab, watch=Watch(look))

    assert (summary.exit_code, len(summary.reports)) == (0, 10)
    assert results(store) == straight
    assert set() < seen["addresses"] <= LOOPBACK
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert seen["stranger"].returncode == 2
    said = [line for line in seen["stranger"].stderr.splitlines() if "gcs_client.cc" not in line]
    assert "wants a token, and this machine has none. Set RAY_AUTH_MODE=token" in said[-1]


def test_one_bad_stage_blocks_only_what_is_behind_it(store: Store, lab: Lab, on_ray: Any) -> None:
    """A poisoned stage must not end the night's sweep; be it one that raises, kills its worker, or hangs."""
    lab.spoil("raise", epoch=2, seed=0, round=0)
    lab.spoil("SIGKILL", epoch=2, seed=1, round=0)
    lab.spoil("SIGSTOP", epoch=2, seed=0, round=1, lr=0.1, start="fresh")

    summary = on_ray(store, lab, hang_after_s=2.0)
    errors = [row["error"] for row in store.stages().to_pylist() if row["status"] == "failed"]

    assert (summary.count(Status.FAILED), len(summary.blocked), summary.count(Status.DONE)) == (3, 4, 3)
    assert [error.split(":")[0].split(",")[0] for error in sorted(errors)] == [
        "ValueError",
        "WorkerHung",
        "its worker process died 2 times",
    ]
    assert Counter(event["kind"] for event in store.events()) == {"worker_died": 2, "hung": 1}


def test_a_worker_that_must_leave_hands_its_stage_back(
    store: Store, lab: Lab, straight: list[Any], on_ray: Any
) -> None:
    """A machine that is about to be taken away asks its workers so; nothing is lost, and no death is told."""
    lab.spoil("SIGTERM", epoch=2, seed=0, round=0)

    summary = on_ray(store, lab, checkpoint_every_s=60.0)
    kinds = Counter(event["kind"] for event in store.events())

    assert summary.exit_code == 0
    assert results(store) == straight
    assert (kinds["handed_back"], kinds["worker_died"]) == (1, 0)
    assert {event["kind"] for event in store.events()} <= {"handed_back", "not_begun"}


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
        gate.began("lost with Tune", "node")
        raise RuntimeError("Caught unexpected exception: 1 worker(s) were killed")

    monkeypatch.setattr(RayBackend, "_fit", raise_once)
    summary = on_ray(store, lab)

    assert (summary.exit_code, len(calls)) == (0, 2)
    assert results(store) == straight


def test_a_poisoned_stage_of_a_pack_fails_alone(store: Store, lab: Lab, on_ray: Any) -> None:
    """It takes its neighbours with it once; after that each of them runs by itself, and ends as it would anywhere."""
    lab.spoil("SIGKILL", epoch=2, seed=1, lr=0.1)

    summary = on_ray(store, lab, Sweep("made up", {"lr": [0.1, 0.2]}, one, range(4), "packs"), slots=1, pack_size=4)
    rows = {(row["lr"], row["seed"]): row for row in store.stages().to_pylist()}

    assert (summary.count(Status.FAILED), summary.count(Status.DONE)) == (1, 7)
    assert "its worker process died 2 times, with no other stage in it" in rows[0.1, 1]["error"]
    assert {row["pack_size"] for row in rows.values()} == {4}


def test_stages_see_the_gpus_that_they_were_given(
    store: Store, lab: Lab, on_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sees all of them sits on another's card; one that needs more of it gets more, by itself."""
    monkeypatch.setattr(ray_cluster.ray, "init", partial(ray.init, num_gpus=2))
    axes = {"needs": [0.0, 0.25, 1.0]}

    summary = on_ray(store, lab, Sweep("made up", axes, on_card, [0, 1], "cards"), slots=3)

    rows = [line.split() for line in (lab.folder / "cards").read_text().splitlines()]
    assert summary.exit_code == 0
    assert {row[2] for row in rows if row[0] == "0.0"} == {"none"}
    assert {row[2] for row in rows if row[0] != "0.0"} <= {"0", "1"}
    assert sorted(float(row[1]) for row in rows if row[0] == "0.25") == [0.25, 0.25]
    tried = [float(row[1]) for row in rows if row[0] == "1.0"]
    assert (tried.count(1.0), tried.count(0.5) >= 1, tried.count(0.25) >= 1) == (2, True, True)
    assert {event["kind"] for event in store.events()} == {"out_of_memory"}


@pytest.fixture
def on_ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Launches a sweep, by default the made one, on a Ray cluster of two cores, in which a worker may die once."""
    monkeypatch.setattr(ray_gate, "WORKER_DEATHS", 1)

    def launched(
        store: Store, lab: Lab, sweep: Any = None, watch: Any = None, *, slots: int = 2, **options: Any
    ) -> Any:
        given = {"data_root": str(lab.folder), "checkpoint_every_s": 0.0, "retries": 0, **options}
        return go(store, lab, sweep, watch, backend=lambda: RayBackend(slots=slots), options=given)

    return launched


def listening(pids: set[int]) -> set[str]:
    """Addresses, as /proc writes them, that these processes take connections at."""
    inodes, found = set(), set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:  # closed meanwhile
                continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in inodes:
                found.add(local.split(":")[0])
    return found


def stranger(address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A launch by somebody on this machine, who knows that a cluster is on its loopback at `address`, but no token."""
    (folder / "made.py").write_text(SWEEP_FILE)
    words = ["launch", str(folder / "made.py"), "--store", str(folder / "theirs"), "--address", address]
    names = {name for name in os.environ if not name.startswith("RAY_")}
    env = {name: os.environ[name] for name in names} | {"HOME": str(folder)}
    knows = "from orchestrator import cli, ray_api; ray_api.stay_on_loopback(True); cli.main()"
    command = [sys.executable, "-c", knows, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=120)


def test_tune_that_gives_up_for_ever_is_one_clear_word(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a traceback of Ray's; but as long as stages end between, a launch of weeks goes on."""
    gate, calls = gate_of_stages(store), []

    def stop(self: RayBackend, gate: Gate, *_: Any) -> None:
        calls.append(gate)
        if len(calls) <= 3:
            gate.over([next(iter(gate._schedule.stages))])
        raise RayError("no head")

    monkeypatch.setattr(RayBackend, "_fit", stop)
    monkeypatch.setattr(ray_backend.Watch, "look_at_nodes", lambda _: None)

    with pytest.raises(SweepError, match=r"stopped 5 times, and no stage ended between: no head.*warmgrid resume"):
        RayBackend()._run(gate, gate._schedule, str(tmp_path))
    assert len(calls) == 3 + ray_backend.FIT_ATTEMPTS - 1
    assert Counter(event["kind"] for event in store.events()) == {"tune_stopped": 7}


def gate_of_stages(store: Store) -> Gate:
    """A gate before the stages of the made sweep, which tells the store what happened."""
    schedule = Schedule(plan(made_sweep().trials()).to_run, lambda stage: stage.config.work())
    return Gate(Settler(schedule, lambda *_: None), store, Options("t"), note=store.note_event)


@pytest.mark.parametrize(("given", "warned"), [({}, True), ({"gpus_per_stage": 0.5}, False)])
def test_a_cluster_whose_gpus_are_still_to_come_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: dict[str, Any], warned: bool
) -> None:
    """With no worker yet nobody knows of its GPUs: everything would train on the cores of machines with one."""
    for name, answer in {"grows": True, "knock": None, "live_nodes": {"a": Node("a", "a", {"CPU": 0.0})}}.items():
        monkeypatch.setattr(ray_backend, name, lambda *_, answer=answer: answer)

    RayBackend("head:6379", **given)._shape(None)

    assert ("--gpus-per-stage 0.25" in caplog.text) is warned
