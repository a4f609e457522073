"""last_layer_shrink shrinks the last layer alone, beside all layers by the same numbers."""

from __future__ import annotations

from sweeps.last_layer_shrink import ALL, LAST, sweep


def test_both_are_shrunk_and_perturbed_alike() -> None:
    """With other numbers the layers would not be the only difference."""
    assert [(init.shrink, init.perturb) for init in LAST] == [(init.shrink, init.perturb) for init in ALL]
    assert {*LAST, *ALL} < set(sweep.axes["init"])
