"""A folder and a bucket keep files alike: whole or not at all, found again by name, and nothing outside the store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.bucket import ONE_PUT, BucketFiles
from orchestrator.errors import StoreError
from orchestrator.files import Files, hidden_name, open_files
from tests.orchestrator.fake_trainer import ROOT

OLD, NEW = b"old" * 10_000, b"new" * 20_000
LARGE = bytes(range(256)) * (ONE_PUT // 256) + b"and one byte more than one PUT takes"


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest) -> Files:
    """A store's files of each kind; nothing is there yet."""
    return open_files(str(request.getfixturevalue("store_path" if request.param == "folder" else "bucket")))


def all_names(files: Files) -> list[str]:
    """Every file in the store, hidden ones too."""
    if isinstance(files, BucketFiles):
        from pyarrow.fs import FileSelector

        found = files._raw.get_file_info(FileSelector(files._base, allow_not_found=True, recursive=True))
        return sorted(info.path.removeprefix(f"{files._base}/") for info in found if info.is_file)
    return sorted(path.relative_to(files.root).as_posix() for path in Path(files.root).rglob("*") if path.is_file())


def leave(files: Files, hidden: str) -> None:
    """Put a hidden file there, as a writer that dies leaves it."""
    if isinstance(files, BucketFiles):
        files._put(f"{files._base}/{hidden}", b"half")
    else:
        Path(files.root, hidden).write_bytes(b"half")


@pytest.mark.parametrize("data", [OLD, b"", LARGE], ids=["small", "empty", "large"])
def test_what_was_written_is_read(files: Files, data: bytes) -> None:
    """The least that a store must do, for a row, a request to stop and a network's weights."""
    files.write("stages/a", NEW)
    files.write("stages/a", data)

    assert files.read("stages/a") == data
    assert all_names(files) == ["stages/a"]


@pytest.mark.parametrize("data", [OLD, LARGE], ids=["small", "large"])
def test_parts_of_a_file_are_read_alone(files: Files, data: bytes) -> None:
    """One column of a large file is wanted, and a wrong place gives the numbers of another one."""
    files.write("merged/a", data)
    last = len(data) - 5

    assert files.size("merged/a") == len(data)
    assert files.read_part("merged/a", 7, 3) == data[7:10]
    asked = [(last, 5), (0, 40), (9_000, 100), (2, 5), (9_000, 100)]
    assert files.read_parts("merged/a", asked) == [data[b : b + n] for b, n in asked]
    assert files.read_part("merged/a", last, 50) == data[last:]
    assert files.read_parts("merged/a", [(0, 40), (2, 5)]) == [data[:40], data[2:7]]
    assert files.read_parts("merged/a", []) == []


def test_the_root_opens_the_same_files_again(files: Files) -> None:
    """A worker on another machine gets nothing but this text."""
    files.write("stages/a", OLD)

    assert open_files(files.root).read("stages/a") == OLD
    assert open_files(f"{files.root}/").root == files.root
    assert files.where("stages/a") == f"{files.root}/stages/a"


def test_a_store_is_there_once_something_was_written(files: Files) -> None:
    """A query with a mistyped name must say that there is no store, and make none."""
    before = files.there()
    files.list("stages")
    files.exists("stages/a")
    files.delete("stages/a")
    files.delete_folder("checkpoints/a")
    after = files.there()
    files.write("stages/a", OLD)

    assert (before, after, files.there()) == (False, False, True)


def test_what_is_missing_is_named(files: Files) -> None:
    """A missing row means that a stage must run, and only what is surely missing does."""
    files.write("stages/a", OLD)

    for call in (files.read, files.modified, files.touch, files.size, lambda name: files.read_part(name, 0, 1)):
        for name in ("stages/b", "other", "other/a"):
            with pytest.raises(FileNotFoundError) as caught:
                call(name)
            assert caught.value.filename == files.where(name)
    assert [files.exists(name) for name in ("stages/a", "stages/b", "stages")] == [True, False, False]


def test_a_list_names_whole_files_only(files: Files) -> None:
    """What a dead writer left behind must not be read as a table."""
    for name in ("stages/b", "stages/a", "stages/folder/c", "top"):
        files.write(name, OLD)
    leave(files, "stages/.a.host.1.torn")

    assert files.list("stages") == ["a", "b"]
    assert files.list() == ["top"]
    assert files.list("nothing") == []


@pytest.mark.parametrize(
    "name", ["..", "../a", "stages/../../a", "/etc/passwd", "a\0b", "", ".", "stages/", "a//b", ".hidden", "a/./b"]
)
def test_a_name_cannot_leave_the_store_or_hide_in_it(files: Files, name: str) -> None:
    """A sweep called ../x would overwrite a user's files, or another store in the same bucket."""
    calls: list[Any] = [files.read, files.exists, files.delete, files.delete_folder, files.list, files.where]
    calls += [files.modified, files.touch, lambda n: files.write(n, b""), lambda n: files.write_once(n, b"")]
    calls += [lambda n: files.set_aside(n, "why")]
    for call in calls:
        with pytest.raises(StoreError, match="is not a name inside the store"):
            call(name)


