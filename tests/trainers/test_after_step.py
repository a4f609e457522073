"""Contract of every after-step rule, and that shrinking in every step is weight decay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.after_step import AfterStep, NoChange, ShrinkPerturbEachStep
from trainers.inits import ShrinkPerturb
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD
from trainers.seeds import stream

NEEDED: dict[str, dict[str, Any]] = {"ShrinkPerturbEachStep": {"shrink": 0.9, "perturb": 0.1}}
MEMBERS = [m for m in Spec.members.values() if issubclass(m, AfterStep) and m.__module__ == AfterStep.__module__]
EXAMPLES = [member(**NEEDED.get(member.__name__, {})) for member in MEMBERS]
every_rule = pytest.mark.parametrize("rule", EXAMPLES, ids=str)

SHAPE = (1, 8, 8)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


def network(round: int = 0) -> nn.Module:
    """A ResNet18 whose running statistics have moved and whose weights have gradients."""
    net = ResNet18(width=2).build(SHAPE, 10, stream(7, "weights", round))
    net(torch.rand(16, *SHAPE, generator=stream(7, "x"))).square().sum().backward()
    return net


def weights(net: nn.Module) -> Tensor:
    """All weights as one vector, on the CPU."""
    return torch.cat([weight.detach().flatten() for weight in net.parameters()]).cpu()


def test_all_rules_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"no_change", "shrink_perturb_each_step"} <= {member.kind for member in MEMBERS}


@every_rule
def test_a_rule_says_whether_it_changes_the_weights(rule: AfterStep) -> None:
    """The trainer leaves out what says that it does nothing."""
    net = network()

    rule.change(net, stream(7, "after step"))

    assert rule.changes == (not torch.equal(weights(net), weights(network())))


@every_rule
@pytest.mark.parametrize("device", DEVICES)
def test_only_the_weights_numbers_change(rule: AfterStep, device: str) -> None:
    """The optimizer holds the tensors themselves; statistics belong to the images, gradients to the step."""
    net = network().to(device)
    before, held = copy.deepcopy(net), list(net.parameters())
    gradients = [weight.grad.clone() for weight in held]

    rule.change(net, stream(7, "after step"))

    assert all(
        now is then and now.requires_grad and now.is_leaf for now, then in zip(net.parameters(), held, strict=True)
    )
    assert all(torch.equal(now, then) for now, then in zip(net.buffers(), before.buffers(), strict=True))
    assert all(torch.equal(now.grad, then) for now, then in zip(held, gradients, strict=True))


@every_rule
def test_a_change_is_repeatable_and_apart_from_the_global_generator(rule: AfterStep) -> None:
    """A resumed epoch must draw what it would have drawn."""
    one, other, before = network(), network(), torch.get_rng_state()

    rule.change(one, stream(7, "after step"))
    rule.change(other, stream(7, "after step"))

    assert torch.equal(weights(one), weights(other))
    assert torch.equal(torch.get_rng_state(), before)


@every_rule
def test_columns_hold_the_rule(rule: AfterStep) -> None:
    """Rows are grouped by it, and its text makes it again on the command line."""
    assert rule.columns("after_step") == {"after_step": rule.kind, "after_step_text": str(rule)}
    assert parse_values("after_step", str(rule)) == [rule]


def trained(rule: AfterStep, lr: float, decay: float, steps: int = 5) -> Tensor:
    """Weights in float64 after some steps of SGD on one batch, with `rule` after each."""
    net = MLP(depth=1, width=6).build((1, 2, 3), 3, stream(7, "weights", 0)).double()
    x, y = torch.rand(9, 1, 2, 3, generator=stream(7, "x"), dtype=torch.float64), torch.arange(9) % 3
    optimizer = SGD().build(net, lr, decay)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        rule.change(net, stream(7, "after step"))
    return weights(net)


@pytest.mark.parametrize("shrink", [0.5, 0.99, 1.0])
def test_shrinking_in_each_step_is_weight_decay(shrink: float) -> None:
    """The paper's remark on its section 4.1: shrink * (w - lr * g) = w - lr' * (g + decay * w)."""
    lr = 0.3

    shrunk = trained(ShrinkPerturbEachStep(shrink=shrink, perturb=0), lr, decay=0)

    decayed = trained(NoChange(), lr=shrink * lr, decay=(1 - shrink) / (shrink * lr))
    torch.testing.assert_close(shrunk, decayed, rtol=1e-12, atol=1e-12)
    assert shrink == 1 or not torch.allclose(shrunk, trained(NoChange(), lr, decay=0), rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_one_change_is_shrink_perturb_with_that_fresh_network(device: str) -> None:
    """Noise of another law or order would make another method of it; the numbers are the same on every device."""
    net, fresh = network().to(device), network(1)
    ShrinkPerturb(0.9, 0.1).start(fresh, network().state_dict(), stream(7, "unused"))

    ShrinkPerturbEachStep(0.9, 0.1).change(net, stream(7, "weights", 1))

    torch.testing.assert_close(weights(net), weights(fresh))


def test_every_step_has_noise_of_its_own() -> None:
    """The same noise in every step is a pull towards one fixed network."""
    net, draw, rule = network(), stream(7, "after step"), ShrinkPerturbEachStep(shrink=0, perturb=1)
    rule.change(net, draw)
    first = weights(net)

    rule.change(net, draw)

    assert abs(torch.corrcoef(torch.stack([first, weights(net)])[:, first != 1])[0, 1]) < 0.1  # 1: BatchNorm's scales


def test_without_perturb_nothing_is_drawn() -> None:
    """Millions of numbers in each step, for nothing."""
    draw = stream(7, "after step")

    ShrinkPerturbEachStep(shrink=0.9, perturb=0).change(network(), draw)

    assert torch.equal(draw.get_state(), stream(7, "after step").get_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_host_never_waits_for_the_device() -> None:
    """One wait in each step would cost more than the step."""
    net, rule = network().cuda(), ShrinkPerturbEachStep(0.9, 0.1)
    rule.change(net, stream(7, "after step"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        rule.change(net, stream(7, "after step"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("settings", [{"shrink": 1.1}, {"shrink": -0.1}, {"perturb": -0.1}], ids=str)
def test_factors_out_of_range_are_refused(settings: dict[str, float]) -> None:
    """A shrink above 1 makes the network explode, step by step."""
    with pytest.raises(ConfigError, match=f"ShrinkPerturbEachStep: {next(iter(settings))}="):
        ShrinkPerturbEachStep(**{"shrink": 0.9, "perturb": 0.1, **settings})
