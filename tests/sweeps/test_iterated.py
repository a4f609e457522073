"""iterated shrinks and perturbs again and again on the same data."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.iterated import sweep


def test_it_is_ten_rounds_on_all_of_the_data() -> None:
    """No data arrive; what improves is due to the init."""
    trials = sweep.trials()

    assert {len(trial.stages) for trial in trials} == {10}
    assert {stage.config.examples for stage in plan(trials).stages} == {33_333}
