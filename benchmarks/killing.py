"""Killing: the processes of one command, found by a mark in their environment and ended by their number."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOK_S = 0.05
WAIT_S = 300.0


@dataclass
class Marked:
    """Processes of this program's, and all that they start.

    Attributes:
        log: What they print goes to the end of this file.
        scratch: Ray's own files; a short name, because those of its sockets may not be long.
    """

    log: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="wg-")))

    @property
    def environment(self) -> dict[str, str]:
        """One thread each, a cluster of their own with a token of its own, and the mark."""
        ours = {"WARMGRID_FAULTS": self.mark, "RAY_TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.mark}
        health = {f"RAY_health_check_{name}": value for name, value in HEALTH.items()}
        root = str(Path(__file__).parents[1])
        return {**os.environ, **ours, **token, **health, "PYTHONPATH": root}

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start ``python -m`` with these words."""
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", *words]
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, start_new_session=True)

    def find(self, name: str = "") -> list[int]:
        """Numbers of the living ones whose command line begins with `name`."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                is_ours = f"WARMGRID_FAULTS={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # ended meanwhile, or another user's
                continue
            if is_ours and command.startswith(name) and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def end(self) -> None:
        """Kill all that is left, and remove what Ray wrote."""
        while left := self.find():
            for pid in left:
                kill(pid)
            time.sleep(LOOK_S)
        shutil.rmtree(self.scratch, ignore_errors=True)


# Short, so that a lost node is noticed within seconds, as docs/cluster.md asks of clusters whose nodes go away.
HEALTH = {"period_ms": "1000", "timeout_ms": "2000", "failure_threshold": "3", "initial_delay_ms": "1000"}


def kill(pid: int) -> bool:
    """SIGKILL; whether it was there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def descendants(pid: int) -> list[int]:
    """The process, and all that it and they have started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:  # grows meanwhile
        found += children.get(one, [])
    return found


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """Wait for `condition`; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
