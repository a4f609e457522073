"""GPU fused: K models of one kind as one network of grouped layers; for the GPU benchmark alone (a torch module).

Convolutions have K groups, linear layers are one batched product, BatchNorm is each channel's own anyway. All members
then share kernels, and with them batch size, optimizer, learning rate and the number of steps; orders are their own.

Shapes: B batch, K members, F features, G outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.device import prepare_device
from trainers.precision import products, rounding
from trainers.seeds import stream
from trainers.splits import load_splits
from trainers.steps import Captured

if TYPE_CHECKING:
    from benchmarks.gpu_process import GpuAsk


class GroupedLinear(nn.Module):
    """K linear layers side by side: (B, K*F) to (B, K*G)."""

    def __init__(self, layer: nn.Linear, members: int) -> None:
        super().__init__()
        self.weight_KFG = nn.Parameter(layer.weight.detach().t().repeat(members, 1, 1))
        self.bias_K1G = nn.Parameter(layer.bias.detach().repeat(members, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """One batched product."""
        members, features, _ = self.weight_KFG.shape
        by_member = x.view(-1, members, features).transpose(0, 1)
        return torch.baddbmm(self.bias_K1G, by_member, self.weight_KFG).transpose(0, 1).flatten(1)


def fuse(net: nn.Module, members: int) -> nn.Module:
    """Return `members` copies of `net` as one network from (B, K*C, H, W) to (B, K*classes).

    Raises:
        TypeError: a layer with weights is neither Conv2d nor Linear nor BatchNorm2d.
    """
    made = copy.deepcopy(net)
    for name, layer in list(made.named_children()):
        setattr(made, name, fused_layer(layer, members))
    return made


def fused_layer(layer: nn.Module, members: int) -> nn.Module:
    """The layer that does for all members what `layer` does for one; all start from its weights."""
    if isinstance(layer, nn.Linear):
        return GroupedLinear(layer, members)
    if isinstance(layer, nn.Conv2d):
        given: Any = {"stride": layer.stride, "padding": layer.padding, "bias": False, "groups": members}
        wide = nn.Conv2d(members * layer.in_channels, members * layer.out_channels, layer.kernel_size, **given)  # type: ignore[arg-type]
        wide.weight.data.copy_(layer.weight.detach().repeat(members, 1, 1, 1))
        return wide
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm2d(members * layer.num_features)
    if [*layer.parameters(recurse=False)]:
        raise TypeError(f"{type(layer).__name__} has no fused form.")
    return fuse(layer, members)


def fused_step(ask: GpuAsk) -> Callable[[], None]:
    """A function that trains all members of `ask` on one batch each; captured as a graph where that is asked for."""
    config, device = ask.config(), prepare_device(ask.device)
    split = load_splits(config.data, seed=0, examples=config.examples, root=None, device=device).train
    net = config.model.build(config.data.shape, config.data.classes, stream(0, "fused"))
    net = fuse(net, ask.members).to(device).train()
    optimizer = config.optimizer.build(net, config.lr, 0.0)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    size = ask.members * ask.batch_size

    def step(batch: Tensor) -> None:
        x, y = split.batch(batch)
        x = x.view(ask.members, ask.batch_size, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
        y = y.view(ask.members, ask.batch_size).t().flatten()
        with products(config.precision):
            with rounding(config.precision, device):
                logits = net(x).view(size, -1)
                loss = ask.members * functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch's own
            optimizer.step()
        loss_sum.add_(loss.detach())

    order = endless_order(config.examples, size, device)
    launch = Captured(step, order) if ask.graphs else step
    batches = list(torch.split(order, size))
    place = iter(range(10**12))
    return lambda: launch(batches[next(place) % len(batches)])


def endless_order(examples: int, size: int, device: torch.device) -> Tensor:
    """Positions of examples in an order of chance, as many as whole steps of `size` take."""
    count = max(1, examples // size) * size
    orders = [torch.randperm(examples, generator=stream(n, "fused order")) for n in range(math.ceil(count / examples))]
    return torch.cat(orders)[:count].to(device)
