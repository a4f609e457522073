"""A trainer that needs a part of a GPU, and says what it was given; Ray counts GPUs that are not there. No test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from orchestrator import Stage
from orchestrator.seam import Outcome, StageIO
from orchestrator.spec import setting
from tests.orchestrator import odd_trainer
from tests.orchestrator.fake_trainer import Walk


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


@setting
class Card(Walk, kind="made_card"):
    """Needs this part of a GPU; 0 for none, which it then is not given either."""

    needs: float = 0.0

    trainer: ClassVar[str] = "tests.orchestrator.card_trainer:train"

    def cpu_only(self) -> bool:
        return self.needs == 0

    def stage_columns(self) -> dict[str, Any]:
        """The more it needs, the larger its batch."""
        return {**Walk.stage_columns(self), "batch_size": 1 + int(100 * self.needs)}


def on_card(needs: float, seed: int) -> list[Stage]:
    """One stage that needs so much."""
    return [Stage(Card(needs=needs, seed=seed))]


def train(config: Card, io: StageIO) -> Outcome:
    """Write what it needs, has and sees into the lab; fail for want of memory if it has less than it needs."""
    import ray

    has = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
    with Path(str(io.data_root), "cards").open("a") as file:
        file.write(f"{config.needs} {has} {os.environ.get('CUDA_VISIBLE_DEVICES', 'all') or 'none'}\n")
    if has < config.needs:
        raise OutOfMemoryError("CUDA out of memory")
    return odd_trainer.OUTCOME
