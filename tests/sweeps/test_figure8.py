"""figure8 is the paper's Figure 8: heat maps over shrink and noise, whose corners are the plain inits."""

from __future__ import annotations

import pytest

from sweeps.figure7 import sweep as figure7
from sweeps.figure8 import sweep
from trainers.inits import Init, RandomInit, WarmStart


def places(inits: list[Init]) -> list[tuple[float, float]]:
    """Where each lies on the plane."""
    return [(init.columns("init")["shrink"], init.columns("init")["perturb"]) for init in inits]


def test_its_cells_are_a_whole_grid_without_the_untrainable_corner() -> None:
    """A hole in a heat map is read as a failure."""
    shrinks, noises = (0, 0.2, 0.4, 0.6, 0.8, 1), (0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1)

    assert sorted(places(sweep.axes["init"])) == sorted((s, n) for s in shrinks for n in noises if (s, n) != (0, 0))


@pytest.mark.parametrize("inits", [sweep.axes["init"], sweep.small["init"]], ids=["full", "small"])
def test_its_corners_are_the_plain_inits(inits: list[Init]) -> None:
    """As shrink-perturb they would be the same networks under other keys, and be trained again."""
    assert {RandomInit(), WarmStart()} <= set(inits)


def test_it_contains_all_arms_of_figure7() -> None:
    """Its row at 0.01 is Figure 7."""
    assert set(figure7.axes["init"]) <= set(sweep.axes["init"])
