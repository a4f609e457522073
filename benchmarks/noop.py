"""A stage that trains nothing, for measuring what stands around training; a trainer, and the sweep of n such stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator import Stage
from orchestrator.seam import Checkpoint, Outcome, Status
from orchestrator.spec import Spec, setting

if TYPE_CHECKING:
    from orchestrator.seam import StageIO

SWEEP_FILE = """
from benchmarks.noop import one
from orchestrator import Sweep

sweep = Sweep("no-op stages", {{"number": list(range({n}))}}, one, [0])
"""


@setting
class NoData(Spec, kind="benchmark_no_data"):
    """A data set of nothing."""

    def check(self, data_root: str | None) -> None:
        """Nothing can be missing."""


@setting
class Noop(Spec, kind="benchmark_noop"):
    """Config of a stage that trains nothing; `number` tells one from another."""

    number: int
    seed: int = 0
    round: int = 0
    data: NoData = NoData()

    trainer: ClassVar[str] = "benchmarks.noop:train"
    version: ClassVar[int] = 1

    def stage_columns(self) -> dict[str, Any]:
        """What real configs say of themselves, made up."""
        texts = {f"{name}_text": "none" for name in ("data", "model", "init", "optimizer", "regularizer")}
        return {**texts, "seed": self.seed, "round": self.round, "examples": 1, "lr": 0.1, "stop": "Epochs(1)"}

    def work(self) -> float:
        """All alike."""
        return 1.0


def one(number: int, seed: int) -> list[Stage]:
    """Protocol of one stage a cell."""
    return [Stage(Noop(number, seed=seed))]


def train(config: Noop, io: StageIO) -> Outcome:
    """Give back an epoch that never was, and weights of 16 numbers."""
    import numpy as np

    measured = {"train_loss": 0.0, "test_loss": 0.0, "test_accuracy": 1.0, "train_seconds": 0.0, "steps": 1}
    row = {"epoch": 1, "train_accuracy": 1.0, "examples": 1, **measured}
    metrics = {"epochs": 1, "examples_seen": 1, **measured}
    state = {"weight": np.full(16, config.number, np.float32)}
    io.end_epoch(row, lambda: Checkpoint(state, {}))
    return Outcome(Status.DONE, "epochs", [row], metrics, state, "cpu")


@setting
class Nap(Noop, kind="benchmark_nap"):
    """Config of a stage that sleeps, for as long as `seconds` says."""

    seconds: float = 0.0

    trainer: ClassVar[str] = "benchmarks.noop:nap"

    def stage_columns(self) -> dict[str, Any]:
        """As of a stage that trains nothing."""
        return super().stage_columns()


def nap(config: Nap, io: StageIO) -> Outcome:
    """Read what a real stage reads, sleep, and give back what `train` does."""
    import time

    io.parent_state()
    time.sleep(config.seconds)
    return train(config, io)
