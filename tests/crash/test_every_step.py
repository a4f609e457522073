"""Whatever moment a process dies at, or the power is cut, a reader sees whole stages, and a new launch ends as ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.scenes import SCENES
from tests.orchestrator.fake_trainer import ROOT

SHARED_MEMORY = Path("/dev/shm")
LEAST = 20  # deaths in each scene; fewer would mean that the steps are no longer told
Played = Callable[[str, str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    """Plays all scenes, one program for each way to die, both at once; gives what the deaths in one scene left."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.exists() else None) as folder:
        programs = {how: start(Path(folder, how), how) for how in ("kill", "cut")}
        yield lambda how, scene: [look for look in ended(programs[how], Path(folder, how)) if look["scene"] == scene]
        for program in programs.values():
            program.kill()
            program.wait()


def start(home: Path, how: str) -> subprocess.Popen[bytes]:
    """Start one program."""
    home.mkdir()
    command = [sys.executable, "-m", "tests.crash.dying", how, str(home)]
    with (home / "log").open("w") as log, (home / "looks").open("w") as looks:
        return subprocess.Popen(
            command, stdout=looks, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )


def ended(program: subprocess.Popen[bytes], home: Path) -> list[dict[str, Any]]:
    """What a program printed."""
    code = program.wait()
    assert code == 0, (home / "log").read_text()[-3000:]
    return [json.loads(line) for line in (home / "looks").read_text().splitlines()]


@pytest.mark.parametrize("scene", SCENES)
def test_a_process_killed_at_any_step_loses_doubles_and_leaves_nothing(played: Played, scene: str) -> None:
    """Grids run for days on machines that kill at any moment; half a row would be a wrong number in a figure."""
    deaths = played("kill", scene)

    assert len(deaths) >= LEAST
    assert [death for death in deaths if death["faults"]] == []


@pytest.mark.parametrize("scene", SCENES)
def test_a_power_cut_at_any_step_loses_nothing_that_was_reported(played: Played, scene: str) -> None:
    """What was reported as done is on the disk, whatever the file system still kept in memory."""
    cuts = played("cut", scene)

    assert len(cuts) >= LEAST
    assert [cut for cut in cuts if cut["faults"]] == []
