"""A launch merges the small files that it makes, now and then and at its end, and is never the worse for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import compaction, upkeep
from orchestrator.compaction import LEASE, Compaction
from orchestrator.errors import StoreError
from orchestrator.folder import FolderFiles
from orchestrator.lease import hold
from orchestrator.store import Store
from orchestrator.upkeep import Upkeep
from tests.orchestrator.fake_trainer import Lab
from tests.orchestrator.launches import Watch, go
from tests.orchestrator.made_rows import filled, key_of, put, tables
from tests.orchestrator.test_compaction import results_of


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three stages be many."""
    monkeypatch.setattr(upkeep, "EVERY", 3)
    monkeypatch.setattr(upkeep, "AT_END", 3)


def small(store: Store) -> int:
    """How many stages have a file of their own."""
    return len(store.files.list("stages"))


def finished(upkeep_: Upkeep) -> None:
    """Wait for what was begun."""
    upkeep_._wait()


def test_a_small_launch_leaves_its_files_as_they_are(store: Store, lab: Lab) -> None:
    """Older versions can go on reading its store, and to merge ten files helps nobody."""
    assert go(store, lab).exit_code == 0

    assert small(store) == 10
    assert store.files.list("merged") == []


def test_a_launch_merges_many_files_at_its_end(store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who queries 10,000 small files waits for minutes, and does not know why."""
    monkeypatch.setattr(upkeep, "AT_END", 10)

    assert go(store, lab).exit_code == 0

    assert (small(store), len(store.committed())) == (0, 10)
    assert len(store.sql("FROM epochs")) == 30
    assert go(store, lab).plan.to_run == []


def test_files_are_merged_while_a_launch_runs(
    store: Store, lab: Lab, soon: None, straight: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch of days would make a hundred thousand files before it ends."""
    begin, begun = Upkeep._begin, list[int]()
    monkeypatch.setattr(Upkeep, "_begin", lambda kept: (begun.append(kept._committed), begin(kept)))

    assert go(store, lab).exit_code == 0

    assert begun[0] == 3
    assert len(begun) >= 2
    assert [(row, weights) for weights, _, row in results_of(store)] == [(row, w) for w, _, row in straight]


def test_merging_begins_after_each_so_many_stages(store: Store, soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun after every single one, it would write the same half-full file again and again."""
    begun: list[Any] = []
    monkeypatch.setattr(compaction, "compact_if_free", lambda *given: begun.append(given))
    kept = Upkeep(store)

    for _ in range(8):
        kept.committed()
        finished(kept)

    assert len(begun) == 2


def test_what_is_merged_at_the_end_counts_files_of_before(store: Store, soon: None) -> None:
    """Ten launches of a hundred stages make as many files as one of a thousand."""
    filled(store, range(3))

    Upkeep(store).end(in_haste=False)

    assert small(store) == 0


def test_reports_do_not_wait_for_the_merging(store: Store, soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand workers would stand still for as long as it takes."""
    filled(store, range(3))
    go_on = threading.Event()
    monkeypatch.setattr(compaction, "compact_if_free", lambda *_: go_on.wait(20))
    kept = Upkeep(store)

    for _ in range(9):
        kept.committed()

    assert sum(thread.name == "warmgrid-upkeep" for thread in threading.enumerate()) == 1
    go_on.set()
    kept.end(in_haste=False)
    assert not [thread for thread in threading.enumerate() if thread.name == "warmgrid-upkeep"]


def test_another_compaction_is_left_alone(store: Store, soon: None, caplog: pytest.LogCaptureFixture) -> None:
    """Two launches into one store end at the same time; that is nobody's mistake."""
    filled(store, range(3))

    with hold(store.files, LEASE):
        Upkeep(store).end(in_haste=False)

    assert (small(store), caplog.text) == (3, "")


@pytest.mark.parametrize("fails", ["list", "write"])
def test_a_failure_to_merge_is_said_and_the_launch_succeeds(
    store: Store, lab: Lab, soon: None, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All stages are committed: an exit code of 1 would make somebody look for what is wrong with them."""
    call, refuse = getattr(FolderFiles, fails), StoreError("no space left.")

    def refused(files: FolderFiles, name: str | None = None, *rest: Any, **given: Any) -> Any:
        if is_ending.is_set() and (fails == "list" or str(name).startswith("merged/")):
            raise refuse
        return call(files, name, *rest, **given)

    is_ending = threading.Event()
    monkeypatch.setattr(Upkeep, "committed", lambda _: None)
    end = Watch.end
    monkeypatch.setattr(Watch, "end", lambda watch: (end(watch), is_ending.set()))
    monkeypatch.setattr(FolderFiles, fails, refused)

    assert go(store, lab).exit_code == 0

    assert "small files were not merged: no space left. No result is lost, and queries are slower." in caplog.text
    is_ending.clear()
    assert (small(store), len(store.committed())) == (10, 10)


def test_an_interrupted_launch_ends_at_once(store: Store, soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses Ctrl-C, or whose machine is taken away, waits for nothing more."""
    filled(store, range(9))
    begun: list[Any] = []
    monkeypatch.setattr(compaction, "compact_if_free", lambda *given: begun.append(given))

    Upkeep(store).end(in_haste=True)

    assert begun == []


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two stages fill a merged file."""
    monkeypatch.setattr("orchestrator.merged.MOST_NAMES", 2)
    monkeypatch.setattr(compaction, "GROUP_NAMES", 2)


@pytest.mark.parametrize("after", range(4))
def test_a_merging_that_is_called_off_loses_and_doubles_nothing(
    store: Store, soon: None, few: None, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops between two files, and the next one takes over from there."""
    filled(store, range(3))
    store.compact()
    for number in range(3, 8):
        put(store, number)
    before = tables(store)
    kept = Upkeep(store)
    stop_at(after, kept, monkeypatch)

    kept._begin()
    finished(kept)

    assert tables(Store(store.root)) == before
    monkeypatch.undo()
    store.compact()
    assert tables(Store(store.root)) == before
    assert small(store) == 0


def stop_at(number: int, kept: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the merging off when so many row groups were looked for."""
    found: Callable[..., Any] = Compaction._found

    def counted(self: Compaction, table: Any, *rest: Any) -> Any:
        nonlocal number
        number -= table == "stages"
        if number < 0:
            kept._leave.set()
        return found(self, table, *rest)

    monkeypatch.setattr(Compaction, "_found", counted)


def test_ctrl_c_while_the_last_files_are_merged_ends_it(
    store: Store, soon: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The launch is done, and must say so; nobody is to wait for what can be done later."""
    keys = filled(store, range(4))
    kept, waits = Upkeep(store), []

    def pressed(upkeep_: Upkeep) -> None:
        waits.append(upkeep_._leave.is_set())
        if len(waits) == 2:  # the first is for what was begun before
            raise KeyboardInterrupt
        WAIT(upkeep_)

    monkeypatch.setattr(Upkeep, "_wait", pressed)

    kept.end(in_haste=False)

    assert waits == [False, False, True]
    assert "small files are not all merged. The next launch goes on with it." in caplog.text
    assert Store(store.root).committed() == set(keys) == set(map(key_of, range(4)))


WAIT = Upkeep._wait


def test_whoever_is_in_haste_does_not_wait_until_small_files_are_deleted(
    store: Store, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket two thousand of them take half a minute; they do no harm, and the next launch deletes them."""
    filled(store, range(9))
    before, kept, delete = tables(store), Upkeep(store), FolderFiles.delete
    monkeypatch.setattr(
        FolderFiles,
        "delete",
        lambda files, name: (kept._leave.set() if name.startswith("stages/") else None, delete(files, name)),
    )

    kept._begin()
    finished(kept)

    assert 9 > small(store) >= 4  # each of four threads may be at one
    assert tables(Store(store.root)) == before
    store.compact()
    assert (small(store), tables(Store(store.root))) == (0, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_last_files_are_merged_stops_the_merging_alone(
    store: Store, lab: Lab, few: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """The launch is complete: killed by SIGTERM, it would count as one that failed, and be started again."""
    monkeypatch.setattr(upkeep, "AT_END", 3)
    merge = Upkeep._merge

    def signalled(kept: Upkeep) -> None:
        os.kill(os.getpid(), number)
        kept._leave.wait(20)
        merge(kept)

    monkeypatch.setattr(Upkeep, "_merge", signalled)

    assert go(store, lab).exit_code == 0

    assert (small(store), len(store.committed())) == (10, 10)
    assert "small files are not all merged. The next launch goes on with it." in caplog.text
