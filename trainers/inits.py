"""Inits: where a stage's starting weights come from; not the fresh network itself, which models.py builds.

To add one, add one final subclass of `Init` here.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    State = dict[str, torch.Tensor]


@setting
class Init(Spec, abc.ABC):
    """How a stage's weights are set before its first step.

    The optimizer's state is never inherited: every stage makes a new optimizer, as the authors' code does.

    Class attributes:
        needs_parent: Whether `start` reads the parent's state.
    """

    needs_parent: ClassVar[bool]

    @abc.abstractmethod
    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Overwrite `net` in place with the starting weights.

        Args:
            net: Freshly initialised network of this round, on the CPU.
            parent: Final state of the parent stage, under the names and shapes of ``net.state_dict()``; {}
                without a parent. Read only, and copied: later training does not reach it.
            draw: CPU generator for what the init itself draws, of this round too and apart from the stream
                that `net` was drawn from.

        Raises:
            ConfigError: `parent` is needed and lacks a tensor of `net`, has one more, or one of another shape.
        """

    def columns(self, name: str) -> dict[str, Any]:
        """Add shrink and perturb: where the init lies on the plane ``shrink * parent + perturb * fresh``.

        Both are None for an init that does not lie on that plane.
        """
        return {**super().columns(name), "shrink": None, "perturb": None}


@setting
class RandomInit(Init, kind="random_init"):
    """Start from fresh weights, as if nothing had been trained before. On the plane: (0, 1)."""

    needs_parent: ClassVar[bool] = False

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Leave the fresh network as it is; `parent` is not read."""

    def columns(self, name: str) -> dict[str, Any]:
        return {**super().columns(name), "shrink": 0.0, "perturb": 1.0}


@setting
class WarmStart(Init, kind="warm_start"):
    """Start from the parent's weights, unchanged. On the plane: (1, 0), bit for bit ``ShrinkPerturb(1, 0)``.

    Attributes:
        keep_buffers: As in `ShrinkPerturb`; by default even a warm start begins with fresh BatchNorm
            statistics, as the authors' code does. The reproductions keep them.
    """

    keep_buffers: bool = False
    needs_parent: ClassVar[bool] = True

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Copy the parent's weights; nothing is drawn."""
        ShrinkPerturb(shrink=1.0, perturb=0.0, keep_buffers=self.keep_buffers).start(net, parent, draw)

    def columns(self, name: str) -> dict[str, Any]:
        return {**super().columns(name), "shrink": 1.0, "perturb": 0.0}


@setting
class ShrinkPerturb(Init, kind="shrink_perturb"):
    """Shrink the parent's weights towards zero and add noise.

    Every learnable parameter, BatchNorm's scale and shift and all biases included, becomes
    ``shrink * parent + perturb * fresh``, where fresh is the freshly initialised network of this round: each
    layer is disturbed on the scale of its own initialisation law. That is the authors' code. The paper's
    equation says ``shrink * parent + N(0, perturb**2)``, one scale for all layers: ``noise="gaussian"``.

    ``shrink=0, perturb=0`` sets all weights to zero, from where a network with hidden layers learns no more
    than how frequent the classes are; it is allowed, so that a grid of the two numbers can be written as one.

    Attributes:
        shrink: Factor on the parent's weights, in [0, 1]. The paper's lambda.
        perturb: Factor on the fresh weights, or the noise's standard deviation; at least 0. The paper's sigma.
        noise: ``"fresh"`` or ``"gaussian"``, see above.
        keep_buffers: Whether buffers (BatchNorm's running statistics and batch counters) are the parent's.
            By default they are those of the fresh network, as in the authors' code.

    Source:
        Ash & Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020, section 4; `shrink_perturb` in
        run.py of the authors' code, which applies it also before the first round; ours does not (DECISIONS.md).
    """

    shrink: Annotated[float, Field(ge=0, le=1)]
    perturb: Annotated[float, Field(ge=0)]
    noise: Literal["fresh", "gaussian"] = "fresh"
    keep_buffers: bool = False
    needs_parent: ClassVar[bool] = True

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Draw from `draw` only with Gaussian noise, in the order of the network's parameters."""
        import torch

        check_fits(net, parent)
        weights = dict(net.named_parameters())
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                if name in weights:
                    tensor.copy_(self._mix(parent[name], tensor, draw))
                elif self.keep_buffers:
                    tensor.copy_(parent[name])

    def _mix(self, old: Tensor, fresh: Tensor, draw: torch.Generator) -> Tensor:
        """Return the mixture of one tensor; a factor of 0 leaves its term out, so that (1, 0) is an exact copy."""
        import torch

        if self.perturb == 0:
            return self.shrink * old
        noise = fresh if self.noise == "fresh" else torch.randn(fresh.shape, generator=draw, dtype=fresh.dtype)
        return self.perturb * noise if self.shrink == 0 else self.shrink * old + self.perturb * noise

    def columns(self, name: str) -> dict[str, Any]:
        return {**super().columns(name), "shrink": self.shrink, "perturb": self.perturb}


def check_fits(net: nn.Module, parent: State) -> None:
    """Raise a ConfigError that names the first tensor, in the order of their names, in which `parent` does not fit."""
    fresh = net.state_dict()
    for name in sorted(fresh.keys() | parent.keys()):
        child_shape, parent_shape = (
            tuple(state[name].shape) if name in state else "absent" for state in (fresh, parent)
        )
        if child_shape != parent_shape:
            raise ConfigError(
                f"cannot start from this parent: {name} is {parent_shape} there and {child_shape} "
                f"in the new network. Give parent and child stage the same model and data set."
            )
