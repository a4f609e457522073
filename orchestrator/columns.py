"""Columns: every column of the store's tables with its type, unit and one sentence; the one place where they are told.

Files carry these words in their metadata; `warmgrid schema` and docs/results.md print them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["text", "integer", "number", "boolean", "time", "numbers"]
TableName = Literal["stages", "epochs", "cells"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: As users write it in SQL.
        type: text, integer (64 bits), number (64-bit float), boolean, time (microseconds, UTC), or numbers (a list).
        unit: What a value counts; "" where there is none. Every "fraction" lies in [0, 1].
        sentence: What a value means, for a reader who has only the file.
        nullable: Whether a row may leave it empty.
        later: Whether a row may leave it out, because there were trainers before there was the column.
    """

    name: str
    type: Type
    unit: str
    sentence: str
    nullable: bool = True
    later: bool = False


STAGES = (
    Column("key", "text", "", "Content address of the stage, 16 hex digits.", nullable=False),
    Column("parent", "text", "", "Key of the stage whose final weights it may start from; null without one."),
    Column("trainer", "text", "", "Dotted path of the function that executed it.", nullable=False),
    Column("version", "integer", "", "Version of the trainer's numerics.", nullable=False),
    Column("round", "integer", "", "How many times data had arrived before it, from 0.", nullable=False),
    Column("seed", "integer", "", "Seed of all its random streams.", nullable=False),
    Column("data", "text", "", "Kind of data set."),
    Column("data_text", "text", "", "The data set as it is written in a sweep."),
    Column("fraction", "number", "fraction", "Share of the training split that it was trained on."),
    Column("examples", "integer", "examples", "Training examples that it was trained on; each counts once."),
    Column("model", "text", "", "Kind of network."),
    Column("model_text", "text", "", "The network as it is written in a sweep."),
    Column("init", "text", "", "Kind of initialization: random_init, warm_start, shrink_perturb, ..."),
    Column("init_text", "text", "", "The initialization as it is written in a sweep."),
    Column("shrink", "number", "", "Factor on the parent's weights; null unless it shrinks them."),
    Column("perturb", "number", "", "Factor on the fresh weights that are added; null unless it adds them."),
    Column("optimizer", "text", "", "Kind of optimizer."),
    Column("optimizer_text", "text", "", "The optimizer as it is written in a sweep."),
    Column("lr", "number", "", "Learning rate."),
    Column("batch_size", "integer", "examples", "Examples in one step."),
    Column("weight_decay", "number", "", "Weight decay of the optimizer."),
    Column("regularizer", "text", "", "Kind of regularizer."),
    Column("regularizer_text", "text", "", "The regularizer as it is written in a sweep."),
    Column("regularizer_size", "number", "", "Factor on the regularizer's penalty."),
    Column("stop", "text", "", "Stopping rule as it is written in a sweep."),
    Column("selection", "text", "", "Kind of rule that chose its examples.", later=True),
    Column("selection_text", "text", "", "That rule as it is written in a sweep.", later=True),
    Column(
        "old_examples", "integer", "examples", "Examples that its parent had, where that is asked; else 0.", later=True
    ),
    Column("augmentation", "text", "", "Kind of augmentation.", later=True),
    Column("augmentation_text", "text", "", "The augmentation as it is written in a sweep.", later=True),
    Column("after_step", "text", "", "Kind of change to the weights after every step.", later=True),
    Column("after_step_text", "text", "", "That change as it is written in a sweep.", later=True),
    Column("precision", "text", "", "Rounding of products in its steps: fp32, tf32 or bf16.", later=True),
    Column("statistics", "text", "", "BatchNorm statistics of a network measured as it is.", later=True),
    Column("status", "text", "", "done, diverged (its loss became NaN or infinite) or failed.", nullable=False),
    Column("stop_reason", "text", "", "Which rule ended it; null if it failed."),
    Column("epochs", "integer", "epochs", "Passes over its training examples that were made."),
    Column("continued_from", "integer", "epochs", "Of them, made by a stage that ended on its way.", later=True),
    Column("steps", "integer", "steps", "Optimizer steps that were made."),
    Column("examples_seen", "integer", "examples", "Training examples processed, each as often as it was used."),
    Column("train_seconds", "number", "s", "Time spent on training alone, no evaluation; of a pack, its share."),
    Column("solo_step_seconds", "number", "s", "Time of one of its steps with its device to itself.", later=True),
    Column("wall_seconds", "number", "s", "Time from its start to its commit, all attempts that count together."),
    Column("train_accuracy", "number", "fraction", "Accuracy on the examples it was trained on, at its end."),
    Column("train_loss", "number", "nats", "Mean loss on the examples it was trained on, at its end."),
    Column("test_accuracy", "number", "fraction", "Accuracy on the held-out examples, at its end."),
    Column("test_loss", "number", "nats", "Mean loss on the held-out examples, at its end."),
    Column("weight_correlation", "number", "", "Pearson's r of its final and its starting weights.", later=True),
    Column("weights_digest", "text", "", "SHA-256 of the weights file, in hex; null if it failed."),
    Column("device", "text", "", "Device that trained it."),
    Column("host", "text", "", "Name of the machine that trained it."),
    Column("pack_size", "integer", "stages", "Stages that trained together in its process."),
    Column("attempts", "integer", "attempts", "Starts it took, 1 if nothing went wrong.", nullable=False),
    Column("started_at", "time", "UTC", "When its first attempt started."),
    Column("finished_at", "time", "UTC", "When it was committed, or failed."),
    Column("torch_version", "text", "", "Version of torch that trained it."),
    Column("warmgrid_version", "text", "", "Version of warmgrid that wrote the row.", nullable=False),
    Column("error", "text", "", "Last line of the traceback; null unless it failed."),
    Column("config", "text", "", "The whole config, canonical JSON; with the parent's key it decides the key."),
)
EPOCHS = (
    Column("key", "text", "", "Key of the stage.", nullable=False),
    Column("epoch", "integer", "epochs", "Number of the epoch, from 1.", nullable=False),
    Column("train_loss", "number", "nats", "Mean loss on the training examples in this epoch."),
    Column("train_accuracy", "number", "fraction", "Accuracy on the training examples in this epoch."),
    Column("test_loss", "number", "nats", "Mean loss on the held-out examples after this epoch."),
    Column("test_accuracy", "number", "fraction", "Accuracy on the held-out examples after this epoch."),
    Column("train_seconds", "number", "s", "Training time so far, without evaluation and checkpoints.", nullable=False),
    Column("steps", "integer", "steps", "Optimizer steps so far.", nullable=False),
    Column("examples", "integer", "examples", "Training examples processed so far.", nullable=False),
    Column("measured_steps", "numbers", "steps", "Steps of this epoch whose gradients were measured.", later=True),
    Column("old_gradient_norms", "numbers", "", "There: L2 norm of the old examples' mean gradient.", later=True),
    Column("new_gradient_norms", "numbers", "", "There: L2 norm of the new examples' mean gradient.", later=True),
)
CELLS = (
    Column("sweep", "text", "", "Name of the sweep.", nullable=False),
    Column("seed", "integer", "", "Seed of the trial.", nullable=False),
    Column("round", "integer", "", "Round of the trial that is reported, from 0.", nullable=False),
    Column("key", "text", "", "Key of the stage whose result is reported.", nullable=False),
)
DERIVED = (
    Column("solo_seconds", "number", "s", "steps times solo_step_seconds: its training as if its device were its own."),
)
"""What the view `results` has beside the columns of `cells` and `stages`."""
TABLES: dict[str, tuple[Column, ...]] = {"stages": STAGES, "epochs": EPOCHS, "cells": CELLS}
TABLE_SENTENCES = {
    "results": "One row for each cell, seed and reported round of a sweep that is committed or failed: `cells` joined "
    "with `stages`. Settings are the cell's, and everything else is its stage's.",
    "stages": "One row for each stage that is committed, or whose last attempt failed.",
    "epochs": "One row for each epoch of each committed stage.",
    "cells": "One row for each cell, seed and reported round that was asked for: which stage it is.",
}
AXES_SENTENCE = (
    "`cells` and `results` also have a column for each axis of the store's sweeps, null in sweeps without it; in "
    "`results` an axis that is called as a measurement is, such as epochs, is axis_epochs."
)
TYPES: dict[Type, tuple[str, str]] = {
    "text": ("VARCHAR", "string"),
    "integer": ("BIGINT", "int64"),
    "number": ("DOUBLE", "float64"),
    "boolean": ("BOOLEAN", "bool"),
    "time": ("TIMESTAMP WITH TIME ZONE", "timestamp in microseconds, UTC"),
    "numbers": ("DOUBLE[]", "list of float64"),
}
"""What each type is in SQL, and in Parquet's files as Arrow reads them."""
STATUSES = ("done", "diverged", "failed")

# What a cell decides; in the view `results` these are the cell's, and everything else is the stage's.
SETTINGS = (
    *("data", "data_text", "model", "model_text", "init", "init_text", "shrink", "perturb"),
    *("optimizer", "optimizer_text", "lr", "batch_size", "weight_decay"),
    *("regularizer", "regularizer_text", "regularizer_size", "seed", "round"),
    *("selection", "selection_text", "augmentation", "augmentation_text", "after_step", "after_step_text"),
    *("statistics", "precision"),
)


def names(name: TableName) -> tuple[str, ...]:
    """Names of the columns of a table, in order; of `cells` those that every sweep has."""
    return tuple(column.name for column in TABLES[name])


def results_columns() -> tuple[Column, ...]:
    """Columns of the view `results` without the sweeps' own axes: the cell's, its settings, what its stage measured."""
    known = {column.name: column for column in (*STAGES, *CELLS, *DERIVED)}
    fixed = ("sweep", "seed", "round")
    measured = (column.name for column in STAGES if column.name not in (*SETTINGS, "key"))
    derived = (column.name for column in DERIVED)
    chosen = (*fixed, *(name for name in SETTINGS if name not in fixed), "key", *measured, *derived)
    return tuple(known[name] for name in chosen)
