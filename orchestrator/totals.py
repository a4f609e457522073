"""Totals: what the stages of a sweep add up to, by value of an axis and in seconds; it reads no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
        a stage that k trials share saves k - 1 times its seconds. ``seconds_saved_at_end``: the same for all stages,
        estimated where not measured. ``seconds_left``: of a clock, if as many ``workers`` go on as hold stages now,
        or one; at least what the longest chain of stages takes. The last two are None as long as nothing like some of
        the stages was measured.
    """
    uses = Counter(key for trial in planned.trials for key in stages_of(trial))
    took = {key: rows[key]["wall_seconds"] or 0.0 for key, status in statuses.items() if status.is_final}
    ahead = expected(planned, [stage for stage in planned.stages if stage.key not in took], rows)
    workers = max(1, sum(status is Status.RUNNING for status in statuses.values()))
    saved = sum((uses[key] - 1) * one for key, one in took.items())
    later = total([None if one is None else (uses[key] - 1) * one for key, one in ahead.items()])
    left = [stage for stage in planned.stages if statuses[stage.key] in GOES_ON]
    begun = {key: spent(note, statuses[key], now) for key, note in notes.items()}
    return {
        "seconds_saved": saved,
        "seconds_saved_at_end": None if later is None else saved + later,
        "seconds_left": seconds_left(left, ahead, begun, workers),
        "workers": workers,
    }


def expected(planned: Plan, stages: Sequence[Stage], rows: Rows) -> dict[str, float | None]:
    """Seconds that each of `stages` may take on one worker, by key; None if nothing like it was measured."""
    estimate = Estimate(rows.values() if stages else ())  # to learn from 10,000 rows takes a while
    whole = {stage: estimate.seconds(stage) for stage in stages}
    return {
        stage.key: None if one is None else one * share_left(stage, planned.follows) for stage, one in whole.items()
    }


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
