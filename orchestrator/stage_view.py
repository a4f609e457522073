"""Stage view: what a store knows of one stage, for `warmgrid status STAGE` and the live page; it changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.columns import SETTINGS, STAGES
from orchestrator.errors import ConfigError
from orchestrator.progress import settings
from orchestrator.quoting import literal
from orchestrator.seam import Status
from orchestrator.store import Store

PREFIX = re.compile(r"[0-9a-f]{4,16}")
KEY_DIGITS = 16
SHOWN = 8  # candidates that are named
DECIDED = (*SETTINGS, "examples", "fraction", "old_examples", "stop", "trainer", "version")
MEASURED = (
    *("stop_reason", "epochs", "continued_from", "steps", "examples_seen", "train_seconds", "wall_seconds"),
    *("train_accuracy", "train_loss", "test_accuracy", "test_loss", "weight_correlation"),
)
RAN = (
    *("host", "pid", "device", "pack_size", "attempts", "started_at", "finished_at"),
    *("torch_version", "warmgrid_version"),
)
FAMILY = [column.name for column in STAGES if column.name not in ("config", "weights_digest")]
CURVE = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "train_seconds")
Row = Mapping[str, Any]


def is_key(store: Store, asked: str) -> bool:
    """Whether `asked` can only mean a stage: it looks like a key, and no sweep of the store is called so."""
    return PREFIX.fullmatch(asked) is not None and not store.files.list(f"launches/{asked}")


def find_key(store: Store, prefix: str) -> str:
    """The key of the one stage whose key begins with `prefix`: committed, failed, begun, or reported by a sweep.

    Raises:
        ConfigError: there is none, or there are several; or `prefix` is not 4 to 16 hex digits.
        StoreError: there is no store.
    """
    if not PREFIX.fullmatch(prefix):
        raise ConfigError(f"{prefix!r}: not the beginning of a stage's key. Give 4 to 16 of its hex digits.")
    asked = [f"SELECT DISTINCT key FROM {table} WHERE key LIKE '{prefix}%'" for table in ("stages", "cells")]
    stored = {row["key"] for table in store.sql_all(asked) for row in table.to_pylist()}
    found = sorted(stored | {key for key in store.noted() if key.startswith(prefix)})
    if not found:
        raise ConfigError(
            f"{store.root}: no stage whose key begins with {prefix!r}. `warmgrid status SWEEP` names stages, and so "
            f"does: warmgrid query 'SELECT key, status FROM stages'"
        )
    if len(found) > 1:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ConfigError(f"{prefix!r}: begins the keys of {len(found)} stages: {', '.join(found[:SHOWN])}{more}.")
    return found[0]


def stage_view(store: Store, key: str) -> dict[str, Any]:
    """What the store knows of the stage `key`, as JSON values (but datetimes).

    Args:
        key: All 16 digits, as `find_key` gives them; of a stage that nobody knows there is nothing to say but that.

    Returns:
        ``key``, ``status`` and its ``sentence``; ``settings``, ``result`` and ``ran`` (where, when, with what) by
        column, without what is null; ``cells`` that report it; ``lineage``, its ancestors and itself, oldest first, and
        its ``children``: ``key``, ``status``, ``settings`` in a line, ``test_accuracy`` and ``train_seconds`` of each;
        ``curve``: ``epoch``, losses, accuracies and seconds of each epoch, [] until it is committed; ``error``,
        ``traceback`` and the ``log``'s last lines.

    Raises:
        ConfigError: `key` is no key.
        StoreError: there is no store.
    """
    if not PREFIX.fullmatch(key) or len(key) != KEY_DIGITS:
        raise ConfigError(f"{key!r}: not a stage's key, which has {KEY_DIGITS} hex digits.")
    row, cells, epochs, parents = look_up(store, key)
    note = store.running(key)
    own = {**note.get("columns", {}), **(row or {})}
    status = status_of(store, key, row, note)
    lineage = ancestors(key, own.get("parent") or note.get("parent"), parents)
    children = [child for child, parent in parents.items() if parent == key]
    family = members(store, [*lineage, *children])
    family[key] = {**own, "key": key, "status": str(status)}
    return {
        "key": key,
        "status": str(status),
        "sentence": status.sentence,
        "settings": given(own, DECIDED),
        "result": given(row or {}, MEASURED) if status.is_final else {},
        "ran": given({**(row or {}), **note}, RAN),
        "cells": [{name: value for name, value in cell.items() if value is not None} for cell in cells],
        "lineage": [told(one, family) for one in lineage],
        "children": [told(one, family) for one in children],
        "curve": [{name: epoch[name] for name in CURVE} for epoch in epochs],
        "error": (row or {}).get("error") if status is Status.FAILED else None,
        "traceback": store.traceback_text(key),
        "log": store.log_lines(key),
    }


def look_up(store: Store, key: str) -> tuple[Row | None, list[Row], list[Row], dict[str, str | None]]:
    """The stage's row, its cells, its epochs, and the parent of every stage that has a row."""
    row, cells, epochs, parents = store.sql_all(
        [
            f"SELECT * EXCLUDE (config) FROM stages WHERE key = '{key}'",
            f"SELECT * FROM cells WHERE key = '{key}'",
            f"SELECT {', '.join(CURVE)} FROM epochs WHERE key = '{key}' ORDER BY epoch",
            "SELECT key, parent FROM stages",
        ]
    )
    pairs = parents.to_pydict()
    of = dict(zip(pairs["key"], pairs["parent"], strict=True))
    return next(iter(row.to_pylist()), None), cells.to_pylist(), epochs.to_pylist(), of


def status_of(store: Store, key: str, row: Row | None, note: Row) -> Status:
    """The status of one stage, as `orchestrator.overview.stage_statuses` has it; blocked ones are pending here."""
    found = None if row is None else Status(row["status"])
    if found is not None and found.is_final and store.is_committed(key):
        return found
    if note and store.is_held(key):
        return Status.RUNNING
    if found is Status.FAILED:
        return found
    return Status.INTERRUPTED if note else Status.PENDING


def ancestors(key: str, parent: str | None, parents: Mapping[str, str | None]) -> list[str]:
    """Keys of the stage's ancestors and its own, oldest first, as far as they are known."""
    chain = [key]
    while parent is not None and parent not in chain:
        chain.append(parent)
        parent = parents.get(parent)
    return chain[::-1]


def members(store: Store, keys: Sequence[str]) -> dict[str, Row]:
    """Rows of the table `stages` of these keys, by key; without the long columns."""
    listed = ", ".join(map(literal, dict.fromkeys(keys)))  # a damaged store may hold any text for a key
    rows = store.sql(f"SELECT {', '.join(FAMILY)} FROM stages WHERE key IN ({listed})").to_pylist()
    return {row["key"]: row for row in rows}


def told(key: str, family: Mapping[str, Row]) -> dict[str, Any]:
    """One stage of a family, in short."""
    row = family.get(key)
    if row is None:
        return {"key": key, "status": "unknown", "settings": "", "test_accuracy": None, "train_seconds": None}
    known = {name: row.get(name) for name in ("status", "test_accuracy", "train_seconds")}
    return {"key": key, "settings": settings(row), **known}


def given(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Those of the columns `names` that `row` has a value for."""
    return {name: as_time(name, row[name]) for name in names if row.get(name) is not None}


def as_time(name: str, value: Any) -> Any:
    """A note's time, which is text, as the datetime that a row has."""
    return datetime.fromisoformat(value) if name.endswith("_at") and isinstance(value, str) else value
