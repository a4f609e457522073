"""Totals: what the stages of a sweep add up to, by value of an axis and in seconds; it reads no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.estimate import Estimate, share_left
from orchestrator.plan import Plan, stages_of
from orchestrator.seam import Status
from orchestrator.spec import Spec
from orchestrator.stage import Stage
from orchestrator.sweep import scalar

Statuses = Mapping[str, Status]
Rows = Mapping[str, Mapping[str, Any]]
GOES_ON = (Status.PENDING, Status.RUNNING, Status.INTERRUPTED)  # what nothing but time stands before


@dataclass(frozen=True)
class Sharing:
    """What a whole sweep costs beside what it would cost if every trial trained all of its own stages from their start.

    Seconds are a worker's, as `Estimate` expects them, also of stages that are done; None as long as nothing like some
    of the stages was measured. Examples count in every epoch up to the most that a stage may train for; see
    `orchestrator.stage.Config.work`.

    Attributes:
        stages: How many stages sharing saves.
        examples: Trained on with sharing.
        examples_alone: Without.
        seconds: With sharing.
        seconds_alone: Without.
    """

    stages: int
    examples: float
    examples_alone: float
    seconds: float | None
    seconds_alone: float | None

    @classmethod
    def of(cls, planned: Plan, estimate: Estimate) -> Sharing:
        """Of all stages of a plan, done or not."""
        uses, stages, shares = planned.uses, planned.stages, [share_left(s, planned.follows) for s in planned.stages]
        work = [float(stage.config.work()) for stage in stages]
        likely = [estimate.seconds(stage) for stage in stages]
        once = [None if one is None else one * share for one, share in zip(likely, shares, strict=True)]
        alone = [None if one is None else one * uses[stage.key] for stage, one in zip(stages, likely, strict=True)]
        return cls(
            planned.stages_without_sharing - len(stages),
            sum(one * share for one, share in zip(work, shares, strict=True)),
            sum(one * uses[stage.key] for stage, one in zip(stages, work, strict=True)),
            total(once),
            total(alone),
        )

    def facts(self) -> dict[str, Any]:
        """What ``plan --json`` says of it."""
        known = self.seconds is not None and self.seconds_alone is not None
        return {
            "stages_saved": self.stages,
            "examples": round(self.examples),
            "examples_saved": round(self.examples_alone - self.examples),
            "seconds": self.seconds,
            "seconds_saved": self.seconds_alone - self.seconds if known else None,  # type: ignore[operator] # as known
        }


def named(counts: Mapping[Status, int]) -> dict[str, int]:
    """`counts` that are not 0, by the status's name, in the order of a stage's life."""
    return {str(status): counts[status] for status in Status if counts.get(status)}


def per_axis(planned: Plan, statuses: Statuses) -> list[dict[str, Any]]:
    """How many stages are in which status, for each value of each axis.

    A stage counts once for every value that some trial needs it for, so that the stages of two values may be more than
    those of the sweep.

    Returns:
        One for each axis, in the sweep's order: ``axis``, and ``values``, each with its ``value`` as JSON has it (None
        where the axis makes no difference, in the last place), ``stages`` and ``counts`` by status.
    """
    needed: dict[str, dict[Any, set[str]]] = {}
    texts: dict[int, Any] = {}  # by identity: settings take long to hash and to print, and trials share them
    for trial in planned.trials:
        own = stages_of(trial).keys()
        for axis, value in trial.cell.items():
            if id(value) not in texts:
                texts[id(value)] = shown(value)
            needed.setdefault(axis, {}).setdefault(texts[id(value)], set()).update(own)
    return [
        {"axis": axis, "values": [counted(value, keys, statuses) for value, keys in none_last(values)]}
        for axis, values in needed.items()
    ]


def shown(value: Any) -> Any:
    """`value` of an axis as JSON has it."""
    return str(value) if isinstance(value, Spec) else scalar(value)


def none_last(values: Mapping[Any, set[str]]) -> list[tuple[Any, set[str]]]:
    """Values as they first appear, None last."""
    return sorted(values.items(), key=lambda item: item[0] is None)


def counted(value: Any, keys: set[str], statuses: Statuses) -> dict[str, Any]:
    """The stages that one value of an axis needs, by status."""
    return {"value": value, "stages": len(keys), "counts": named(Counter(statuses[key] for key in keys))}


def seconds(
    planned: Plan, statuses: Statuses, rows: Rows, notes: Mapping[str, Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    """What a sweep has saved by sharing, and how long it may still take.

    Args:
        statuses: Of all stages.
        rows: Of the table `stages`, by key.
        notes: What workers say of running stages, by key.
        now: In UTC.

    Returns:
        ``seconds_saved``: worker seconds that the done stages would have cost more, had every trial trained its own:
        a stage that k trials share saves k - 1 times its seconds, and one that went on from another's end saves the way
        to there, see `seconds_alone`. ``seconds_saved_at_end``: the same for all stages,
        estimated where not measured. ``seconds_left``: of a clock, if as many ``workers`` go on as hold stages now,
        or one; at least what the longest chain of stages takes. The last two are None as long as nothing like some of
        the stages was measured.
    """
    uses = planned.uses
    done = {key: rows[key] for key, status in statuses.items() if status.is_final}
    whole = expected([stage for stage in planned.stages if stage.key not in done], rows)
    shares = {stage.key: share_left(stage, planned.follows) for stage in planned.stages if stage.key in whole}
    ahead = {key: None if one is None else one * shares[key] for key, one in whole.items()}
    workers = max(1, sum(status is Status.RUNNING for status in statuses.values()))
    saved = sum(uses[key] * seconds_alone(row) - (row["wall_seconds"] or 0.0) for key, row in done.items())
    later = total([None if one is None else (uses[key] - shares[key]) * one for key, one in whole.items()])
    left = [stage for stage in planned.stages if statuses[stage.key] in GOES_ON]
    begun = {key: spent(note, statuses[key], now) for key, note in notes.items()}
    return {
        "seconds_saved": saved,
        "seconds_saved_at_end": None if later is None else saved + later,
        "seconds_left": seconds_left(left, ahead, begun, workers),
        "workers": workers,
    }


def seconds_alone(row: Mapping[str, Any]) -> float:
    """Seconds of a worker that a stage would have taken from its start, by its row of the table `stages`.

    Of a stage that went on from the end of another one, `wall_seconds` has only the rest of the way, `train_seconds`
    all of it: what the way to there took in training, without its evaluations, is added.
    """
    took, earlier = float(row["wall_seconds"] or 0.0), row.get("continued_from") or 0
    if not earlier:
        return took
    return took + float(row["train_seconds"] or 0.0) * float(earlier / row["epochs"])


def expected(stages: Sequence[Stage], rows: Rows) -> dict[str, float | None]:
    """Seconds that each of `stages` may take from its start on one worker, by key; None if nothing alike was."""
    estimate = Estimate(rows.values() if stages else ())  # to learn from 10,000 rows takes a while
    return {stage.key: estimate.seconds(stage) for stage in stages}


def total(parts: Sequence[float | None]) -> float | None:
    """The sum, None if any part is unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def seconds_left(
    left: Sequence[Stage], ahead: Mapping[str, float | None], begun: Mapping[str, float], workers: int
) -> float | None:
    """Seconds of a clock until the stages `left`, parents before children, are done; None if unknown.

    Args:
        ahead: Seconds that each of them takes from its start.
        begun: Those of them that lie behind the stages that were begun.
    """
    chain: dict[str, float] = {}
    work = 0.0
    for stage in left:
        whole = ahead[stage.key]
        if whole is None:
            return None
        rest = max(0.0, whole - begun.get(stage.key, 0.0))
        work += rest
        chain[stage.key] = rest + (chain.get(stage.parent.key, 0.0) if stage.parent else 0.0)
    return max([work / workers, *chain.values()])


def spent(note: Mapping[str, Any], status: Status, now: datetime) -> float:
    """Seconds of a stage's work that need not be done again, by its worker's note.

    Up to the last checkpoint if it was interrupted, be that last week; of a running one also since then, or since its
    attempt began.
    """
    kept = float(note.get("wall_seconds", 0.0))
    if status is not Status.RUNNING or "noted_at" not in note:
        return kept
    return kept + max(0.0, (now - datetime.fromisoformat(note["noted_at"])).total_seconds())
