"""Regularizers: what is added to the loss of a batch; each a frozen value.

To add one, add one final subclass of `Regularizer` (or of `Penalty`, if it has a size) here. The three of the
paper are from its appendix on conventional regularization; it gives their sizes, 0.1 to 0.0001, but neither the
formulas nor their scales. The readings below are choices (DECISIONS.md).

Shapes: B batch, C channels, H W pixels, K classes. Pixels are normalised to [-1, 1].
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    Losses = Callable[[Tensor, Tensor], Tensor]

PIXEL_RANGE = 2.0  # from -1 to 1, where images as published go from 0 to 1


@setting
class Regularizer(Spec, abc.ABC):
    """What a stage minimises besides the model's own loss."""

    @property
    def weight_decay(self) -> float:
        """What the optimizer is asked to add to the gradient, as a multiple of the weights; see `L2`."""
        return 0.0

    @abc.abstractmethod
    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Return the scalar to be differentiated, and the detached logits (B, K) of the batch as it is.

        Args:
            net: In training mode.
            x_BCHW: Float images in [-1, 1]. Read only.
            labels_B: Classes as int64.
            losses: The model's: maps logits and labels to the loss of each example, (B,).
        """

    def columns(self, name: str) -> dict[str, Any]:
        """Add ``<name>_size``, 0.0 where the regularizer has no size."""
        return {**super().columns(name), f"{name}_size": 0.0}


@setting
class Penalty(Regularizer, abc.ABC):
    """A regularizer of one size.

    Attributes:
        size: The paper's penalty size, at least 0, where 0 changes nothing; its unit is the member's.
    """

    size: Annotated[float, Field(ge=0)]

    def columns(self, name: str) -> dict[str, Any]:
        return {**super().columns(name), f"{name}_size": self.size}


@setting
class NoRegularizer(Regularizer, kind="none"):
    """Minimise the model's own loss, averaged over the batch."""

    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """One forward pass and nothing else."""
        return plain_loss(net, x_BCHW, labels_B, losses)


@setting
class L2(Penalty, kind="l2"):
    """Penalise the squared norm of all weights: size/2 times its value is minimised too.

    Left to the optimizer as coupled weight decay, which adds the penalty's gradient, ``size * weight``, to each
    gradient; the loss reported is without it. Biases and BatchNorm's weights are included, as in torch.
    """

    @property
    def weight_decay(self) -> float:
        """The size."""
        return self.size

    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """The same as without a regularizer."""
        return plain_loss(net, x_BCHW, labels_B, losses)


@setting
class ConfidencePenalty(Penalty, kind="confidence_penalty"):
    """Reward hesitation: subtract size times the mean entropy of the predicted distribution, in nats.

    The distribution is the softmax of the logits, whatever the model's own loss is.

    Source:
        Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", 2017.
    """

    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """One forward pass."""
        logits_BK = net(x_BCHW)
        log_p_BK = logits_BK.log_softmax(dim=1)
        entropy_B = -(log_p_BK.exp() * log_p_BK).sum(dim=1)
        return losses(logits_BK, labels_B).mean() - self.size * entropy_B.mean(), logits_BK.detach()


@setting
class Adversarial(Penalty, kind="adversarial"):
    """Train on each batch and on its worst neighbours at once: the mean of both losses is minimised.

    A neighbour moves every pixel by `size` in the direction that raises the loss (fast gradient sign), and is
    clipped to the range of pixels. It is a constant: no gradient flows through its making.

    BatchNorm stays in training mode in both passes, so each normalises by its own batch, and running
    statistics count both; a single joint pass would mix the two distributions within one normalisation.

    Attributes:
        size: Step of a pixel in [0, 1], as images are published; twice that in the normalised images.

    Source:
        Goodfellow, Shlens & Szegedy, "Explaining and harnessing adversarial examples", 2015, with their weight 1/2.
    """

    size: Annotated[float, Field(ge=0, le=1)]

    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Two forward passes, of the batch and of its neighbours; the first one's graph gives the direction too."""
        import torch

        clean_BCHW = x_BCHW.detach().requires_grad_()
        logits_BK = net(clean_BCHW)
        clean_B = losses(logits_BK, labels_B)
        (slope_BCHW,) = torch.autograd.grad(clean_B.sum(), clean_BCHW, retain_graph=True)
        neighbour_BCHW = (x_BCHW + PIXEL_RANGE * self.size * slope_BCHW.sign()).clamp(-1, 1)
        neighbour_B = losses(net(neighbour_BCHW), labels_B)
        return (clean_B.mean() + neighbour_B.mean()) / 2, logits_BK.detach()


def plain_loss(net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
    """Return the mean loss of the batch and its detached logits, from one forward pass."""
    logits_BK = net(x_BCHW)
    return losses(logits_BK, labels_B).mean(), logits_BK.detach()
