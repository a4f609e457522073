"""regularization is the paper's appendix table: three penalties of four sizes in both rounds, from both inits."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.regularization import sweep


def test_its_plan_counts_what_is_promised() -> None:
    """No stage is shared: another penalty is another first round."""
    made = plan(sweep.trials())

    assert (made.cells, len(made.stages), made.stages_without_sharing) == (24, 108, 108)
    assert sum(stage.config.round == 0 for stage in made.stages) == 36


def test_its_penalties_are_the_papers() -> None:
    """L2, adversarial and confidence, 0.1 to 0.0001 (Ash & Adams 2020, section 3.3)."""
    found = {(regularizer.kind, regularizer.size) for regularizer in sweep.axes["regularizer"]}

    assert found == {(k, s) for k in ("l2", "adversarial", "confidence_penalty") for s in (0.1, 0.01, 0.001, 0.0001)}


def test_both_rounds_have_the_same_penalty() -> None:
    """A penalty in the second round alone answers another question."""
    stages = [stage for stage in plan(sweep.trials()).stages if stage.parent]

    assert all(stage.config.regularizer == stage.parent.config.regularizer for stage in stages)
