"""Stage text: what ``status STAGE`` prints for people of what `orchestrator.stage_view` found; it reads nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.terminal import WIDTH, chart, clean, has_blocks

MARGIN = 12  # characters left of a chart
FEW = 12  # relatives, cells and lines of the log that are shown
CHARTS = ("test_accuracy", "train_accuracy")
NOT_SETTINGS = ("data", "model", "init", "optimizer", "regularizer", "selection", "augmentation", "after_step")


def print_stage(facts: Mapping[str, Any]) -> None:
    """All of a stage, the most asked for first."""
    print(f"stage {facts['key']}: {facts['status']}, {facts['sentence']}")
    if facts["error"]:
        print(clean(f"error: {facts['error']}"))
    print_columns("settings", without_kinds(facts["settings"]))
    print_columns("result", facts["result"])
    print_columns("ran", facts["ran"])
    print_some("reported by", [cell_text(cell) for cell in facts["cells"]])
    lineage = facts["lineage"]
    print_some("lineage", [member_text(one) for one in lineage] if len(lineage) > 1 else [], newest_last=True)
    print_some("children", [member_text(one) for one in facts["children"]])
    print_curve(facts["curve"])
    if facts["traceback"]:
        print("traceback")
        print(*(f"  {clean(line)}" for line in facts["traceback"].splitlines()), sep="\n")
    print_some("log", facts["log"], newest_last=True)


def without_kinds(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with each as its text, which says its kind and its numbers, in place of these."""
    texts = {name.removesuffix("_text"): value for name, value in settings.items() if name.endswith("_text")}
    numbers = {name: value for name, value in settings.items() if name not in NOT_SETTINGS}
    return texts | {name: value for name, value in numbers.items() if not name.endswith("_text")}


def print_columns(title: str, columns: Mapping[str, Any]) -> None:
    """Names and values below a title; nothing where there is none."""
    if columns:
        print(title)
        width = max(map(len, columns))
        print(*(f"  {name.ljust(width)}  {clean(shown(value))}" for name, value in columns.items()), sep="\n")


def shown(value: Any) -> str:
    """One value as people read it."""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def cell_text(cell: Mapping[str, Any]) -> str:
    """One cell under one seed: the sweep, then its axes."""
    kinds = {name for name in cell if f"{name}_text" in cell}
    axes = {n.removesuffix("_text"): v for n, v in cell.items() if n not in ("sweep", "key") and n not in kinds}
    return f"{cell['sweep']}: {', '.join(f'{name}={shown(value)}' for name, value in axes.items())}"


def member_text(one: Mapping[str, Any]) -> str:
    """One stage of the family."""
    accuracy = "" if one["test_accuracy"] is None else f", test accuracy {one['test_accuracy']:.4f}"
    return f"{one['key']} {one['status']}{accuracy}: {one['settings']}"


def print_some(title: str, lines: Sequence[str], *, newest_last: bool = False) -> None:
    """Lines below a title, and how many more there are; nothing where there is none."""
    if not lines:
        return
    print(title)
    left = f"  ... and {len(lines) - FEW} {'before' if newest_last else 'more'}; all with --json"
    kept = [f"  {clean(line)}" for line in (lines[-FEW:] if newest_last else lines[:FEW])]
    more = [left] if len(lines) > FEW else []
    print(*([*more, *kept] if newest_last else [*kept, *more]), sep="\n")


def print_curve(curve: Sequence[Mapping[str, Any]]) -> None:
    """A small chart of each accuracy by epoch."""
    blocks, width = has_blocks(sys.stdout), min(WIDTH, max(1, shutil.get_terminal_size().columns - MARGIN))
    for name in CHARTS:
        values = [epoch[name] for epoch in curve]
        if any(value is not None for value in values):
            print(f"{name} by epoch, 1 to {curve[-1]['epoch']}")
            print(*(f"  {line}" for line in chart(values, blocks=blocks, width=width)), sep="\n")
