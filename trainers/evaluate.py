"""Evaluation: loss and accuracy of a network on a whole split; changes nothing in it (a torch module)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

BATCH = {"cpu": 128, "cuda": 2000}  # examples at a time: on a CPU what its cache holds, on a GPU few launches
Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Measured = tuple[float, float] | tuple[None, None]


@torch.no_grad()
def evaluate(net: nn.Module, losses: Losses, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> Measured:
    """Measure `net` in eval mode; the mode it was in is put back afterwards.

    Args:
        losses: Per-example losses of logits [B, K] and labels [B], as `Model.losses`.
        x_BCHW: All inputs of the split, float32, normalised.
        y_B: Their labels.

    Returns:
        Mean loss per example, and the fraction whose largest logit is at the label, in [0, 1]; see `measured`.
    """
    was_training = net.training
    net.eval()
    loss_sum = torch.zeros((), dtype=torch.float64, device=x_BCHW.device)
    right = torch.zeros((), dtype=torch.int64, device=x_BCHW.device)
    batch = BATCH[x_BCHW.device.type]
    for x, y in zip(torch.split(x_BCHW, batch), torch.split(y_B, batch), strict=True):
        logits = net(x)
        loss_sum += losses(logits, y).sum(dtype=torch.float64)
        right += (logits.argmax(dim=1) == y).sum()
    net.train(was_training)
    return measured(loss_sum.item() / len(y_B), right.item() / len(y_B))


def measured(loss: float, accuracy: float) -> Measured:
    """Return both, or neither where the loss is NaN or infinite: what such a network predicts means nothing.

    Its largest logit is at class 0 for every image, so it would have the accuracy of a network that learned nothing.
    """
    return (loss, accuracy) if math.isfinite(loss) else (None, None)
