"""Makes a golden store of the format that this version writes; no test. Stores of released formats are never made anew.

    python -m tests.stores.make tests/stores/format-2

A version that changes what a store holds makes one more folder with this, and commits it. Beside the store goes what
its tables held then, as JSON: whatever comes later must read the same rows. Format 1 is as warmgrid 0.1.0 wrote it.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from orchestrator import Stage
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Lab, Walk, made_sweep, run
from tests.orchestrator.launches import go

TABLES = ("stages", "epochs", "cells", "results")
SWEEP = {"lr": [0.1], "start": ["fresh", "parent"], "epochs": [2]}  # 6 stages
FAILS = Stage(Walk(lr=9.0, seed=7, epochs=2))  # at its second epoch, with a checkpoint after the first
LATER = Stage(Walk(lr=0.7, seed=7, epochs=2))  # committed after the compaction


def make(folder: Path) -> None:
    """Fill `folder` with committed stages, a failed one with its checkpoint, and a launch, some of it compacted."""
    store = Store(str(folder))
    with tempfile.TemporaryDirectory() as temporary:
        lab = Lab(temporary)
        assert go(store, lab, made_sweep("golden", **SWEEP)).exit_code == 0
        lab.spoil("raise", 2, lr=9.0)
        assert run(FAILS, store, lab).status is Status.FAILED
    if hasattr(store, "compact"):
        store.compact()
    assert run(LATER, store).status is Status.DONE
    for passing in ("locks", "leases"):
        shutil.rmtree(folder / passing, ignore_errors=True)
    for traceback in (folder / "tracebacks").iterdir():
        traceback.write_text(traceback.read_text().replace(f"{ROOT}/", ""))
    folder.with_suffix(".json").write_text(json.dumps(rows_of(store), indent=0, sort_keys=True) + "\n")


def rows_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table as JSON values, in an order of its own."""
    tables = {name: store.sql(f"FROM {name}").to_pylist() for name in TABLES}
    texts = {
        name: sorted(json.dumps(row, default=str, sort_keys=True) for row in rows) for name, rows in tables.items()
    }
    return {name: [json.loads(text) for text in rows] for name, rows in texts.items()}


if __name__ == "__main__":
    socket.gethostname = lambda: "made"  # no store that is published names a machine
    make(Path(sys.argv[1]))
