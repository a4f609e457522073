"""Runs the command line in real processes, and compares the stores they leave; not a test itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

TIMES = {
    "train_seconds",
    "solo_step_seconds",
    "solo_seconds",
    "wall_seconds",
    "started_at",
    "finished_at",
    "attempts",
    "host",
}
"""What differs from run to run."""
WAIT_S = 240.0


def start(*words: str) -> subprocess.Popen[str]:
    """Start ``warmgrid`` with these words in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(*words: str, code: int = 0) -> str:
    """What ``warmgrid`` prints; fails if it does not end with exit code `code`."""
    process = start(*words)
    printed, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, printed
    return printed


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what `process` does; fails if it ends before, or takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()[0]}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"waited {WAIT_S} s in vain: {process.communicate()[0]}")
        time.sleep(0.02)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what no process of ours does; fails if it takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s in vain"
        time.sleep(0.02)


def committed(store: Path) -> list[str]:
    """Names of the stages' files in a store."""
    return sorted(path.name for path in store.glob("stages/*.parquet"))


def content(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of a store but their times, read with bare duckdb, and the digests of its weights."""
    tables = {}
    for name in ("stages", "epochs", "cells"):
        source = f"SELECT * FROM read_parquet('{store}/{name}/*.parquet', union_by_name=true)"
        table = duckdb.connect().sql(source).to_arrow_table()
        kept = [column for column in table.column_names if column not in TIMES]
        tables[name] = sorted((tuple(row.values()) for row in table.select(kept).to_pylist()), key=repr)
    return tables
