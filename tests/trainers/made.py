"""Stages of a second and their world in memory, for the tests of the trainer page. Not a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.errors import InterruptedStage
from orchestrator.seam import Checkpoint, Outcome
from orchestrator.tensors import open_checkpoint, seal_checkpoint
from trainers import examples, supervised
from trainers.checkpoints import to_arrays
from trainers.data import Digits
from trainers.inits import RandomInit
from trainers.models import MLP
from trainers.splits import Splits, load_splits
from trainers.stage_config import Supervised
from trainers.stopping import Epochs
from trainers.supervised import split_batches, train

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from orchestrator.seam import State

FIRST = Supervised(  # 30 of 60 real digits are fitted in 4 steps, the last of which has 6 examples
    data=Digits(limit=90),
    model=MLP(width=8),
    init=RandomInit(),
    stop=Epochs(3),
    seed=3,
    round=0,
    examples=30,
    lr=0.1,
    batch_size=8,
)


TIMES = ("train_seconds", "solo_step_seconds")


class MemoryIO:
    """A `StageIO` in memory.

    Attributes:
        rows: What the page reported, epoch by epoch.
        saved: The checkpoint after each epoch, as the store's bytes; a stage resumes from the last.
    """

    data_root = None
    cuda_graphs = False

    def __init__(self, parent: State | None = None, saved: Sequence[bytes] = (), device: str = "cpu") -> None:
        self.parent, self.device = parent, device
        self.saved, self.rows = list(saved), list[dict[str, Any]]()

    def parent_state(self) -> State | None:
        return self.parent

    def load_checkpoint(self) -> Checkpoint | None:
        return open_checkpoint(self.saved[-1]) if self.saved else None

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        self.rows.append(dict(row))
        self.saved.append(seal_checkpoint(checkpoint()))


class TakenAwayIO(MemoryIO):
    """A machine that is taken away after `epoch`."""

    epoch = 0

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        super().end_epoch(row, checkpoint)
        if row["epoch"] == self.epoch:
            raise InterruptedStage(f"after epoch {self.epoch}")


def second(config: Supervised = FIRST, **changes: Any) -> Supervised:
    """The next round of `config`, on all 60 examples to fit, unless `changes` say otherwise."""
    return dataclasses.replace(config, **{"round": config.round + 1, "examples": config.data.fit_size, **changes})


def run(config: Supervised, parent: State | None = None, **options: Any) -> Outcome:
    """Train `config` in one go."""
    return train(config, MemoryIO(parent, **options))


def without_times(outcome: Outcome) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and metrics without what differs between two runs of one stage."""
    timed = [*outcome.epochs, outcome.metrics]
    *rows, metrics = ({name: v for name, v in each.items() if name not in TIMES} for each in timed)
    return rows, metrics


def same_bits(state: State, other: State) -> bool:
    """Whether both hold the same names, shapes, types and bytes."""
    return state.keys() == other.keys() and all(same_array(state[name], other[name]) for name in state)


def same_array(array: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether both are equal byte for byte; NaN equals itself, and 0 differs from -0."""
    return (array.shape, array.dtype, array.tobytes()) == (other.shape, other.dtype, other.tobytes())


@dataclasses.dataclass
class Seen:
    """What one run of the page worked with.

    Attributes:
        splits: Its images.
        start: State of the network when its optimizer was made.
        memory: What the optimizer remembered then, by weight.
        orders: Positions in the order of training, epoch by epoch.
        outcome: What the page returned.
    """

    splits: Splits
    start: State
    memory: dict[Any, Any]
    orders: list[list[int]]
    outcome: Outcome


def watched(config: Supervised, parent: State | None = None, **options: Any) -> Seen:
    """Train `config`, and look on."""
    seen: dict[str, Any] = {"orders": []}
    kind = type(config.optimizer)
    build = kind.build

    def load_watched(*args: Any, **kwargs: Any) -> Splits:
        seen["splits"] = load_splits(*args, **kwargs)
        return seen["splits"]

    def split_watched(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        seen["orders"].append(order.tolist())
        return split_batches(order, batch_size)

    def build_watched(self: Any, net: nn.Module, *rest: float) -> torch.optim.Optimizer:
        rule: torch.optim.Optimizer = build(self, net, *rest)
        seen.update(start=to_arrays(net.state_dict()), memory=dict(rule.state))
        return rule

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "load_splits", load_watched)
        patch.setattr(supervised, "split_batches", split_watched)
        patch.setattr(kind, "build", build_watched)
        outcome = run(config, parent, **options)
        return Seen(**seen, outcome=outcome)
