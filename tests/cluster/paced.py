"""A made-up trainer whose epochs take as long as the environment says; what comes out does not depend on it. No test.

It takes time without taking a core, so that many nodes fit on one machine.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from orchestrator import Stage
from orchestrator.seam import Checkpoint, Outcome, StageIO
from orchestrator.spec import setting
from tests.orchestrator import fake_trainer

PACE = "WARMGRID_TEST_EPOCH_S"  # seconds that an epoch takes, in the environment of whoever trains
DIARY = "WARMGRID_TEST_DIARY"  # file to which whoever trains adds when and where it begins and ends a stage


@setting
class PacedWalk(fake_trainer.Walk, kind="paced_walk"):
    """The made walk, at a walking pace."""

    epochs: int = 12

    trainer: ClassVar[str] = "tests.cluster.paced:train"


def two_rounds(lr: float, seed: int) -> list[Stage]:
    """A walk that goes on from where another one ended; all values of `lr` share that one."""
    first = Stage(PacedWalk(lr=0.5, seed=seed))
    return [Stage(PacedWalk(lr=lr, seed=seed, round=1, start="parent"), first)]


@dataclass(frozen=True)
class Paced:
    """A stage's io that lets every epoch take its time before it ends."""

    io: StageIO
    epoch_s: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.io, name)

    def end_epoch(self, row: dict[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        time.sleep(self.epoch_s)
        self.io.end_epoch(row, checkpoint)


def train(config: PacedWalk, io: StageIO) -> Outcome:
    """Walk as `fake_trainer.train` does, and keep a diary."""
    note("begins", config)
    outcome = fake_trainer.train(config, Paced(io, float(os.environ.get(PACE, "0"))))
    note("ends", config)
    return outcome


def note(what: str, config: PacedWalk) -> None:
    """Add a line to the diary."""
    if path := os.environ.get(DIARY):
        stage = f"{config.lr}/{config.round}/{config.seed}"
        with Path(path).open("a") as file:
            file.write(f"{time.time():.3f} {what} {stage} {socket.gethostname()}\n")


def read_diary(path: Path) -> list[tuple[float, str, str, str]]:
    """When what happened to which stage on which machine."""
    return [(float(when), *rest) for when, *rest in map(str.split, path.read_text().splitlines())]
