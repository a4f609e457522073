"""figure10 is the paper's appendix Figure 10: the gap against the share of data in the first round."""

from __future__ import annotations

from sweeps.figure10 import sweep


def test_its_first_rounds_have_a_tenth_to_nine_tenths() -> None:
    """The x-axis of the figure, under each of three seeds."""
    first = [trial.stages[0].parent for trial in sweep.trials() if trial.stages[0].parent]

    assert sorted({stage.config.examples for stage in first}) == [int(33_333 * n / 10) for n in range(1, 10)]
    assert len(first) == 9 * 3
