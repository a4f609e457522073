"""First step: seconds from ``warmgrid launch`` to the end of a worker's first training step, Ray's start included."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.overhead import Failed, fresh_folder, measured
from orchestrator import Stage
from orchestrator.spec import setting
from sweeps.protocols import half_then_all
from trainers.stage_config import Supervised

if TYPE_CHECKING:
    from orchestrator.seam import Checkpoint, Outcome, StageIO

MARK = "first-step"
SWEEP_FILE = """
from benchmarks.first_step import marked
from orchestrator import Sweep
from trainers.data import Digits
from trainers.inits import RandomInit
from trainers.models import MLP
from trainers.optimizers import Adam
from trainers.stopping import Epochs

sweep = Sweep("first steps", {
    "data": [Digits(limit=60)], "model": [MLP()], "init": [RandomInit()], "optimizer": [Adam()], "lr": [0.001, 0.01],
    "batch_size": [40], "stop": [Epochs(1)],
}, marked, [0])
"""


@setting
class FirstStep(Supervised, kind="benchmark_first_step"):
    """`Supervised`, trained by `train` of this module."""

    trainer: ClassVar[str] = "benchmarks.first_step:train"
    turns: ClassVar[str | None] = None


class MarkingIO:
    """A trainer's io that notes the time of the first epoch's end, then does what the real one does."""

    def __init__(self, io: StageIO) -> None:
        self.data_root, self.device = io.data_root, io.device
        self.cuda_graphs = io.cuda_graphs
        self.parent_state, self.load_checkpoint, self._end_epoch = io.parent_state, io.load_checkpoint, io.end_epoch

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """See `StageIO.end_epoch`; of all processes the first one's time is kept."""
        with contextlib.suppress(FileExistsError), (Path(self.data_root or ".") / MARK).open("x") as file:
            file.write(str(time.time()))
        self._end_epoch(row, checkpoint)


def train(config: FirstStep, io: StageIO) -> Outcome:
    """Train as `trainers.supervised.train` does."""
    from trainers import supervised

    return supervised.train(config, MarkingIO(io))


@functools.wraps(half_then_all)
def marked(**settings: Any) -> list[Stage]:
    """The stage of `half_then_all` from a random init, marked: one epoch of one step."""
    (stage,) = half_then_all(**settings)
    config: Any = stage.config
    return [Stage(FirstStep(**{one.name: getattr(config, one.name) for one in dataclasses.fields(config)}))]


def first_step_seconds(backend: str = "ray") -> float:
    """Of a launch into a new store, in a process of its own.

    Raises:
        Failed: it did not come to its first step.
    """
    with fresh_folder() as folder:
        sweep, store = folder / "steps.py", folder / "store"
        sweep.write_text(SWEEP_FILE)
        began = time.time()
        command = ["-m", "orchestrator.cli", "launch", str(sweep), "--store", str(store), "--data-root", str(folder)]
        command += ["--backend", backend]
        measured("first step", 2, command, store)
        if not (mark := folder / MARK).exists():
            raise Failed("no stage ended its first epoch")
        return float(mark.read_text()) - began
