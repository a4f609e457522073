"""figure6 is the paper's Figure 6: one trained network of each kind, measured at every shrink factor."""

from __future__ import annotations

from collections import Counter

from orchestrator.plan import plan
from sweeps.figure6 import sweep
from trainers.models import MLP, ResNet18


def test_its_models_are_the_papers() -> None:
    """A ResNet, and MLPs with and without biases; bias-free ReLU is the one that the proposition is about."""
    models = sweep.axes["model"]

    assert ResNet18() in models
    assert {(m.activation, m.bias) for m in models if isinstance(m, MLP)} == {
        (activation, bias) for activation in ("relu", "tanh") for bias in (True, False)
    }


def test_a_network_is_trained_once_and_measured_often() -> None:
    """Fourteen factors, and both kinds of statistics of the ResNet, of one set of weights."""
    count = Counter(type(stage.config).__name__ for stage in plan(sweep.replace({}, [0]).trials()).stages)

    assert count == {"Supervised": 5, "Shrunk": 14 * 6}
