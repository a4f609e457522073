"""A stage is trained once, however often it is interrupted or asked for, and its row says how."""

from __future__ import annotations

import datetime
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator import Stage, worker
from orchestrator.seam import Checkpoint, Outcome, StageIO, Status
from orchestrator.store import Store
from orchestrator.worker import Handout, own_version
from tests.orchestrator.fake_trainer import (
    ROOT,
    Lab,
    Walk,
    epoch_row,
    names_of,
    result,
    run,
    run_until_over,
    two_rounds,
)
from tests.orchestrator.odd_trainer import OUTCOME, run_odd

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent
NEVER = 1e9  # seconds between two checkpoints


def straight_result(store: Store) -> Mapping[str, Any]:
    """What PARENT gives in a store of its own, without a break."""
    other = Store(f"{store.root}-straight")
    run(PARENT, other)
    return result(other, PARENT.key)


# Resuming.


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("does", ["raise", "exit"])
def test_a_failed_stage_goes_on_from_its_checkpoint_to_the_same_bits(
    store: Store, lab: Lab, does: str, epoch: int
) -> None:
    """Resuming must be invisible in the result; else a preempted node would change the science."""
    lab.spoil(does, epoch)
    assert run(PARENT, store, lab).status is Status.FAILED
    lab.mend()

    assert run(PARENT, store, lab).status is Status.DONE

    assert result(store, PARENT.key) == straight_result(store)


def test_a_stage_that_is_stopped_after_every_epoch_ends_with_the_same_bits(store: Store) -> None:
    """The worst node there is: it is taken away again and again."""
    with store.stoppable("t"):
        store.request_stop("t")
        statuses = [run(PARENT, store, checkpoint_every_s=NEVER).status for _ in range(4)]

    assert statuses == [Status.INTERRUPTED] * 3 + [Status.DONE]
    assert result(store, PARENT.key) == straight_result(store)
    assert store.stage_row(PARENT.key)["attempts"] == 4


def test_a_stop_saves_a_checkpoint_first(store: Store) -> None:
    """Up to an hour of training would be lost at each Ctrl-C."""
    with store.stoppable("t"):
        store.request_stop("t")
        report = run(PARENT, store, checkpoint_every_s=NEVER)

    assert (report.status, report.row, report.error) == (Status.INTERRUPTED, {}, None)
    assert store.load_checkpoint(PARENT.key).facts["rows"] == [store.load_checkpoint(PARENT.key).facts["rows"][0]]
    assert store.stages().num_rows == 0


def test_a_stop_of_another_launch_is_none_of_ours(store: Store) -> None:
    """Two users share a store."""
    with store.stoppable("other"):
        store.request_stop("other")

        assert run(PARENT, store).status is Status.DONE


@pytest.mark.parametrize(("every_s", "saved"), [(0.0, [1, 2, 3, 4, 5, 6]), (25.0, [3, 6]), (NEVER, [])])
def test_checkpoints_are_saved_when_they_are_due(
    store: Store, monkeypatch: pytest.MonkeyPatch, every_s: float, saved: list[int]
) -> None:
    """Too many slow the training down, too few cost it again."""
    clock, epochs = itertools.count(step=10.0), []
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Store, "save_checkpoint", lambda _store, _key, epoch, _checkpoint: epochs.append(epoch))

    run(Stage(Walk(epochs=6)), store, checkpoint_every_s=every_s)

    assert epochs == saved


def test_a_parents_state_reaches_its_child(store: Store) -> None:
    """A warm start from nothing is a random init under a false name."""
    run(PARENT, store)
    run(CHILD, store)
    run(Stage(replace(CHILD.config, start="fresh")), store)

    assert store.load_state(CHILD.key)["x"].tolist() != store.load_state(PARENT.key)["x"].tolist()
    assert len({row["test_loss"] for row in store.stages().to_pylist()}) == 3


def test_a_child_without_its_parents_weights_says_what_to_do(store: Store) -> None:
    """They were deleted since the launch was planned."""
    run(PARENT, store)
    store.files.delete(f"weights/{PARENT.key}.safetensors")

    report = run(CHILD, store)

    assert report.status is Status.FAILED
    assert f"stage {PARENT.key}" in report.error
    assert "is missing. Resume: it is trained again." in report.error


# Once.


def test_a_committed_stage_is_not_trained_again(store: Store, lab: Lab) -> None:
    """Whatever is asked for twice is paid for once."""
    first = run(PARENT, store, lab)

    assert run(PARENT, store, lab) == first
    assert len(lab.trained) == 1


