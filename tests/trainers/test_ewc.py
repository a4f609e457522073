"""Elastic weight consolidation: its loss and its pull by their formula, taken at the parent and on old examples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError
from trainers.models import MLP
from trainers.regularizers import EWC
from trainers.seeds import stream
from trainers.splits import Split

MODEL = MLP(depth=1, width=6, activation="tanh")
LABELS = torch.arange(5) % 3
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


def network(round: int = 1) -> nn.Module:
    """A smooth network in float64; the parent's is that of round 0."""
    return MODEL.build((1, 2, 3), 3, stream(7, "weights", round)).double()


def images(name: str) -> Tensor:
    """Five images in [-1, 1]."""
    return torch.rand(5, 1, 2, 3, generator=stream(7, name), dtype=torch.float64) * 2 - 1


def parts(regularizer: EWC, net: nn.Module, old: int = 5) -> tuple[Tensor, Tensor]:
    """Loss of `net` on new images beside a parent that saw `old` others: the whole of it, and without EWC."""
    parent = network(0).state_dict()
    loss = regularizer.bound(net, parent, Split(images("old")[:old], LABELS[:old]), MODEL.losses)
    whole, logits = loss(net, images("new"), LABELS, MODEL.losses)
    return whole, nn.functional.cross_entropy(logits, LABELS)


def fisher_by_hand(x: Tensor) -> list[Tensor]:
    """The parent's, slope by slope."""
    net = network(0)
    sums = [torch.zeros_like(weight) for weight in net.parameters()]
    for log_p in net(x).log_softmax(dim=1):
        for one in log_p:
            slopes = torch.autograd.grad(one, list(net.parameters()), retain_graph=True)
            for total, slope in zip(sums, slopes, strict=True):
                total.add_(one.exp().detach() * slope**2 / len(x))
    return sums


def test_the_penalty_is_half_the_weighted_squared_distance_from_the_parent() -> None:
    """Kirkpatrick's equation 3; half of it, or the child's own information, would be another strength."""
    net = network()

    whole, plain = parts(EWC(0.7), net)

    moved = [now - then for now, then in zip(net.parameters(), network(0).parameters(), strict=True)]
    pairs = zip(fisher_by_hand(images("old")), moved, strict=True)
    expected = 0.7 / 2 * sum((f * m**2).sum() for f, m in pairs)
    torch.testing.assert_close(whole - plain, expected)


def test_each_weight_is_pulled_back_by_its_information() -> None:
    """The gradient: size * F_i * (weight_i - parent_i) beside that of the loss alone."""
    net, alone = network(), network()
    parts(EWC(0.7), net)[0].backward()
    nn.functional.cross_entropy(alone(images("new")), LABELS).backward()

    old, fisher = list(network(0).parameters()), fisher_by_hand(images("old"))

    for i, weight in enumerate(alone.parameters()):
        expected = weight.grad + 0.7 * fisher[i] * (weight - old[i]).detach()
        torch.testing.assert_close(list(net.parameters())[i].grad, expected)


def test_the_pull_is_the_slope_of_the_loss() -> None:
    """By finite differences: a penalty that is only reported holds nothing."""
    net, tiny = network(), 1e-6
    parts(EWC(0.7), net)[0].backward()
    weight = net[1].weight

    with torch.no_grad():
        weight[1, 2] += tiny
        above = parts(EWC(0.7), net)[0]
        weight[1, 2] -= 2 * tiny
        below = parts(EWC(0.7), net)[0]

    assert weight.grad[1, 2].item() == pytest.approx((above - below).item() / (2 * tiny), rel=1e-6)


def test_at_the_parent_nothing_is_added() -> None:
    """A warm start begins with the loss as it is."""
    whole, plain = parts(EWC(1000), network(0))

    assert torch.equal(whole, plain)


def test_the_parent_stays_where_it_was() -> None:
    """A warm start's own tensors may be the parent's: an anchor that drifts along holds nothing."""
    net = network()
    loss = EWC(0.7).bound(net, net.state_dict(), Split(images("old"), LABELS), MODEL.losses)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1)

    whole, logits = loss(net, images("new"), LABELS, MODEL.losses)

    assert whole > nn.functional.cross_entropy(logits, LABELS) + 0.01


def test_only_the_first_old_examples_are_looked_at() -> None:
    """The cost is stated in its settings, and fewer old examples than that are all taken."""
    few, first, all_ = (
        parts(EWC(1, examples=3), network())[0],
        parts(EWC(1), network(), old=3)[0],
        parts(EWC(1), network())[0],
    )

    assert torch.equal(few, first)
    assert not torch.allclose(few, all_)


def test_labels_are_not_looked_at() -> None:
    """The network's own distribution is what counts; with labels it is the empirical Fisher, another method."""
    net, parent = network(), network(0).state_dict()

    losses = [EWC(1).bound(net, parent, Split(images("old"), labels), MODEL.losses) for labels in (LABELS, 2 - LABELS)]

    one, other = (loss(net, images("new"), LABELS, MODEL.losses)[0] for loss in losses)
    assert torch.equal(one, other)


@pytest.mark.parametrize("device", DEVICES)
def test_the_parent_may_be_on_another_device(device: str) -> None:
    """Artifacts are read to the CPU."""
    net, parent = network().to(device), network(0).state_dict()
    x, labels = images("old").to(device), LABELS.to(device)

    loss, _ = EWC(0.7).bound(net, parent, Split(x, labels), MODEL.losses)(
        net, images("new").to(device), labels, MODEL.losses
    )

    torch.testing.assert_close(loss.cpu(), parts(EWC(0.7), network())[0])


def test_a_stage_without_a_parent_is_an_error() -> None:
    """Round 0 of such a sweep would be trained without, and called EWC."""
    with pytest.raises(ConfigError, match=r"EWC\(size=0.1\) holds weights near a parent's, and there is none"):
        EWC(0.1).loss(network(), images("new"), LABELS, MODEL.losses)


def test_a_parent_without_examples_is_an_error() -> None:
    """A mean over nothing is NaN, and every stage would end as diverged."""
    with pytest.raises(ConfigError, match=r"EWC\(size=0.1\) needs old examples, and there are none"):
        parts(EWC(0.1), network(), old=0)


def test_a_parent_of_other_classes_is_named() -> None:
    """A head of other classes has no weight to hold on to."""
    parent = MODEL.build((1, 2, 3), 4, stream(7, "weights", 0)).state_dict()

    with pytest.raises(ConfigError, match=r"3.bias is \(4,\) there and \(3,\) in the new network"):
        EWC(0.1).bound(network(), parent, Split(images("old"), LABELS), MODEL.losses)


def test_no_example_to_look_at_is_refused() -> None:
    """Its information would be a mean over nothing."""
    with pytest.raises(ConfigError, match="EWC: examples=0"):
        EWC(0.1, examples=0)
