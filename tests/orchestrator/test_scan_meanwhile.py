"""A stage that is committed, moved or damaged between two looks of one query is neither lost nor seen twice."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import compaction, scan
from orchestrator.folder import FolderFiles
from orchestrator.scan import Scan
from orchestrator.shelf import Shelf
from orchestrator.store import Store
from tests.orchestrator.made_rows import filled, key_of, put
from tests.orchestrator.test_scan import spoil


def failed(store: Store, number: int) -> str:
    """Let the stage of this number fail, in a store that has that of number 0; its key."""
    store.record_failure(key_of(number), {**store.stage_row(key_of(0)), "status": "failed"}, "made")
    return key_of(number)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_failed_stage_that_is_committed_meanwhile_is_seen_once(
    store: Store, compacted: bool, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure goes away with the commit: a query that began before would know neither of the two."""
    monkeypatch.setattr(scan, "FEW", 0 if kept else 16)
    filled(store, range(2))
    key = failed(store, 5)
    begun = Scan(store.files, Shelf(store.files))
    put(store, 5)
    if compacted:
        store.compact()

    for _ in range(2):
        rows = begun.stages(["key", "status"]).to_pylist()
        assert [row["status"] for row in rows if row["key"] == key] == ["done"]
        assert len(rows) == 3
    assert key in {one for table in begun.epochs(["key"]) for one in table["key"].to_pylist()}


def test_a_failed_stage_that_is_committed_between_two_looks_is_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which stages there are takes two lists; it must be in one of them at any moment."""
    filled(store, range(2))
    key, list_, folders = failed(store, 5), FolderFiles.list, list[str | None]()

    def and_commit(files: FolderFiles, folder: str | None = None) -> list[str]:
        found = list_(files, folder)
        if folder in ("stages", "failures") and not folders:
            folders.append(folder)
            put(store, 5)
        return found

    monkeypatch.setattr(FolderFiles, "list", and_commit)
    begun = Scan(store.files, Shelf(store.files))

    assert folders
    assert key in begun.stages(["key"])["key"].to_pylist()


def test_rows_that_go_back_into_small_files_between_two_looks_are_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that saw no small file yet, and no merged one any more, would lose a stage that was there throughout."""
    filled(store, range(3))
    store.compact()
    begun, glances = Scan(store.files, Shelf(store.files)), Shelf.glances

    def and_unmerge(shelf: Shelf, table: Any) -> Any:
        compaction.unmerge(store.files, key_of(1))
        return glances(shelf, table)

    monkeypatch.setattr(Shelf, "glances", and_unmerge)

    assert len(begun.stages(["key"])) == 3


def test_a_stage_that_is_in_two_files_survives_damage_of_the_newer_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merging that died leaves such; the sound copy must be found by the very query that finds the damaged one."""
    keys = sorted(filled(store, range(3)))
    store.compact()
    put(store, 3)
    (older,) = [name for name in store.files.list("merged") if name.startswith("stages")]
    data = store.files.read(f"merged/{older}")
    store.compact()
    spoil(store, "stages", "lr")
    store.files.write(f"merged/{older}", data)

    assert set(keys) <= set(store.sql("SELECT key, lr FROM stages")["key"].to_pylist())
