"""Claims made up for the tests of leases, and a folder without a kernel's locks; no test."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator import lease
from orchestrator.folder import FolderFiles

ELSEWHERE = "other-machine"


class Shared(FolderFiles):
    """A folder between machines that do not see each other's kernel locks, as a bucket is."""

    has_mutex = False

    @contextmanager
    def mutex(self, name: str) -> Iterator[bool]:
        yield True


@contextmanager
def elsewhere() -> Iterator[None]:
    """What is done meanwhile, another machine does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "machine", lambda: ELSEWHERE)
        yield


def planted(files: FolderFiles, name: str, age: float, number: int = 1, **facts: Any) -> str:
    """A claim that was last renewed `age` seconds ago, by default of a process on another machine."""
    file = f"leases/{name}.{number:08d}-{number:08x}"
    files.write(file, json.dumps({"machine": ELSEWHERE, "pid": 1, "seconds": 60.0, **facts}).encode())
    age_to(files, file, age)
    return file


def age_to(files: FolderFiles, file: str, age: float) -> None:
    """Let the store say that the claim was last renewed `age` seconds ago."""
    then = files.now() - age
    os.utime(files.path(file), (then, then))


def wait_for(happened: Callable[[], bool]) -> None:
    """Return as soon as it has."""
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        os.sched_yield()
