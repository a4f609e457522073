"""14 stages of 12 epochs: two first rounds, and six second ones from each; no test."""

from __future__ import annotations

from orchestrator import Sweep
from tests.cluster.paced import two_rounds

sweep = Sweep(
    source="made up",
    axes={"lr": [0.01, 0.02, 0.05, 0.1, 0.2, 0.3]},
    protocol=two_rounds,
    seeds=[0, 1],
)
