"""Networks are those of the paper, and start by PyTorch's law without touching its global generator."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainers import networks
from trainers.seeds import stream

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: networks.ResNet(3, 16, 10),
    "perceptron": lambda: networks.perceptron(192, [100, 100], 10, nn.ReLU, bias=True),
    "without bias": lambda: networks.perceptron(192, [50], 10, nn.Tanh, bias=False),
}
every_network = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def drawn(make: Callable[[], nn.Module], seed: int = 7) -> nn.Module:
    """The network with the weights of one seed."""
    return networks.drawn(make, stream(seed, "weights", 0))


def equal(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks have the same state, bit for bit."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@every_network
def test_weights_are_those_that_torch_would_draw(make: Callable[[], nn.Module]) -> None:
    """The authors used PyTorch's default law; another one would shift every level and every stop."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(stream(7, "weights", 0).get_state())
        expected = make()

    assert equal(drawn(make), expected)


@every_network
def test_weights_are_uniform_within_the_inverse_root_of_the_inputs(make: Callable[[], nn.Module]) -> None:
    """The same law from its formula, should torch's constructors ever change theirs."""
    layers = [layer for layer in drawn(make).modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]

    for layer in layers:
        scaled = layer.weight.detach() * layer.weight[0].numel() ** 0.5
        assert 0.95 < scaled.abs().max() <= 1 + 1e-6
        assert scaled.var().item() == pytest.approx(1 / 3, rel=0.15)
        if layer.bias is not None:
            assert layer.bias.abs().max() * layer.weight[0].numel() ** 0.5 <= 1 + 1e-6


@every_network
def test_one_seed_is_one_network_whatever_the_global_generator(make: Callable[[], nn.Module]) -> None:
    """A worker's earlier stages move the global generator; weights that follow it cannot be had again."""
    first = drawn(make)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        second = drawn(make)

    assert equal(first, second)
    assert not equal(first, drawn(make, seed=8))


@every_network
def test_drawing_leaves_the_global_generator_alone(make: Callable[[], nn.Module]) -> None:
    """A stage must not change what the next stage of its worker draws."""
    before = torch.get_rng_state()

    drawn(make)

    assert torch.equal(torch.get_rng_state(), before)


def test_batch_norm_starts_fresh() -> None:
    """Memory that nobody wrote would be taken for running statistics."""
    norms = [layer for layer in drawn(MAKERS["resnet"]).modules() if isinstance(layer, nn.BatchNorm2d)]

    assert len(norms) == 20
    for norm in norms:
        assert all((tensor == 1).all() for tensor in (norm.weight, norm.running_var))
        assert all((tensor == 0).all() for tensor in (norm.bias, norm.running_mean))
        assert norm.num_batches_tracked == 0


def test_a_layer_without_a_law_is_refused() -> None:
    """Its weights would be whatever lay in memory, another in every process."""
    with pytest.raises(TypeError, match="LayerNorm has tensors and no law to draw them"):
        drawn(lambda: nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))


def test_the_resnet_has_the_authors_shapes() -> None:
    """Strides 1/2/2/2 and widths 16/32/64/128, no max-pool; other strides cost other time and accuracy."""
    net, shapes = drawn(MAKERS["resnet"]), []
    for block in net.blocks:
        block.register_forward_hook(lambda _block, _x, y: shapes.append(tuple(y.shape[1:])))

    net(torch.zeros(2, 3, 32, 32))

    assert shapes == [shape for shape in ((16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)) for _ in range(2)]


def test_the_pool_is_the_authors_on_their_images() -> None:
    """They pool 4x4 pixels; at 32x32 that must be the average over all that are left."""
    net, hidden = drawn(MAKERS["resnet"]).eval(), []
    net.blocks.register_forward_hook(lambda _blocks, _x, y: hidden.append(y))

    logits = net(torch.randn(2, 3, 32, 32, generator=stream(7, "x")))

    torch.testing.assert_close(logits, net.head(functional.avg_pool2d(hidden[0], 4).flatten(1)))


def test_a_block_adds_its_input() -> None:
    """With its last scale at zero a block passes its input on; without the shortcut deep nets train worse."""
    block = networks.drawn(lambda: networks.BasicBlock(4, 4, 1), stream(7, "weights", 0))
    nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, 4, 8, 8, generator=stream(7, "x"))

    torch.testing.assert_close(block(x), x.relu())


def test_a_block_of_another_shape_projects_its_input() -> None:
    """1x1 convolution and BatchNorm, by hand; an identity shortcut would have fewer weights than the authors'."""
    block = networks.drawn(lambda: networks.BasicBlock(4, 6, 2), stream(7, "weights", 0))
    nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, 4, 8, 8, generator=stream(7, "x"))

    projected = torch.einsum("oc,bchw->bohw", block.shortcut[0].weight[:, :, 0, 0], x[:, :, ::2, ::2])
    mean, spread = projected.mean((0, 2, 3), keepdim=True), projected.var((0, 2, 3), keepdim=True, correction=0)

    torch.testing.assert_close(block(x), ((projected - mean) / (spread + 1e-5).sqrt()).relu())


@pytest.mark.parametrize("shrink", [0.5, 0.1])
def test_shrinking_a_relu_net_without_biases_scales_its_logits(shrink: float) -> None:
    """Proposition 1 of the paper: L layers give shrink**L times the logits, so predictions stay."""
    net = drawn(lambda: networks.perceptron(12, [20, 20], 5, nn.ReLU, bias=False))
    x = torch.randn(8, 3, 2, 2, generator=stream(7, "x"))
    before = net(x)

    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(shrink)

    torch.testing.assert_close(net(x), shrink**3 * before)
