"""The model of a disk forgets what was not synced and keeps what was; else its power cuts would prove nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import folder
from orchestrator.folder import FolderFiles
from tests.crash.disk import Disk, disks


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Follows a folder in which one file was there before."""
    FolderFiles(str(tmp_path)).write("old", b"0123")
    followed = Disk(tmp_path)
    monkeypatch.setattr(folder, "on_step", followed.on_step)
    return followed


def left(disk: Disk, name: str) -> set[bytes | None]:
    """All that a file may hold after a power cut now; None where it is missing."""
    return {files.get(disk.root / name) for _, files in disks(disk.states[-1], random.Random(0))}


def test_what_was_written_durably_is_kept(disk: Disk) -> None:
    """A model that lost synced bytes would find faults that no disk has."""
    FolderFiles(str(disk.root)).write("new", b"4567")

    assert left(disk, "new") == {b"4567"}


def test_what_was_not_synced_may_be_missing_empty_or_torn(disk: Disk) -> None:
    """A model that kept unsynced bytes would pass a store that syncs nothing."""
    FolderFiles(str(disk.root)).write("new", b"4567", durable=False)

    assert {None, b"", b"45"} <= left(disk, "new")


def test_a_replacement_that_was_not_synced_may_be_undone(disk: Disk) -> None:
    """The old name's old bytes are what many file systems give back."""
    FolderFiles(str(disk.root)).write("old", b"4567", durable=False)

    assert {b"0123", b""} <= left(disk, "old")


def test_a_removal_may_be_undone(disk: Disk) -> None:
    """Deleted files that come back are why a reader prefers one row of each stage."""
    FolderFiles(str(disk.root)).delete("old")

    assert left(disk, "old") == {b"0123", None}
