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
from sweeps.protocols import online
from trainers.after_step import NoChange, ShrinkPerturbEachStep
from trainers.data import Digits, FashionMNIST
from trainers.inits import PartialWarmStart, RandomInit, ShrinkLastLayer, ShrinkPerturb, WarmStart
from trainers.models import MLP, LinearSVM, Logistic, ResNet18
from trainers.optimizers import Adam
from trainers.regularizers import EWC, L2, Adversarial, ConfidencePenalty, NoRegularizer
from trainers.stopping import Epochs

COST = re.compile(r"Cost: (\d+) cells x (\d+) seeds, (\d+) stages")
CAPS: dict[str, Sequence[Any]] = {"data": [Digits()], "limit": [60], "epochs": [1]}
ONLINE = [name for name in names() if find(name).sweep.protocol is online]
WITH_CAPS: dict[str, Mapping[str, Sequence[Any]]] = {  # what must shrink together with the data
    "figure9": {"source": [Digits(limit=900)]},
    **{name: {"per_round": [20]} for name in ONLINE},
}
BOTH = [RandomInit(), WarmStart()]
SHRUNK = ShrinkPerturb(0.6, 0.01)
SMALL: dict[str, Mapping[str, Sequence[Any]]] = {  # one value of each kind
    "quickstart": {"lr": [0.01]},
    "figure1": {},
    "figure2": {},
    "figure3": {"lr": [0.01], "first_batch_size": [16], "first_lr": [0.001, 0.1]},
    "figure4": {"stop": [Epochs(1)], "first_epochs": [1, 2], "epochs": [None]},
    "figure5": {"init": [WarmStart(), SHRUNK], "gradient_norms_every": [1]},
    "figure6": {"model": [ResNet18(width=4), MLP()], "shrink": [0.0, 0.5]},
    "figure7": {"init": [*BOTH, SHRUNK]},
    "figure8": {"init": [RandomInit(), ShrinkPerturb(0, 0.1), SHRUNK]},
    "figure9": {"fraction": [0.5]},
    "figure10": {"first_fraction": [0.1, 0.9]},
    "figure11": {"lr": [0.01], "first_lr": [0.01], "first_batch_size": [16], "model": [MLP(), Logistic()]},
    "active": {},
    "augmentation": {},
    "ewc": {"regularizer": [NoRegularizer(), EWC(size=1.0)]},
    "iterated": {"init": [*BOTH, SHRUNK], "rounds": [3]},
    "last_layer_shrink": {"init": [*BOTH, ShrinkLastLayer(0.6, 0.01)]},
    "noise": {"init": [ShrinkPerturb(1, 0.1)]},
    "partial": {"init": [PartialWarmStart(5), PartialWarmStart(1, "last")]},
    "regularization": {"regularizer": [L2(size=0.1), Adversarial(size=0.1), ConfidencePenalty(size=0.1)]},
    "step_shrink": {"after_step": [NoChange(), ShrinkPerturbEachStep(0.9999, 0.0001)], "init": [WarmStart()]},
    "table1": {"model": [ResNet18(), Logistic(), LinearSVM()], "optimizer": [Adam()]},
}
STAGES = {
    "quickstart": 4,
    "figure1": 3,
    "figure2": 3,
    "figure3": 5,
    "figure4": 5,
    "figure5": 3,
    "figure6": 8,
    "figure7": 4,
    "figure8": 4,
    "figure9": 4,
    "figure10": 5,
    "figure11": 4,
    "active": 5,
    "augmentation": 6,
    "ewc": 4,
    "iterated": 7,
    "last_layer_shrink": 4,
    "noise": 2,
    "partial": 3,
    "regularization": 9,
    "step_shrink": 8,
    "table1": 9,
}
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
    axes = {**CAPS, "batch_size": [16], **WITH_CAPS.get(name, {}), **SMALL[name]}
    small, store = find(name).sweep.replace(axes, [0]), Store(str(folder))
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
    assert "Measured" in text
    assert "Expectation" in text
    assert "Ash & Adams 2020" in find(name).sweep.source
    assert "PAPER.md" not in text  # not in the repository: name the paper's section, or DECISIONS.md


@every_sweep
@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_seeds_multiply_stages(name: str, seeds: list[int]) -> None:
    """A stage that two seeds share would be one draw that is counted as two."""
    each = len(plan(find(name).sweep.replace({}, [0]).trials()).stages)

    assert len(plan(find(name).sweep.replace({}, seeds).trials()).stages) == each * len(seeds)


