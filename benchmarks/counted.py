"""Counted: the supervised trainer with a line in a file for every epoch it ends, so that repeated work shows.

The numbers are those of `trainers.supervised`; only keys differ. The file, ``epochs`` in the data
root, is what two tools that are killed over one grid are compared by: neither of them writes it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from orchestrator import Stage
from orchestrator.seam import Checkpoint, Outcome, StageIO
from orchestrator.spec import setting
from sweeps.protocols import half_then_all
from trainers.stage_config import Supervised


@setting
class Counted(Supervised, kind="counted"):
    """`Supervised`, trained by `train` of this module."""

    trainer: ClassVar[str] = "benchmarks.counted:train"
    turns: ClassVar[str | None] = None  # or its stages would run by the turns of the plain trainer


class CountingIO:
    """A trainer's io that writes a line for every epoch, then does what the real one does."""

    def __init__(self, io: StageIO) -> None:
        self._io, self.data_root, self.device, self.cuda_graphs = io, io.data_root, io.device, io.cuda_graphs
        self.parent_state, self.load_checkpoint = io.parent_state, io.load_checkpoint

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """See `StageIO.end_epoch`."""
        if self.data_root is not None:
            note_epoch(self.data_root)
        self._io.end_epoch(row, checkpoint)


def note_epoch(folder: str) -> None:
    """Add one line to the file of epochs, in one call, so that no two processes' lines mix."""
    descriptor = os.open(Path(folder, "epochs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, b"1\n")
    finally:
        os.close(descriptor)


def epochs_trained(folder: Path) -> int:
    """How many epochs were trained with this data root, by whatever process."""
    file = folder / "epochs"
    return file.stat().st_size // 2 if file.exists() else 0


def train(config: Counted, io: StageIO) -> Outcome:
    """Train as `trainers.supervised.train` does."""
    from trainers import supervised

    return supervised.train(config, CountingIO(io))


@functools.wraps(half_then_all)
def counted_half_then_all(**settings: Any) -> list[Stage]:
    """The stages of `half_then_all`, counted."""
    return [counted(stage) for stage in half_then_all(**settings)]


def counted(stage: Stage) -> Stage:
    """`stage` and its ancestors with the trainer of this module."""
    config: Any = stage.config
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return Stage(Counted(**given), counted(stage.parent) if stage.parent else None)
