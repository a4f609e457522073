"""Facts: what the page says of one stage, and of a sweep's claims, as JSON values. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.columns import SETTINGS
from orchestrator.figures.style import call_in_words, init_in_words, spoken
from orchestrator.live.follow import COLUMNS
from orchestrator.live.models import finite
from orchestrator.seam import Status

if TYPE_CHECKING:
    from orchestrator.live.watch import Watch
    from orchestrator.store import Store
    from orchestrator.sweep import Sweep

Row = Mapping[str, Any]
CURVE = ("epoch", "train_accuracy", "test_accuracy", "train_loss", "test_loss")
MEASURED = (
    *("status", "stop_reason", "test_accuracy", "train_accuracy", "test_loss", "train_loss", "epochs"),
    *("continued_from", "steps", "examples_seen", "train_seconds", "wall_seconds", "weight_correlation"),
)
WHERE = ("host", "device", "attempts", "started_at", "finished_at", "torch_version", "warmgrid_version")
TOLD = ("fraction", "examples", "stop", "old_examples")  # settings of a stage that no cell decides
MOST_CHILDREN = 50


def stage_facts(watch: Watch, store: Store, key: str, sweep: str) -> dict[str, Any] | None:
    """Settings, learning curve, lineage, log and traceback of a stage; None of one that the store does not know.

    Args:
        store: To read from, by one thread.
        key: 16 hex digits.
        sweep: Of which the cells are told that report the stage.
    """
    row = watch.row(key)
    note = store.running(key) if row is None or row["status"] == "failed" else {}
    row = row or as_row(key, note)
    if row is None:
        return None
    above, below = watch.lineage(row)
    models = watch.models(sweep)
    cells = models.cells_of(key) if models is not None else []
    return {
        "key": key,
        "title": title(row, cells),
        "cells": [cell_words(cell) for cell in cells],
        "settings": settings(row),
        "measured": [(name, told(row[name])) for name in MEASURED if row[name] is not None],
        "where": [(spoken(name), told(row[name])) for name in WHERE if row[name] is not None],
        "running": {name: told(note[name]) for name in ("host", "started_at", "attempts", "epoch") if note.get(name)},
        "error": row["error"],
        "above": [relative(one) for one in above],
        "below": [relative(one) for one in below[:MOST_CHILDREN]],
        "more_below": max(0, len(below) - MOST_CHILDREN),
        "curve": curve(store, key) if Status(row["status"]).is_final else {},
        "log": store.log_lines(key),
        "traceback": store.traceback_text(key) if row["status"] == "failed" else "",
    }


def as_row(key: str, note: Mapping[str, Any]) -> Row | None:
    """What a worker noted of a stage that it trains, as a row of the table `stages`; None if it noted nothing."""
    if not note:
        return None
    own = {"key": key, "parent": note.get("parent"), "status": str(Status.RUNNING)}
    return {**dict.fromkeys(COLUMNS), **note.get("columns", {}), **own}


def title(row: Row, cells: Sequence[Row]) -> str:
    """What a stage is, in few words: its cell's init if it is a result, else its own."""
    return init_in_words(cells[0] if cells and cells[0].get("init") else row)


def cell_words(cell: Row) -> list[tuple[str, str]]:
    """The axes of a cell, its seed and its round."""
    named = [name for name in cell if name not in ("sweep", "key") and cell[name] is not None]
    said = [name for name in named if f"{name}_text" not in named and not is_part(name, named)]
    return [(spoken(name), call_in_words(str(told(cell[name])))) for name in said]


def is_part(name: str, named: Sequence[str]) -> bool:
    """Whether a column says a part of what another one says in full."""
    whole = "init" if name in ("shrink", "perturb") else name.removesuffix("_size")
    return whole != name and f"{whole}_text" in named


def settings(row: Row) -> list[tuple[str, Any]]:
    """What a stage was trained with, each setting once."""
    named = [name for name in dict.fromkeys((*SETTINGS, *TOLD)) if row[name] is not None]
    said = [name for name in named if f"{name}_text" not in named and not is_part(name, named)]
    return [(spoken(name), told(row[name])) for name in said]


def told(value: Any) -> Any:
    """A value as JSON has it; times in ISO 8601."""
    if isinstance(value, float):
        return finite(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def relative(row: Row) -> dict[str, Any]:
    """An ancestor or a child, in few words."""
    accuracy = row["test_accuracy"]
    return {
        "key": row["key"],
        "words": f"{init_in_words(row)}, round {row['round']}, {row['examples']:,} examples"
        if row["examples"] is not None
        else f"{init_in_words(row)}, round {row['round']}",
        "status": row["status"],
        "test_accuracy": None if accuracy is None else finite(accuracy),
    }


def curve(store: Store, key: str) -> dict[str, list[Any]]:
    """The epochs of a committed stage, by column."""
    table = store.sql(f"SELECT {', '.join(CURVE)} FROM epochs WHERE key = '{key}' ORDER BY epoch")
    return {name: [told(value) for value in table[name].to_pylist()] for name in CURVE}


def claims_facts(store: Store, sweep: Sweep) -> list[dict[str, Any]]:
    """The verdicts on a sweep's claims, by number."""
    from orchestrator.claims import claims_of
    from orchestrator.claims_table import ours, where

    return [
        {
            "number": verdict.number,
            "text": verdict.text,
            "source": verdict.source,
            "where": where(verdict),
            "outcome": str(verdict.outcome),
            "note": verdict.note,
            "findings": [
                {
                    "measure": finding.measure,
                    "ours": ours(finding),
                    "paper": finding.paper_words,
                    "rule": finding.rule,
                    "outcome": str(finding.outcome),
                    "note": finding.note,
                }
                for finding in verdict.findings
            ],
        }
        for verdict in claims_of(store, [sweep])
    ]
