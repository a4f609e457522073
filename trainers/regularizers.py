"""Regularizers: what is added to the loss of a batch; each a frozen value.

To add one, add one final subclass of `Regularizer` (or of `Penalty`, if it has a size) here. The three of the
paper are from its appendix on conventional regularization; it gives their sizes, 0.1 to 0.0001, but neither the
formulas nor their scales. The readings below are choices (DECISIONS.md).

Shapes: B batch, C channels, H W pixels, K classes, W all weights as one vector. Pixels are normalised to [-1, 1].
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting
from trainers.inits import check_fits
from trainers.precision import widened

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainers.splits import Split

    Losses = Callable[[Tensor, Tensor], Tensor]
    LossFunction = Callable[[nn.Module, Tensor, Tensor, Losses], tuple[Tensor, Tensor]]
    State = dict[str, Tensor]

PIXEL_RANGE = 2.0  # from -1 to 1, where images as published go from 0 to 1


@setting
class Regularizer(Spec, abc.ABC):
    """What a stage minimises besides the model's own loss.

    Class attributes:
        needs_parent: Whether `bound` reads the parent's state and the old examples; only then must they be given.
    """

    needs_parent: ClassVar[bool] = False

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

    def bound(self, net: nn.Module, parent: State, old: Split, losses: Losses) -> LossFunction:
        """Return what takes the place of `loss` in one stage, once for all of its steps; by default `loss` itself.

        The same in a resumed stage: it depends on no weight of `net`.

        Args:
            net: On the device that it will be trained on. Left as it is; only its structure and mode are read.
            parent: Final state of the parent stage, on any device; {} where none is needed. Read only.
            old: The examples that the parent had been trained on, in the seed's order, on the device.
            losses: As in `loss`.
        """
        return self.loss

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
        log_p_BK = widened(logits_BK).log_softmax(dim=1)
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


@setting
class EWC(Penalty, kind="ewc"):
    """Elastic weight consolidation: hold each weight near the parent's, as firmly as the old examples need it.

    Adds ``size / 2 * sum_i F_i * (weight_i - parent_i)**2`` over all learnable weights, BatchNorm's and biases
    included. F_i is the diagonal of the parent's Fisher information on old examples, their mean and not their
    sum (`trainers.fisher`), so `size` is the paper's lambda if its posterior is that of one example. The
    distribution is the softmax of the logits, whatever the model's own loss is.

    The first version of Ash & Adams tried it against the gap, as a form of catastrophic forgetting, and reports
    that it hurts; neither its strengths nor its way to F are known.

    Attributes:
        size: Strength, at least 0.
        examples: How many of the old examples, from the front, F is taken on, at least 1; all if there are fewer.

    Source:
        Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, equation 3.
    """

    examples: Annotated[int, Field(ge=1)] = 1000
    needs_parent: ClassVar[bool] = True

    def bound(self, net: nn.Module, parent: State, old: Split, losses: Losses) -> LossFunction:
        """Take F at the parent's weights, which costs some passes over the old examples; labels are not read.

        Raises:
            ConfigError: there are no old examples, or `parent` does not fit `net`.
        """
        import torch

        from trainers.fisher import fisher_diagonal

        check_fits(net, parent)
        if len(old) == 0:
            raise ConfigError(f"{self} needs old examples, and there are none: say how many the parent was trained on.")
        fisher = fisher_diagonal(net, parent, old.part(slice(self.examples)).x)
        importance_W = torch.cat([fisher[name].flatten() for name, _ in net.named_parameters()])
        parent_W = torch.cat([parent[name].to(w.device).flatten() for name, w in net.named_parameters()])

        def loss(net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
            mean, logits_BK = plain_loss(net, x_BCHW, labels_B, losses)
            moved_W = torch.cat([weight.flatten() for weight in net.parameters()]) - parent_W
            return mean + self.size / 2 * (importance_W * moved_W.square()).sum(), logits_BK

        return loss

    def loss(self, net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
        """Raise a ConfigError: without a parent there is nothing to hold on to."""
        raise ConfigError(f"{self} holds weights near a parent's, and there is none: train the first round without.")


def plain_loss(net: nn.Module, x_BCHW: Tensor, labels_B: Tensor, losses: Losses) -> tuple[Tensor, Tensor]:
    """Return the mean loss of the batch and its detached logits, from one forward pass."""
    logits_BK = net(x_BCHW)
    return losses(logits_BK, labels_B).mean(), logits_BK.detach()
