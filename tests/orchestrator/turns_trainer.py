"""A trainer that gives way, by the walks of `tests.orchestrator.fake_trainer`, and says whose turn it was; no test."""

from __future__ import annotations

import logging
from typing import ClassVar

from orchestrator import Stage
from orchestrator.seam import Outcome, StageIO, Turns
from orchestrator.spec import setting
from tests.orchestrator import fake_trainer
from tests.orchestrator.fake_trainer import Walk

taken: list[tuple[int, int]] = []
"""Seed and epoch of every turn in this process, in order; a test empties it."""


@setting
class Stroll(Walk, kind="made_stroll"):
    """A walk by turns, an epoch each."""

    trainer: ClassVar[str] = "tests.orchestrator.turns_trainer:train"
    turns: ClassVar[str | None] = "tests.orchestrator.turns_trainer:turns"


def turns(config: Stroll, io: StageIO) -> Turns:
    """Walk; give way after every epoch, and say so in the log."""
    outcome: Outcome = yield from fake_trainer.turns(config, io, after_epoch)
    return outcome


def after_epoch(config: Walk, epoch: int) -> None:
    """Keep whose turn it was."""
    taken.append((config.seed, epoch))
    logging.getLogger("some.library").warning("seed %d, epoch %d", config.seed, epoch)


def train(config: Stroll, io: StageIO) -> Outcome:
    """The same without giving way."""
    return fake_trainer.all_at_once(turns(config, io))


def one(lr: float, seed: int) -> list[Stage]:
    """Protocol of one stage a cell."""
    return [Stage(Stroll(lr=lr, seed=seed))]