def test_a_stage_that_two_threads_ask_for_is_trained_once(store: Store, lab: Lab) -> None:
    """Two sweeps in one process share it."""
    reports: list[worker.Report] = []
    threads = [threading.Thread(target=lambda: reports.append(run_until_over(PARENT, store, lab))) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [report.status for report in reports] == [Status.DONE] * 4
    assert len(lab.trained) == 1


def test_a_stage_that_two_processes_ask_for_is_trained_once(store: Store, lab: Lab) -> None:
    """Two users launch sweeps that share it."""
    code = (
        "import sys\n"
        "from orchestrator.store import Store\n"
        "from tests.orchestrator.fake_trainer import Lab, run_until_over, two_rounds\n"
        "print(run_until_over(two_rounds(0.1, 'parent', 0)[0].parent, Store(sys.argv[1]), Lab(sys.argv[2])).status)\n"
    )
    command = [sys.executable, "-c", code, store.root, lab.folder]

    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    assert [process.communicate()[0] for process in started] == ["done\n"] * 2
    assert len(lab.trained) == 1


def test_a_stage_that_another_worker_holds_is_not_waited_for(store: Store, lab: Lab) -> None:
    """The other one may train for hours, and this worker could train something else."""
    with store.lock(PARENT.key):
        report = run(PARENT, store, lab)

    assert (report.status, report.again_s) == (Status.INTERRUPTED, worker.HELD_S)
    assert (lab.trained, store.running(PARENT.key)) == ([], {})


# What is recorded.


def test_attempts_and_seconds_add_up_over_restarts(store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of an interrupted stage would look like that of its last piece."""
    seconds = []
    for epoch in (2, 3, None):
        clock = itertools.count(step=10.0)
        monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda clock=clock: next(clock)))
        if epoch:
            lab.spoil("raise", epoch)
        seconds.append((report := run(PARENT, store, lab)).row["wall_seconds"])
        lab.mend() if epoch else None

    assert report.row["attempts"] == 3
    assert seconds[0] < seconds[1] < seconds[2]
    assert store.stage_row(PARENT.key)["wall_seconds"] == seconds[2]


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """A machine nine hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_times_are_utc_from_the_first_start_to_the_end(store: Store, lab: Lab, in_tokyo: None) -> None:
    """Results of machines in several time zones are compared."""
    before = datetime.datetime.now(datetime.UTC)
    lab.spoil("raise", 2)
    first = run(PARENT, store, lab).row["started_at"]
    lab.mend()

    row = run(PARENT, store, lab).row

    assert before <= first == row["started_at"] <= row["finished_at"] <= datetime.datetime.now(datetime.UTC)
    assert row["started_at"].utcoffset() == datetime.timedelta(0)


def test_a_row_says_where_its_stage_ran(store: Store) -> None:
    """A number that nobody can trace back is not a result."""
    run(PARENT, store)

    row = run(CHILD, store, pack_size=3, warmgrid_version="7").row

    assert (row["key"], row["parent"], row["trainer"]) == (CHILD.key, PARENT.key, Walk.trainer)
    assert (row["pack_size"], row["warmgrid_version"], row["device"], row["torch_version"]) == (3, "7", "cpu", "0")
    assert (row["lr"], row["round"], row["version"], row["stop_reason"]) == (0.1, 1, 1, "epochs")
    assert row["config"].startswith('{"data":{"kind":"made_numbers","size":5},"epochs":3,"kind":"made_walk"')


def test_a_diverged_stage_is_a_result(store: Store, lab: Lab) -> None:
    """A learning rate that is too large is a finding, and is not tried again."""
    lab.spoil("diverge", 2)

    report = run(PARENT, store, lab)

    assert (report.status, report.row["status"], report.row["stop_reason"]) == (Status.DIVERGED,) + ("diverged",) * 2
    assert store.committed() == {PARENT.key}


def test_options_reach_the_trainer(store: Store) -> None:
    """A GPU that is not asked for stays cold."""
    seen = []

    run_odd(store, lambda io: (seen.append((io.device, io.data_root)), OUTCOME)[1], device="cuda", data_root="/d")

    assert seen == [("cuda", "/d")]


# What travels.


def test_a_handout_leaves_the_ancestors_behind(store: Store) -> None:
    """The fiftieth round of an online trial would carry the configs of fifty."""
    assert Handout.of(CHILD) == Handout(CHILD.key, CHILD.config, PARENT.key, CHILD.trajectory)
    assert Handout.of(PARENT).parent_key is None


def test_code_that_is_not_installed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray brings a checkout to its nodes, not an installed distribution."""
    assert own_version()[0].isdigit()

    monkeypatch.setattr(worker, "version", lambda name: (_ for _ in ()).throw(worker.PackageNotFoundError(name)))

    assert own_version() == "unknown"


def test_the_io_is_what_a_trainer_was_promised(store: Store) -> None:
    """Trainers are written against the seam alone."""
    seen: list[Any] = []

    def act(io: StageIO) -> Outcome:
        seen.extend([io.parent_state(), io.load_checkpoint()])
        io.end_epoch(epoch_row(1, 0.5), lambda: Checkpoint({"x": np.ones(2)}, {"rows": []}))
        seen.append(io.load_checkpoint().tensors["x"].tolist())
        return OUTCOME

    run_odd(store, act)

    assert seen == [None, None, [1.0, 1.0]]
    assert [name for name in names_of(store) if name.startswith("checkpoints")] == []
