"""figure2 is the paper's Figure 2: 34 rounds of 1,000 examples from warm and from random inits, five seeds."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.figure2 import sweep
from trainers.optimizers import Adam


def test_each_arm_has_34_points_under_each_seed() -> None:
    """The paper's x-axis goes from 1 to 34 thousand examples."""
    trials = sweep.trials()

    assert {len(trial.stages) for trial in trials} == {34}
    assert len(trials) == 2 * 5


def test_it_is_trained_as_the_paper_trains_online() -> None:
    """Adam 0.001 and batches of 128, where Figures 1 and 3 have SGD (DECISIONS.md)."""
    configs = [stage.config for stage in plan(sweep.trials()).stages]

    assert {(c.optimizer, c.lr, c.batch_size, c.stop.target) for c in configs} == {(Adam(), 0.001, 128, 0.99)}
