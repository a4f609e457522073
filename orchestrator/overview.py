"""Overview: what a store knows of one sweep, for `warmgrid status`; it changes nothing and plans no work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.launch import remembered
from orchestrator.plan import plan
from orchestrator.seam import Status
from orchestrator.stage import Stage
from orchestrator.store import Store


def overview(
    store: Store, sweep: str, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None
) -> dict[str, Any]:
    """Counts by status, failures by message, and worker seconds of the launches of `sweep`.

    Args:
        axes: With these or `seeds`, only of the launches that were given the same.

    Raises:
        ConfigError: the store knows no such launch.
    """
    launches = remembered(store, sweep, axes, seeds)
    planned = plan(trial for found, _ in launches for trial in found.sweep.trials())
    read = store.stages().select(["key", "status", "error", "wall_seconds"])
    rows = {row["key"]: row for row in read.to_pylist()}
    statuses = stage_statuses(store, planned.stages, rows)
    counts = Counter(statuses.values())
    mine = [rows[key] for key in statuses if key in rows]
    return {
        "sweep": sweep,
        "store": store.root,
        "stages": len(planned.stages),
        "stages_shared": planned.stages_without_sharing - len(planned.stages),
        "counts": {str(status): counts[status] for status in Status if counts[status]},
        "sentences": {str(status): status.sentence for status in Status},
        "wall_seconds": sum(row["wall_seconds"] or 0.0 for row in mine),
        "failures": grouped([row for row in mine if statuses[row["key"]] is Status.FAILED]),
    }


def stage_statuses(store: Store, stages: Sequence[Stage], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Status]:
    """The one status that each of `stages` has, by key.

    Args:
        stages: Parents before children.
        rows: Of the table `stages`, by key.
    """
    noted = store.noted()
    statuses: dict[str, Status] = {}
    for stage in stages:
        key, row = stage.key, rows.get(stage.key)
        above = statuses[stage.parent.key] if stage.parent else None
        found = None if row is None else Status(row["status"])
        if found is not None and found.is_final and store.is_committed(key):
            statuses[key] = found
        elif key in noted and store.is_held(key):
            statuses[key] = Status.RUNNING  # be it that an attempt before failed
        elif found is Status.FAILED:
            statuses[key] = found
        elif above in (Status.FAILED, Status.BLOCKED):
            statuses[key] = Status.BLOCKED
        else:
            statuses[key] = Status.INTERRUPTED if key in noted else Status.PENDING
    return statuses


def grouped(failed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failed stages by their error, the most frequent first: ``error``, ``count``, and one ``key`` to look at."""
    keys: dict[str, list[str]] = {}
    for row in failed:
        keys.setdefault(row["error"], []).append(row["key"])
    most_first = sorted(keys.items(), key=lambda group: -len(group[1]))
    return [{"error": error, "count": len(group), "key": group[0]} for error, group in most_first]
