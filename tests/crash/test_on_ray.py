"""Drivers and workers of Ray are killed over a grid that really trains: nothing lost, doubled or changed.

Few kills, drawn from a seed; ``python -m benchmarks.faults`` does the same by fifties, and with whole nodes, of which
tests/cluster loses one too.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.faults import Bench, Grid, Result

pytestmark = pytest.mark.timeout(900)  # a loaded machine takes half a minute to start Ray, and each test does it often


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Four stages of digits."""
    return Bench(Grid("0.001", seeds=1, epochs=8), tmp_path_factory.mktemp("bench"), random.Random(1))


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> Path:
    """The folder of a run that nothing happened to."""
    return bench.undisturbed()


def check(result: Result, kills: int, repeated: int) -> None:
    """Complain of what was lost, and of more repeated epochs than `repeated`."""
    assert result.kills == kills
    assert result.found.rows > 4
    assert (result.found.lost, result.found.doubled, result.found.differing) == (0, 0, 0)
    assert result.repeated <= repeated


def test_drivers_killed_on_ray_lose_nothing(bench: Bench, undisturbed: Path) -> None:
    """Ray's workers outlive their driver for a moment; the next driver's must not train beside them."""
    check(bench.kill_drivers(2, undisturbed), kills=2, repeated=2 * 2)  # one while it starts, one while it trains


def test_workers_killed_on_ray_lose_nothing(bench: Bench, undisturbed: Path) -> None:
    """The kernel kills the largest process when memory is short; that is a worker."""
    result = bench.kill_workers(2, undisturbed)

    check(result, kills=2, repeated=2)
    assert result.failed == 0  # the driver went on by itself
