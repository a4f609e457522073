"""A grid is paid for once: launched again it runs nothing, grown it runs what is new, whatever sweep asks first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.run import committed, run

SMALL = ("--axis", "epochs=1", "--axis", "batch_size=64", "--seeds", "0")
OTHER = """
from sweeps.quickstart import sweep as quickstart
sweep = quickstart.replace({"lr": [0.001, 0.01]})
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that holds quickstart's four stages of one learning rate."""
    folder = tmp_path / "store"
    run("launch", "quickstart", *SMALL, "--axis", "lr=0.001", "--store", str(folder))
    return folder


def test_a_second_launch_starts_no_stage(store: Path) -> None:
    """Launching is how a user looks whether all is there; it must not cost a training."""
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/*.parquet")}

    facts = json.loads(run("launch", "quickstart", *SMALL, "--axis", "lr=0.001", "--store", str(store), "--json"))

    assert (facts["done"], facts["done_before"]) == (0, 4)
    assert {path: path.stat().st_mtime_ns for path in store.glob("*/*.parquet")} == before


def test_a_learning_rate_more_runs_only_its_cells(store: Path) -> None:
    """Growing a finished grid is what other tools forbid or pay twice for."""
    before = committed(store)

    printed = run("launch", "quickstart", *SMALL, "--axis", "lr=0.001,0.01", "--store", str(store))

    assert "4 done, 4 done before" in printed
    assert set(before) < set(committed(store))


def test_equal_stages_of_two_sweeps_are_trained_once(store: Path, tmp_path: Path) -> None:
    """A user's own sweep over the same stages finds them done."""
    mine = tmp_path / "mine.py"
    mine.write_text(OTHER)

    printed = run("launch", str(mine), *SMALL, "--store", str(store))
    sql = "SELECT sweep, count(*) n FROM results GROUP BY ALL ORDER BY 1"
    both = run("query", sql, "--store", str(store), "--format", "csv")

    assert "4 done, 4 done before" in printed
    assert both.splitlines() == ["sweep,n", "mine,6", "quickstart,3"]
