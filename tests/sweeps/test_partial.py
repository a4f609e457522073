"""partial starts only some layers warm, between the random init and the whole warm start."""

from __future__ import annotations

import pytest
import torch

from sweeps.partial import sweep
from trainers.inits import PartialWarmStart, layers_of
from trainers.models import MLP, Model, ResNet18


@pytest.mark.parametrize("form", [sweep.axes, {**sweep.axes, **sweep.small}], ids=["full", "small"])
def test_no_partial_start_is_a_whole_one(form: dict[str, list[object]]) -> None:
    """With all layers warm, or more than there are, the cell would be the warm start or fail after the first round."""
    (model,) = form["model"]
    assert isinstance(model, ResNet18 | MLP)
    count = len(layers_of(build(model)))

    partial = [init for init in form["init"] if isinstance(init, PartialWarmStart)]

    assert max(init.layers for init in partial) == count - 1
    assert {init.part for init in partial} == {"first", "last"}


def build(model: Model) -> torch.nn.Module:
    """A network of it."""
    return model.build((3, 32, 32), 10, torch.Generator())
