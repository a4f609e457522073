"""Whatever is killed, nothing is lost, nothing is doubled, and every bit is as in an undisturbed run."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.conftest import ray_processes
from tests.end_to_end.run import committed, content, run, start, wait_for, wait_until

# Small batches, so that a stage takes a good part of a second and a signal finds the grid at work.
GRID = ("quickstart", "--axis", "batch_size=12", "--axis", "lr=0.001,0.003", "--seeds", "0")
STAGES = 8


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nothing happened to, one stage after the other in one process."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    run("launch", *GRID, "--store", str(store), "--backend", "inprocess")
    return store


def test_a_killed_driver_loses_and_doubles_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-grid, then resume: a grid of days survives its driver, and no number tells that it died."""
    store = tmp_path / "store"
    driver = start("launch", *GRID, "--store", str(store), "--checkpoint-every", "0")
    wait_until(lambda: len(committed(store)) >= 2, driver)

    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    wait_for(lambda: not training())  # Ray's workers outlive their driver by up to a second
    before = {name: (store / "stages" / name).read_bytes() for name in committed(store)}
    printed = run("resume", "quickstart", "--store", str(store))

    found = int(re.search(r"(\d+) done before", printed)[1])  # a worker may commit once more before it is gone
    assert 2 <= len(before) <= found < STAGES
    assert all((store / "stages" / name).read_bytes() == data for name, data in before.items())
    assert content(store) == content(undisturbed)


def test_a_killed_worker_is_replaced_without_help(undisturbed: Path, tmp_path: Path) -> None:
    """A machine that kills one process must not end the night's sweep."""
    store = tmp_path / "store"
    driver = start("launch", *GRID, "--store", str(store), "--checkpoint-every", "0")
    victims: list[int] = []
    wait_until(lambda: bool(committed(store)) and not victims.extend(training()) and bool(victims), driver)

    os.kill(victims[0], signal.SIGKILL)
    printed, _ = driver.communicate()

    assert driver.returncode == 0, printed
    assert content(store) == content(undisturbed)


def training() -> list[int]:
    """Process ids of Ray's workers that run a stage of this test session."""
    return [pid for pid, command in ray_processes().items() if command.startswith("ray::StageTrial")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launch_saves_its_stages_and_says_how_to_go_on(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, and a preempted node's SIGTERM, cost no epoch and exit with 75."""
    store = tmp_path / "store"
    driver = start("launch", *GRID, "--store", str(store))
    wait_until(lambda: bool(committed(store)), driver)

    driver.send_signal(number)
    printed, _ = driver.communicate()
    run("resume", "quickstart", "--store", str(store), "--backend", "inprocess")

    assert driver.returncode == 75, printed
    assert f"warmgrid resume quickstart --store {store}" in printed
    assert content(store) == content(undisturbed)
