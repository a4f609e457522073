"""Optimizers: each a frozen value that makes torch's optimizer for a network.

To add one, add one final subclass of `Optimizer` here. The learning rate is a setting of the stage, because
sweeps vary it under every optimizer.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    import torch
    from torch import nn

Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]


@setting
class Optimizer(Spec, abc.ABC):
    """The rule of one step. Every stage makes a new one; no state passes from parent to child (authors' code)."""

    @property
    @abc.abstractmethod
    def weight_decay(self) -> float:
        """A field of every member, at least 0.

        Coupled: ``weight_decay * weight`` is added to the gradient of every learnable parameter, biases and
        BatchNorm included, before the rule sees it. The authors' ``--decay``.
        """

    @abc.abstractmethod
    def build(self, net: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """Return a fresh optimizer of all weights of `net`.

        Args:
            net: On the device that it will be trained on.
            lr: Step size.
            weight_decay: What the stage's regularizer asks for; added to the optimizer's own.
        """

    def columns(self, name: str) -> dict[str, Any]:
        """Add weight_decay, the optimizer's own; the regularizer `L2` states its size in its own column."""
        return {**super().columns(name), "weight_decay": self.weight_decay}


@setting
class SGD(Optimizer, kind="sgd"):
    """Stochastic gradient descent; by default plain, as in the paper.

    Attributes:
        momentum: Fraction of the last step's velocity that is kept, in [0, 1). Heavy ball, undamped, as torch's.
        weight_decay: Coupled, at least 0; see `Optimizer`.
    """

    momentum: Fraction = 0.0
    weight_decay: Decay = 0.0

    def build(self, net: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """Velocity starts at the first gradient."""
        import torch

        decay = self.weight_decay + weight_decay
        return torch.optim.SGD(net.parameters(), lr=lr, momentum=self.momentum, weight_decay=decay)


@setting
class Adam(Optimizer, kind="adam"):
    """Adam (Kingma & Ba 2015) with torch's defaults, as in the paper; epsilon is torch's 1e-8.

    Weight decay is Adam's original, coupled form, not AdamW's: the scaling of the step applies to it too.

    Attributes:
        beta1: Decay of the mean of gradients, in [0, 1).
        beta2: Decay of the mean of squared gradients, in [0, 1).
        weight_decay: Coupled, at least 0; see `Optimizer`.
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    weight_decay: Decay = 0.0
    revision: ClassVar[int] = 2  # 1 was torch's Adam with one operation at a time, which rounds otherwise

    def build(self, net: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """Both means start at zero, with torch's bias correction.

        Fused: one pass over the weights does all, which takes a step of an MLP a third less time (DECISIONS.md). On
        CUDA the count of steps lies on the device, so that a step can be captured.
        """
        import torch

        on_cuda = any(weight.device.type == "cuda" for weight in net.parameters())
        decay, betas = self.weight_decay + weight_decay, (self.beta1, self.beta2)
        return torch.optim.Adam(net.parameters(), lr, betas, weight_decay=decay, fused=True, capturable=on_cuda)
