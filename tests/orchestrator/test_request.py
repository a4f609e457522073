"""A request is understood, or refused before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backend import InProcessBackend
from orchestrator.catalogue import find
from orchestrator.errors import ConfigError, SweepError
from orchestrator.request import BackendName, Running, opened, options_of, prepare, sweep_name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "gpu"}, "--device gpu: give cpu or cuda"),
        ({"backend": BackendName.INPROCESS, "workers": 2}, "leave out --address and --workers"),
        ({"backend": BackendName.INPROCESS, "address": "a:1"}, "leave out --address and --workers"),
        ({"data_root": "/nowhere"}, r"--data-root /nowhere \(or WARMGRID_DATA\): no such folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    """An option that is ignored without a word costs a night on the wrong machine."""
    with pytest.raises(ConfigError, match=message):
        Running(**given)


def test_one_worker_in_process_is_what_it_is() -> None:
    """A script that always gives --workers must be able to say 1."""
    assert Running(BackendName.INPROCESS, workers=1).workers == 1


def test_the_in_process_backend_loads_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there for whoever has no time for Ray's start-up, or no Ray."""
    monkeypatch.setitem(sys.modules, "orchestrator.ray_backend", None)

    assert isinstance(Running(BackendName.INPROCESS).make_backend(find("quickstart")), InProcessBackend)


def test_the_next_command_gets_the_options_it_needs(tmp_path: Path) -> None:
    """`resume` with another store, or without the data, would find nothing; paths with blanks stay one word."""
    folder = tmp_path / "my data"
    folder.mkdir()
    running = Running(BackendName.INPROCESS, data_root=str(folder))

    assert options_of("my store", running) == f" --store 'my store' --data-root '{folder}' --backend inprocess"
    assert options_of(None, Running(address="head:6379")) == " --address head:6379"
    assert options_of("s") == " --store s"
    assert options_of(None, Running()) == options_of(None) == ""


def test_axes_and_seeds_are_replaced_as_asked() -> None:
    """And nothing else: the rest of the sweep is the paper's."""
    found, axes = prepare("quickstart", ["lr=0.5", "epochs=2"], "3,5")

    assert axes == {"lr": [0.5], "epochs": [2]}
    assert (found.sweep.axes["lr"], found.sweep.axes["batch_size"], found.sweep.seeds) == ([0.5], [16, 64], (3, 5))


def test_a_store_needs_a_name(tmp_path: Path) -> None:
    """--store "$UNSET" would fill the default store with another experiment's results."""
    assert opened(str(tmp_path)).root == str(tmp_path)
    with pytest.raises(ConfigError, match="--store: the path is empty"):
        opened("")


@pytest.mark.parametrize(("given", "name"), [("figure3", "figure3"), ("my/own_grid.py", "own_grid")])
def test_a_file_is_called_by_its_stem(given: str, name: str) -> None:
    """The same words must do for launch, status and figure."""
    assert sweep_name(given) == name


@pytest.mark.parametrize("given", ["../figure3", "a'; DROP TABLE", "", ".hidden.py"])
def test_a_name_that_leads_elsewhere_is_refused(given: str) -> None:
    """It becomes part of a path and of an SQL query."""
    with pytest.raises(SweepError, match="cannot name a sweep"):
        sweep_name(given)
