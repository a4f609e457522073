"""A request is understood, or refused before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.backend import InProcessBackend
from orchestrator.catalogue import find
from orchestrator.errors import ConfigError, SweepError
from orchestrator.launch import recipe, remembered
from orchestrator.plan import plan
from orchestrator.request import (
    BackendName,
    Running,
    asked_of,
    in_small,
    opened,
    options_of,
    prepare,
    sweep_name,
)
from orchestrator.stage_log import StageLog
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, StageIO, first_facts
from tests.orchestrator.fake_trainer import made_sweep

if TYPE_CHECKING:
    from orchestrator.lease import Lease


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "gpu"}, "--device gpu: give cpu or cuda"),
        ({"backend": BackendName.INPROCESS, "workers": 2}, "leave out --address and --workers"),
        ({"backend": BackendName.INPROCESS, "address": "a:1"}, "leave out --address and --workers"),
        ({"device": "cpu", "gpus_per_stage": 0.5}, "GPUs that nothing would use"),
        ({"device": "cpu", "cuda_graphs": True}, "a graph of CUDA's that nothing would use"),
        ({"checkpoint_every": 60.0, "hang_after": 60.0}, "--hang-after 60: a stage is heard of every"),
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


def test_what_is_asked_of_workers_reaches_them() -> None:
    """An option that is understood and then dropped is worse than one that is not there."""
    given = {"device": "cpu", "checkpoint_every": 5.0, "retries": 7, "hang_after": 60.0}

    options = Options("t", **Running(**given).options)  # type: ignore[arg-type] # as the command line gives them

    assert (options.device, options.checkpoint_every_s, options.retries, options.hang_after_s) == tuple(given.values())


def test_how_steps_are_launched_reaches_the_trainer(tmp_path: Path) -> None:
    """Graphs that were asked for and never captured would be measured, and found to gain nothing."""
    options = Options("t", **Running(cuda_graphs=True).options)  # type: ignore[arg-type] # as above
    handout, no_lease = Handout.of(made_sweep().trials()[0].stages[0]), cast("Lease", None)

    io = StageIO(handout, Store(str(tmp_path)), options, no_lease, first_facts(), StageLog())

    assert io.cuda_graphs


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
    on_gpus = Running(address="auto", gpus_per_stage=0.25, workers=8)
    assert options_of(None, on_gpus) == " --address auto --gpus-per-stage 0.25 --workers 8"
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


def test_the_small_version_replaces_axes_and_seeds() -> None:
    """Whoever tries a sweep before a night of a cluster must get the sweep's own idea of small, whole."""
    found, axes = prepare("figure2", None, None, small=True)

    assert axes == {name: list(values) for name, values in find("figure2").sweep.small.items()}
    assert {name: list(found.sweep.axes[name]) for name in axes} == axes
    assert list(found.sweep.seeds) == list(find("figure2").sweep.small_seeds)


def test_what_is_asked_by_name_goes_before_the_small_version() -> None:
    """`--small --axis lr=0.5` that trained at another rate would be believed."""
    found, axes = prepare("figure2", ["lr=0.5"], "7", small=True)

    assert axes["lr"] == list(found.sweep.axes["lr"]) == [0.5]
    assert list(found.sweep.seeds) == [7]


def test_a_sweep_without_a_small_version_says_how_to_cap_it() -> None:
    """The full sweep in its place would run for weeks."""
    with pytest.raises(ConfigError, match=r"no small version\. Cap it yourself: --axis data=Digits"):
        in_small(made_sweep(), {}, None)


def test_a_small_launch_is_found_by_resume(tmp_path: Path) -> None:
    """`resume --small` after a crash must not find nothing, nor run the full sweep."""
    kept = Store(str(tmp_path))
    found, axes = prepare("figure1", ["lr=0.5"], None, small=True)
    kept.record_launch("figure1", recipe(found.sweep, found.source, axes, plan(found.sweep.trials())), [])

    asked = asked_of(kept, "figure1", ["lr=0.5"], None, small=True)

    assert [again.sweep.axes for again, _ in remembered(kept, "figure1", *asked)] == [found.sweep.axes]
