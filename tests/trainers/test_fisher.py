"""The Fisher diagonal: the sum that its definition writes, by other ways of computing every slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers import fisher
from trainers.fisher import at_a_time, fisher_diagonal
from trainers.models import MLP, Logistic, ResNet18
from trainers.seeds import stream

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


def images(count: int, *shape: int) -> Tensor:
    """Images in [-1, 1], in float64, so that slopes can be trusted."""
    return torch.rand(count, *shape, generator=stream(7, "x"), dtype=torch.float64) * 2 - 1


def resnet(round: int = 0) -> nn.Module:
    """A ResNet18 in float64 with statistics that no fresh network has."""
    net = ResNet18(width=2).build((1, 8, 8), 3, stream(7, "weights", round)).double()
    for _ in range(round + 1):
        net(images(16, 1, 8, 8))
    return net


def by_autograd(net: nn.Module, x: Tensor) -> list[Tensor]:
    """One backward pass for every example and class, in eval mode."""
    net.eval()
    sums = [torch.zeros_like(weight) for weight in net.parameters()]
    for one in x:
        log_p = net(one[None]).log_softmax(dim=1)[0]
        for k in range(len(log_p)):
            slopes = torch.autograd.grad(log_p[k], list(net.parameters()), retain_graph=True)
            for total, slope in zip(sums, slopes, strict=True):
                total.add_(log_p[k].exp().detach() * slope**2 / len(x))
    return sums


def test_logistic_regression_has_its_textbook_fisher() -> None:
    """By hand: d log p_k / d w_jf = (1[k=j] - p_j) x_f, whose expected square is p_j (1 - p_j) x_f**2."""
    net, x = Logistic().build((1, 2, 2), 3, stream(7, "weights", 0)).double(), images(5, 1, 2, 2)

    diagonal = fisher_diagonal(net, net.state_dict(), x)

    scores = (x.flatten(1) @ net[1].weight.T + net[1].bias).detach().numpy()
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    variance = p * (1 - p)
    np.testing.assert_allclose(diagonal["1.bias"].numpy(), variance.mean(axis=0), rtol=1e-12)
    expected = np.einsum("bk,bf->kf", variance, x.flatten(1).numpy() ** 2) / 5
    np.testing.assert_allclose(diagonal["1.weight"].numpy(), expected, rtol=1e-12)


def test_a_hidden_layers_fisher_is_that_of_finite_differences() -> None:
    """Every slope of every log probability by a difference of two predictions, without any autograd."""
    model = MLP(depth=1, width=4, activation="tanh")
    net, x = model.build((1, 2, 2), 3, stream(7, "weights", 0)).double(), images(5, 1, 2, 2)
    weight, tiny = net[1].weight.detach(), 1e-5
    expected = torch.zeros_like(weight)
    p = net(x).softmax(dim=1).detach()

    for place in np.ndindex(*weight.shape):
        log_p = []
        for shift in (tiny, -2 * tiny, tiny):
            weight[place] += shift
            log_p.append(net(x).log_softmax(dim=1).detach())
        expected[place] = (p * ((log_p[0] - log_p[1]) / (2 * tiny)) ** 2).sum(dim=1).mean()

    torch.testing.assert_close(fisher_diagonal(net, net.state_dict(), x)["1.weight"], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_a_resnets_fisher_is_that_of_one_backward_pass_at_a_time(device: str) -> None:
    """Convolutions, shortcuts and BatchNorm in eval mode, all weights of it."""
    net, x = resnet(), images(5, 1, 8, 8)
    expected = by_autograd(resnet(), x)

    diagonal = fisher_diagonal(net.to(device), net.state_dict(), x.to(device))

    assert list(diagonal) == [name for name, _ in net.named_parameters()]
    for got, one in zip(diagonal.values(), expected, strict=True):
        assert got.device.type == device
        torch.testing.assert_close(got.cpu(), one)


def test_it_is_taken_at_the_given_state_and_not_at_the_networks_own() -> None:
    """A shrunk child is another network: its own information would hold the wrong weights."""
    child, parent, x = resnet(0), resnet(1), images(5, 1, 8, 8)

    at_parent = fisher_diagonal(child, parent.state_dict(), x)

    own = fisher_diagonal(parent, parent.state_dict(), x)
    assert all(torch.equal(at_parent[name], own[name]) for name in own)
    assert not torch.allclose(at_parent["head.weight"], fisher_diagonal(child, child.state_dict(), x)["head.weight"])


@pytest.mark.parametrize("is_training", [True, False])
def test_the_network_is_left_as_it_is(is_training: bool) -> None:
    """It is about to be trained: same weights, statistics and mode, no gradients."""
    net = resnet().train(is_training)

    diagonal = fisher_diagonal(net, resnet(1).state_dict(), images(5, 1, 8, 8))

    assert all(torch.equal(tensor, resnet().state_dict()[name]) for name, tensor in net.state_dict().items())
    assert all(module.training == is_training for module in net.modules())
    assert all(weight.grad is None for weight in net.parameters())
    assert not any(one.requires_grad for one in diagonal.values())


@pytest.mark.parametrize("at_once", [1, 3])
def test_memory_is_bounded_without_another_result(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """A wide network must not fail, nor its last few examples be lost or count twice."""
    net, x = resnet(), images(7, 1, 8, 8)
    whole = fisher_diagonal(net, net.state_dict(), x)

    monkeypatch.setattr(fisher, "GRADIENT_ENTRIES", at_once * sum(weight.numel() for weight in net.parameters()))

    assert at_a_time(dict(net.named_parameters())) == at_once
    for name, one in fisher_diagonal(net, net.state_dict(), x).items():
        torch.testing.assert_close(one, whole[name])


def test_it_repeats_its_bits() -> None:
    """A resumed stage takes it again and must go on as if it had not been interrupted."""
    net, x = resnet().float(), images(40, 1, 8, 8).float()

    one, other = (fisher_diagonal(net, net.state_dict(), x) for _ in range(2))

    assert all(torch.equal(one[name], other[name]) for name in one)
