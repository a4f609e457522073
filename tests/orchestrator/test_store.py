"""A store says what it is, remembers what was asked for once, and keeps failures only until they are mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Stage
from orchestrator.errors import StoreError
from orchestrator.store import Store, file_name, open_store
from tests.orchestrator.fake_trainer import Killed, Lab, Walk, names_of, run, two_rounds

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent
ROW = f"stages/{PARENT.key}.parquet"
COMMITTED = sorted([ROW, f"epochs/{PARENT.key}.parquet", f"weights/{PARENT.key}.safetensors"])
RECIPE = {"sweep": "made", "source": "made", "axes": {"lr": ["0.1"]}, "overrides": [], "seeds": [0], "stages": "0"}
CELL = {"sweep": "made", "lr": 0.1, "seed": 0, "round": 1, "key": CHILD.key}


# Notes of running stages.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"attempts": "x"}',
        '{"attempts": 1, "wall_seconds": 0, "started_at": "now"}',
        '{"attempts": 1, "wall_seconds": 0, "started_at": "2026-01-01T00:00:00"}',
        '{"attempts": 1, "wall_seconds": "nan", "started_at": "2026-01-01T00:00:00+00:00"}',
        '{"attempts": 1, "wall_seconds": 0, "started_at": "2026-01-01T00:00:00+00:00", "columns": [1]}',
        '{"attempts": 1, "wall_seconds": 0, "started_at": "2026-01-01T00:00:00+00:00", "parent": 5}',
        '{"attempts": 1, "wall_seconds": 0, "started_at": "2026-01-01T00:00:00+00:00", "noted_at": 1}',
        '{"attempts": Infinity, "wall_seconds": 0, "started_at": "2026-01-01T00:00:00+00:00"}',
    ],
)
def test_a_note_that_cannot_be_read_is_set_aside(store: Store, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """After a power cut a note may be empty; the stage must run all the same."""
    store.files.write(f"running/{PARENT.key}.json", text.encode())

    assert store.running(PARENT.key) == {}
    assert run(PARENT, store).row["attempts"] == 1
    assert "not what a worker notes of a running stage" in caplog.text


def test_a_worker_that_died_after_its_commit_is_tidied_up_after(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoints would stay for ever, since nobody runs the stage again."""
    with monkeypatch.context() as patch:
        patch.setattr(Store, "forget_running", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(PARENT, store)

    store.tidy(store.committed())

    assert names_of(store) == COMMITTED


def test_tidying_leaves_alone_what_runs(store: Store) -> None:
    """A stage that is trained again for its weights has checkpoints, and a worker that counts on them."""
    run(PARENT, store)
    store.note_running(PARENT.key, {})
    store.files.write("checkpoints/a/00000001", b"")

    with store.lock(PARENT.key):
        store.tidy({PARENT.key})
    store.tidy({"b"})

    assert store.noted() == {PARENT.key}
    assert store.files.list("checkpoints/a") == ["00000001"]


def test_tidying_leaves_alone_what_is_made_again(store: Store) -> None:
    """Another launch was stopped while it made lost weights again; its checkpoint is hours of work."""
    run(PARENT, store)
    store.files.delete(f"weights/{PARENT.key}.safetensors")
    store.note_running(PARENT.key, {})
    store.files.write(f"checkpoints/{PARENT.key}/00000001", b"")

    store.tidy({PARENT.key})

    assert store.noted() == {PARENT.key}
    assert store.files.list(f"checkpoints/{PARENT.key}") == ["00000001"]


def test_what_a_power_cut_leaves_of_a_committed_stage_is_tidied_up(store: Store, lab: Lab) -> None:
    """The note that it ran is not durable; its checkpoints and its failure are, and would stay for ever."""
    lab.spoil("raise", 2)
    run(PARENT, store, lab)
    lab.mend()
    left = {name: store.files.read(name) for name in names_of(store) if name.startswith(("checkp", "fail", "trace"))}
    run(PARENT, store, lab)
    for name, data in left.items():
        store.files.write(name, data)

    store.tidy({PARENT.key})

    assert len(left) == 3
    assert names_of(store) == COMMITTED


# Failures.


def test_a_failure_is_a_row_until_the_stage_succeeds(store: Store, lab: Lab) -> None:
    """Users look for what went wrong in the same table, and must not find what is mended."""
    lab.spoil("raise", 2)
    run(PARENT, store, lab)
    failed = store.stages().to_pylist()
    lab.mend()

    run(PARENT, store, lab)

    assert [(row["key"], row["status"], row["epochs"]) for row in failed] == [(PARENT.key, "failed", 1)]
    assert [row["status"] for row in store.stages().to_pylist()] == ["done"]
    assert names_of(store) == COMMITTED


def test_a_failed_stage_is_not_committed(store: Store, lab: Lab) -> None:
    """It would never be tried again."""
    lab.spoil("raise", 1)

    run(PARENT, store, lab)

    assert store.committed() == store.startable() == set()


# What was asked for.


def test_the_same_launch_is_remembered_once(store: Store) -> None:
    """Launching twice would double every cell of the table."""
    for _ in range(2):
        store.record_launch("made", RECIPE, [CELL])
    other_order = dict(reversed(CELL.items()))
    store.record_launch("made", RECIPE, [other_order])

    assert len(store.files.list("cells")) == len(store.files.list("launches/made")) == 1
    assert store.launches("made") == [RECIPE]


def test_another_launch_is_remembered_beside_the_first(store: Store) -> None:
    """A grid that grows keeps the cells that it had."""
    store.record_launch("made", RECIPE, [CELL])
    store.record_launch("made", {**RECIPE, "seeds": [1]}, [{**CELL, "seed": 1}])

    assert sorted(recipe["seeds"] for recipe in store.launches("made")) == [[0], [1]]
    assert sorted(store.sql("SELECT seed FROM cells")["seed"].to_pylist()) == [0, 1]
    assert store.launches("other") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"sweep": "made"}'])