def test_a_file_is_written_once(files: Files) -> None:
    """A committed row that changes makes two readers of one result disagree."""
    assert files.write_once("stages/a", OLD)
    assert not files.write_once("stages/a", NEW)

    assert files.read("stages/a") == OLD
    assert all_names(files) == ["stages/a"]


def test_a_reader_sees_the_bytes_of_one_writer(files: Files) -> None:
    """Half a table of one worker and half of another is nobody's result."""
    contents = [bytes([i]) * (1000 + 200_000 * i) for i in range(4)]
    files.write("stages/a", contents[0])
    threads = [threading.Thread(target=lambda c=c: [files.write("stages/a", c) for _ in range(5)]) for c in contents]

    for thread in threads:
        thread.start()
    seen = [files.read("stages/a") for _ in range(20)]
    for thread in threads:
        thread.join()

    assert set(seen) <= set(contents)
    assert all_names(files) == ["stages/a"]


def test_a_folder_goes_with_what_dead_writers_left(files: Files) -> None:
    """Checkpoints of a large network are hundreds of megabytes."""
    for name in ("checkpoints/a/00000001", "checkpoints/a/00000002", "checkpoints/b/00000001"):
        files.write(name, OLD)
    leave(files, "checkpoints/a/.00000003.host.1.torn")

    files.delete_folder("checkpoints/a")
    files.delete("checkpoints/b/00000002")

    assert all_names(files) == ["checkpoints/b/00000001"]


def test_setting_aside_keeps_the_bytes_and_says_why(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever paid for a damaged result wants to look at it."""
    files.write("stages/a.parquet", OLD)

    files.set_aside("stages/a.parquet", "not a sound Parquet file")

    kept, reason = files.list("set_aside")
    assert not files.exists("stages/a.parquet")
    assert files.read(f"set_aside/{kept}") == OLD
    assert files.read(f"set_aside/{reason}") == b"stages/a.parquet: not a sound Parquet file\n"
    assert f"{files.root}/stages/a.parquet: not a sound Parquet file. It does not count, and is kept as" in caplog.text


def test_two_readers_may_set_aside_one_file(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """The second finds it gone, which is no error: the first has said so."""
    files.write("stages/a", OLD)
    files.set_aside("stages/a", "torn")
    caplog.clear()

    files.set_aside("stages/a", "torn")

    assert caplog.text == ""
    assert len(files.list("set_aside")) == 2


def test_time_is_the_stores(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is wrong would think that a living worker is dead."""
    files.write("leases/a", OLD)
    monkeypatch.setattr("time.time", lambda: 0.0)

    assert 0 <= files.now() - files.modified("leases/a") + 1 < 30  # a bucket tells whole seconds
    assert all_names(files) == ["leases/a"]


def test_a_touch_renews_the_time_and_keeps_the_bytes(files: Files) -> None:
    """A lease that is not renewed ends, and somebody else trains the stage too."""
    files.write("leases/a", OLD)
    first = files.modified("leases/a")

    for _ in range(1000):  # a bucket tells whole seconds
        files.touch("leases/a")
        if files.modified("leases/a") > first:
            break

    assert files.modified("leases/a") > first
    assert files.read("leases/a") == OLD


def test_a_mutex_that_nobody_holds_is_given(files: Files) -> None:
    """A worker could never begin."""
    with files.mutex("a") as held:
        assert held


def test_tidying_removes_what_dead_writers_left_and_nothing_else(files: Files) -> None:
    """A hundred killed workers leave a hundred halves of weights; a living one's half is not rubbish."""
    code = "from orchestrator.files import hidden_name; print(hidden_name('weights/b'))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files.write("weights/a", OLD)
    dead, living, foreign = ran.stdout.strip(), hidden_name("weights/b"), "weights/.other"
    other_machine = hidden_name("weights/b").replace(f".{os.getpid()}.", ".1.").replace(".b.", ".b.another-")
    for name in (dead, living, foreign, other_machine):
        leave(files, name)

    assert files.tidy() == 1

    assert all_names(files) == sorted(["weights/a", living, foreign, other_machine])


def test_what_was_mended_meanwhile_is_not_set_aside(files: Files) -> None:
    """Two readers find one torn row; the slower one would set aside what was trained again since."""
    files.write("stages/a", OLD)
    files.set_aside("stages/a", "torn", NEW)
    files.set_aside("stages/gone", "torn", NEW)
    assert (files.read("stages/a"), files.list("set_aside")) == (OLD, [])

    files.set_aside("stages/a", "torn", OLD)

    assert (files.exists("stages/a"), len(files.list("set_aside"))) == (False, 2)


def test_folders_are_listed_apart_from_files(files: Files) -> None:
    """What a stage left behind is found by the name of its folder."""
    for name in ("checkpoints/b/1", "checkpoints/a/1", "checkpoints/file"):
        files.write(name, OLD)

    assert (files.folders("checkpoints"), files.list("checkpoints")) == (["a", "b"], ["file"])
    assert files.folders("no-such") == []
