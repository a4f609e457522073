"""What tests of the orchestrator share: a store, the lab that spoils made-up stages, and users' own sweep files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import Spec
from orchestrator.store import Store
from tests.orchestrator.command import Warmgrid, run
from tests.orchestrator.fake_trainer import SWEEP_FILE, Lab
from tests.orchestrator.launches import go, results


@pytest.fixture
def forget_sweep_files() -> Iterator[None]:
    """Forget, after the test, the modules and settings of sweep files that it loads."""
    yield
    for name in [name for name, setting in Spec.members.items() if setting.__module__.startswith("warmgrid_sweep_")]:
        del Spec.members[name]
    for name in [name for name in sys.modules if name.startswith("warmgrid_sweep_")]:
        del sys.modules[name]


@pytest.fixture
def sweep_file(tmp_path: Path, forget_sweep_files: None) -> Path:
    """A user's own file with the made sweep."""
    path = tmp_path / "made.py"
    path.write_text(SWEEP_FILE)
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Where nothing goes wrong yet."""
    (tmp_path / "lab").mkdir()
    return Lab(tmp_path / "lab")


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the stages of the made sweep give when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("straight")
    store = Store(str(folder / "store"))
    assert go(store, Lab(folder)).exit_code == 0
    return results(store)


@pytest.fixture
def warmgrid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], forget_sweep_files: None
) -> Warmgrid:
    """Run a command in this process, in a folder of the test's own that holds made.py, a sweep of 10 stages."""
    monkeypatch.chdir(tmp_path)
    Path("made.py").write_text(SWEEP_FILE)
    return partial(run, monkeypatch, capsys)