def test_a_launch_that_cannot_be_read_is_set_aside(store: Store, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """One damaged file must not stop `resume` of the others."""
    store.record_launch("made", RECIPE, [CELL])
    store.files.write("launches/made/other.json", text.encode())

    assert store.launches("made") == [RECIPE]
    assert "launches/made/other.json: not what warmgrid remembers" in caplog.text


def test_a_launch_that_another_process_has_just_set_aside_is_left_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people resume a damaged store at once; one of them would get a traceback."""
    store.record_launch("made", RECIPE, [CELL])
    names = store.files.list("launches/made")
    monkeypatch.setattr(type(store.files), "list", lambda *_: [*names, "gone.json"])

    assert store.launches("made") == [RECIPE]


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a b", "x" * 102, "a\n", "é"])
def test_a_sweep_cannot_name_a_file_elsewhere(name: str) -> None:
    """The name comes from a user's file and becomes part of paths and SQL."""
    with pytest.raises(StoreError, match="cannot name a sweep"):
        file_name(name)


# The folder.


def test_a_new_store_says_what_it_is(store: Store) -> None:
    """Another program, or a later version, can tell."""
    store.check_format()
    store.check_format()

    assert json.loads(store.files.read("warmgrid.json")) == {"format": 1}


READS = {  # everything that reads a store
    "check_format": Store.check_format,
    "stages": Store.stages,
    "committed": Store.committed,
    "sql": lambda store: store.sql("SELECT 1"),
    "launches": lambda store: store.launches("made"),
    "compact": Store.compact,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_store_of_a_later_version_is_left_alone(store: Store, read: Callable[[Store], Any]) -> None:
    """An old program would set aside every file that it cannot read."""
    store.files.write("warmgrid.json", b'{"format": 3}')
    store.files.write(ROW, b"in a later format")

    with pytest.raises(StoreError, match=r"a store of format 3; this version reads 1 and 2\. Update warmgrid"):
        read(store)

    assert names_of(store) == sorted([ROW, "warmgrid.json"])


@pytest.mark.parametrize("text", ["", "hello", "[]", "{}", "null"])
def test_another_programs_folder_is_refused(store: Store, text: str) -> None:
    """Nothing must be written into a folder that is not ours."""
    store.files.write("warmgrid.json", text.encode())

    with pytest.raises(StoreError, match=r"warmgrid\.json: not what warmgrid writes"):
        store.check_format()


def test_a_folder_with_other_files_is_used_with_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A mistyped --store may be somebody's home."""
    store.files.write("thesis.tex", b"")

    store.check_format()

    assert "holds other files too" in caplog.text


def test_a_query_of_no_store_says_so(store: Store) -> None:
    """A mistyped path would answer every question with an empty table."""
    with pytest.raises(StoreError, match=r"no store here\. Launch a sweep into it"):
        store.sql("SELECT * FROM stages")

    assert not Path(store.root).exists()


def test_the_store_is_the_one_given_else_the_environments_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results in another folder than one thinks are results lost."""
    monkeypatch.chdir(tmp_path)
    assert open_store().root == str(tmp_path / "warmgrid-store")

    monkeypatch.setenv("WARMGRID_STORE", str(tmp_path / "theirs"))
    assert open_store().root == str(tmp_path / "theirs")
    assert open_store("mine").root == str(tmp_path / "mine")


def test_tables_come_as_data_frames(store: Store) -> None:
    """The way from a notebook to the results."""
    run(PARENT, store)

    assert store.to_pandas("epochs")["epoch"].tolist() == [1, 2, 3]


def test_a_request_to_stop_ends_with_its_launch(store: Store) -> None:
    """The next launch would stop at once."""
    with store.stoppable("a"):
        store.request_stop("a")
        assert store.is_stop_requested("a")
        assert not store.is_stop_requested("b")

    assert not store.is_stop_requested("a")


def test_two_stages_are_two(store: Store) -> None:
    """The fixture's own promise: parent and child do not share a key."""
    assert len({PARENT.key, CHILD.key, Stage(Walk(seed=1)).key}) == 3
