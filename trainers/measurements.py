"""Measurements of the paper beside loss and accuracy: they change nothing in the network (a torch module)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Losses = Callable[[Tensor, Tensor], Tensor]


def weight_correlation(start: Mapping[str, Tensor], net: nn.Module) -> float | None:
    """Return Pearson's r between the weights that a stage started from and those of `net`, in [-1, 1].

    Over all learnable parameters as one flat vector, BatchNorm's included and buffers not, in float64.

    Args:
        start: Has every learnable parameter of `net` by name, on any device; what else it has is not read.

    Returns:
        None where it has no meaning: all weights of one of them are equal, or some are NaN or infinite.

    Source:
        The paper, section 3.1 and its appendix figure 11: how far a warm-started network forgets its start.
    """
    now_P = flat(dict(net.named_parameters()))
    then_P = flat({name: start[name] for name, _ in net.named_parameters()}).to(now_P.device)
    is_constant = bool((now_P == now_P[0]).all() | (then_P == then_P[0]).all())
    if is_constant:  # less their mean, they may be a rounding apart from 0, and that would correlate
        return None
    now_P, then_P = now_P - now_P.mean(), then_P - then_P.mean()
    r = (now_P.dot(then_P) / (now_P.norm() * then_P.norm())).item()
    return max(-1.0, min(1.0, r)) if math.isfinite(r) else None


def flat(weights: Mapping[str, Tensor]) -> Tensor:
    """Return all values of `weights` in the order of their names there, float64."""
    return torch.cat([weight.detach().double().flatten() for weight in weights.values()])


def gradient_norms(
    net: nn.Module, losses: Losses, x_BCHW: Tensor, y_B: Tensor, is_old_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the L2 norms of the gradients of the mean loss over a batch's old, and over its new, examples.

    One forward pass over the whole batch in training mode, so that BatchNorm normalises as in the step, and one
    backward pass for each. Weights, their ``grad``, buffers and mode of `net` stay as they are, and the host does
    not wait for the device.

    Args:
        losses: Per-example losses of logits [B, K] and labels [B], as `Model.losses`.
        is_old_B: bool; whether the parent had been trained on the example.

    Returns:
        Old and new, 0-dim on the device of `x_BCHW`; NaN where the batch has no such example.

    Source:
        The paper, section 4 and figure 5.
    """
    was_training = net.training
    net.train()
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    loss_B = losses(torch.func.functional_call(net, buffers, (x_BCHW,)), y_B)
    old = gradient_norm(net, loss_B, is_old_B, keep_graph=True)
    new = gradient_norm(net, loss_B, ~is_old_B, keep_graph=False)
    net.train(was_training)
    return old, new


def gradient_norm(net: nn.Module, loss_B: Tensor, chosen_B: Tensor, *, keep_graph: bool) -> Tensor:
    """Return the L2 norm of the gradient, by all weights, of the mean of `loss_B` over the `chosen_B`; NaN for none."""
    count = chosen_B.sum()
    mean = torch.where(chosen_B, loss_B, 0).sum() / count.clamp(min=1)
    gradients = torch.autograd.grad(mean, list(net.parameters()), retain_graph=keep_graph)
    return torch.where(count > 0, nn.utils.get_total_norm(gradients), math.nan)
