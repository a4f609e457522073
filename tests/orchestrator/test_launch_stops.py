"""A launch can be stopped or killed anywhere; the next one goes on, and ends with the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StoreError
from orchestrator.launch import remembered, stop_on_signal
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Lab
from tests.orchestrator.launches import Watch, go, results

LAST = "SIGINT", 2, {"seed": 1, "round": 1, "lr": 0.2}  # somewhere in the middle of a launch


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_saves_and_stops(store: Store, lab: Lab, straight: list[Any], name: str) -> None:
    """A user, or a cluster that wants its node back, must be able to stop without losing training."""
    lab.spoil(name, *LAST[1:2], **LAST[2])
    watch = Watch()

    summary = go(store, lab, watch=watch)
    lab.mend()

    assert (summary.exit_code, summary.interrupted, summary.blocked) == (75, True, [])
    assert watch.told[-3:] == ["stopping", "interrupted", "end"]
    (running,) = store.noted()
    assert store.load_checkpoint(running).facts["rows"][-1]["epoch"] == 2
    assert store.files.list("stop") == []
    assert go(store, lab).exit_code == 0
    assert results(store) == straight


def test_the_second_signal_stops_now(store: Store, lab: Lab, straight: list[Any]) -> None:
    """An epoch may take an hour."""
    for _ in range(2):
        lab.spoil("SIGINT", 2, **LAST[2])
    watch = Watch()

    summary = go(store, lab, watch=watch)
    lab.mend()

    assert summary.exit_code == 75
    assert watch.told[-2:] == ["stopping", "end"]
    (running,) = store.noted()
    assert store.load_checkpoint(running).facts["rows"][-1]["epoch"] == 1
    assert go(store, lab).exit_code == 0
    assert results(store) == straight


def test_a_signal_after_the_last_stage_stops_nothing(store: Store, lab: Lab) -> None:
    """All is done; a script that reads 75 would launch again."""
    watch = Watch(lambda count: signal.raise_signal(signal.SIGINT) if count == 10 else None)

    summary = go(store, lab, watch=watch)

    assert (summary.exit_code, summary.interrupted) == (0, False)


def test_a_signal_between_two_stages_starts_no_other(store: Store, lab: Lab) -> None:
    """What has not begun must not begin."""
    watch = Watch(lambda count: signal.raise_signal(signal.SIGINT) if count == 3 else None)

    summary = go(store, lab, watch=watch)

    assert (summary.exit_code, len(lab.trained)) == (75, 3)


def test_a_store_that_cannot_take_the_request_is_stopped_at_once(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C on a full disk must not be taken for a trainer's error, nor be ignored."""
    monkeypatch.setattr(Store, "request_stop", lambda *_: (_ for _ in ()).throw(StoreError("cannot write stop.")))
    lab.spoil("SIGINT", 2, **LAST[2])

    summary = go(store, lab)

    assert summary.exit_code == 75
    assert summary.count(Status.FAILED) == 0
    assert "cannot write stop. Workers cannot be asked to stop; stopping now." in caplog.text


def test_signals_mean_what_they_meant_before(store: Store, lab: Lab) -> None:
    """In a notebook, Ctrl-C would do nothing after a launch."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with stop_on_signal(lambda: None):
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert not set(before) & set(during)


def test_a_launch_runs_outside_the_main_thread(store: Store, lab: Lab) -> None:
    """Python lets only the main thread look at signals; servers launch from others."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(go(store, lab).exit_code))

    thread.start()
    thread.join()

    assert codes == [0]


@pytest.mark.parametrize(("signals", "code"), [(["SIGTERM"], 75), (["SIGINT", "SIGINT"], 75), (["SIGKILL"], -9)])
def test_a_stopped_or_killed_command_is_resumed_to_the_same_bits(
    store: Store, lab: Lab, sweep_file: Path, straight: list[Any], signals: list[str], code: int
) -> None:
    """The whole way as a user goes it, with the kernel's own signals."""
    for name in signals:
        lab.spoil(name, 2, **LAST[2])

    options = ("--store", store.root, "--backend", "inprocess", "--data-root", lab.folder, "--json")
    command = [sys.executable, "-m", "orchestrator.cli", "launch", sweep_file, *options]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lab.mend()
    trained = len(lab.trained)

    assert ran.returncode == code, ran.stderr
    assert code != 75 or json.loads(ran.stdout)["interrupted"] is True
    ((found, axes),) = remembered(store, "made", {}, None)
    assert go(store, lab, found.sweep, source=found.source, overrides=axes).exit_code == 0
    assert results(store) == straight
    assert trained < len(lab.trained) == 11
    assert store.sql("SELECT count(*) AS n, count(DISTINCT key) AS k FROM results").to_pylist() == [{"n": 8, "k": 8}]
