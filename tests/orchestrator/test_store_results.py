"""A stage is committed whole or not at all, once, and nothing of it changes or is lost afterwards."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import StoreError
from orchestrator.folder import FolderFiles
from orchestrator.seam import Checkpoint, Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Killed, Lab, names_of, result, run, two_rounds

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent
WEIGHTS, ROW, EPOCHS = (
    f"{name.format(PARENT.key)}" for name in ("weights/{}.safetensors", "stages/{}.parquet", "epochs/{}.parquet")
)
COMMITTED = sorted([WEIGHTS, ROW, EPOCHS])
CHANGES = ("write", "write_once", "delete", "delete_folder", "set_aside")


@pytest.fixture
def straight_store(tmp_path: Path, unsynced: None) -> Store:
    """Another store, in which PARENT ran without a break."""
    other = Store(str(tmp_path / "straight-store"))
    run(PARENT, other)
    return other


def damage(store: Store, name: str) -> None:
    """Change bytes in the middle of a file."""
    data = bytearray(store.files.read(name))
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(b ^ 0xFF for b in data[len(data) // 2 : len(data) // 2 + 8])
    store.files.path(name).write_bytes(data)


def die_at(monkeypatch: pytest.MonkeyPatch, count: int, *, after: bool) -> Callable[[], int]:
    """Let the process die before or after its `count`-th change of the store, from 0; tells how many there were."""
    done = []

    def deadly(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            done.append(change)
            if len(done) == count + 1 and not after:
                raise Killed
            value = change(*args, **kwargs)
            if len(done) == count + 1:
                raise Killed
            return value

        return call

    for name in CHANGES:
        monkeypatch.setattr(FolderFiles, name, deadly(getattr(FolderFiles, name)))
    return lambda: len(done)


def changes_of(act: Callable[[], Any]) -> int:
    """How many changes of the store `act` makes."""
    with pytest.MonkeyPatch.context() as patch:
        count = die_at(patch, -1, after=False)
        act()
        return count()


def keys(store: Store) -> list[str]:
    """Keys in the table stages, as a query sees them."""
    return store.stages()["key"].to_pylist()


# Commit.


def test_a_committed_stage_is_three_files(store: Store) -> None:
    """What only a running stage needs would pile up to the size of all checkpoints ever."""
    assert run(PARENT, store).status is Status.DONE

    assert names_of(store) == COMMITTED
    assert not Path(store.root, "checkpoints", PARENT.key).exists()
    assert store.committed() == store.startable() == {PARENT.key}


def test_the_row_comes_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without weights or epochs is a result that nobody can look at."""
    seen = []
    write_once = FolderFiles.write_once
    monkeypatch.setattr(FolderFiles, "write_once", lambda *a: (seen.append((a[1], names_of(store))), write_once(*a))[1])

    run(PARENT, store, checkpoint_every_s=1e9)

    ((name, before),) = seen
    assert name == ROW
    assert {WEIGHTS, EPOCHS} < set(before)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_change_ends_in_the_same_bits(
    straight_store: Store, lab: Lab, tmp_path: Path, after: bool
) -> None:
    """A kill -9 at the wrong moment would double a row, lose one, or change the science."""

    def failed_once(name: str) -> Store:
        """A store with a failure to forget, too."""
        store = Store(str(tmp_path / name))
        lab.spoil("raise", 2)
        run(PARENT, store, lab)
        lab.mend()
        return store

    counted, expected = failed_once("counted"), result(straight_store, PARENT.key)
    count = changes_of(lambda: run(PARENT, counted))
    for at in range(count):
        store = failed_once(f"store{at}")
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, at, after=after)
            with pytest.raises(Killed):
                run(PARENT, store)
        if store.is_committed(PARENT.key):
            assert result(store, PARENT.key) == expected
        else:
            assert [row["status"] for row in store.stages().to_pylist()] == ["failed"]

        assert run(PARENT, store).status is Status.DONE
        store.tidy({PARENT.key})

        assert result(store, PARENT.key) == expected
        assert keys(store) == [PARENT.key]
        assert names_of(store) == COMMITTED
    assert count > 10


