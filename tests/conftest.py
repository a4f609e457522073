"""What every test stands on: one thread, no setting of the user's, real images, and no process left behind.

This file holds no test and no fixture that only one test needs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock
import hypothesis
import pytest

from orchestrator.store import Store

pytest_plugins = ["tests.s3"]
MARK = f"WARMGRID_TESTS={uuid.uuid4().hex}"  # in the environment of every process that a test starts
os.environ.update(dict([MARK.split("=")]), OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

ROOT = Path(__file__).parents[1]
GIVEN_DATA = os.environ.get("WARMGRID_DATA")
UNPACKED = (
    *(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    "cifar-100-binary/train.bin",
    "svhn-first-1083.npz",
)
RAY_COMMANDS = ("ray::", "raylet", "gcs_server", "/ray/")
GRACE_S = 15.0  # Ray's daemons end within seconds of their driver

# The same examples on every machine: a test that fails by chance is no test. --hypothesis-profile=default explores.
hypothesis.settings.register_profile("warmgrid", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("warmgrid")


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_user() -> Iterator[None]:
    """Keep tests away from the user's store, data folder, cache and Ray cluster; they have a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WARMGRID_DATA", "WARMGRID_STORE", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_CACHE_HOME", str(Path(tempfile.gettempdir()) / f"warmgrid-test-cache-{os.getuid()}"))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind(no_settings_of_the_user: None) -> Iterator[None]:
    """Fail, after ending them, if Ray's processes outlive the tests; they would train on and fill the next run's cores.

    Only where /proc tells a process's environment, that is on Linux.
    """
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := ray_processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == {}, "Tests left processes of Ray behind. Call ray.shutdown() where it was started."


def ray_processes() -> dict[int, str]:
    """Command lines of Ray's processes that carry our mark, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            ours = MARK.encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        if ours and any(name in command for name in RAY_COMMANDS):
            found[int(folder.name)] = command[:120]
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the packed images and unpack.py: WARMGRID_DATA, else ../shared/data beside the checkout."""
    folders = [Path(GIVEN_DATA)] if GIVEN_DATA else []
    folders.append(ROOT.parent / "shared" / "data")
    for folder in folders:
        if (folder / "unpack.py").exists():
            return folder
    pytest.skip(f"no real images: none of {', '.join(map(str, folders))} holds unpack.py; set WARMGRID_DATA")


@pytest.fixture(scope="session")
def cifar_root(request: pytest.FixtureRequest) -> Path:
    """Folder with `UNPACKED`: WARMGRID_DATA if it holds them, else unpacked once per machine and user (15 s)."""
    if GIVEN_DATA and holds_images(Path(GIVEN_DATA)):
        return Path(GIVEN_DATA)
    source: Path = request.getfixturevalue("shared_data")
    target = Path(tempfile.gettempdir()) / f"warmgrid-test-images-{os.getuid()}"
    target.mkdir(mode=0o700, exist_ok=True)
    with filelock.FileLock(target / ".lock"):
        if not holds_images(target):
            subprocess.run([sys.executable, source / "unpack.py", target], check=True, stdout=subprocess.DEVNULL)
    assert holds_images(target), f"{source / 'unpack.py'} did not write all of {UNPACKED} into {target}"
    return target


def holds_images(folder: Path) -> bool:
    """Whether everything that unpack.py writes is there; it renames whole files into place."""
    return all((folder / name).exists() for name in UNPACKED)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a test may have its store; nothing is there yet."""
    return tmp_path / "store"


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for the disk, which costs these tests most of their time; test_files.py looks at every sync."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def store(store_path: Path, unsynced: None) -> Store:
    """A store without a folder yet."""
    return Store(str(store_path))
