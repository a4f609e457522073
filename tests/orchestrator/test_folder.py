"""In a folder every write is on the disk before it gets its name, and what the file system refuses changes nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import folder as module
from orchestrator.errors import ConfigError, DamageError, StoreError
from orchestrator.folder import FolderFiles
from tests.orchestrator.fake_trainer import ROOT, Killed

OLD, NEW = b"old" * 10_000, b"new" * 20_000


@pytest.fixture
def files(store_path: Path) -> FolderFiles:
    """A store's files, without a folder yet."""
    return FolderFiles(str(store_path))


def all_names(files: FolderFiles) -> list[str]:
    """Every file in the store, hidden ones too."""
    return sorted(path.relative_to(files.root).as_posix() for path in Path(files.root).rglob("*") if path.is_file())


def refuse(number: int) -> Callable[..., Any]:
    """A system call that fails with this errno."""

    def call(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def hidden_files_are_left(*args: Any, **kwargs: Any) -> None:
    """In place of an unlink: a dead process removes nothing."""


def test_a_reader_sees_the_old_bytes_until_all_new_ones_are_on_the_disk(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query during a write would see half a table."""
    files.write("stages/a.parquet", OLD)
    seen = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, call=call: (seen.append(files.read("stages/a.parquet")), call(*a))[1])

    files.write("stages/a.parquet", NEW)

    assert seen == [OLD, OLD, NEW]  # at the sync of the bytes, at the rename, at the sync of the folder


@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
def test_a_crash_before_the_new_name_leaves_the_old_bytes_and_a_hidden_file(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A torn file under its real name would count as a result."""
    files.write("stages/a.parquet", OLD)
    monkeypatch.setattr(os, call, lambda *_: (_ for _ in ()).throw(Killed))
    monkeypatch.setattr(Path, "unlink", hidden_files_are_left)

    with pytest.raises(Killed):
        files.write_once("stages/b.parquet", NEW) if call == "link" else files.write("stages/a.parquet", NEW)

    assert files.read("stages/a.parquet") == OLD
    assert files.list("stages") == ["a.parquet"]
    assert [name for name in all_names(files) if name.startswith("stages/.")] != []


def test_bytes_are_on_the_disk_before_they_get_their_name(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut, a renamed file that was never flushed is empty."""
    steps: list[Any] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b)))

    files.write("stages/a.parquet", NEW)

    root = Path(files.root)
    above, top, folder, file = (
        p.stat().st_ino for p in (root.parent, root, root / "stages", root / "stages/a.parquet")
    )
    assert steps == [above, top, file, "rename", folder]  # the new folders first, from the top


def test_of_many_writers_at_once_one_wins(files: FolderFiles) -> None:
    """Two workers that commit one stage must end with one row, whole."""
    contents = [bytes([i]) * 50_000 for i in range(8)]
    wins: list[bool] = []
    threads = [
        threading.Thread(target=lambda c=content: wins.append(files.write_once("stages/a", c))) for content in contents
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(wins) == [False] * 7 + [True]
    assert files.read("stages/a") in contents


def test_a_file_system_without_hard_links_writes_once_too(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network folders have none; a store there must not overwrite rows."""
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))

    assert files.write_once("stages/a", OLD)
    assert not files.write_once("stages/a", NEW)
    assert files.read("stages/a") == OLD


def test_opening_and_reading_create_nothing(files: FolderFiles) -> None:
    """A query with a mistyped path must not leave folders behind."""
    files.list("stages")
    files.exists("stages/a")
    files.delete("stages/a")
    files.delete_folder("checkpoints/a")

    assert not Path(files.root).exists()


def test_a_store_cannot_be_a_file(tmp_path: Path) -> None:
    """Found at once, not after a night of training."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="is a file, and a store is a folder"):
        FolderFiles(str(tmp_path / "file"))


def test_setting_aside_twice_keeps_both(files: FolderFiles, caplog: pytest.LogCaptureFixture) -> None:
    """A second damage of one stage must not delete the first."""
    for content in (OLD, NEW):
        files.write("stages/a", content)
        files.set_aside("stages/a", "torn")

    assert sorted(files.read(f"set_aside/{n}") for n in files.list("set_aside") if ".reason" not in n) == [NEW, OLD]


def test_what_cannot_be_set_aside_stays_and_is_named(
    files: FolderFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader without the right to write must still be told which file does not count."""
    files.write("stages/a", OLD)
    monkeypatch.setattr(os, "rename", refuse(errno.EROFS))

    files.set_aside("stages/a", "torn")

    assert files.read("stages/a") == OLD
    assert "stages/a: torn. It does not count. It cannot be set aside" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOTDIR])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_is_one_error_and_changes_nothing(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """A full disk must be told from a bug, and must not cost what was there."""
    files.write("stages/a", OLD)
    monkeypatch.setattr(os, call, refuse(number))

    with pytest.raises(StoreError, match=f"cannot write .*stages/a: {os.strerror(number)}.*resume") as caught:
        files.write("stages/a", NEW)

    assert isinstance(caught.value.__cause__, OSError)
    assert all_names(files) == ["stages/a"]
    assert files.read("stages/a") == OLD


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path) -> None:
    """The kernel's own refusal, in a process of its own: a store on a full disk stays as it was."""
    code = (
        "import resource, sys\n"
        "from orchestrator.errors import StoreError\n"
        "from orchestrator.folder import FolderFiles\n"
        "files = FolderFiles(sys.argv[1])\n"
        "files.write('weights/a', b'x' * 1000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try: files.write('weights/a', b'y' * 9000)\n"
        "except StoreError as error: print(error)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.startswith(f"cannot write {tmp_path}/s/weights/a: File too large. Nothing there is half-written.")
    assert all_names(FolderFiles(str(tmp_path / "s"))) == ["weights/a"]
    assert (tmp_path / "s/weights/a").read_bytes() == b"x" * 1000


def test_a_folder_that_is_a_file_is_named(files: FolderFiles) -> None:
    """Whatever the file system says no to is one kind of error."""
    files.write("stages", OLD)
    files.write("locks", OLD)

    with pytest.raises(StoreError, match=r"cannot write .*/stages/a: "):
        files.write("stages/a", NEW)
    with pytest.raises(StoreError, match=r"cannot write .*/locks/a\.lock: "), files.mutex("a"):
        pass


def test_a_file_system_that_syncs_no_folders_is_good_enough(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network folders answer EINVAL; their renames are on the server at once."""
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))

    files.write("stages/a", NEW, durable=False)
    module.sync_folder(Path(files.root))

    assert files.read("stages/a") == NEW


def test_what_cannot_be_removed_is_named_and_stops_nothing(
    files: FolderFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint that another machine still holds open must not turn a committed stage into a failed one."""
    files.write("checkpoints/a/folder/b", OLD)

    files.delete_folder("checkpoints/a")

    assert "checkpoints/a/folder: cannot be removed" in caplog.text
    assert "checkpoints/a: cannot be removed" in caplog.text


def test_a_mutex_has_one_holder(files: FolderFiles) -> None:
    """Two workers in one stage would train it twice."""
    with files.mutex("a") as first, files.mutex("a") as second:
        assert (first, second) == (True, False)

    with files.mutex("a") as again:
        assert again


def test_mutexes_of_two_stages_do_not_meet(files: FolderFiles) -> None:
    """One lock for all would run one stage at a time."""
    with files.mutex("a"), files.mutex("b") as held:
        assert held


def test_an_error_while_a_mutex_is_held_passes_and_frees_it(files: FolderFiles) -> None:
    """A trainer's own OSError must not be taken for one of the lock."""
    with pytest.raises(FileNotFoundError, match="the trainer's"), files.mutex("a"):
        raise FileNotFoundError("the trainer's")

    with files.mutex("a") as held:
        assert held


def test_the_mutex_of_a_dead_process_is_free(files: FolderFiles) -> None:
    """A killed worker's stages would wait for ever."""
    code = (
        "import os, signal, sys\n"
        "from orchestrator.folder import FolderFiles\n"
        "with FolderFiles(sys.argv[1]).mutex('a'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    subprocess.run([sys.executable, "-c", code, files.root], cwd=ROOT, check=False)

    assert Path(files.root, "locks/a.lock").exists()
    with files.mutex("a") as held:
        assert held


def test_a_file_system_without_locks_is_named(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some cluster file systems are mounted without; a user must know before anything is trained twice."""
    monkeypatch.setattr(module.fcntl, "flock", refuse(errno.ENOLCK))

    with pytest.raises(StoreError, match=r"cannot lock .*a\.lock: .*flock"), files.mutex("a"):
        pass


def test_every_change_of_the_folder_is_a_step(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that kill the process at each step must not miss one."""
    seen: list[str] = []
    monkeypatch.setattr(module, "on_step", lambda what, path: seen.append(f"{what} {path.name.split('.')[-1]}"))
    files.write("a", OLD)
    del seen[:]
    files.write("b", OLD, durable=False)
    files.write_once("a", NEW)

    steps = [step.rsplit(" ", 1)[0] for step in seen]
    put = ["open", "write", "flush", "rename", "unlink"]
    once = ["open", "write", "flush", "fsync", "link", "unlink", "sync"]
    ends = [f"{what} {when}" for what in (*put, *once) for when in ("begins", "ended")]
    ends.remove("link ended")  # it refused, because the file was there
    assert steps == ends


def test_a_step_that_fails_leaves_no_open_file(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that tries again every minute would run out of descriptors."""
    files.write("a", OLD)
    monkeypatch.setattr(module, "on_step", lambda what, _: refuse(errno.EIO)() if what == "open ended" else None)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for call in (lambda: files.write("a", NEW), lambda: files.mutex("a").__enter__()):
        with pytest.raises(StoreError, match="Input/output error"):
            call()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_cannot_be_read_is_neither_missing_nor_damaged(files: FolderFiles) -> None:
    """A file that a failing disk hides for a moment must not be trained again, or set aside."""
    files.write("stages/a", OLD)

    with pytest.raises(StoreError, match=r"cannot read .*/stages/a/b: Not a directory") as caught:
        files.read("stages/a/b")

    assert not isinstance(caught.value, DamageError)


@pytest.mark.parametrize(
    ("look", "of", "call"),
    [
        (FolderFiles.exists, Path, "is_file"),
        (FolderFiles.exists, os, "lstat"),
        (FolderFiles.read, os, "open"),
        (FolderFiles.list, os, "scandir"),
        (FolderFiles.modified, os, "lstat"),
    ],
)
def test_a_disk_that_cannot_be_asked_is_one_error(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any], of: Any, call: str
) -> None:
    """A stage must not fail with a traceback from inside of Python, nor be taken for missing."""
    files.write("stages/a", OLD)
    monkeypatch.setattr(of, call, refuse(errno.EIO))

    with pytest.raises(StoreError, match=r"cannot read .*Input/output error"):
        look(files, "stages/a")


def test_a_folder_that_cannot_be_listed_is_left_where_it_is(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its stage has just been committed, and must not fail by what is only rubbish now."""
    files.write("checkpoints/a/1", OLD)
    monkeypatch.setattr(Path, "iterdir", refuse(errno.EACCES))

    files.delete_folder("checkpoints/a")

    assert "checkpoints/a: cannot be removed (Permission denied); it does no harm." in caplog.text


def test_a_folder_that_may_not_be_written_tells_this_machines_time(
    files: FolderFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at a colleague's store must see its leases; who could write claims gets no such time."""
    files.write("a", OLD)
    monkeypatch.setattr(Path, "open", refuse(errno.EROFS))
    monkeypatch.setattr("time.time", lambda: 12.5)
    assert files.now() == 12.5

    monkeypatch.setattr(Path, "open", refuse(errno.ENOSPC))
    with pytest.raises(StoreError, match="No space left"):
        files.now()


def test_tidying_a_store_that_is_not_there_finds_nothing(files: FolderFiles) -> None:
    """The first launch tidies too, and nothing may be made by that."""
    assert files.tidy() == 0
    assert not Path(files.root).exists()
