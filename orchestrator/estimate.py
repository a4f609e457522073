"""Estimate: what stages will cost, from what the store measured of ones like them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from orchestrator.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

# From the most to the least alike; the first tier with a measured stage decides.
TIERS: tuple[tuple[str, ...], ...] = (
    ("data_text", "model_text", "init_text", "optimizer_text", "regularizer_text", "stop", "lr", "batch_size", "round"),
    ("data_text", "model_text", "optimizer_text", "regularizer_text", "stop", "lr", "batch_size"),
    ("data_text", "model_text", "optimizer_text", "stop", "batch_size"),
    ("data_text", "model_text", "stop"),
    ("model_text", "stop"),
    ("data_text", "model_text"),
    ("model_text",),
)
MEASURED = ("wall_seconds", "examples", "epochs", "continued_from", "status", "stop_reason")
READ = sorted({*MEASURED, *(name for tier in TIERS for name in tier)})
NOT_CONVERGED = ("cap", "epochs", "diverged")  # these ends say nothing of how long another stage trains


@dataclass
class Alike:
    """What was measured of stages that are alike.

    Attributes:
        rates: Wall seconds per example and epoch, one per stage.
        epochs: Epochs of those that say something of the epochs to come.
    """

    rates: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)

    def seconds(self, examples: float, most: float, *, is_fixed: bool = False) -> float:
        """Expected seconds of a stage.

        Args:
            most: Its examples times the most epochs that it may train.
            is_fixed: Whether it trains for that many, whatever the stages did from which rates are taken.
        """
        likely = examples * self._usual_epochs if self.epochs and not is_fixed else most
        return self._usual_rate * min(likely, most)

    @cached_property
    def _usual_rate(self) -> float:
        """Taken once, after all was learnt: a median for each of 10,000 stages of 10,000 alike would take minutes."""
        return median(self.rates)

    @cached_property
    def _usual_epochs(self) -> float:
        return median(self.epochs)


class Estimate:
    """Expected wall seconds of a stage on one worker, from the medians of measured stages like it.

    Seconds are taken to grow with the number of examples and of epochs. Where the stopping rule is
    another one, only stages that converged tell how many epochs to expect; if there are none, it is
    the most that there can be. So a trial run with ``epochs=2`` promises no full run in seconds.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Learn from rows of the table `stages`; those without measured seconds are passed over."""
        self._tiers: list[dict[tuple[Any, ...], Alike]] = [defaultdict(Alike) for _ in TIERS]
        for row in rows:
            if row["status"] == "failed" or not (row["wall_seconds"] and row["examples"] and row["epochs"]):
                continue
            made_here = row["epochs"] - (row.get("continued_from") or 0)
            if made_here <= 0:
                continue
            for tier, names in zip(self._tiers, TIERS, strict=True):
                alike = tier[tuple(row[name] for name in names)]
                alike.rates.append(row["wall_seconds"] / row["examples"] / made_here)
                if "stop" in names or row["stop_reason"] not in NOT_CONVERGED:
                    alike.epochs.append(row["epochs"])

    @classmethod
    def of(cls, stages: pa.Table) -> Estimate:
        """Learn from the table `stages`."""
        return cls(stages.select(READ).to_pylist())

    def seconds(self, stage: Stage) -> float | None:
        """Expected wall seconds of `stage`, or None if nothing like it was measured."""
        if not self._tiers[-1]:  # the widest one: nothing was measured
            return None
        columns = stage.config.stage_columns()
        for tier, names in zip(self._tiers, TIERS, strict=True):
            alike = tier.get(tuple(columns.get(name) for name in names))
            if alike is not None:
                return float(alike.seconds(columns["examples"], stage.config.work(), is_fixed=stage.is_fixed))
        return None

    def total_seconds(self, stages: Iterable[Stage], follows: Mapping[str, Stage] | None = None) -> float | None:
        """Expected wall seconds of all `stages` on one worker; None if any has no measured like.

        Args:
            follows: As `orchestrator.plan.Plan.follows`; what was made on a stage's way is not made again.
        """
        total = 0.0
        for stage in stages:
            seconds = self.seconds(stage)
            if seconds is None:
                return None
            total += seconds * share_left(stage, follows or {})
        return total

    def cost(self, stages: Iterable[Stage], follows: Mapping[str, Stage] | None = None) -> dict[str, float]:
        """A positive cost of each stage by key, in seconds where measured.

        Where nothing like a stage was measured, its config's own rough count stands in, scaled
        to the measured ones; only its order against the others matters.
        """
        stages = list(stages)
        measured = {stage.key: self.seconds(stage) for stage in stages}
        rough = {stage.key: float(stage.config.work()) for stage in stages}
        scales = [seconds / rough[key] for key, seconds in measured.items() if seconds is not None]
        scale = median(scales) if scales else 1.0
        whole = {key: seconds if seconds is not None else scale * rough[key] for key, seconds in measured.items()}
        return {stage.key: whole[stage.key] * share_left(stage, follows or {}) for stage in stages}


def share_left(stage: Stage, follows: Mapping[str, Stage]) -> float:
    """Share of a stage's work, in (0, 1], that is not made by the stage that it goes on from."""
    before = follows.get(stage.key)
    return 1.0 if before is None else 1 - before.config.work() / stage.config.work()
