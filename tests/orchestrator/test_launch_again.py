"""A launch tries again what may pass, blocks only what cannot run, and shares a store with another launch."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import backend
from orchestrator.errors import ConfigError, DamageError, DataError, StoreError
from orchestrator.overview import overview
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Lab
from tests.orchestrator.launches import go, results
from tests.orchestrator.odd_trainer import run_odd

FIRST = {"seed": 1, "round": 0, "lr": 0.5}  # both of its learning rates start from it
TWICE = {"checkpoint_every_s": 0.0, "retries": 2}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(backend, "BACKOFF_S", 0.0)


def options(lab: Lab) -> dict[str, Any]:
    """Two more tries for each stage that raises."""
    return {"data_root": str(lab.folder), **TWICE}


# Tries.


def test_a_trainer_that_raises_twice_and_then_succeeds_ends_with_the_same_bits(
    store: Store, lab: Lab, straight: list[Any], at_once: None
) -> None:
    """A flaky disk must cost two epochs, not a cell, and must not show in the numbers."""
    lab.spoil("raise", 3, times=2, **FIRST)

    summary = go(store, lab, options=options(lab))

    (row,) = [row for row in store.stages().to_pylist() if all(row[name] == FIRST[name] for name in FIRST)]
    assert (summary.exit_code, summary.count(Status.DONE), summary.count(Status.FAILED)) == (0, 10, 0)
    assert (row["attempts"], len(lab.trained), store.files.list("failures")) == (3, 12, [])
    assert results(store) == straight
    events = [(event["kind"], event["key"], event["failures"], event["sweep"]) for event in store.events()]
    assert events == [("retried", row["key"], tries, "made") for tries in (1, 2)]


def test_a_trainer_that_always_raises_blocks_its_descendants_alone(
    store: Store, lab: Lab, sweep_file: Path, at_once: None
) -> None:
    """The rest of the grid is worth having, and the morning must find the error by name."""
    lab.spoil("raise", 3, **FIRST)

    summary = go(store, lab, options=options(lab), source=str(sweep_file))

    seen = overview(store, "made", {}, None)
    assert (summary.exit_code, len(lab.trained)) == (1, 7 + 3)
    assert seen["counts"] == {"done": 7, "failed": 1, "blocked": 2}
    (failure,) = seen["failures"]
    assert (failure["error"], failure["count"]) == ("ValueError: made to fail at this place", 1)
    assert [row["attempts"] for row in store.stages().to_pylist() if row["key"] == failure["key"]] == [3]


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (ValueError(), True),
        (OSError("connection reset"), True),
        (MemoryError(), True),
        (SystemExit(1), True),
        (DataError("the data are missing"), False),
        (ConfigError("no such layer"), False),
        (StoreError("nobody answers"), True),
        (DamageError("weights are damaged"), False),
        (ModuleNotFoundError("no module"), False),
    ],
)
def test_what_cannot_pass_is_not_tried_again(store: Store, error: BaseException, retry: bool) -> None:
    """What is missing stays missing; all else may have been the machine."""

    def act(_io: object) -> None:
        raise error

    report = run_odd(store, act)

    assert (report.status, report.retry, report.out_of_memory) == (Status.FAILED, retry, False)


class OutOfMemoryError(RuntimeError):
    """As torch names it; torch itself takes seconds to import."""


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (OutOfMemoryError("CUDA: tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuBLAS failed: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory is a book"), False),
    ],
)
def test_want_of_memory_on_a_device_is_known(store: Store, error: Exception, is_so: bool) -> None:
    """The driver gives such a stage a larger share of its card."""

    def act(_io: object) -> None:
        raise error

    assert run_odd(store, act).out_of_memory is is_so


def test_a_stop_does_not_wait_for_what_is_postponed(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch, straight: list[Any]
) -> None:
    """A back-off may be a minute, and another worker's stage an hour."""
    monkeypatch.setattr(backend, "BACKOFF_S", 1e9)
    monkeypatch.setattr(backend, "LONGEST_BACKOFF_S", 1e9)
    waits: list[float] = []

    def ctrl_c(seconds: float) -> None:
        waits.append(seconds)
        signal.raise_signal(signal.SIGINT)

    lab.spoil("raise", 3, **FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(backend.time, "sleep", ctrl_c)
        summary = go(store, lab, options=options(lab))
    lab.mend()

    assert (summary.exit_code, summary.interrupted, summary.count(Status.DONE)) == (75, True, 7)
    assert waits == [backend.LOOK_AGAIN_S]
    assert go(store, lab).exit_code == 0
    assert results(store) == straight


# Together.

SWEEP = "made_sweep(lr=[i / 10 for i in range(1, 9)])"
DRIVER = f"""
import sys
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import Lab, made_sweep
from tests.orchestrator.launches import go
print("ready", flush=True)
sys.stdin.readline()
summary = go(Store(sys.argv[1]), Lab(sys.argv[2]), {SWEEP})
print(summary.exit_code, summary.count(Status.DONE))
"""


@contextmanager
def driver(store: Store, lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """Another process that launches SWEEP as soon as it gets a line."""
    command = [sys.executable, "-c", DRIVER, store.root, lab.folder]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def together(store: Store, lab: Lab) -> list[tuple[int, str]]:
    """Two drivers begin at the same moment; exit status and words of each."""
    with ExitStack() as both:
        drivers = [both.enter_context(driver(store, lab)) for _ in range(2)]
        for process in drivers:
            process.stdin.write("\n")
            process.stdin.flush()
        return [(process.wait(), process.stdout.read()) for process in drivers]


def test_two_drivers_of_one_sweep_train_each_stage_once(store: Store, lab: Lab) -> None:
    """Two people launch it, or one does twice; hours of training would be paid for twice."""
    ends = together(store, lab)

    assert ends == [(0, "0 34\n")] * 2
    assert len(lab.trained) == len(set(lab.trained)) == 34
    counts = store.sql("SELECT count(*) AS n, count(DISTINCT key) AS k, max(attempts) AS tries FROM stages")
    assert counts.to_pylist() == [{"n": 34, "k": 34, "tries": 1}]
    assert store.files.list("leases") == []


def test_what_a_killed_driver_held_the_other_one_ends(store: Store, lab: Lab) -> None:
    """Nobody may have to launch again for the stages that a dead process was at."""
    lab.spoil("SIGKILL", 2, times=1, seed=1, round=1, lr=0.3, start="parent")

    ends = together(store, lab)

    assert sorted(ends) == [(-9, ""), (0, "0 34\n")]
    assert (len(lab.trained), len(set(lab.trained))) == (35, 34)
    assert store.sql("SELECT count(*) AS n FROM stages").to_pylist() == [{"n": 34}]
