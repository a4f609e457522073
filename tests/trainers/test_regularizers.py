"""Contract of every regularizer, and each one's numbers by another way of computing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.models import MLP, LinearSVM, Model, ResNet18
from trainers.optimizers import SGD
from trainers.regularizers import EWC, L2, Adversarial, ConfidencePenalty, NoRegularizer, Regularizer
from trainers.seeds import stream
from trainers.splits import Split

NEEDED: dict[str, dict[str, Any]] = {name: {"size": 0.1} for name in ("L2", "ConfidencePenalty", "Adversarial", "EWC")}
MEMBERS = [
    made
    for made in Spec.members.values()
    if issubclass(made, Regularizer) and made.__module__ == Regularizer.__module__
]
EXAMPLES = [member(**NEEDED.get(member.__name__, {})) for member in MEMBERS]
SIZED = [member for member in MEMBERS if member is not NoRegularizer]
every_regularizer = pytest.mark.parametrize("regularizer", EXAMPLES, ids=str)

MODEL = MLP(depth=1, width=6, activation="tanh")
LABELS = torch.arange(5) % 3


def network(round: int = 1) -> nn.Module:
    """A smooth network in float64, so that finite differences can be trusted; the parent's is that of round 0."""
    return MODEL.build((1, 2, 3), 3, stream(7, "weights", round)).double()


def images() -> Tensor:
    """Five images, many pixels at the ends of their range."""
    return (torch.randn(5, 1, 2, 3, generator=stream(7, "x"), dtype=torch.float64) * 1.2).clamp(-1, 1)


def bound(regularizer: Regularizer, net: nn.Module) -> Any:
    """Its loss in a stage whose parent is another network, trained on the same images."""
    return regularizer.bound(net, network(0).state_dict(), Split(images(), LABELS), MODEL.losses)


def passes(net: nn.Module) -> list[Tensor]:
    """Collects the input of every forward pass of `net` from now on."""
    inputs: list[Tensor] = []
    net.register_forward_pre_hook(lambda _net, args: inputs.append(args[0].detach().clone()))
    return inputs


def mean_loss(net: nn.Module, x: Tensor) -> Tensor:
    """What is minimised without a regularizer."""
    return MODEL.losses(net(x), LABELS).mean()


def test_all_regularizers_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"none", "l2", "confidence_penalty", "adversarial", "ewc"} <= {member.kind for member in MEMBERS}


@every_regularizer
@pytest.mark.parametrize("model", [ResNet18(width=4), LinearSVM()], ids=str)
def test_every_weight_has_a_finite_gradient(regularizer: Regularizer, model: Model) -> None:
    """Every regularizer goes with every model; BatchNorm is the one that two passes can upset."""
    net = model.build((1, 8, 8), 10, stream(7, "weights", 0))
    x, labels = torch.rand(16, 1, 8, 8, generator=stream(7, "x")) * 2 - 1, torch.arange(16) % 10

    parent = model.build((1, 8, 8), 10, stream(7, "weights", 1)).state_dict()
    loss, _ = regularizer.bound(net, parent, Split(x, labels), model.losses)(net, x, labels, model.losses)
    loss.backward()

    assert (loss.dtype, loss.shape) == (torch.float32, ())
    for name, weight in net.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@every_regularizer
def test_the_logits_are_those_of_the_batch_as_it_is(regularizer: Regularizer) -> None:
    """Training accuracy is counted from them, and ends the stage."""
    net = network()

    _, logits = bound(regularizer, net)(net, images(), LABELS, MODEL.losses)

    assert not logits.requires_grad
    torch.testing.assert_close(logits, net(images()).detach())


@every_regularizer
def test_images_and_weights_are_only_read(regularizer: Regularizer) -> None:
    """The batch may be a view of the whole data set, which would drift away, and gradients would add up."""
    net, x = network(), images()

    bound(regularizer, net)(net, x, LABELS, MODEL.losses)

    assert torch.equal(x, images())
    assert not x.requires_grad
    assert all(weight.grad is None for weight in net.parameters())
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), network().parameters(), strict=True))


@every_regularizer
def test_columns_hold_its_size(regularizer: Regularizer) -> None:
    """Rows are grouped by kind and size."""
    columns = regularizer.columns("regularizer")

    assert columns == {
        "regularizer": regularizer.kind,
        "regularizer_text": str(regularizer),
        "regularizer_size": 0.0 if regularizer == NoRegularizer() else 0.1,
    }


@every_regularizer
def test_a_regularizer_is_written_as_it_is_read(regularizer: Regularizer) -> None:
    """The text in the tables must make the same regularizer on the command line."""
    assert parse_values("regularizer", str(regularizer)) == [regularizer]


@pytest.mark.parametrize("member", SIZED)
def test_size_0_leaves_the_loss_as_it_is(member: type[Any]) -> None:
    """The end of the axis must meet the runs without a regularizer."""
    loss, _ = bound(member(size=0), network())(network(), images(), LABELS, MODEL.losses)

    torch.testing.assert_close(loss, mean_loss(network(), images()))


@pytest.mark.parametrize("member", SIZED)
def test_a_negative_size_is_refused(member: type[Any]) -> None:
    """It would reward what it is meant to punish."""
    with pytest.raises(ConfigError, match=f"{member.__name__}: size=-0.1"):
        member(size=-0.1)


@pytest.mark.parametrize(
    ("regularizer", "count"),
    [(NoRegularizer(), 1), (L2(0.1), 1), (ConfidencePenalty(0.1), 1), (Adversarial(0.1), 2), (EWC(0.1), 1)],
)
def test_no_forward_pass_is_wasted(regularizer: Regularizer, count: int) -> None:
    """Training time is a result of the paper."""
    net = network()
    loss = bound(regularizer, net)
    inputs = passes(net)

    loss(net, images(), LABELS, MODEL.losses)

    assert len(inputs) == count


