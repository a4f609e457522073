"""Evaluation: loss and accuracy of a network on a whole split; changes nothing in it (a torch module)."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import torch
from torch import nn

from orchestrator.seam import run_to_end
from trainers.precision import Precision, products, rounding
from trainers.waiting import Ahead, read

if TYPE_CHECKING:
    from trainers.splits import Split

BATCH = {"cpu": 128, "cuda": 2000}  # examples at a time: on a CPU what its cache holds, on a GPU few launches
Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Measured = tuple[float, float] | tuple[None, None]


def evaluate(net: nn.Module, losses: Losses, split: Split, precision: Precision = "fp32") -> Measured:
    """Measure `net` in eval mode, all at once; see `evaluation`.

    Returns:
        Mean loss per example, and the fraction whose largest logit is at the label, in [0, 1]; see `measured`.
    """
    return run_to_end(measurement(net, losses, split, precision))


def measurement(net: nn.Module, losses: Losses, split: Split, precision: Precision) -> Generator[bool, None, Measured]:
    """The same as `evaluate` by turns."""
    sums = torch.zeros(2, dtype=torch.float64, device=split.device)
    yield from evaluation(net, losses, split, precision, sums)
    return mean(*(yield from read(sums)), examples=len(split))


def evaluation(
    net: nn.Module, losses: Losses, split: Split, precision: Precision, sums: torch.Tensor
) -> Generator[bool, None, None]:
    """Add up what `net` does in eval mode, a turn a batch; the mode it was in is put back afterwards.

    The host waits for nothing: the numbers stay on the device until somebody reads them.

    Args:
        losses: Per-example losses of logits [B, K] and labels [B], as `Model.losses`.
        split: On the device of `net`.
        precision: To how many digits products are rounded.
        sums: float64 [2] on the device: loss and hits of all examples are added to it.
    """
    was_training, device = net.training, split.device
    loss_sum, right, ahead = sums[0], sums[1], Ahead(device)
    net.eval()
    for x, y in split.pieces(BATCH[device.type]):
        yield from ahead.room()
        with torch.no_grad(), products(precision), rounding(precision, device):
            logits = net(x)
            loss_sum.add_(losses(logits, y).sum(dtype=torch.float64))
            right.add_((logits.argmax(dim=1) == y).sum())
        yield True
    net.train(was_training)


def mean(loss_sum: float, right: float, *, examples: int) -> Measured:
    """Return the mean loss and the accuracy of `examples` from their sums; see `measured`."""
    return measured(loss_sum / examples, right / examples)


def measured(loss: float, accuracy: float) -> Measured:
    """Return both, or neither where the loss is NaN or infinite: what such a network predicts means nothing.

    Its largest logit is at class 0 for every image, so it would have the accuracy of a network that learned nothing.
    """
    return (loss, accuracy) if math.isfinite(loss) else (None, None)
