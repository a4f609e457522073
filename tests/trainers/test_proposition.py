"""Proposition 1 of the paper: without biases and with ReLU, shrinking all weights changes no prediction."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.trainers import made
from tests.trainers.made import FIRST, MemoryIO
from trainers.checkpoints import to_tensors
from trainers.models import MLP, Model
from trainers.seeds import stream
from trainers.shrunk import Shrunk, measure
from trainers.splits import load_splits

DEPTHS = [1, 2, 3]
every_depth = pytest.mark.parametrize("depth", DEPTHS)
SHRINKS = [1e-3, 0.1, 0.3, 0.6, 0.9, 0.99]
powers_of_two = pytest.mark.parametrize("shrink", [0.5, 0.25, 2.0**-6])


def trained(model: Model) -> nn.Module:
    """A network that has learned some of the digits."""
    net = model.build(FIRST.data.shape, FIRST.data.classes, stream(0, "any weights"))
    net.load_state_dict(to_tensors(made.run(dataclasses.replace(FIRST, model=model)).state))
    return net.eval()


def shrunk_by(net: nn.Module, shrink: float) -> nn.Module:
    """`net`, all of its weights multiplied in place."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(shrink)
    return net


def digits() -> Tensor:
    """Real images that none of the networks was trained on, and some that they were."""
    everything = dataclasses.replace(FIRST.data, limit=None)
    splits = load_splits(everything, seed=3, examples=500, root=None, device=torch.device("cpu"))
    return torch.cat([splits.train_x, splits.test_x])


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the softmax, in nats."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


@every_depth
@powers_of_two
def test_by_a_power_of_two_logits_scale_to_the_last_bit(depth: int, shrink: float) -> None:
    """Such a factor rounds nothing, so float32 must show the proposition without a tolerance."""
    net, layers = trained(MLP(depth=depth, width=8, bias=False)), depth + 1
    logits = net(digits()).detach()

    assert torch.equal(shrunk_by(net, shrink)(digits()), logits * shrink**layers)


@every_depth
@pytest.mark.parametrize("shrink", SHRINKS)
def test_by_any_factor_every_prediction_stays(depth: int, shrink: float) -> None:
    """Logits scale by shrink to the power of the layers; in float64 no two are near enough to swap."""
    net, layers = trained(MLP(depth=depth, width=8, bias=False)).double(), depth + 1
    logits = net(digits().double()).detach()

    shrunk = shrunk_by(net, shrink)(digits().double())

    torch.testing.assert_close(shrunk, logits * shrink**layers, rtol=1e-10, atol=0)
    assert torch.equal(shrunk.argmax(1), logits.argmax(1))


@every_depth
def test_confidence_falls_while_predictions_stay(depth: int) -> None:
    """What shrinking changes is what the gradient sees: entropy rises towards that of a guess."""
    net = trained(MLP(depth=depth, width=8, bias=False))
    hesitation = [entropy(shrunk_by(net, shrink)(digits())) for shrink in (1.0, 0.5, 0.5, 0.5)]

    assert hesitation == sorted(hesitation)
    assert hesitation[0] < hesitation[-1] <= torch.tensor(10.0).log() + 1e-6


@pytest.mark.parametrize("model", [MLP(width=8), MLP(width=8, bias=False, activation="tanh")], ids=str)
def test_with_biases_or_tanh_logits_do_not_scale(model: Model) -> None:
    """The test must be able to fail: these networks are not covered."""
    net = trained(model)
    logits = net(digits()).detach()

    assert not torch.allclose(shrunk_by(net, 0.5)(digits()), logits * 0.5**3, rtol=1e-3)


@powers_of_two
@pytest.mark.parametrize("statistics", ["reestimated", "frozen"])
def test_a_shrunk_stage_has_its_parents_accuracies(shrink: float, statistics: str) -> None:
    """The same through the trainer of figure 6: a flat line, exactly."""
    source = dataclasses.replace(FIRST, model=MLP(width=8, bias=False))
    parent = made.run(source)
    same = {name: getattr(source, name) for name in ("data", "model", "seed", "examples")}

    outcome = measure(Shrunk(**same, round=1, shrink=shrink, statistics=statistics), MemoryIO(parent.state))

    for name in ("train_accuracy", "test_accuracy"):
        assert outcome.metrics[name] == parent.metrics[name]
    assert (outcome.metrics["train_loss"] or 0) > (parent.metrics["train_loss"] or 0)
