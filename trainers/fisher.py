"""Fisher information of a network's weights, its diagonal alone (a torch module).

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

GRADIENT_ENTRIES = 2**24  # held at once: 64 MiB of float32, 23 examples of a ResNet18
MOST_EXAMPLES = 128  # at a time, however small the network


def fisher_diagonal(net: nn.Module, state: Mapping[str, Tensor], x_BCHW: Tensor) -> dict[str, Tensor]:
    """Return ``mean over examples of sum_k p_k * (d log p_k / d weight)**2`` for every weight, by name.

    p is the softmax of the logits in eval mode: the expectation is the exact one over the classes that the
    network itself predicts, not over labels (which would be the "empirical" Fisher), and nothing is drawn.

    Args:
        net: The structure, on the device of `x_BCHW`. Its own weights and buffers are neither read nor changed, its
            mode is put back.
        state: All weights and buffers, under the names and shapes of ``net.state_dict()``, on any device.
        x_BCHW: At least one example.

    Returns:
        Tensors like the learnable weights of `net`, at least 0, without a graph. In nats squared a unit squared.

    Cost:
        A forward and backward pass of every example for each of the K classes, and twice the memory of as many
        weight gradients as are held at once. Vectorised over examples; their sum is in a fixed order.
    """
    names = [name for name, _ in net.named_parameters()]
    device = x_BCHW.device
    here = {name: tensor.detach().to(device) for name, tensor in state.items()}
    weights = {name: here.pop(name) for name in names}
    was_training = net.training
    net.eval()

    def log_p(weights: dict[str, Tensor], x_CHW: Tensor, k: int) -> Tensor:
        logits_1K: Tensor = functional_call(net, {**here, **weights}, (x_CHW[None],))
        return logits_1K.log_softmax(dim=1)[0, k]

    slopes = vmap(grad(log_p), in_dims=(None, 0, None))
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x in torch.split(x_BCHW, at_a_time(weights)):
        with torch.no_grad():
            p_BK = functional_call(net, {**here, **weights}, (x,)).softmax(dim=1)
        for k in range(p_BK.shape[1]):
            for name, slope in slopes(weights, x, k).items():
                sums[name] += torch.tensordot(p_BK[:, k], slope.square_(), dims=1)
    net.train(was_training)
    return {name: total / len(x_BCHW) for name, total in sums.items()}


def at_a_time(weights: Mapping[str, Tensor]) -> int:
    """How many examples are differentiated at once, by the size of the network alone."""
    return min(MOST_EXAMPLES, max(1, GRADIENT_ENTRIES // sum(weight.numel() for weight in weights.values())))
