"""A worker that dies, sleeps or must leave costs epochs at most: another one goes on, and nothing is written twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator import worker
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Lab, result, run, two_rounds
from tests.orchestrator.launches import contents
from tests.orchestrator.leases import age_to

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent
NEVER = 1e9
ELSEWHERE = """
import contextlib
from orchestrator import lease
from orchestrator.folder import FolderFiles
lease.machine = lambda: "other-machine"
FolderFiles.has_mutex, FolderFiles.mutex = False, lambda self, name: contextlib.nullcontext(True)
"""
TRAIN = """
import sys
from orchestrator.store import Store
from orchestrator.worker import leave_on_sigterm
from tests.orchestrator.fake_trainer import Lab, run, two_rounds
leave_on_sigterm()
stage = two_rounds(0.1, "parent", 0)[0].parent
report = run(stage, Store(sys.argv[1]), Lab(sys.argv[2]), checkpoint_every_s=float(sys.argv[3]))
print(report.status, report.again_s)
"""


@contextmanager
def other_worker(store: Store, lab: Lab, code: str, every_s: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains PARENT."""
    command = [sys.executable, "-c", code + TRAIN, store.root, lab.folder, str(every_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process


def straight_result(store: Store) -> Any:
    """What PARENT gives in a store of its own, without a break."""
    other = Store(f"{store.root}-straight")
    run(PARENT, other)
    return result(other, PARENT.key)


def let_lease_end(store: Store) -> None:
    """Let the store's clock go on by more than a lease."""
    for name in store.files.list("leases"):
        age_to(store.files, f"leases/{name}", 1000.0)


# Dead.


def test_a_killed_workers_stage_goes_on_at_once_on_its_machine(store: Store, lab: Lab) -> None:
    """A crash must not cost more than the epochs since the last checkpoint."""
    lab.spoil("SIGKILL", 3)
    with other_worker(store, lab, "") as process:
        process.wait()
    lab.mend()

    report = run(PARENT, store, lab)

    assert (report.status, report.row["attempts"]) == (Status.DONE, 2)
    assert result(store, PARENT.key) == straight_result(store)
    assert store.files.list("leases") == []


def test_a_killed_workers_stage_goes_on_elsewhere_when_its_lease_ended(store: Store, lab: Lab) -> None:
    """Nobody there can know whether the other machine is dead or only slow; before, two would train it."""
    lab.spoil("SIGKILL", 3)
    with other_worker(store, lab, ELSEWHERE) as process:
        process.wait()
    lab.mend()

    early = run(PARENT, store, lab)
    let_lease_end(store)
    late = run(PARENT, store, lab)

    assert (early.status, early.again_s, late.status) == (Status.INTERRUPTED, worker.HELD_S, Status.DONE)
    assert len(lab.trained) == 2
    assert result(store, PARENT.key) == straight_result(store)


# Thought dead.


@pytest.mark.parametrize(
    ("trouble", "epoch", "every_s"),
    [
        (["SIGSTOP"], 2, 0.0),  # finds out before it saves a checkpoint
        (["SIGSTOP"], 3, NEVER),  # before its commit
        (["SIGSTOP", "raise"], 3, NEVER),  # before it records its failure
    ],
)
def test_a_worker_that_was_thought_dead_comes_back_and_writes_nothing(
    store: Store, lab: Lab, trouble: list[str], epoch: int, every_s: float
) -> None:
    """It would write over the result that others have started from, or leave a failure beside it."""
    for does in trouble:
        lab.spoil(does, epoch)
    with other_worker(store, lab, ELSEWHERE, every_s) as process:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        let_lease_end(store)
        report = run(PARENT, store)  # without the lab: here, nothing goes wrong
        before = contents(store)
        process.send_signal(signal.SIGCONT)
        said = process.communicate()[0]

    after = contents(store)
    (event,) = store.events()
    assert (report.status, said) == (Status.DONE, f"interrupted {worker.HELD_S}\n")
    assert {name: data for name, data in after.items() if not name.startswith("events/")} == before
    assert (event["kind"], event["key"]) == ("lease lost", PARENT.key)
    assert result(store, PARENT.key) == straight_result(store)


def test_a_checkpoint_that_is_not_due_asks_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many thousand epochs in a store behind a network would be as many requests."""
    looks: list[bool] = []
    monkeypatch.setattr("orchestrator.lease.Lease.check", lambda _self, *, sure=False: looks.append(sure))

    run(PARENT, store, checkpoint_every_s=NEVER)

    assert looks == [False, False, False, True]


# Asked to leave.


@pytest.fixture
def own_process() -> Iterator[None]:
    """Let this process be a worker's own."""
    before = signal.getsignal(signal.SIGTERM)
    worker.leave_on_sigterm()
    yield
    signal.signal(signal.SIGTERM, before)
    worker.LEAVING.clear()


def test_sigterm_saves_a_checkpoint_and_asks_to_go_on_elsewhere(store: Store, lab: Lab, own_process: None) -> None:
    """A preempted node has 30 seconds; the launch goes on without it."""
    lab.spoil("SIGTERM", 2)

    report = run(PARENT, store, lab, checkpoint_every_s=NEVER)

    assert (report.status, report.again_s) == (Status.INTERRUPTED, worker.ELSEWHERE_S)
    assert len(store.load_checkpoint(PARENT.key).facts["rows"]) == 2
    assert store.files.list("leases") == []


def test_a_worker_that_must_leave_takes_no_other_stage(store: Store, lab: Lab, own_process: None) -> None:
    """It would begin epochs that nobody waits for."""
    signal.raise_signal(signal.SIGTERM)

    report = run(PARENT, store, lab)

    assert (report.status, report.again_s, lab.trained) == (Status.INTERRUPTED, worker.ELSEWHERE_S, [])


def test_what_a_leaving_worker_began_ends_with_the_same_bits_elsewhere(store: Store, lab: Lab) -> None:
    """The whole way, with another process and the kernel's own signal."""
    lab.spoil("SIGTERM", 2)
    with other_worker(store, lab, ELSEWHERE, NEVER) as process:
        said = process.communicate()[0]
    lab.mend()

    report = run(PARENT, store, lab)

    assert said == f"interrupted {worker.ELSEWHERE_S}\n"
    assert (report.status, report.row["attempts"]) == (Status.DONE, 2)
    assert result(store, PARENT.key) == straight_result(store)


def test_a_store_behind_a_network_is_asked_once_a_second_whether_to_stop(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request for each of many short epochs would take longer than they do."""
    looks: list[str] = []
    monkeypatch.setattr(Store, "is_stop_requested", lambda _store, launch: looks.append(launch) is not None)
    run(PARENT, store)
    monkeypatch.setattr(worker, "LOOK_EVERY_S", NEVER)
    monkeypatch.setattr(Store, "root", "s3://bucket/store")
    run(CHILD, store)

    assert looks == ["t"] * (3 + 1)
