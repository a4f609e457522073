"""figure5 is the paper's Figure 5: gradient norms of old and new examples, warm start and four shrink factors."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.figure5 import sweep


def test_its_arms_are_the_papers() -> None:
    """Four panels of shrink-perturb, the warm start in each."""
    assert [init.columns("init")["shrink"] for init in sweep.axes["init"]] == [1.0, 0.9, 0.7, 0.5, 0.3]


def test_all_arms_are_measured_against_one_first_round() -> None:
    """Their old examples are the ones that the shared parent was trained on."""
    stages = [trial.stages[0] for trial in sweep.replace({}, [0]).trials()]

    assert len({stage.parent for stage in stages}) == 1
    assert {(s.config.old_examples, s.config.gradient_norms_every) for s in stages} == {(16_666, 20)}


def test_its_steps_are_small() -> None:
    """SGD with 0.001: the paper looks closely at the first thousand steps."""
    assert {(str(s.config.optimizer), s.config.lr) for s in plan(sweep.trials()).stages} == {("SGD()", 0.001)}
