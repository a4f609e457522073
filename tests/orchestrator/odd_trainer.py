"""A trainer that does whatever a test puts in its place, behind the real seam; no test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from orchestrator import Stage
from orchestrator.seam import StageIO
from orchestrator.spec import setting
from orchestrator.store import Store
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import Walk, epoch_row, outcome_of, run

OUTCOME = outcome_of([epoch_row(1, 0.5)], {"x": np.zeros(3)}, diverged=False)
ACTS: dict[str, Callable[[StageIO], Any]] = {}


@setting
class Odd(Walk, kind="made_odd"):
    """Its trainer does what ACTS says under `act`."""

    act: str = "now"

    trainer: ClassVar[str] = "tests.orchestrator.odd_trainer:train"


def train(config: Odd, io: StageIO) -> Any:
    """Whatever the test has put into ACTS."""
    return ACTS[config.act](io)


def run_odd(store: Store, act: Callable[[StageIO], Any], **options: Any) -> Report:
    """Run a stage whose trainer is `act`."""
    ACTS["now"] = act
    return run(Stage(Odd()), store, **options)
