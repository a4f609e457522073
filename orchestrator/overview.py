"""Overview: what a store knows of one sweep, for `warmgrid status`; it changes nothing and plans no work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.estimate import READ as MEASURED
from orchestrator.files import log
from orchestrator.happened import at, is_sound, sentences, time_of
from orchestrator.launch import remembered_trials
from orchestrator.plan import Plan, plan
from orchestrator.progress import settings
from orchestrator.seam import Status
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.totals import Rows, named, per_axis, seconds, spent

READ = ("key", "error", "attempts", "train_seconds", *MEASURED)  # columns of the table `stages`
NOT_ITSELF = (Status.DONE, Status.DIVERGED, Status.FAILED)


def overview(
    store: Store,
    sweep: str,
    axes: Mapping[str, Sequence[Any]],
    seeds: Sequence[int] | None,
    rows: Rows | None = None,
    planned: Plan | None = None,
) -> dict[str, Any]:
    """Counts by status and axis, failures by message, seconds spent, saved and left, and what happened.

    Of the launches of `sweep` that the store remembers; as JSON values, the seconds of workers.

    Args:
        axes: With these or `seeds`, only of the launches that were given the same.
        rows: Of the table `stages` by key, with the columns READ at least, for a caller that has read them already:
            of all committed stages, and of the failed ones. By default they are read.
        planned: What `planned_of` gave, for a caller that keeps it: it takes a second for 5,000 stages.

    Raises:
        ConfigError: the store knows no such launch.
    """
    planned = planned or planned_of(store, sweep, axes, seeds)
    committed = None if rows is None else {key for key, row in rows.items() if Status(row["status"]).is_final}
    rows = read(store) if rows is None else rows
    statuses = stage_statuses(store, planned.stages, rows, committed)
    counts = Counter(statuses.values())
    stages = {stage.key: stage for stage in planned.stages}
    events = [event for event in store.events() if is_sound(event) and is_of(event, sweep, stages)]
    now = datetime.now(UTC)
    notes = {key: store.running(key) for key in stages if statuses[key] in (Status.RUNNING, Status.INTERRUPTED)}
    return {
        "sweep": sweep,
        "store": store.root,
        "stages": len(stages),
        "stages_shared": planned.stages_without_sharing - len(stages),
        "counts": named(counts),
        "sentences": {str(status): status.sentence for status in Status},
        "per_axis": per_axis(planned, statuses),
        "wall_seconds": sum(wall_seconds(key, rows, notes, statuses[key], now) for key in stages),
        **seconds(planned, statuses, rows, notes, now),
        "running": [running(stages[key], notes[key], now) for key in notes if statuses[key] is Status.RUNNING],
        "waiting": waiting(events, statuses, now),
        "attempts": tried_again(statuses, rows, notes),
        "happened": sentences(events, lambda key: str(statuses.get(key, "of another sweep")), now),
        "events": events,
        "failures": failures(stages, statuses, rows),
    }


def sweeps_overview(store: Store) -> list[dict[str, Any]]:
    """``sweep``, ``stages`` and ``counts`` by status of each sweep that was launched into `store`, by name.

    One whose file is gone or has changed is told with no stages, and warned of.

    Raises:
        StoreError: there is no store.
    """
    rows = read(store)
    committed = store.committed(rows)
    found = []
    for sweep in store.files.folders("launches"):
        try:
            stages = planned_of(store, sweep, {}, None).stages
        except ConfigError as error:
            log.warning("%s", error)
            stages = []
        counts = Counter(stage_statuses(store, stages, rows, committed).values())
        found.append({"sweep": sweep, "stages": len(stages), "counts": named(counts)})
    return found


def planned_of(store: Store, sweep: str, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None) -> Plan:
    """The stages and trials of the launches of `sweep`; a trial of several launches is one.

    Raises:
        ConfigError: the store knows no such launch.
    """
    trials = {
        tuple(stage.key for stage in trial.stages): trial
        for _, _, of_launch in remembered_trials(store, sweep, axes, seeds)
        for trial in of_launch
    }
    return plan(trials.values())


def read(store: Store) -> dict[str, dict[str, Any]]:
    """The columns READ of the table `stages`, by key."""
    return {row["key"]: row for row in store.sql(f"SELECT {', '.join(READ)} FROM stages").to_pylist()}


def stage_statuses(
    store: Store, stages: Sequence[Stage], rows: Rows, committed: Collection[str] | None = None
) -> dict[str, Status]:
    """The one status that each of `stages` has, by key.

    Args:
        stages: Parents before children.
        rows: Of the table `stages`, by key.
        committed: Keys of those that are, by default looked up in the store.
    """
    noted = store.noted()
    held = store.held() if noted else set()
    if committed is None:
        committed = store.committed({stage.key for stage in stages if stage.key in rows})
    statuses: dict[str, Status] = {}
    for stage in stages:
        key, row = stage.key, rows.get(stage.key)
        above = statuses[stage.parent.key] if stage.parent else None
        found = None if row is None else Status(row["status"])
        if found is not None and found.is_final and key in committed:
            statuses[key] = found
        elif key in noted and key in held:
            statuses[key] = Status.RUNNING  # be it that an attempt before failed
        elif found is Status.FAILED:
            statuses[key] = found
        elif above in (Status.FAILED, Status.BLOCKED):
            statuses[key] = Status.BLOCKED
        else:
            statuses[key] = Status.INTERRUPTED if key in noted else Status.PENDING
    return statuses


def wall_seconds(key: str, rows: Rows, notes: Mapping[str, Mapping[str, Any]], status: Status, now: datetime) -> float:
    """Seconds that a stage held a worker: as its row says, or its note if it goes on since."""
    return max(rows.get(key, {}).get("wall_seconds") or 0.0, spent(notes.get(key, {}), status, now))


def is_of(event: Mapping[str, Any], sweep: str, stages: Mapping[str, Stage]) -> bool:
    """Whether an event befell one of the stages, or a launch of the sweep as a whole."""
    keys = [event["key"]] if "key" in event else event.get("keys", [])
    return any(key in stages for key in keys) if keys else event.get("sweep") == sweep


def running(stage: Stage, note: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Who trains a stage, and since when; its note may be gone if it has ended meanwhile."""
    since = note.get("started_at")
    return {
        "key": stage.key,
        "settings": settings(stage.config.stage_columns()),
        "host": note.get("host"),
        "pid": note.get("pid"),
        "started_at": since,
        "since": at(datetime.fromisoformat(since), now) if since else "just now",
        "attempts": note.get("attempts", 1),
        "epoch": note.get("epoch"),
    }


