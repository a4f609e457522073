"""Shrunk: what a trained network is worth with smaller weights; no training, and no torch until it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.seam import Outcome, StageIO, Status
from orchestrator.spec import Spec, setting
from trainers.data import Data
from trainers.inits import ShrinkPerturb
from trainers.models import Model

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.seam import State
    from trainers.splits import Split

PIECE = 500  # most examples that BatchNorm's statistics are taken over at once; decides numbers


@setting
class Shrunk(Spec, kind="shrunk"):
    """Config of `measure`: a stage without epochs, whose parent is a trained stage of the same model and data set.

    Attributes:
        data: The data set, its split rule and normalisation.
        model: The network and its loss.
        seed: The trial's seed; decides which third is held out.
        round: How many times data had arrived before this stage, from 0.
        examples: Training examples that are measured, and that statistics are estimated on, from the front of
            the seed's order. A parent whose examples a network chose (`trainers.selection`) is refused.
        shrink: Factor on every learnable parameter, BatchNorm's and biases included, in [0, 1].
        statistics: BatchNorm's running means and variances: ``reestimated`` for the shrunk weights, by one pass
            over the training split; or ``frozen``, the parent's, which belong to weights that are no more.
            A network without BatchNorm has none, and both are the same.

    Class attributes:
        version: Of the numbers that `measure` gives; see `trainers.stage_config.Supervised`.

    Source:
        The paper, section 4, figure 6. Which statistics it used is not known; that shrinking spares a ResNet holds
        only with those of the shrunk weights, because frozen ones undo what BatchNorm compensates.
    """

    data: Data
    model: Model
    seed: Annotated[int, Field(ge=0)]
    round: Annotated[int, Field(ge=0)]
    examples: Annotated[int, Field(ge=1)]
    shrink: Annotated[float, Field(ge=0, le=1)]
    statistics: Literal["reestimated", "frozen"] = "reestimated"

    trainer: ClassVar[str] = "trainers.shrunk:measure"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.examples > self.data.fit_size:
            raise ConfigError(
                f"examples={self.examples}: {self.data} has {self.data.fit_size:,} training examples. Ask for fewer."
            )

    def stage_columns(self) -> dict[str, Any]:
        """The columns of the table `stages` that the config alone decides."""
        plain = {name: getattr(self, name) for name in ("seed", "round", "examples", "shrink")}
        plain["statistics"] = self.statistics if self.model.has_batch_norm else None
        start = {"init": self.kind, "perturb": 0.0, "fraction": self.examples / self.data.fit_size}
        return self.data.columns("data") | self.model.columns("model") | plain | start

    def work(self) -> float:
        """As much as one epoch, in the unit of `trainers.stage_config.Supervised`; it trains none."""
        return float(self.examples)


def measure(config: Shrunk, io: StageIO) -> Outcome:
    """Shrink the parent's network and measure it on both splits; nothing is trained and nothing drawn.

    Returns:
        No epochs, and no state: the weights are the parent's, and `ShrinkPerturb` makes them in a child.

    Raises:
        ConfigError: the stage has no parent, or one of another shape.
        DataError: the images are missing, or not the published ones.
    """
    import torch

    from trainers.device import prepare_device
    from trainers.evaluate import evaluate
    from trainers.splits import load_splits

    device = prepare_device(io.device)
    splits = load_splits(config.data, seed=config.seed, examples=config.examples, root=io.data_root, device=device)
    net = shrunk_network(config, io.parent_state()).to(device)
    if config.statistics == "reestimated":
        reestimate_statistics(net, splits.train)
    final: dict[str, float | None] = {}
    for name, split in (("train", splits.train), ("test", splits.test)):
        final[f"{name}_loss"], final[f"{name}_accuracy"] = evaluate(net, config.model.losses, split)
    diverged = None in final.values()
    if diverged:
        final = dict.fromkeys(final)
    return Outcome(
        status=Status.DIVERGED if diverged else Status.DONE,
        stop_reason="diverged" if diverged else "measured",
        epochs=[],
        metrics={"epochs": 0, "steps": 0, "examples_seen": 0, "train_seconds": 0.0, **final},
        state={},
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        versions={"torch_version": torch.__version__},
    )


def shrunk_network(config: Shrunk, parent: State | None) -> nn.Module:
    """Return the parent's network on the CPU, every learnable parameter times `shrink`, its buffers as they are.

    Raises:
        ConfigError: there is no parent, or it does not fit.
    """
    from trainers.checkpoints import to_tensors
    from trainers.seeds import stream

    if parent is None:
        raise ConfigError("Shrunk measures its parent's network, and there is none: give its Stage a parent.")
    draw = stream(config.seed, "weights", config.round)  # what is drawn is overwritten
    net = config.model.build(config.data.shape, config.data.classes, draw)
    ShrinkPerturb(shrink=config.shrink, perturb=0, keep_buffers=True).start(net, to_tensors(parent), draw)
    return net


def reestimate_statistics(net: nn.Module, images: Split) -> None:
    """Set BatchNorm's running statistics in `net` to their averages over the images, in one pass in training mode.

    The images go through in their order, in the fewest pieces of equal size, give or take one image, with at most
    PIECE each; every piece counts the same. A network without BatchNorm is left alone.
    """
    import torch
    from torch import nn

    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
    was_training = net.training
    net.train()
    with torch.no_grad():
        for index in torch.tensor_split(torch.arange(len(images), device=images.device), -(-len(images) // PIECE)):
            net(images.batch(index)[0])
    net.train(was_training)
