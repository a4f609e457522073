"""Correlation is numpy's, gradient norms are those of two passes of autograd, and measuring leaves no trace."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainers.made import same_bits
from trainers.checkpoints import to_arrays
from trainers.device import prepare_device
from trainers.measurements import gradient_norms, weight_correlation
from trainers.models import MLP, LinearSVM, Logistic, Model, ResNet18
from trainers.seeds import stream

MODELS = [ResNet18(width=2), MLP(width=6), LinearSVM()]
every_model = pytest.mark.parametrize("model", MODELS, ids=str)
IS_OLD = torch.tensor([True, False, False, True, True, False, True, False, False, False, True, True])


def network(model: Model, round: int = 0) -> nn.Module:
    """A network in training mode, with BatchNorm statistics that have seen images."""
    net = model.build((1, 8, 8), 4, stream(7, "weights", round))
    net(batch()[0])
    return net


def batch() -> tuple[Tensor, Tensor]:
    """Twelve images with labels."""
    draw = stream(7, "batch")
    return torch.randn(12, 1, 8, 8, generator=draw), torch.randint(4, (12,), generator=draw)


def norm_by_hand(model: Model, is_chosen: Tensor) -> float:
    """Norm of the gradient of the mean loss of the chosen examples; its own forward and backward pass."""
    net = network(model)
    x, y = batch()
    model.losses(net(x)[is_chosen], y[is_chosen]).mean().backward()
    return math.sqrt(sum(w.grad.double().square().sum().item() for w in net.parameters()))


def weights(net: nn.Module) -> dict[str, Tensor]:
    """Copies of the learnable parameters."""
    return {name: weight.detach().clone() for name, weight in net.named_parameters()}


@every_model
def test_the_correlation_is_numpys(model: Model) -> None:
    """Over buffers too, or as a mean over layers, it would be another number."""
    start, net = network(model), network(model, 1)
    values = [np.concatenate([w.numpy().ravel().astype(float) for w in weights(n).values()]) for n in (start, net)]

    assert weight_correlation(start.state_dict(), net) == pytest.approx(np.corrcoef(*values)[0, 1], abs=1e-12)


@every_model
def test_unmoved_and_shrunk_weights_have_correlation_1(model: Model) -> None:
    """It must not tell how long weights are, only where they point."""
    net = network(model)

    assert weight_correlation(weights(net), net) == pytest.approx(1, abs=1e-12)
    assert weight_correlation({n: 0.3 * w for n, w in weights(net).items()}, net) == pytest.approx(1, abs=1e-6)
    assert weight_correlation({n: -w for n, w in weights(net).items()}, net) == pytest.approx(-1, abs=1e-12)


def test_it_never_leaves_its_range() -> None:
    """A correlation of 1.0000000000000002 is refused by what expects one."""
    for seed in range(20):
        net = Logistic().build((1, 3, 3), 3, stream(seed, "weights", 0))
        assert (weight_correlation(weights(net), net) or 0) <= 1


@pytest.mark.parametrize("value", [0.0, 0.1, math.nan, math.inf])
def test_weights_without_meaning_have_no_correlation(value: float) -> None:
    """0/0, or the rounding of a mean over another, must not become a number in a figure, nor fail a diverged stage."""
    net = network(MLP(width=6))
    constant = {name: torch.full_like(weight, value, dtype=torch.float64) for name, weight in weights(net).items()}

    assert weight_correlation(constant, net) is None
    constant_net = network(MLP(width=6))
    constant_net.load_state_dict(constant)
    assert weight_correlation(weights(net), constant_net) is None


def test_one_weight_of_nan_takes_the_correlation_along() -> None:
    """A network of NaN remembers nothing."""
    net = network(MLP(width=6))
    start = weights(net)
    net.get_parameter("1.weight").data[0, 0] = math.nan

    assert weight_correlation(start, net) is None


@every_model
def test_gradient_norms_are_those_of_two_passes(model: Model) -> None:
    """Of the means over the two halves of one batch; BatchNorm sees the whole batch, as in the step."""
    old, new = gradient_norms(network(model), model.losses, *batch(), IS_OLD)

    assert old.item() == pytest.approx(norm_by_hand(model, IS_OLD), rel=1e-5)
    assert new.item() == pytest.approx(norm_by_hand(model, ~IS_OLD), rel=1e-5)
    assert (old.shape, new.shape, old.requires_grad) == ((), (), False)


@every_model
def test_a_batch_without_old_examples_has_no_old_norm(model: Model) -> None:
    """0 would pull the epoch's mean down."""
    everyone = torch.ones(12, dtype=torch.bool)

    old, new = gradient_norms(network(model), model.losses, *batch(), ~everyone)

    assert old.isnan()
    assert new.item() == pytest.approx(norm_by_hand(model, everyone), rel=1e-5)
    assert gradient_norms(network(model), model.losses, *batch(), everyone)[1].isnan()


@every_model
@pytest.mark.parametrize("training", [True, False])
def test_measuring_gradients_leaves_no_trace(model: Model, training: bool) -> None:
    """How often it is measured must not decide where a stage ends."""
    net = network(model).train(training)
    for weight in net.parameters():
        weight.grad = torch.full_like(weight, 0.5)
    before, generator = to_arrays(net.state_dict()), torch.get_rng_state()

    gradient_norms(net, model.losses, *batch(), IS_OLD)

    assert same_bits(to_arrays(net.state_dict()), before)
    assert all(bool((weight.grad == 0.5).all()) for weight in net.parameters())
    assert {layer.training for layer in net.modules()} == {training}
    assert torch.equal(torch.get_rng_state(), generator)


def test_the_next_step_is_the_same_whether_it_was_measured_or_not() -> None:
    """The same through a step: the graph, the buffers and the gradients of the training itself."""
    model = ResNet18(width=2)
    one = network(model)
    other = copy.deepcopy(one)
    gradient_norms(one, model.losses, *batch(), IS_OLD)
    for net in (one, other):
        rule = torch.optim.SGD(net.parameters(), lr=0.1)
        model.losses(net(batch()[0]), batch()[1]).mean().backward()
        rule.step()

    assert same_bits(to_arrays(one.state_dict()), to_arrays(other.state_dict()))


def test_one_forward_pass_is_made() -> None:
    """A second one would cost a third more, and let BatchNorm see halves of the batch."""
    net, sizes = network(MODELS[0]), []
    net.register_forward_pre_hook(lambda _net, args: sizes.append(len(args[0])))

    gradient_norms(net, MODELS[0].losses, *batch(), IS_OLD)

    assert sizes == [12]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_model
def test_on_cuda_the_norms_are_the_cpus_and_the_host_does_not_wait(model: Model) -> None:
    """Each wait leaves the GPU idle."""
    net, (x, y), is_old = network(model).cuda(), (part.cuda() for part in batch()), IS_OLD.cuda()
    prepare_device("cuda")
    gradient_norms(net, model.losses, x, y, is_old)  # libraries wait when they are first used
    torch.cuda.set_sync_debug_mode("error")
    try:
        old, new = gradient_norms(net, model.losses, x, y, is_old)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)

    assert old.item() == pytest.approx(norm_by_hand(model, IS_OLD), rel=1e-3)
    assert new.item() == pytest.approx(norm_by_hand(model, ~IS_OLD), rel=1e-3)
