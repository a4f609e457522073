"""quickstart is the main job in little: batch size x learning rate x init on real digits, two seeds, in a minute."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.quickstart import sweep
from trainers.data import Digits
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart


def test_its_plan_counts_what_is_promised() -> None:
    """README, issue and tests of others name these numbers."""
    made = plan(sweep.trials())

    assert (made.cells, len(made.trials), len(made.stages), made.stages_without_sharing) == (18, 36, 48, 60)


def test_it_is_a_grid_of_batch_size_learning_rate_and_init() -> None:
    """The three axes that its figure is read by, with the paper's remedy beside both of its inits."""
    axes = {name: len(values) for name, values in sweep.axes.items() if len(values) > 1}

    assert axes == {"batch_size": 2, "lr": 3, "init": 3}
    assert [type(init) for init in sweep.axes["init"]] == [RandomInit, WarmStart, ShrinkPerturb]


def test_it_needs_no_download_and_has_a_spread() -> None:
    """It is the first thing that a new user runs, maybe without a network."""
    assert sweep.axes["data"] == [Digits()]
    assert len(sweep.seeds) >= 2


def test_warm_starts_share_their_first_rounds() -> None:
    """Warm start and shrink-perturb are compared from the very same weights."""
    stages = plan(sweep.trials()).stages
    firsts = [stage.parent for stage in stages if stage.parent]

    assert len(firsts) == 24
    assert len(set(firsts)) == 12
