"""Inits: where a stage's starting weights come from; not the fresh network itself, which models.py builds.

To add one, add one final subclass of `Init` here.
"""

from __future__ import annotations

import abc
from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    State = dict[str, torch.Tensor]

SHORTCUT = "shortcut"  # where networks.BasicBlock keeps the projection that runs beside its two convolutions


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

    def check_layers(self, layers: int) -> None:
        """Make sure, before anything is trained, that a network of so many layers can be started.

        Raises:
            ConfigError: it cannot.
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


@setting
class PartialWarmStart(Init, kind="partial_warm_start"):
    """Start some layers from the parent's weights, unchanged, and all others from fresh ones.

    A layer is what `layers_of` says: a ResNet18 has 18 of them, an MLP one more than it has hidden layers.
    With all of them it is `WarmStart` under another name; with none it would be `RandomInit`. It does not
    lie on the plane.

    Attributes:
        layers: How many layers start warm, at least 1.
        part: Which: the ``"first"``, from the images on, or the ``"last"``, up to the logits.
        keep_buffers: Whether the warm layers have the parent's BatchNorm statistics too; see `WarmStart`.

    Source:
        The first version of Ash & Adams (arXiv 1910.08475v1, 2019), which starts only the first layers, or
        only the last one, warm. Its exact layers are not known, nor whether statistics were kept.
    """

    layers: Annotated[int, Field(ge=1)]
    part: Literal["first", "last"] = "first"
    keep_buffers: bool = False
    needs_parent: ClassVar[bool] = True

    def check_layers(self, layers: int) -> None:
        if self.layers > layers:
            raise ConfigError(f"{self}: this network has {layers} layers. Start at most that many warm.")

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Copy the warm layers; nothing is drawn.

        Raises:
            ConfigError: As `Init.start`, or `net` has fewer layers than are asked for.
        """
        check_fits(net, parent)
        layers = layers_of(net)
        self.check_layers(len(layers))
        warm = layers[: self.layers] if self.part == "first" else layers[-self.layers :]
        names = set(chain.from_iterable(warm))
        copy_into(net, parent, names if self.keep_buffers else names & weights_of(net))


@setting
class ShrinkLastLayer(Init, kind="shrink_last_layer"):
    """Start all layers warm, and shrink and perturb the last one alone.

    The weights of the last layer (biases included) become ``shrink * parent + perturb * fresh``, as in
    `ShrinkPerturb`, all others are the parent's. At (1, 0) it is `WarmStart` under another name. It does not
    lie on the plane, whose two numbers hold for all layers.

    Attributes:
        shrink: Factor on the parent's last layer, in [0, 1].
        perturb: Factor on the fresh last layer, at least 0.
        keep_buffers: As in `ShrinkPerturb`.

    Source:
        Ash & Adams, NeurIPS 2020, appendix, where shrinking the last layer alone does not close the gap. Its
        noise is not known; ``perturb=0`` is the plain reading.
    """

    shrink: Annotated[float, Field(ge=0, le=1)]
    perturb: Annotated[float, Field(ge=0)]
    keep_buffers: bool = False
    needs_parent: ClassVar[bool] = True

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Mix all layers, then copy all but the last one; nothing is drawn."""
        ShrinkPerturb(self.shrink, self.perturb, keep_buffers=self.keep_buffers).start(net, parent, draw)
        copy_into(net, parent, weights_of(net) - set(layers_of(net)[-1]))


@setting
class NewHead(Init, kind="new_head"):
    """Start all layers but the last one, the head, by another init; the head stays fresh.

    So a network can start from one that was trained for other classes: the parent's head is not read, and may
    have any shape or none. On the plane it lies where the inner init lies, which says nothing of the head. A
    network that is one layer, such as `Logistic`, is all head: then nothing of the parent is left.

    Attributes:
        init: Of all other layers. One that needs a parent; all else is that init itself.

    Source:
        Ash & Adams, NeurIPS 2020, section 4.2, trains on one data set and then on another with another number
        of classes; that its last layer is drawn anew is how a reproduction reads it.
    """

    init: Init
    needs_parent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.init, NewHead) or not self.init.needs_parent:
            raise ConfigError(f"{self}: the head is fresh already with {self.init}. Write that alone.")

    def start(self, net: nn.Module, parent: State, draw: torch.Generator) -> None:
        """Let the inner init see the fresh head as the parent's; what it makes of that is put back."""
        fresh = {name: tensor.clone() for name, tensor in net.state_dict().items() if name in layers_of(net)[-1]}
        self.init.start(net, parent | fresh, draw)
        copy_into(net, fresh, fresh)

    def columns(self, name: str) -> dict[str, Any]:
        place = self.init.columns(name)
        return {**super().columns(name), "shrink": place["shrink"], "perturb": place["perturb"]}


def on_the_plane(shrink: float, perturb: float) -> Init:
    """Return the plainest init at that place of the plane ``shrink * parent + perturb * fresh``.

    So a heat map's corners (0, 1) and (1, 0) are the random init and the warm start of other sweeps, which are
    the same networks bit for bit, and share their stages.

    Raises:
        ConfigError: a factor is out of range; see `ShrinkPerturb`.
    """
    inner = ShrinkPerturb(shrink, perturb)
    corners: dict[tuple[float, float], Init] = {(0.0, 1.0): RandomInit(), (1.0, 0.0): WarmStart()}
    return corners.get((inner.shrink, inner.perturb), inner)


def layers_of(net: nn.Module) -> list[list[str]]:
    """Return the names in ``net.state_dict()`` of each layer's tensors, from the images to the logits.

    A layer is a Conv2d or Linear together with the BatchNorm that follows it. The 1x1 projection on a shortcut
    belongs to the layer that it is added to, the block's second convolution, so that a ResNet-18 has 18 layers:
    stem, 16 convolutions and head.
    """
    from torch import nn

    layers: list[list[str]] = []
    for path, module in net.named_modules():
        tensors = [*module.named_parameters(path, recurse=False), *module.named_buffers(path, recurse=False)]
        if isinstance(module, nn.Conv2d | nn.Linear) and SHORTCUT not in path.split("."):
            layers.append([])
        if tensors:
            layers[-1] += [name for name, _ in tensors]
    return layers


def weights_of(net: nn.Module) -> set[str]:
    """Return the names of all learnable tensors, as in ``net.state_dict()``."""
    return {name for name, _ in net.named_parameters()}


def copy_into(net: nn.Module, state: State, names: Collection[str]) -> None:
    """Overwrite the tensors `names` of `net` with those of `state`."""
    import torch

    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name in names:
                tensor.copy_(state[name])


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
