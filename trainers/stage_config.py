"""Supervised: everything that decides the result of one stage; loads no torch, so plans are instant."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting
from trainers.data import Data
from trainers.inits import Init
from trainers.models import Model
from trainers.optimizers import SGD, Optimizer
from trainers.regularizers import NoRegularizer, Regularizer
from trainers.stopping import Stop


@setting
class Supervised(Spec, kind="supervised"):
    """Config of `trainers.supervised.train`.

    Attributes:
        data: The data set, its split rule and normalisation.
        model: The network and its loss.
        init: Where the starting weights come from.
        stop: When the stage has converged.
        seed: The trial's seed; names every stream, and decides which third is held out.
        round: How many times data had arrived before this stage, from 0. Part of the streams:
            without it, the fresh weights that ShrinkPerturb adds would be the very weights
            its parent had started from.
        examples: How many training examples, from the front of the seed's order.
        lr: Step size of the optimizer, constant.
        batch_size: Examples per step; the last batch of an epoch may be smaller, or larger by one
            (`trainers.supervised.split_batches`).
        optimizer: Update rule; always a fresh one, no state is inherited from the parent.
        regularizer: What is added to the loss.
        evaluate_every: Epochs between two measurements of the test split; 0 for the end alone,
            where it is always measured. Changes no weights, but which rows have test values.

    Class attributes:
        version: Of the numbers that `train` gives. Raise it whenever the same config gives others;
            every stage then has a new key and is trained again.
    """

    data: Data
    model: Model
    init: Init
    stop: Stop
    seed: Annotated[int, Field(ge=0)]
    round: Annotated[int, Field(ge=0)]
    examples: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=1)]
    optimizer: Optimizer = SGD()
    regularizer: Regularizer = NoRegularizer()
    evaluate_every: Annotated[int, Field(ge=0)] = 1

    trainer: ClassVar[str] = "trainers.supervised:train"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.examples > self.data.fit_size:
            raise ConfigError(
                f"examples={self.examples}: {self.data} has {self.data.fit_size:,} training examples. Ask for fewer."
            )

    def stage_columns(self) -> dict[str, Any]:
        """The columns of the table `stages` that the config alone decides."""
        columns: dict[str, Any] = {}
        for name in ("data", "model", "init", "optimizer", "regularizer"):
            columns |= getattr(self, name).columns(name)
        plain = {name: getattr(self, name) for name in ("seed", "round", "examples", "lr", "batch_size")}
        return columns | plain | {"fraction": self.examples / self.data.fit_size, "stop": str(self.stop)}

    def work(self) -> float:
        """Rough cost in arbitrary units: the examples of the most epochs there can be, whatever the network."""
        return float(self.examples * self.stop.most_epochs)
