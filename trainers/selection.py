"""Selections: which examples a round adds to those already used; no torch until one is asked.

To add one, add one final subclass of `Selection` here. Random selection is `InOrder`, because the order itself
is a random permutation.

Shapes: B batch, C channels, H W pixels, K classes, P examples of the pool.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainers.splits import Split


@setting
class Selection(Spec, abc.ABC):
    """How the examples that a round adds are taken from the pool, which is what no round has used yet.

    Class attributes:
        needs_parent: Whether `choose` asks a trained network.
    """

    needs_parent: ClassVar[bool]

    @abc.abstractmethod
    def choose(self, net: nn.Module, images: Split, taken: Tensor, count: int) -> Tensor:
        """Return int64 positions of `count` examples of the pool, on the device of `taken`, first chosen first.

        Args:
            net: As the parent left it, on the device of `images`; its mode is put back afterwards.
            images: All images to fit, in the seed's order: what positions count. Labels are not read.
            taken: int64 positions of the examples already used, in any order.
            count: How many to add, at least 0.

        Raises:
            ConfigError: the pool holds fewer than `count` examples.
        """


@setting
class InOrder(Selection, kind="in_order"):
    """Take the next ones in the seed's random order, so that the examples of every round are a prefix of it."""

    needs_parent: ClassVar[bool] = False

    def choose(self, net: nn.Module, images: Split, taken: Tensor, count: int) -> Tensor:
        """The first `count` of the pool; neither `net` nor the images are looked at."""
        return pool(len(images), taken, count)[:count]


@setting
class Margin(Selection, kind="margin"):
    """Take those about whose class the parent's network hesitates most: margin sampling.

    The margin of an example is the difference of the two largest class probabilities (softmax of the logits, in
    float64, so that certain predictions still differ). The smallest margins are taken, smallest first; equal ones
    in the seed's order, and margins that are NaN, those of a diverged network, last.

    Source:
        The paper's first version, its experiment on active learning; Scheffer, Decomain & Wrobel, "Active hidden
        Markov models for information extraction", 2001.
    """

    needs_parent: ClassVar[bool] = True

    def choose(self, net: nn.Module, images: Split, taken: Tensor, count: int) -> Tensor:
        """One pass of `net` over the pool in eval mode; nothing is drawn."""
        import torch

        candidates_P = pool(len(images), taken, count)
        margin_P = margins(net, images, candidates_P.to(images.device)).cpu()
        return candidates_P[torch.argsort(margin_P, stable=True)[:count].to(candidates_P.device)]


def pool(examples: int, taken: Tensor, count: int) -> Tensor:
    """Return the positions in 0..examples-1 that are not `taken`, ascending, on its device.

    Raises:
        ConfigError: there are fewer than `count`.
    """
    import torch

    is_free = torch.ones(examples, dtype=torch.bool, device=taken.device)
    is_free[taken] = False
    free = is_free.nonzero()[:, 0]
    if not 0 <= count <= len(free):
        raise ConfigError(
            f"cannot add {count:,} examples: of {examples:,} to fit, {examples - len(free):,} are used and "
            f"{len(free):,} left. Let the round add as many as are left."
        )
    return free


def margins(net: nn.Module, images: Split, positions_P: Tensor) -> Tensor:
    """Return the difference of the two largest class probabilities, float64 (P,), of the images at `positions_P`.

    `net` is in eval mode meanwhile, and in its own mode afterwards; needs K of at least 2.
    """
    import torch

    from trainers.evaluate import BATCH

    was_training = net.training
    net.eval()
    found = []
    with torch.no_grad():
        for positions in torch.split(positions_P, BATCH[images.device.type]):
            share_BK = net(images.batch(positions)[0]).double().softmax(dim=1)
            largest_B2 = share_BK.topk(2, dim=1).values
            found.append(largest_B2[:, 0] - largest_B2[:, 1])
    net.train(was_training)
    return torch.cat(found)
