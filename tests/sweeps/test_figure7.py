"""figure7 is the paper's Figure 7: online learning with weights shrunk to 1, 0.8, ... 0 of the last round's."""

from __future__ import annotations

from sweeps.figure7 import sweep
from trainers.inits import RandomInit, WarmStart


def test_its_arms_are_the_papers() -> None:
    """Shrink 1 is the pure warm start without noise, shrink 0 a whole fresh network, not 0.01 of one."""
    places = {(init.columns("init")["shrink"], init.columns("init")["perturb"]) for init in sweep.axes["init"]}

    assert places == {(1.0, 0.0), (0.8, 0.01), (0.6, 0.01), (0.4, 0.01), (0.2, 0.01), (0.0, 1.0)}
    assert {RandomInit(), WarmStart()} <= set(sweep.axes["init"])
