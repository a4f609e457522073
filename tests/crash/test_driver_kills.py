"""A grid whose driver is killed fifty times ends as one that nobody disturbed, and trains one epoch a kill again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.crash.driven import EPOCHS, STAGES
from tests.crash.test_every_step import SHARED_MEMORY
from tests.orchestrator.fake_trainer import ROOT

KILLS = 50


@pytest.fixture(scope="module")
def ended() -> dict[str, Any]:
    """What became of the grid."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.exists() else None) as folder:
        command = [sys.executable, "-m", "tests.crash.driven", str(KILLS), "0", folder]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
        logs = "".join(path.read_text()[-2000:] for path in Path(folder).glob("*/log"))
    assert done.returncode == 0, done.stderr + logs
    return json.loads(done.stdout)


def test_a_grid_survives_fifty_deaths_of_its_driver(ended: dict[str, Any]) -> None:
    """Rows, epochs, cells and weights are what one undisturbed launch gives, to the bit; resume is all it took."""
    assert (ended["killed"], ended["code"]) == (KILLS, 0)
    assert (ended["rows"], ended["differing"]) == (STAGES, [])


def test_a_death_costs_at_most_one_checkpoint_interval(ended: dict[str, Any]) -> None:
    """A machine that dies every hour must not train the same hour for ever."""
    assert ended["epochs"] == EPOCHS
    assert ended["repeated"] <= KILLS


def test_fifty_deaths_leave_no_litter(ended: dict[str, Any]) -> None:
    """A store that gathers half-written files fills the disk that the night's sweep needs."""
    assert ended["left"] == []
