"""What tests of clusters share: the option that asks for the long ones, a store that nothing happened to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.machines import ROOT
from tests.end_to_end.run import content

SWEEP = "tests/cluster/paced_sweep.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``pytest tests/cluster --cluster``."""
    parser.addoption("--cluster", action="store_true", help="the tests too that start many clusters; half an hour")


@pytest.fixture
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skip what takes long, unless it is asked for."""
    if not request.config.getoption("--cluster", default=False):
        pytest.skip("takes minutes: ask for it with pytest tests/cluster --cluster")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """Content of the store of a run in one process that nothing happened to."""
    store: Path = tmp_path_factory.mktemp("undisturbed") / "store"
    words = [sys.executable, "-m", "orchestrator.cli", "launch", SWEEP, "--store", str(store), "--backend", "inprocess"]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    return content(store)
