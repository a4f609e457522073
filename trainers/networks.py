"""Networks as torch modules, and how their weights are drawn; not the settings, which are models.py.

This is a torch module: importing it loads torch. models.py imports it when a network is built.

Shapes: B batch, C channels, H W pixels, K classes, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SWAPPED = {"batch": range(16, 65), "features": range(1024, 2**20), "units": range(16, 129)}  # see `FirstLinear`


def drawn(make: Callable[[], nn.Module], draw: torch.Generator) -> nn.Module:
    """Return the network that `make` makes, in CPU memory, with every weight drawn from `draw`.

    `make` runs on torch's meta device, where its constructors draw nothing, so that torch's global
    generator is neither read nor moved.
    """
    with torch.device("meta"):
        net = make()
    bring_to_memory(net)
    draw_weights(net, draw)
    return net


def bring_to_memory(net: nn.Module) -> None:
    """Give a network of the meta device arbitrary weights and buffers in CPU memory.

    As ``net.to_empty(device="cpu")``, which imports a library of symbolic mathematics to work out strides.
    """
    for layer in net.modules():
        for name, weight in layer.named_parameters(recurse=False):
            setattr(layer, name, nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype)))
        for name, buffer in layer.named_buffers(recurse=False):
            setattr(layer, name, torch.empty(buffer.shape, dtype=buffer.dtype))


@torch.no_grad()
def draw_weights(net: nn.Module, draw: torch.Generator) -> None:
    """Overwrite all weights and buffers of `net` by PyTorch's default law, in the order of its modules.

    Conv2d and Linear: weights and biases uniform in +-1/sqrt(fan_in), where fan_in counts the inputs of
    one unit. BatchNorm2d: scale 1, shift 0, running mean 0, running variance 1, no batch counted. These
    are the very numbers that torch's constructors would draw from a generator in the state of `draw`.

    Raises:
        TypeError: A layer of another type has tensors of its own; it would be left with arbitrary memory.
    """
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=draw)
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=draw)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
            raise TypeError(f"{type(layer).__name__} has tensors and no law to draw them: add one to draw_weights.")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, added to their input.

    Where the shape changes, the input passes through a 1x1 convolution with BatchNorm on its way to the sum.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        hidden = functional.relu(self.norm1(self.conv1(x_BCHW)))
        return functional.relu(self.norm2(self.conv2(hidden)) + self.shortcut(x_BCHW))


class ResNet(nn.Module):
    """ResNet-18 for small images: 3x3 stem of stride 1, no max-pool, eight blocks in four widths.

    The pool averages over all pixels that are left: 4x4 of them for 32x32 images, as in the authors' code.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K); whether its weights lie channels last decides how its layers do."""
        hidden: Tensor = self.blocks(functional.relu(self.norm(self.stem(x_BCHW))))
        logits_BK: Tensor = self.head(hidden.mean(dim=(2, 3)))
        return logits_BK


class FirstLinear(nn.Linear):
    """The first layer of an MLP, of many more inputs than units.

    Where MKL is slow, for small batches of vectors that lie a multiple of 4 KiB apart, it asks for the transposed
    product, W x^T, in half to a third of the time (DECISIONS.md). Within SWAPPED both have the same bits, and so have
    the gradients.
    """

    def __init__(self, features: int, units: int, bias: bool = True) -> None:
        super().__init__(features, units, bias=bias)
        self.is_swappable = bias and features in SWAPPED["features"] and units in SWAPPED["units"]

    def forward(self, x_BF: Tensor) -> Tensor:
        """Map (B, F) to (B, units)."""
        on_cpu = x_BF.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if self.is_swappable and on_cpu and len(x_BF) in SWAPPED["batch"]:
            return torch.addmm(self.bias[:, None], self.weight, x_BF.t()).t().contiguous()
        return super().forward(x_BF)


def perceptron(features: int, hidden: list[int], classes: int, activation: type[nn.Module], bias: bool) -> nn.Module:
    """Return fully connected layers from (B, C, H, W) with F = C*H*W to logits (B, K).

    Args:
        features: F.
        hidden: Units of each hidden layer; empty for a linear network.
        classes: K.
        activation: Stands after every hidden layer.
        bias: Whether the layers, the last one included, have biases.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for units in hidden:
        kind = nn.Linear if len(layers) > 1 else FirstLinear
        layers += [kind(features, units, bias=bias), activation()]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, classes, bias=bias))