@pytest.mark.parametrize("lost", [[WEIGHTS], [EPOCHS], [ROW]], ids=str)
def test_a_crash_while_lost_files_are_restored_ends_in_the_same_bits(
    store: Store, straight_store: Store, tmp_path: Path, lost: list[str]
) -> None:
    """The second run of a stage may die as well as the first."""
    expected = result(straight_store, PARENT.key)

    def lose(root: Path) -> Store:
        store = Store(str(root))
        run(PARENT, store)
        for name in lost:
            store.files.delete(name)
        return store

    counted = lose(tmp_path / "counted")
    for at in range(changes_of(lambda: run(PARENT, counted))):
        store = lose(tmp_path / f"store{at}")
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, at, after=False)
            with pytest.raises(Killed):
                run(PARENT, store)

        run(PARENT, store)
        store.tidy({PARENT.key})

        assert result(store, PARENT.key) == expected
        assert names_of(store) == COMMITTED


def test_a_worker_killed_in_its_commit_leaves_a_stage_that_can_be_run(store: Store, straight_store: Store) -> None:
    """The same with a real SIGKILL, which frees locks and runs no cleaning up."""
    code = (
        "import os, signal, sys\n"
        "from orchestrator import folder\n"
        "from orchestrator.store import Store\n"
        "from tests.orchestrator.fake_trainer import run, two_rounds\n"
        "folder.place_once = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(two_rounds(0.1, 'parent', 0)[0].parent, Store(sys.argv[1]))\n"
    )

    ran = subprocess.run([sys.executable, "-c", code, store.root], cwd=ROOT, check=False)
    before = keys(store)
    again = run(PARENT, store)

    assert (ran.returncode, before) == (-signal.SIGKILL, [])
    assert (again.status, again.row["attempts"]) == (Status.DONE, 2)
    assert result(store, PARENT.key) == result(straight_store, PARENT.key)


def test_a_committed_row_never_changes(store: Store) -> None:
    """Who wrote down a number yesterday must find it today."""
    run(PARENT, store)
    before = store.files.read(ROW)
    row = store.stage_row(PARENT.key)
    state = store.load_state(PARENT.key)

    stored = store.commit(PARENT.key, {**row, "test_accuracy": 1.0, "host": "other"}, [], state)

    assert stored == row
    assert store.files.read(ROW) == before


def test_a_value_that_fits_no_column_commits_nothing(store: Store) -> None:
    """Half of a commit that cannot be completed would stay for ever."""
    row = store_row()

    with pytest.raises(StoreError, match="it has no column 'accuracy'"):
        store.commit("a", {**row, "accuracy": 1.0}, [], {})

    assert names_of(store) == []


def store_row() -> dict[str, Any]:
    """The least row of the table stages."""
    from orchestrator.columns import STAGES

    given = {"trainer": "t", "version": 1, "round": 0, "seed": 0, "status": "done", "attempts": 1}
    return {**{column.name: None for column in STAGES}, **given, "warmgrid_version": "0"}


# What is lost or damaged.


def test_lost_weights_come_back_and_the_row_stays(store: Store, straight_store: Store) -> None:
    """Weights may be deleted for want of room; the numbers stay those that were published."""
    run(PARENT, store)
    before = store.files.read(ROW)
    store.files.delete(WEIGHTS)

    report = run(PARENT, store)

    assert (report.status, report.row["attempts"]) == (Status.DONE, 1)
    assert store.files.read(ROW) == before
    assert store.files.read(WEIGHTS) == straight_store.files.read(WEIGHTS)


