"""noise adds noise to a warm start without shrinking it."""

from __future__ import annotations

from sweeps.noise import ALONE, sweep
from trainers.inits import RandomInit, WarmStart


def test_its_arms_keep_all_of_the_weights() -> None:
    """Shrinking is the other remedy; here it must not help."""
    assert {init.columns("init")["shrink"] for init in ALONE} == {1.0}
    assert {RandomInit(), WarmStart(), *ALONE} < set(sweep.axes["init"])