@pytest.mark.parametrize("regularizer", [one for one in EXAMPLES if not one.needs_parent], ids=str)
def test_what_needs_no_parent_is_bound_without_one(regularizer: Regularizer) -> None:
    """The first round has neither a parent nor old examples."""
    net, x = network(), images()

    loss, _ = regularizer.bound(net, {}, Split(x[:0], LABELS[:0]), MODEL.losses)(net, x, LABELS, MODEL.losses)

    assert torch.equal(loss, regularizer.loss(net, x, LABELS, MODEL.losses)[0])


@every_regularizer
def test_only_l2_asks_for_weight_decay(regularizer: Regularizer) -> None:
    """A decay under another name would be L2 under another name."""
    assert regularizer.weight_decay == (regularizer.size if isinstance(regularizer, L2) else 0.0)


def test_a_step_with_l2_follows_the_penalised_loss() -> None:
    """The step is lr * gradient of (loss + size/2 * |w|**2), with the penalty differentiated by autograd here."""
    net, expected = network(), network()
    penalised = mean_loss(expected, images()) + 0.3 / 2 * sum(w.square().sum() for w in expected.parameters())
    penalised.backward()

    step = SGD().build(net, 0.1, L2(0.3).weight_decay)
    L2(0.3).loss(net, images(), LABELS, MODEL.losses)[0].backward()
    step.step()

    for now, then in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), then.detach() - 0.1 * then.grad)


def test_the_confidence_penalty_subtracts_the_entropy() -> None:
    """Loss - size * H(p), H in nats and by numpy; the other sign would reward confidence."""
    net = network()

    loss, logits = ConfidencePenalty(0.3).loss(net, images(), LABELS, MODEL.losses)

    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(axis=1)
    cross_entropy = -np.log(p[np.arange(5), LABELS.numpy()])
    assert loss.item() == pytest.approx(np.mean(cross_entropy - 0.3 * entropy), rel=1e-12)


def test_the_confidence_penalty_survives_certainty() -> None:
    """Shares that underflow to 0 have entropy 0, not NaN; a converged network would end as diverged."""
    logits = torch.tensor([[500.0, -500.0, 0.0]], requires_grad=True)

    loss, _ = ConfidencePenalty(0.3).loss(nn.Identity(), logits, torch.tensor([0]), MODEL.losses)
    loss.backward()

    assert loss.item() == 0.0


def test_the_entropy_pulls_on_the_weights() -> None:
    """An entropy that is only subtracted from the number reported regularizes nothing; by finite differences."""
    net = network()
    ConfidencePenalty(0.3).loss(net, images(), LABELS, MODEL.losses)[0].backward()
    weight, tiny = net[-1].weight, 1e-6

    with torch.no_grad():
        losses = []
        for shift in (tiny, -2 * tiny):
            weight[1, 2] += shift
            losses.append(ConfidencePenalty(0.3).loss(net, images(), LABELS, MODEL.losses)[0])

    assert weight.grad[1, 2].item() == pytest.approx((losses[0] - losses[1]).item() / (2 * tiny), rel=1e-6)


def test_neighbours_lie_where_finite_differences_say_that_the_loss_grows() -> None:
    """Every pixel moves by 2 * size in the normalised images, uphill, and stays a pixel."""
    net, x, tiny = network(), images(), 1e-6
    inputs = passes(net)
    Adversarial(0.05).loss(net, x, LABELS, MODEL.losses)
    neighbours = inputs[1]

    slopes = torch.empty_like(x)
    for place in np.ndindex(*x.shape):
        shift = torch.zeros_like(x)
        shift[place] = tiny
        slopes[place] = ((mean_loss(net, x + shift) - mean_loss(net, x - shift)) / (2 * tiny)).detach()

    assert slopes.abs().min() > 1e-5  # no sign is a matter of rounding
    assert (x + 0.1 * slopes.sign()).abs().max() > 1  # some pixels are at their end
    torch.testing.assert_close(neighbours, (x + 0.1 * slopes.sign()).clamp(-1, 1), rtol=0, atol=1e-12)


def test_the_adversarial_loss_is_the_mean_over_batch_and_constant_neighbours() -> None:
    """Goodfellow's weight 1/2; a gradient through the making of the neighbours would be another method."""
    net, expected = network(), network()
    inputs = passes(net)

    loss, _ = Adversarial(0.05).loss(net, images(), LABELS, MODEL.losses)
    loss.backward()
    by_hand = (mean_loss(expected, images()) + mean_loss(expected, inputs[1])) / 2
    by_hand.backward()

    torch.testing.assert_close(loss, by_hand)
    for one, other in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_both_adversarial_passes_count_in_batch_norm() -> None:
    """Stated in its docstring: training mode in both, two updates of the running statistics."""
    net = ResNet18(width=4).build((1, 8, 8), 10, stream(7, "weights", 0))
    x = torch.rand(16, 1, 8, 8, generator=stream(7, "x")) * 2 - 1

    Adversarial(0.05).loss(net, x, torch.arange(16) % 10, MODEL.losses)

    assert net.norm.num_batches_tracked == 2


def test_an_adversarial_step_beyond_the_range_of_pixels_is_refused() -> None:
    """Sizes are on the scale of [0, 1]; 8 of 255 is meant as 8 / 255."""
    with pytest.raises(ConfigError, match="Adversarial: size=8"):
        Adversarial(8)
