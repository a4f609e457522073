"""figure11 is the paper's appendix Figure 11: figure3's warm starts, beside an MLP and a convex model."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.figure3 import sweep as figure3
from sweeps.figure11 import sweep
from trainers.inits import WarmStart
from trainers.models import ResNet18


def test_its_resnets_are_the_warm_starts_of_figure3() -> None:
    """The figure shows the same models by another measure; trained again they would double the cost."""
    ours = plan(sweep.replace({"model": [ResNet18()]}).trials()).stages
    theirs = plan(figure3.replace({"init": [WarmStart()]}).trials()).stages

    assert {stage.key for stage in ours} == {stage.key for stage in theirs}


def test_it_has_a_convex_model_and_an_mlp_beside_it() -> None:
    """The trade-off is claimed for networks, and not for logistic regression."""
    assert [model.kind for model in sweep.axes["model"]] == ["resnet18", "mlp", "logistic"]
