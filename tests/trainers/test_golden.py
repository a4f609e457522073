"""The numbers of three stages of the quickstart, as they were when they were first paid for.

If this fails, the same config now gives other numbers than those in everybody's stores, under the same keys. Undo the
change. If the change is meant, raise `Supervised.version`, so that all stages get new keys and are trained again; then
run ``python -m tests.trainers.test_golden`` and say in the changelog, under Numbers, what moved and why.

Another processor, or another release of torch, sums in another order. Losses then differ by 1e-6 of their value (seen
with the instruction sets of older processors, where no accuracy moved), so they are compared to 1e-5, and accuracies to
one example; bit for bit only where torch and the processor are those of golden.json.
"""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.stage import Stage
from sweeps import quickstart
from tests.trainers.made import run, without_times
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart

GOLDEN = Path(__file__).with_name("golden.json")
INITS = [RandomInit(), WarmStart(), ShrinkPerturb(shrink=0.4, perturb=0.1)]
EPOCHS = 3
ONE_EXAMPLE = 1 / 598  # of 599, the smallest split that is measured, and a little


def stages() -> dict[str, Stage]:
    """The first cell's first round and its three second rounds, three epochs each."""
    axes = {"epochs": [EPOCHS], "batch_size": [16], "lr": [0.001], "init": INITS}
    trials = quickstart.sweep.replace(axes, seeds=[0]).trials()
    found = {str(trial.cell["init"]): trial.stages[-1] for trial in trials}
    first = found["WarmStart()"].parent
    assert first is not None
    return {"first round": first, **found}


@cache
def trained() -> dict[str, dict[str, Any]]:
    """Everything of the stages that does not depend on the time."""
    found: dict[str, dict[str, Any]] = {}
    parent = None
    for name, stage in stages().items():
        outcome = run(stage.config, parent)
        parent = parent or outcome.state
        rows, metrics = without_times(outcome)
        found[name] = {"rows": rows, "metrics": metrics, "weights": digest(outcome.state)}
    return found


def digest(state: dict[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 over names and bytes."""
    return hashlib.sha256(
        b"".join(name.encode() + array.tobytes() for name, array in sorted(state.items()))
    ).hexdigest()


def machine() -> dict[str, str]:
    """What decides in which order sums are taken: torch, and the processor down to its instructions."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    except (OSError, ValueError):
        lines = {}
    cpu = {name.strip(): value.strip() for name, value in lines.items()}
    names = ("vendor_id", "cpu family", "model", "stepping", "cache size")
    flags = hashlib.sha256(cpu.get("flags", "").encode()).hexdigest()[:8]
    text = ", ".join(f"{name} {cpu.get(name, '?')}" for name in names)
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "processor": f"{platform.machine()} {capability}, {text}, flags {flags}"}


@cache
def golden() -> dict[str, Any]:
    """The numbers as they were."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.mark.parametrize("name", stages())
def test_a_stage_gives_the_numbers_that_it_always_gave(name: str) -> None:
    """Otherwise a store mixes two trainers' numbers under one version."""
    expected, found = golden()["stages"][name], trained()[name]

    for one, other in zip([*found["rows"], found["metrics"]], [*expected["rows"], expected["metrics"]], strict=True):
        assert one.keys() == other.keys()
        for column, value in other.items():
            tolerance = {"abs": ONE_EXAMPLE} if column.endswith("accuracy") else {"rel": 1e-5}
            assert one[column] == pytest.approx(value, **tolerance), f"{name}, epoch {one.get('epoch')}, {column}"


@pytest.mark.parametrize("name", stages())
def test_a_stage_gives_the_bits_that_it_always_gave(name: str) -> None:
    """A change of rounding is a change too: in a ResNet it decides the second digit of the accuracy."""
    if machine() != golden()["machine"]:
        pytest.skip(f"bits are those of {golden()['machine']}, this is {machine()}")

    assert trained()[name] == golden()["stages"][name]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"machine": machine(), "stages": trained()}, indent=1) + "\n")
