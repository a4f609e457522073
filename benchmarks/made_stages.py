"""The stages of a simulated launch, and how long they last: three protocols of the paper, a third of the stages each.

First rounds with ten children, online chains of 20 rounds, and first rounds of 34 lengths that go on from one another,
each with a child.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from orchestrator import Sweep
from orchestrator.estimate import Estimate
from orchestrator.plan import Plan
from orchestrator.sweep import Trial
from sweeps.protocols import CONVERGED, half_then_all, online
from trainers.data import CIFAR10
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import ResNet18
from trainers.optimizers import SGD

A_SEED = 195  # stages of one seed of the mixture
MEAN_S = 900.0  # of a stage
KNOWN_SPREAD, UNKNOWN_SPREAD = 0.5, 0.3  # standard deviations of the logarithm of a stage's seconds


def trials_of(seeds: int) -> list[Trial]:
    """A mixture of the paper's protocols: `A_SEED` stages a seed."""
    common: dict[str, list[Any]] = {"data": [CIFAR10()], "model": [ResNet18()], "optimizer": [SGD()]}
    common |= {"batch_size": [128], "stop": [CONVERGED]}
    inits = [RandomInit(), WarmStart(), *(ShrinkPerturb(shrink=tenth / 10, perturb=0.1) for tenth in range(1, 9))]
    lengths = {"init": [RandomInit(), WarmStart()], "lr": [0.003], "first_epochs": list(range(10, 341, 10))}
    lrs = {"lr": [0.001, 0.01, 0.1]}
    sweeps = [
        Sweep("children", {**common, "init": inits, "lr": [*lrs["lr"], 0.002, 0.02, 0.2]}, half_then_all, range(seeds)),
        Sweep("chains", {**common, **lrs, "init": [WarmStart()], "rounds": [20]}, online, range(seeds)),
        Sweep("lengths", {**common, **lengths}, half_then_all, range(seeds)),
    ]
    return [trial for sweep in sweeps for trial in sweep.trials()]


def expected_seconds(planned: Plan, seed: int) -> dict[str, float]:
    """What the schedule believes that each stage will take: `MEAN_S` on average, log-normal by `KNOWN_SPREAD`."""
    draw = random.Random(f"expected {seed}")
    cost = Estimate([]).cost(planned.to_run, planned.follows)
    drawn = {key: one * draw.lognormvariate(0, KNOWN_SPREAD) for key, one in cost.items()}
    unit = MEAN_S * len(drawn) / sum(drawn.values())
    return {key: unit * one for key, one in drawn.items()}


def drawn_seconds(expected: Mapping[str, float], seed: int) -> dict[str, float]:
    """How long each stage really lasts: log-normal around what is expected, by `UNKNOWN_SPREAD`."""
    draw = random.Random(f"real {seed}")
    shift = -(UNKNOWN_SPREAD**2) / 2  # so that the mean stays
    return {key: one * draw.lognormvariate(shift, UNKNOWN_SPREAD) for key, one in expected.items()}


def longest_chain(planned: Plan, seconds: Mapping[str, float]) -> float:
    """Seconds of the longest chain of stages that wait for one another; no number of GPUs is faster."""
    ends: dict[str, float] = {}
    for stage in planned.to_run:
        way = [stage]
        while way:
            above = [one for one in (way[-1].parent, planned.follows.get(way[-1].key)) if one and one.key in seconds]
            if missing := [one for one in above if one.key not in ends]:
                way += missing
            else:
                key = way.pop().key
                ends[key] = seconds[key] + max((ends[one.key] for one in above), default=0.0)
    return max(ends.values())
