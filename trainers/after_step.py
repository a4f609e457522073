"""After-step rules: what is done to the weights after every optimizer step; not the step, which optimizers.py makes.

To add one, add one final subclass of `AfterStep` here.
"""

from __future__ import annotations

import abc
import copy
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@setting
class AfterStep(Spec, abc.ABC):
    """What is done to a network's weights between two steps.

    Class attributes:
        changes: Whether `change` does anything; where it does not, no stream needs to be opened for it.
    """

    changes: ClassVar[bool]

    @abc.abstractmethod
    def change(self, net: nn.Module, draw: torch.Generator) -> None:
        """Change the weights of `net` in place, outside of autograd; buffers and gradients are left alone.

        The host never waits for the device in it.

        Args:
            net: After the optimizer's step, on any device.
            draw: The epoch's own CPU generator for this purpose; each call draws on from where the last one ended.
        """


@setting
class NoChange(AfterStep, kind="no_change"):
    """Leave the weights as the optimizer's step left them, as the paper does outside of one experiment."""

    changes: ClassVar[bool] = False

    def change(self, net: nn.Module, draw: torch.Generator) -> None:
        """Nothing is drawn."""


@setting
class ShrinkPerturbEachStep(AfterStep, kind="shrink_perturb_each_step"):
    """Shrink the weights and perturb them after every step: ``weight <- shrink * weight + perturb * fresh``.

    The mixture is that of `trainers.inits.ShrinkPerturb`: fresh is a freshly initialised network, another one
    after each step, so each layer is disturbed on the scale of its own initialisation law. BatchNorm's fresh
    scale is always 1: where ``perturb = 1 - shrink``, the weights are drawn towards fresh ones and its scale
    towards 1. The paper's ``p`` is noise of a law that it does not give.

    With ``perturb=0`` and plain SGD it is L2 weight decay under other numbers: step size ``shrink * lr`` and
    decay ``(1 - shrink) / (shrink * lr)``, for ``shrink > 0``.

    The noise is drawn on the CPU, so that a seed means the same numbers on every device: as many numbers in
    each step as the network has weights.

    Attributes:
        shrink: Factor on the weights, in [0, 1]. The paper's lambda; near 1, as it acts in every step.
        perturb: Factor on the fresh weights, at least 0; with 0 nothing is drawn.

    Source:
        Ash & Adams, NeurIPS 2020, section 4.1: ``theta <- lambda * (theta - eta * dL/dtheta) + p``, where lambda
        acts as weight decay. ``(1 - beta, beta)`` with beta = 1e-6 is the soft shrink-perturb of Juliani & Ash,
        NeurIPS 2024.
    """

    shrink: Annotated[float, Field(ge=0, le=1)]
    perturb: Annotated[float, Field(ge=0)]
    changes: ClassVar[bool] = True

    def change(self, net: nn.Module, draw: torch.Generator) -> None:
        """Draw one fresh network, in the order of the network's modules, unless `perturb` is 0."""
        import torch

        weights = list(net.parameters())
        with torch.no_grad():
            for weight in weights:
                weight.mul_(self.shrink)
            if self.perturb > 0:
                for weight, fresh in zip(weights, fresh_weights(net, draw), strict=True):
                    weight.add_(fresh, alpha=self.perturb)


def fresh_weights(net: nn.Module, draw: torch.Generator) -> list[Tensor]:
    """Return freshly drawn weights of a network like `net`, in the order of its parameters, on its device.

    They cross to a GPU in one piece, from pinned memory, so that nobody waits for them.
    """
    import torch
    from torch import nn

    from trainers.networks import draw_weights

    weights = list(net.parameters())
    empty: dict[int, Tensor] = {id(b): torch.empty_like(b, device="cpu") for b in net.buffers()}
    empty |= {id(w): nn.Parameter(torch.empty(w.shape, dtype=w.dtype)) for w in weights}  # drawn in this order
    twin = copy.deepcopy(net, empty)  # what the memo holds is not copied
    draw_weights(twin, draw)
    device = weights[0].device
    flat = torch.cat([weight.detach().flatten() for weight in twin.parameters()])
    if device.type == "cuda":
        flat = flat.pin_memory()
    parts = torch.split(flat.to(device, non_blocking=True), [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
