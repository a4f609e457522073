"""A disk that is full, failing or read-only costs a clear message and nothing else; with room again, all goes on."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import folder as module
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import ROOT, result, run, two_rounds

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent
KEYS = (PARENT.key, CHILD.key)
PAGE = 4096
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$0" || exit 77; exec "$@"'


def both(store: Store) -> list[Report]:
    """Run a stage and its child, as far as they can be run."""
    return [run(PARENT, store), run(CHILD, store)]


def undisturbed() -> list[Any]:
    """What both stages give where nothing goes wrong."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/store")
        assert [report.error for report in both(store)] == [None, None]
        return [result(store, key) for key in KEYS]


def check_whole(store: Store, expected: list[Any]) -> None:
    """Whatever counts as committed is all there, and is what it would be anyway; nothing was found damaged."""
    committed = store.committed()
    for key, whole in zip(KEYS, expected, strict=True):
        assert key not in committed or result(store, key) == whole
        assert key in committed or not store.is_committed(key)
    assert store.files.list("set_aside") == []


def check_goes_on(store: Store, expected: list[Any]) -> None:
    """With the disk in order again, both stages end as they would have."""
    store.files.delete_folder("leases")  # a claim that could not be taken back ends by itself, after a minute
    assert [report.status for report in both(store)] == [Status.DONE] * 2
    assert [result(store, key) for key in KEYS] == expected


@contextlib.contextmanager
def steps(hook: Callable[[str, Path], None]) -> Iterator[None]:
    """Let `hook` be told of every system call that changes the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "on_step", hook)
        yield


def failing_from(first: int) -> Callable[[str, Path], None]:
    """A disk whose `first`-th change, from 1, and all later ones fail."""
    count = itertools.count(1)

    def fail(what: str, path: Path) -> None:
        if what.endswith(" begins") and next(count) >= first:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    return fail


def test_a_disk_that_fails_from_any_call_on_leaves_nothing_half_committed(tmp_path: Path, unsynced: None) -> None:
    """A dying disk must not leave a row whose weights are missing, whichever call it is that fails first."""
    counted, straight, errors = itertools.count(), Store(str(tmp_path / "straight")), set()
    with steps(lambda what, _: next(counted) if what.endswith(" begins") else None):
        run(PARENT, straight)
    expected, total = result(straight, PARENT.key), next(counted)
    assert total > 50

    for first in range(1, total + 1):
        store = Store(str(tmp_path / f"from-{first}"))
        with steps(failing_from(first)):
            errors.add(run(PARENT, store).error)
        assert not store.is_committed(PARENT.key) or result(store, PARENT.key) == expected
        store.files.delete_folder("leases")  # a claim that could not be taken back ends by itself, after a minute
        assert run(PARENT, store).status is Status.DONE
        assert result(store, PARENT.key) == expected
        assert store.files.list("set_aside") == []

    assert all("Input/output error" in error and "resume" in error for error in errors - {None})


def child(scenario: Callable[[str], None], folder: Path, *before: str) -> Any:
    """What `scenario` prints in a process of its own, as JSON."""
    code = f"import sys; from {__name__} import {scenario.__name__} as run; run(sys.argv[1])"
    ran = subprocess.run(
        [*before, sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if before and ran.returncode == 77:
        pytest.skip(f"no file system can be mounted here, not even in a user namespace: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def on_a_small_disk(scenario: Callable[[str], None], folder: Path) -> Any:
    """The same on a file system of 1 MB that only this process sees."""
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` here to mount a file system of the test's own with")
    return child(scenario, folder, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder))


def fill(path: Path, free: int) -> None:
    """Fill the disk up to some free bytes."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    os.truncate(path, max(0, path.stat().st_size - free))


def full_disk(folder: str) -> None:
    """Run both stages where only some pages are free; then make room, and run them again."""
    expected, errors = undisturbed(), []
    for pages in range(16):
        store, filler = Store(f"{folder}/store"), Path(folder, "filler")
        fill(filler, pages * PAGE)
        reports = both(store)
        check_whole(store, expected)
        filler.unlink()
        check_goes_on(store, expected)
        shutil.rmtree(store.root)
        errors.append([report.error for report in reports])
    print(json.dumps(errors))


def test_a_full_disk_is_named_and_all_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Disks fill up at night; whoever makes room in the morning must lose no more than the night."""
    errors = on_a_small_disk(full_disk, tmp_path)

    told = [error for pair in errors for error in pair if error is not None]
    assert errors[0][0] is not None
    assert errors[-1] != errors[0]  # so that the disk was full at one place and another
    assert all("No space left on device" in error or "is missing. Resume" in error for error in told)
    assert any("Make room" in error for error in told)


def read_only_disk(folder: str) -> None:
    """Run one stage, let the disk become read-only, and run the other; then let it be writable again."""
    expected, store = undisturbed(), Store(f"{folder}/store")
    run(PARENT, store)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    report = run(CHILD, store)
    found = {
        "status": report.status,
        "error": report.error,
        "rows": store.sql("SELECT key, status FROM stages").to_pylist(),
        "held": sorted(store.held()),
    }
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    check_whole(store, expected)
    check_goes_on(store, expected)
    print(json.dumps(found))


def test_a_read_only_store_can_be_read_and_is_named_by_who_wants_to_write(tmp_path: Path) -> None:
    """A disk with errors is remounted read-only by Linux; a colleague's store is read-only from the start."""
    found = on_a_small_disk(read_only_disk, tmp_path)

    assert (found["status"], found["held"]) == ("failed", [])
    assert "Read-only file system" in found["error"]
    assert "or make the folder writable, then resume" in found["error"]
    assert found["rows"] == [{"key": PARENT.key, "status": "done"}]


def limited(folder: str) -> None:
    """Run both stages where no file may be longer than so many bytes; then without that limit."""
    expected, errors = undisturbed(), []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 50, 150, 300, 600, 1000, 3000, 6000, 10_000):
        store = Store(f"{folder}/store-{limit}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        reports = both(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        check_whole(store, expected)
        check_goes_on(store, expected)
        errors.append([report.error for report in reports])
    print(json.dumps(errors))


def test_a_limit_on_file_sizes_is_named_and_all_goes_on_without_it(tmp_path: Path) -> None:
    """Clusters set such limits for each job; the next one may be larger."""
    errors = child(limited, tmp_path)

    told = [error for pair in errors for error in pair if error is not None]
    assert errors[0][0] is not None
    assert all("File too large" in error or "is missing. Resume" in error for error in told)
