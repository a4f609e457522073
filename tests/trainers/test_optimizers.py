"""Contract of every optimizer, and both rules by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.models import ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.seeds import stream

MEMBERS = [
    made for made in Spec.members.values() if issubclass(made, Optimizer) and made.__module__ == Optimizer.__module__
]
every_optimizer = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.kind)
START, LR = np.array([1.0, -2.0, 3.0]), 0.1


def path(optimizer: Optimizer, asked: float = 0.0, steps: int = 3) -> list[np.ndarray]:
    """Weights after each step on the loss sum(w**3), whose gradient is 3 w**2; in float64."""
    net = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    net.weight.data = torch.tensor(START)[None]
    rule, weights = optimizer.build(net, LR, asked), []
    for _ in range(steps):
        rule.zero_grad()
        (net.weight**3).sum().backward()
        rule.step()
        weights.append(net.weight.detach().numpy()[0].copy())
    return weights


def test_all_optimizers_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"sgd", "adam"} <= {member.kind for member in MEMBERS}


@every_optimizer
def test_every_weight_is_moved(member: type[Optimizer]) -> None:
    """A weight that the optimizer does not hold stays at its start, and no error says so."""
    net = ResNet18(width=2).build((1, 8, 8), 10, stream(7, "weights", 0))
    before = [weight.detach().clone() for weight in net.parameters()]
    rule = member().build(net, 0.1, 0.0)

    net(torch.randn(8, 1, 8, 8, generator=stream(7, "x"))).square().sum().backward()
    rule.step()

    assert not any(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


@every_optimizer
def test_the_regularizer_adds_to_the_optimizers_own_decay(member: type[Optimizer]) -> None:
    """An L2 that replaces, or is replaced by, the optimizer's own decay is not the one in the table."""
    np.testing.assert_allclose(path(member(weight_decay=0.25), 0.5), path(member(weight_decay=0.75)), rtol=1e-14)


@every_optimizer
def test_decay_is_the_gradient_of_half_the_squared_norm(member: type[Optimizer]) -> None:
    """L2 in the loss and decay in the optimizer must be one thing, as the regularizer L2 says."""
    net = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    net.weight.data = torch.tensor(START)[None]
    rule = member().build(net, LR, 0.0)
    for _ in range(3):
        rule.zero_grad()
        ((net.weight**3).sum() + 0.5 / 2 * (net.weight**2).sum()).backward()
        rule.step()

    np.testing.assert_allclose(path(member(), 0.5)[-1], net.weight.detach().numpy()[0], rtol=1e-12)


@every_optimizer
def test_two_stages_share_no_state(member: type[Optimizer]) -> None:
    """Every round makes a new optimizer; momentum that survives would be a second kind of warm start."""
    optimizer = member()

    assert np.array_equal(path(optimizer), path(optimizer))


@every_optimizer
def test_columns_hold_the_optimizers_own_decay(member: type[Optimizer]) -> None:
    """Rows are grouped by it."""
    optimizer = member(weight_decay=0.25)

    expected = {"optimizer": optimizer.kind, "optimizer_text": str(optimizer), "weight_decay": 0.25}
    assert optimizer.columns("optimizer") == expected


@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.9), SGD(weight_decay=1e-4), Adam(0.8, 0.99, 0.01)], ids=str)
def test_an_optimizer_is_written_as_it_is_read(optimizer: Optimizer) -> None:
    """The text in the tables must make the same optimizer on the command line."""
    assert parse_values("optimizer", str(optimizer)) == [optimizer]


def test_the_first_value_of_sgd_is_its_momentum() -> None:
    """SGD(0.9) is written for momentum; as a weight decay it would shrink every network away."""
    assert SGD(0.9) == SGD(momentum=0.9)


def test_plain_sgd_by_hand() -> None:
    """The step is lr (3 w**2 + decay w)."""
    weight = START
    for step in path(SGD(weight_decay=0.5)):
        weight = weight - LR * (3 * weight**2 + 0.5 * weight)
        np.testing.assert_allclose(step, weight, rtol=1e-12)


def test_momentum_by_hand() -> None:
    """The velocity is momentum * velocity + gradient, undamped; the step is lr * velocity."""
    weight, velocity = START, 0.0
    for step in path(SGD(momentum=0.9)):
        velocity = 0.9 * velocity + 3 * weight**2
        weight = weight - LR * velocity
        np.testing.assert_allclose(step, weight, rtol=1e-12)


def test_adam_by_hand() -> None:
    """Kingma and Ba's algorithm 1, with coupled decay, and betas that tell their places apart."""
    weight, mean, square = START, 0.0, 0.0
    for t, step in enumerate(path(Adam(beta1=0.8, beta2=0.95, weight_decay=0.5)), start=1):
        gradient = 3 * weight**2 + 0.5 * weight
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        weight = weight - LR * mean / (1 - 0.8**t) / (np.sqrt(square / (1 - 0.95**t)) + 1e-8)
        np.testing.assert_allclose(step, weight, rtol=1e-12)


@pytest.mark.parametrize(
    ("member", "setting"),
    [(SGD, "momentum"), (Adam, "beta1"), (Adam, "beta2")],
)
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_fraction_out_of_range_is_refused(member: type[Optimizer], setting: str, value: float) -> None:
    """At 1 the rule never forgets, and training runs away hours later."""
    with pytest.raises(ConfigError, match=f"{member.__name__}: {setting}={value}"):
        member(**{setting: value})


@every_optimizer
def test_a_negative_decay_is_refused(member: type[Optimizer]) -> None:
    """It makes the weights grow."""
    with pytest.raises(ConfigError, match="weight_decay=-0"):
        member(weight_decay=-0.1)
