"""step_shrink sets shrinking at every step beside the weight decay that it is equal to."""

from __future__ import annotations

import pytest

from sweeps.step_shrink import EACH_STEP, sweep
from trainers.regularizers import L2


def test_shrinking_at_every_step_is_the_weight_decay_beside_it() -> None:
    """The factor is 1 - lr * size; with other numbers two strengths would be compared, not two forms."""
    (lr,) = sweep.axes["lr"]
    size = next(r.size for r in sweep.axes["regularizer"] if isinstance(r, L2))

    assert [rule.shrink for rule in EACH_STEP] == [pytest.approx(1 - lr * size, abs=1e-12)] * 2


def test_one_rule_has_noise_and_one_has_none() -> None:
    """Without noise it is weight decay and nothing else."""
    assert sorted(rule.perturb > 0 for rule in EACH_STEP) == [False, True]
