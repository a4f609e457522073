"""ewc consolidates the first half in the second round, at several strengths."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.ewc import sweep
from trainers.inits import RandomInit


def test_all_strengths_hold_on_to_one_first_round() -> None:
    """Another first round a strength would be a second difference."""
    stages = [stage for stage in plan(sweep.replace({}, [0]).trials()).stages if stage.parent]

    assert len({stage.parent for stage in stages}) == 1
    assert sorted(s.config.regularizer.columns("r")["r_size"] for s in stages) == [0.0, 1.0, 10.0, 100.0, 1000.0]


def test_a_random_init_has_no_strength() -> None:
    """It has nothing to hold on to."""
    (regularizer,) = {str(trial.cell["regularizer"]) for trial in sweep.trials() if trial.cell["init"] == RandomInit()}

    assert regularizer == "None"
