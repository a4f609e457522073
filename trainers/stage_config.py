"""Supervised: everything that decides the result of one stage; loads no torch, so plans are instant."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, field_later, setting
from trainers.after_step import AfterStep, NoChange
from trainers.augmentation import Augmentation, NoAugmentation
from trainers.data import Data
from trainers.inits import Init
from trainers.models import Model
from trainers.optimizers import SGD, Optimizer
from trainers.precision import Precision
from trainers.regularizers import NoRegularizer, Regularizer
from trainers.selection import InOrder, Selection
from trainers.stopping import Epochs, Stop


@setting
class Supervised(Spec, kind="supervised"):
    """Config of `trainers.supervised.train`, and of `turns` there.

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
        old_examples: How many of the examples, from the front, the parent had been trained on; 0 where nothing
            of this stage depends on it.
        selection: Which examples the stage adds to its parent's.
        augmentation: How images are changed each time they are trained on; they are evaluated as they are.
        after_step: What is done to the weights after every step.
        gradient_norms_every: Steps between two measurements of the gradient norms of old and of new examples;
            0 for none. Changes no weights, but which rows have norms, and `train_seconds`, which counts them.
        precision: To how many digits the products of a step, and of evaluations, are rounded; weights and all
            that is stored stay float32 (`trainers.precision`). tf32 needs a card that has it.

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
    old_examples: Annotated[int, Field(ge=0)] = field_later(0)
    selection: Selection = field_later(InOrder())
    augmentation: Augmentation = field_later(NoAugmentation())
    after_step: AfterStep = field_later(NoChange())
    gradient_norms_every: Annotated[int, Field(ge=0)] = field_later(0)
    precision: Precision = field_later("fp32")

    trainer: ClassVar[str] = "trainers.supervised:train"
    turns: ClassVar[str] = "trainers.supervised:turns"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.examples > self.data.fit_size:
            raise ConfigError(
                f"examples={self.examples}: {self.data} has {self.data.fit_size:,} training examples. Ask for fewer."
            )
        if self.old_examples > self.examples:
            raise ConfigError(f"old_examples={self.old_examples}: the stage has {self.examples:,} examples in all.")
        if self.model.layers is not None:
            self.init.check_layers(self.model.layers)
        asks = {"selection": self.selection.needs_parent, "regularizer": self.regularizer.needs_parent}
        asks["gradient_norms_every"] = self.gradient_norms_every > 0
        for name, needs in asks.items():
            if needs and not self.old_examples:
                raise ConfigError(
                    f"{name}={getattr(self, name)} asks which examples are old, and old_examples is 0. Give how many "
                    f"its parent was trained on."
                )

    @property
    def needs_parent(self) -> bool:
        """Whether the stage reads its parent's final state."""
        return self.init.needs_parent or self.selection.needs_parent or self.regularizer.needs_parent

    def trajectory(self) -> tuple[Supervised, int] | None:
        """What stages share that pass through the same states, and the epochs of this one; None if they are unknown.

        A number of epochs decides nothing before it is reached: the state after 5 epochs is the same on the way to
        10 as on the way to 350.
        """
        if not isinstance(self.stop, Epochs):
            return None
        return dataclasses.replace(self, stop=Epochs(1)), self.stop.n

    def stage_columns(self) -> dict[str, Any]:
        """The columns of the table `stages` that the config alone decides."""
        columns: dict[str, Any] = {}
        for name in ("data", "model", "init", "optimizer", "regularizer", "selection", "augmentation", "after_step"):
            columns |= getattr(self, name).columns(name)
        plain = {
            name: getattr(self, name)
            for name in ("seed", "round", "examples", "lr", "batch_size", "old_examples", "precision")
        }
        return columns | plain | {"fraction": self.examples / self.data.fit_size, "stop": str(self.stop)}

    def work(self) -> float:
        """Rough cost in arbitrary units: the examples of the most epochs there can be, whatever the network."""
        return float(self.examples * self.stop.most_epochs)
