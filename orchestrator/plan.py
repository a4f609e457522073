"""Stage tree of a sweep: what must run, each stage once, parents before children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.stage import Stage
from orchestrator.sweep import Trial


@dataclass(frozen=True)
class Plan:
    """What a launch would do.

    Attributes:
        trials: All trials of the sweep.
        stages: The stage tree: every stage once, parents before children.
        to_run: Those of `stages` that must run, in the same order.
        stages_without_sharing: How many stages would run if every trial ran all of its own.
        follows: By key of a stage, the stage that ends on its way, so that it can go on from there.
    """

    trials: Sequence[Trial]
    stages: Sequence[Stage]
    to_run: Sequence[Stage]
    stages_without_sharing: int
    follows: Mapping[str, Stage] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """Number of distinct cells."""
        return len({tuple((name, repr(value)) for name, value in trial.cell.items()) for trial in self.trials})

    @property
    def done(self) -> int:
        """Number of stages that need no work."""
        return len(self.stages) - len(self.to_run)

    @cached_property
    def uses(self) -> Mapping[str, int]:
        """By key of a stage, how many trials need it."""
        return Counter(key for trial in self.trials for key in stages_of(trial))


def plan(trials: Iterable[Trial], done: Collection[str] = (), startable: Collection[str] | None = None) -> Plan:
    """Merge equal stages of `trials`, and pick those that must run.

    Args:
        trials: Trials of one sweep, or of several that share stages.
        done: Keys whose results the store holds.
        startable: Keys whose final state the store holds too, so that a child can start from
            them; by default `done`. A stage that is done but whose state is gone runs again only
            if a stage that must run starts from it.
    """
    trials = list(trials)
    stages: dict[str, Stage] = {}
    without_sharing = 0
    for trial in trials:
        own = stages_of(trial)
        without_sharing += len(own)
        for key, stage in own.items():
            if key not in stages or stage.extendable:
                stages[key] = stage
    wanted = missing(list(stages.values()), done, done if startable is None else startable)
    to_run = [stage for key, stage in stages.items() if key in wanted]
    return Plan(trials, list(stages.values()), to_run, without_sharing, follows(list(stages.values())))


def follows(stages: Iterable[Stage]) -> dict[str, Stage]:
    """By key of a stage, the extendable one that ends last on its way; without those that begin at the start."""
    stages = list(stages)
    if not any(stage.extendable for stage in stages):
        return {}  # as of most sweeps: trajectories take as long to make as keys
    ways: dict[str, list[tuple[int, Stage]]] = {}
    for stage in stages:
        if stage.trajectory is not None:
            ways.setdefault(stage.trajectory[0], []).append((stage.trajectory[1], stage))
    found: dict[str, Stage] = {}
    for way in ways.values():
        before: Stage | None = None
        for _, stage in sorted(way, key=lambda place: place[0]):
            if before is not None:
                found[stage.key] = before
            before = stage if stage.extendable else before
    return found


def stages_of(trial: Trial) -> dict[str, Stage]:
    """The reported stages of a trial and all their ancestors by key, parents before children."""
    own: dict[str, Stage] = {}
    for reported in trial.stages:
        above: Stage | None = reported
        chain: list[Stage] = []
        while above is not None and above.key not in own:
            chain.append(above)
            above = above.parent
        own |= {stage.key: stage for stage in reversed(chain)}
    return own


def missing(stages: Sequence[Stage], done: Collection[str], startable: Collection[str]) -> set[str]:
    """Keys of those of `stages`, which come parents first, that must run."""
    wanted: set[str] = set()
    for stage in reversed(stages):
        if stage.key not in done:
            wanted.add(stage.key)
        if stage.key in wanted and stage.parent is not None and stage.parent.key not in startable:
            wanted.add(stage.parent.key)
    return wanted
