"""figure1 is the paper's Figure 1: 350 epochs on half, then 350 on all, beside 350 on all from fresh weights."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.figure1 import sweep
from trainers.stopping import Epochs


def test_its_plan_counts_what_is_promised() -> None:
    """Three arms under three seeds."""
    made = plan(sweep.trials())

    assert (made.cells, len(made.trials), len(made.stages)) == (2, 6, 9)


def test_every_arm_trains_for_350_epochs() -> None:
    """The curves are drawn over epochs; another length is another figure."""
    assert {stage.config.stop for stage in plan(sweep.trials()).stages} == {Epochs(350)}


def test_every_epoch_is_evaluated() -> None:
    """The figure is a curve of test accuracy, not its end."""
    assert {stage.config.evaluate_every for stage in plan(sweep.trials()).stages} == {1}


def test_the_optimizer_is_what_the_curves_suggest() -> None:
    """SGD, 0.001, batches of 128, neither momentum nor decay (DECISIONS.md)."""
    configs = [stage.config for stage in plan(sweep.trials()).stages]

    assert {(str(c.optimizer), c.lr, c.batch_size, str(c.regularizer)) for c in configs} == {
        ("SGD()", 0.001, 128, "NoRegularizer()")
    }