def test_other_bits_on_the_second_run_replace_row_and_epochs_together(
    store: Store, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that speaks of other weights than those stored is a false result."""
    run(PARENT, store)
    old = {store.files.read(ROW), store.files.read(EPOCHS)}
    store.files.delete(WEIGHTS)
    lab.spoil("diverge", 2)

    report = run(PARENT, store, lab)

    aside = {store.files.read(f"set_aside/{name}") for name in store.files.list("set_aside")}
    assert (report.status, report.row["epochs"]) == (Status.DIVERGED, 2)
    assert store.load_state(PARENT.key)["steps"] == 20
    assert old < aside
    assert "ended with other bits this time" in caplog.text


def test_missing_weights_are_named(store: Store) -> None:
    """A child that cannot start must say what to do."""
    run(PARENT, store)
    store.files.delete(WEIGHTS)

    with pytest.raises(StoreError, match=f"stage {PARENT.key}: .*{WEIGHTS} is missing. Resume"):
        store.load_state(PARENT.key)


def test_damaged_weights_are_set_aside_and_named(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A child would start from weights that its parent never had."""
    run(PARENT, store)
    damage(store, WEIGHTS)

    with pytest.raises(StoreError, match=f"weights of stage {PARENT.key}: other bytes than were committed. Resume"):
        store.load_state(PARENT.key)

    assert store.startable() == set()
    assert store.committed() == {PARENT.key}
    assert f"{WEIGHTS}: other bytes than were committed" in caplog.text


def test_a_damaged_row_is_set_aside_and_not_its_weights(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Blaming sound weights for a damaged row would throw both away."""
    run(PARENT, store)
    damage(store, ROW)

    with pytest.raises(StoreError, match=f"row of stage {PARENT.key}"):
        store.load_state(PARENT.key)

    assert names_of(store) == sorted([WEIGHTS, EPOCHS])


LOOKS = {  # who finds that a file is damaged
    ROW: Store.committed,
    EPOCHS: lambda store: store.sql("SELECT * FROM epochs"),
    WEIGHTS: lambda store: store.load_state(PARENT.key),
}


@pytest.mark.parametrize("name", LOOKS)
def test_damage_is_mended_by_running_the_stage_again(
    store: Store, straight_store: Store, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged file may cost time, never a result."""
    run(PARENT, store)
    damage(store, name)
    with contextlib.suppress(StoreError):
        LOOKS[name](store)
    assert not store.files.exists(name)

    run(PARENT, store)

    assert result(store, PARENT.key) == result(straight_store, PARENT.key)


def test_a_stage_without_its_epochs_is_not_committed(store: Store) -> None:
    """Its learning curve would be missing for ever."""
    run(PARENT, store)
    store.files.delete(EPOCHS)

    assert store.committed() == set()


def test_a_damaged_row_is_not_committed(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A stage whose result cannot be read would never run again."""
    run(PARENT, store)
    damage(store, ROW)

    assert store.committed() == set()
    assert store.find_row(PARENT.key) is None
    assert f"{ROW}: " in caplog.text


def test_a_row_under_another_name_does_not_count(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Files copied by hand must not make one stage pass for another."""
    run(PARENT, store)
    for name in (ROW, EPOCHS):
        store.files.write(name.replace(PARENT.key, "f" * 16), store.files.read(name))

    assert store.committed() == {PARENT.key}
    assert store.find_row("f" * 16) is None
    assert "not the row of this stage" in caplog.text


def test_committed_looks_only_at_the_stages_it_is_asked_about(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small sweep in a store of ten thousand stages would start after ten seconds."""
    run(PARENT, store)
    run(CHILD, store)
    read, seen = FolderFiles.read, []
    monkeypatch.setattr(FolderFiles, "read", lambda *a: (seen.append(a[1]), read(*a))[1])

    assert store.committed({CHILD.key, "unknown"}) == {CHILD.key}
    assert [name for name in seen if name.startswith("stages/")] == [f"stages/{CHILD.key}.parquet"]


# Checkpoints.


def save(store: Store, epoch: int) -> None:
    """A checkpoint after `epoch` epochs."""
    store.save_checkpoint("a", epoch, Checkpoint({"x": np.full(100, epoch)}, {"epoch": epoch}))


def test_two_checkpoints_are_kept(store: Store) -> None:
    """One may be damaged, three cost room; the newest counts by its number, past 9 and 99 too."""
    for epoch in (1, 2, 9, 10, 99, 100):
        save(store, epoch)

    assert store.files.list("checkpoints/a") == ["00000099", "00000100"]
    assert store.load_checkpoint("a").facts == {"epoch": 100}


def test_a_bad_newest_checkpoint_falls_back_to_the_one_before(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that dies in the middle of a checkpoint must not cost the whole stage."""
    save(store, 1)
    save(store, 2)
    damage(store, "checkpoints/a/00000002")

    assert store.load_checkpoint("a").facts == {"epoch": 1}
    assert store.files.list("checkpoints/a") == ["00000001"]
    assert "checkpoints/a/00000002: a torn or changed checkpoint" in caplog.text


def test_without_a_sound_checkpoint_a_stage_starts_anew(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing else that would be right."""
    save(store, 1)
    damage(store, "checkpoints/a/00000001")

    assert store.load_checkpoint("a") is None
    assert store.load_checkpoint("b") is None
