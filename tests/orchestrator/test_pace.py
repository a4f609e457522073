"""What stages like one took says how long it will take; of what nothing is known, nothing is believed."""

from __future__ import annotations

import math

from orchestrator.pace import Pace


def test_what_was_never_measured_may_last_for_ever() -> None:
    """A stage of hours that is taken for a short one keeps all that waits behind it from other workers."""
    pace = Pace()
    pace.told("logistic", 1.0, 0.01)

    assert pace.seconds("ResNet18", 1.0) == math.inf


def test_a_stage_of_twice_the_cost_lasts_twice_as_long() -> None:
    """Epochs and examples are known before; a sweep over them has both short and long stages."""
    pace = Pace()
    pace.told("MLP", 10.0, 1.0)

    assert pace.seconds("MLP", 20.0) == 2.0


def test_the_newest_count_most() -> None:
    """A machine that becomes slow makes short stages long."""
    pace = Pace()
    for seconds in (1.0, *[5.0] * 9):
        pace.told("MLP", 1.0, seconds)

    assert 4.5 < pace.seconds("MLP", 1.0) < 5.0
