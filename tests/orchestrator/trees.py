"""Random stage trees, and workers that run them on a made-up clock, for tests of planning; not a test itself."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from orchestrator import Stage
from orchestrator.schedule import Schedule
from tests.orchestrator.fake_trainer import Walk


def tree(parents: Sequence[int | None]) -> list[Stage]:
    """Stages 0, 1, 2, ... of seeds 0, 1, 2, ...; stage i starts from stage ``parents[i]``, which comes before it."""
    stages: list[Stage] = []
    for seed, parent in enumerate(parents):
        stages.append(Stage(Walk(seed=seed), None if parent is None else stages[parent]))
    return stages


def grown(draws: Sequence[int]) -> list[Stage]:
    """A forest as random as `draws`: stage i starts from any stage before it, or from none."""
    return tree([None if draw % (i + 1) == i else draw % (i + 1) for i, draw in enumerate(draws)])


trees = st.lists(st.integers(0, 10**6), max_size=20).map(grown)


def seeds(stages: Sequence[Stage]) -> list[int]:
    """What tells the stages of one tree apart."""
    return [stage.config.seed for stage in stages]


@dataclass
class Simulation:
    """Workers that run a schedule to its end, on a clock of numbers.

    Attributes:
        seconds: How long a stage takes.
        after: What becomes of a stage that a worker let go of; told its key.
        order: Stages as they were handed out.
        makespan: When the last one ended.
    """

    schedule: Schedule
    seconds: Callable[[Stage], float]
    after: Callable[[str], Any]
    order: list[Stage] = field(default_factory=list)
    makespan: float = 0.0

    def run(self, workers: int) -> Simulation:
        busy: list[tuple[float, str]] = []
        while not self.schedule.is_over:
            while len(busy) < workers and (stage := self.schedule.next_ready()) is not None:
                self.order.append(stage)
                heapq.heappush(busy, (self.makespan + self.seconds(stage), stage.key))
            self.makespan, key = heapq.heappop(busy)
            self.after(key)
        return self