@pytest.mark.parametrize("name", [name for name in names() if name not in (*ONLINE, "figure9")])
@pytest.mark.parametrize("cap", [{"data": [Digits()]}, {"epochs": [400]}, {"limit": [600]}], ids=str)
def test_a_capped_sweep_has_the_same_cells(name: str, cap: dict[str, Sequence[Any]]) -> None:
    """A trial run must be the same experiment in little; only table1 has more data sets than one to cap."""
    sets = len(sweep(name).axes["data"]) if "data" in cap else 1

    full, capped = planned(name), planned(name, **cap)

    assert (capped.cells * sets, len(capped.stages) * sets) == (full.cells, len(full.stages))


@pytest.mark.parametrize("name", ONLINE)
def test_a_capped_online_sweep_has_the_same_cells_in_fewer_rounds(name: str) -> None:
    """Its rounds must shrink with the data: 1,000 examples a round would be all of a small set."""
    assert planned(name, **CAPS, **WITH_CAPS[name]).cells == planned(name).cells


@every_sweep
def test_caps_reach_every_stage(name: str) -> None:
    """A first round that is not capped takes all the hours that the cap should save."""
    configs = [stage.config for stage in planned(name, **CAPS, **WITH_CAPS.get(name, {})).stages]

    assert {config.stop.most_epochs for config in configs if hasattr(config, "stop")} == {1}
    assert {(type(config.data), config.data.total) for config in configs} == {(Digits, 60)}
    assert max(config.examples for config in configs) == 40


@every_sweep
def test_the_precision_reaches_every_training(name: str) -> None:
    """An axis of any sweep; a first round in fp32 would be half an answer, under the name of a whole one."""
    configs = [stage.config for stage in planned(name, precision=["bf16"]).stages]

    assert {config.precision for config in configs if hasattr(config, "stop")} == {"bf16"}


@every_sweep
def test_its_small_form_still_varies_what_it_is_about(name: str) -> None:
    """A figure with one value on an axis shows nothing; only what it costs may shrink."""
    full = sweep(name)
    small = full.replace(full.small, full.small_seeds if full.small else full.seeds)

    assert [axis for axis, values in full.axes.items() if len(values) > 1] == [
        axis for axis, values in small.axes.items() if len(values) > 1
    ]
    assert len(small.seeds) > 1


@every_sweep
def test_its_small_form_takes_minutes_on_embedded_or_limited_data(name: str) -> None:
    """It is what a reader without a GPU runs first; 250 stages of a second or less are minutes on two cores."""
    full = sweep(name)
    stages = plan(full.replace(full.small, full.small_seeds if full.small else full.seeds).trials()).stages

    assert len(stages) <= 250
    assert all(isinstance(s.config.data, (Digits, FashionMNIST)) and s.config.data.total <= 2000 for s in stages)


@every_sweep
def test_it_runs_on_the_embedded_digits(name: str, tmp_path: Path) -> None:
    """Every sweep can be tried by whoever has no GPU and no data; one kind of each setting, for an epoch."""
    summary, store = tried(name, tmp_path)

    assert summary.count(Status.FAILED) == 0, [report.error for report in summary.reports]
    assert (summary.exit_code, len(summary.reports)) == (0, STAGES[name])
    rows = store.sql("SELECT * FROM results").to_pylist()
    assert len(rows) == sum(len(trial.stages) for trial in summary.plan.trials)
    assert {row["epochs"] for row in rows} == {0 if name == "figure6" else 1}
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("figure3", "table1", 9),  # a first round, a random init and a warm start under each of three seeds
        ("figure10", "table1", 9),
        ("partial", "table1", 9),
        ("noise", "table1", 9),
        ("ewc", "table1", 9),
        ("last_layer_shrink", "table1", 9),
        ("step_shrink", "table1", 9),
        ("step_shrink", "regularization", 9),
        ("figure5", "table1", 3),  # first rounds
        ("augmentation", "figure1", 9),
        ("figure11", "figure3", 468),  # all but the random inits
        ("figure2", "figure7", 335),  # all of it
        ("figure2", "active", 335),
        ("figure8", "figure7", 597),  # all of it under the first three seeds
        ("figure6", "figure9", 3),  # ResNet-18 on all of CIFAR-10 with Adam, before anything
        ("iterated", "figure9", 6),  # that, and a random init of the next round
        ("figure9", "table1", 9),  # random inits on all of each target
    ],
)
def test_sweeps_share_what_is_equal(one: str, other: str, shared: int) -> None:
    """What one sweep has trained would be trained a second time for another; files tell the reader of it."""
    first, second = ({stage.key for stage in planned(name).stages} for name in (one, other))

    assert len(first & second) == shared
