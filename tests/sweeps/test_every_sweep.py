"""Every sweep is what its docstring says, and can be tried on the embedded data in minutes."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import Sweep
from orchestrator.backend import InProcessBackend
from orchestrator.catalogue import find, names
from orchestrator.launch import Summary, launch
from orchestrator.plan import Plan, plan
from orchestrator.progress import Progress
from orchestrator.seam import Status
from orchestrator.store import Store
from trainers.data import Digits
from trainers.models import LinearSVM, Logistic, ResNet18
from trainers.optimizers import Adam
from trainers.regularizers import L2, Adversarial, ConfidencePenalty

COST = re.compile(r"Cost: (\d+) cells x (\d+) seeds, (\d+) stages")
CAPS: dict[str, Sequence[Any]] = {"data": [Digits()], "limit": [60], "epochs": [1]}
SMALL: dict[str, Mapping[str, Sequence[Any]]] = {  # one value of each kind
    "quickstart": {"lr": [0.01]},
    "figure1": {},
    "figure3": {"lr": [0.01], "first_batch_size": [16], "first_lr": [0.001, 0.1]},
    "regularization": {"regularizer": [L2(size=0.1), Adversarial(size=0.1), ConfidencePenalty(size=0.1)]},
    "table1": {"model": [ResNet18(), Logistic(), LinearSVM()], "optimizer": [Adam()]},
}
STAGES = {"quickstart": 4, "figure1": 3, "figure3": 5, "regularization": 9, "table1": 9}
every_sweep = pytest.mark.parametrize("name", names())


def sweep(name: str, **axes: Sequence[Any]) -> Sweep:
    """The sweep called `name`, with these axes replaced."""
    return find(name).sweep.replace(axes)


def planned(name: str, **axes: Sequence[Any]) -> Plan:
    """Its plan."""
    return plan(sweep(name, **axes).trials())


def docstring(name: str) -> str:
    """What its file says."""
    return str(importlib.import_module(f"sweeps.{name}").__doc__)


def tried(name: str, folder: Path) -> tuple[Summary, Store]:
    """A launch in this process, of one value of each kind, under one seed, on 40 digits for an epoch."""
    small, store = find(name).sweep.replace({**CAPS, "batch_size": [16], **SMALL[name]}, [0]), Store(str(folder))
    quiet = Progress(Console(file=io.StringIO()))
    return launch(small, store, InProcessBackend, quiet, source=name, options={"device": "cpu"}), store


@every_sweep
def test_the_docstring_says_what_it_costs(name: str) -> None:
    """Whoever decides on a night of a cluster reads the file, not the planner."""
    made = planned(name)
    cells, seeds, stages = map(int, COST.search(" ".join(docstring(name).split())).groups())

    assert (made.cells, len(find(name).sweep.seeds), len(made.stages)) == (cells, seeds, stages)
    for count in re.findall(r"\((\d+)\s+without\s+sharing", docstring(name)):
        assert made.stages_without_sharing == int(count)


@every_sweep
def test_the_docstring_has_question_source_cost_and_expectation(name: str) -> None:
    """A sweep without an expectation cannot disagree with the paper."""
    text = docstring(name)

    assert "Cost: " in text
    assert "Expectation" in text
    assert "Ash & Adams 2020" in find(name).sweep.source
    assert "PAPER.md" not in text  # not in the repository: name the paper's section, or DECISIONS.md


@every_sweep
@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_seeds_multiply_stages(name: str, seeds: list[int]) -> None:
    """A stage that two seeds share would be one draw that is counted as two."""
    each = len(plan(find(name).sweep.replace({}, [0]).trials()).stages)

    assert len(plan(find(name).sweep.replace({}, seeds).trials()).stages) == each * len(seeds)


@every_sweep
@pytest.mark.parametrize("cap", [{"data": [Digits()]}, {"epochs": [2]}, {"limit": [600]}, CAPS], ids=str)
def test_a_capped_sweep_has_the_same_cells(name: str, cap: dict[str, Sequence[Any]]) -> None:
    """A trial run must be the same experiment in little; only table1 has more data sets than one to cap."""
    sets = len(sweep(name).axes["data"]) if "data" in cap else 1

    full, capped = planned(name), planned(name, **cap)

    assert (capped.cells * sets, len(capped.stages) * sets) == (full.cells, len(full.stages))


@every_sweep
def test_caps_reach_every_stage(name: str) -> None:
    """A first round that is not capped takes all the hours that the cap should save."""
    configs = [stage.config for stage in planned(name, **CAPS).stages]

    assert {config.stop.most_epochs for config in configs} == {1}
    assert {(type(config.data), config.data.total) for config in configs} == {(Digits, 60)}
    assert max(config.examples for config in configs) == 40


@every_sweep
def test_it_runs_on_the_embedded_digits(name: str, tmp_path: Path) -> None:
    """Every sweep can be tried by whoever has no GPU and no data; one kind of each setting, for an epoch."""
    summary, store = tried(name, tmp_path)

    assert summary.count(Status.FAILED) == 0, [report.error for report in summary.reports]
    assert (summary.exit_code, len(summary.reports)) == (0, STAGES[name])
    rows = store.sql("SELECT * FROM results").to_pylist()
    assert len(rows) == sum(len(trial.stages) for trial in summary.plan.trials)
    assert all(row["epochs"] == 1 and 0 <= row["test_accuracy"] <= 1 for row in rows)


def test_sweeps_share_what_is_equal() -> None:
    """Figure 3's first rounds at batch size 128 and learning rate 0.001 would be trained a second time for Table 1."""
    figure, table = ({stage.key for stage in planned(name).stages} for name in ("figure3", "table1"))

    assert len(figure & table) == 9  # a first round, a random init and a warm start under each of three seeds