def waiting(events: Sequence[Mapping[str, Any]], statuses: Mapping[str, Status], now: datetime) -> list[dict[str, Any]]:
    """Stages that a launch will try again by itself, at a time that has not come yet."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["kind"] != "retried" or statuses[event["key"]] not in (Status.FAILED, Status.INTERRUPTED):
            continue
        due = time_of(event) + timedelta(seconds=event["again_s"])
        found.pop(event["key"], None)
        if due > now:
            seconds = (due - now).total_seconds()
            facts = {"key": event["key"], "due": due.isoformat(), "when": f"in {seconds:.0f} s"}
            found[event["key"]] = {**facts, "error": event["error"]}
    return list(found.values())


def tried_again(
    statuses: Mapping[str, Status], rows: Rows, notes: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Stages that took more than one attempt so far, most first."""
    found = []
    for key, status in statuses.items():
        row = rows.get(key, {}) if status in NOT_ITSELF else notes.get(key, {})
        if (row.get("attempts") or 0) > 1:
            found.append({"key": key, "attempts": row["attempts"], "status": str(status)})
    return sorted(found, key=lambda one: -int(one["attempts"]))


def failures(stages: Mapping[str, Stage], statuses: Mapping[str, Status], rows: Rows) -> list[dict[str, Any]]:
    """Failed stages by their error, the most frequent first, each with its settings and the stages that it blocks."""
    blocks = blocked_by(stages, statuses)
    failed = [rows[key] for key, status in statuses.items() if status is Status.FAILED]
    told: dict[str, list[dict[str, Any]]] = {}
    for row in failed:
        key, columns = row["key"], stages[row["key"]].config.stage_columns()
        told.setdefault(row["error"], []).append(
            {"key": key, "settings": settings(columns), "blocks": blocks.get(key, [])}
        )
    return [{**group, "stages": told[group["error"]]} for group in grouped(failed)]


def blocked_by(stages: Mapping[str, Stage], statuses: Mapping[str, Status]) -> dict[str, list[str]]:
    """Keys of the blocked stages by the failed ancestor that blocks them; `stages` has parents before children."""
    cause: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for key, stage in stages.items():
        if statuses[key] is Status.FAILED:
            cause[key] = key
        elif statuses[key] is Status.BLOCKED and stage.parent is not None:
            cause[key] = cause[stage.parent.key]
            found.setdefault(cause[key], []).append(key)
    return found


def grouped(failed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failed stages by their error, the most frequent first: ``error``, ``count``, and one ``key`` to look at."""
    keys: dict[str, list[str]] = {}
    for row in failed:
        keys.setdefault(row["error"], []).append(row["key"])
    most_first = sorted(keys.items(), key=lambda group: -len(group[1]))
    return [{"error": error, "count": len(group), "key": group[0]} for error, group in most_first]
