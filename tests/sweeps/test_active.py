"""active is figure2 with margin sampling beside it: the same rounds, other examples."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.active import sweep
from sweeps.figure2 import sweep as figure2
from trainers.selection import InOrder, Margin


def test_its_random_arms_are_figure2() -> None:
    """A change of figure2 that active does not follow would compare two experiments."""
    random = sweep.replace({"selection": [InOrder()]})

    assert {s.key for s in plan(random.trials()).stages} == {s.key for s in plan(figure2.trials()).stages}


def test_both_inits_select_for_themselves() -> None:
    """Examples that one arm's model chose are not those that the other's would have."""
    trials = [trial for trial in sweep.trials() if trial.cell["selection"] == Margin()]

    assert len({trial.stages[-1].parent for trial in trials}) == len(trials) == 2 * 5
