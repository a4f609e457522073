"""Models: each a frozen value that builds a network for a data set and knows its loss; no torch until then.

To add one, add one final subclass of `Classifier` (cross entropy) or of `Model` here.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import abc
import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.spec import Spec, setting
from trainers.precision import widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Count = Annotated[int, Field(ge=1)]


@setting
class Model(Spec, abc.ABC):
    """An architecture together with the loss that it is trained with.

    Attributes:
        layers: How many layers of weights its networks have, as `trainers.inits.layers_of` counts them, where that is
            known before one is built; None where it is not.

    Class attributes:
        has_batch_norm: Whether its networks have BatchNorm's running statistics.
    """

    has_batch_norm: ClassVar[bool] = True

    @property
    def layers(self) -> int | None:
        """See above; members that know it say it."""
        return None

    @abc.abstractmethod
    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        """Return a fresh float32 network on the CPU that maps images (B, C, H, W) to logits (B, K).

        Args:
            shape: (C, H, W) of one image.
            classes: K.
            draw: Every weight is drawn from it by PyTorch's default law (`trainers.networks.draw_weights`),
                none from torch's global generator.
        """

    @abc.abstractmethod
    def losses(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss of each example, (B,), differentiable by the logits; labels are int64 in [0, K)."""


@setting
class Classifier(Model, abc.ABC):
    """A model trained with softmax cross entropy, as all of the paper's are."""

    def losses(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return -log softmax(logits)[label] of each example, in nats."""
        from torch.nn import functional

        return functional.cross_entropy(widened(logits_BK), labels_B, reduction="none")


@setting
class ResNet18(Classifier, kind="resnet18"):
    """ResNet-18 for small images, by default as narrow as in the authors' code.

    Stem of 3x3 at stride 1 without max-pool, four pairs of basic blocks of 1, 2, 4 and 8 times `width`
    channels at strides 1, 2, 2, 2, average pool over all remaining pixels, one linear layer. Convolutions
    have no bias. 701,466 weights for CIFAR-10 at width 16; width 64 is the common wide form.

    In training mode BatchNorm needs more than one value a channel: images of 8x8 and less shrink to one
    pixel, so there a batch of a single example is refused by torch.

    Attributes:
        width: Channels of the stem, at least 1.

    Source:
        resnet.py of the authors' code. Which width the paper's figures used is not known.
    """

    width: Count = 16
    revision: ClassVar[int] = 2  # 1 had the channels of a pixel apart in memory, which sums in another order

    @property
    def layers(self) -> int:
        return 18

    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        """Accept images of any size of at least 1x1.

        Weights, and what passes between layers, lie channels last. That is their order in memory alone, in which a
        step takes a fifth less time (DECISIONS.md).
        """
        import torch

        from trainers import networks

        net = networks.drawn(lambda: networks.ResNet(shape[0], self.width, classes), draw)
        return net.to(memory_format=torch.channels_last)


@setting
class MLP(Classifier, kind="mlp"):
    """Fully connected hidden layers of one width; by default the authors' 3072-100-100-10 with ReLU.

    The sources disagree (DECISIONS.md): the authors' code has two hidden layers and ReLU, which is the
    default here; the paper's text speaks of tanh, and the reproductions use ``MLP(depth=3, activation="tanh")``.

    Attributes:
        depth: Hidden layers, at least 1 (`Logistic` has none).
        width: Units of each hidden layer, at least 1.
        activation: After every hidden layer.
        bias: Whether all layers, the last one included, have biases. Without them, and with ReLU, scaling
            all weights leaves the predictions as they are (Proposition 1 of the paper).
    """

    depth: Count = 2
    width: Count = 100
    activation: Literal["relu", "tanh"] = "relu"
    bias: bool = True

    has_batch_norm: ClassVar[bool] = False

    @property
    def layers(self) -> int:
        return self.depth + 1

    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        """Flatten the images; the first layer has C*H*W inputs."""
        from torch import nn

        from trainers import networks

        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]
        hidden = [self.width] * self.depth
        return networks.drawn(
            lambda: networks.perceptron(math.prod(shape), hidden, classes, activation, self.bias), draw
        )


@setting
class Logistic(Classifier, kind="logistic"):
    """Logistic regression: one linear layer and cross entropy, a convex problem. 30,730 weights for CIFAR-10."""

    has_batch_norm: ClassVar[bool] = False

    @property
    def layers(self) -> int:
        return 1

    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        """Draw the one layer as in every other model, although a convex problem does not need it."""
        return linear(shape, classes, draw)


@setting
class LinearSVM(Model, kind="linear_svm"):
    """Linear support vector machine: one linear layer and the multi-class hinge loss, a convex problem.

    The loss of an example is ``max(0, 1 + max over wrong classes of their score - score of the label)``, the
    hinge of Crammer & Singer (JMLR 2001). Of the multi-class hinges it is the one that looks at the margin
    which decides the prediction: it is 0 exactly where the label leads all others by 1 or more, and bounds
    the 0-1 loss from above. (The sum over wrong classes, Weston & Watkins, grows with K.) Together with the
    regularizer ``L2(size)``, which is size/2 times the squared norm of the weights, this is the SVM's
    objective; alone it is the hinge without a margin term. Not in the paper: the course notes ask whether a
    convex SVM suffers from warm starting.
    """

    has_batch_norm: ClassVar[bool] = False

    @property
    def layers(self) -> int:
        return 1

    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        """Return the same network as `Logistic`; only the loss differs."""
        return linear(shape, classes, draw)

    def losses(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the hinge of each example; needs K of at least 2.

        Scores are picked by a mask: the gradient of picking them by their index is a sort in every step on CUDA.
        """
        import torch

        logits_BK = widened(logits_BK)
        is_label_BK = labels_B[:, None] == torch.arange(logits_BK.shape[1], device=labels_B.device)
        own_B = logits_BK.masked_fill(~is_label_BK, 0).sum(dim=1)
        rival_B = logits_BK.masked_fill(is_label_BK, -math.inf).amax(dim=1)
        return (1 + rival_B - own_B).clamp(min=0)


def linear(shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
    """Return one linear layer with biases from flattened images (B, C, H, W) to scores (B, K)."""
    from torch import nn

    from trainers import networks

    return networks.drawn(lambda: networks.perceptron(math.prod(shape), [], classes, nn.ReLU, bias=True), draw)
