"""Made rows of the view `results`, and what a figure of them shows. Not a test itself."""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import count
from typing import Any

from orchestrator.figures.results import Results

RANDOM = {"init": "random_init", "init_text": "RandomInit()", "shrink": 0.0, "perturb": 1.0}
WARM = {"init": "warm_start", "init_text": "WarmStart()", "shrink": 1.0, "perturb": 0.0}
KEYS = count()


def shrunk(shrink: float, perturb: float) -> dict[str, Any]:
    """Columns of shrink-perturb."""
    text = f"ShrinkPerturb(shrink={shrink}, perturb={perturb})"
    return {"init": "shrink_perturb", "init_text": text, "shrink": shrink, "perturb": perturb}


def setting(name: str, text: str) -> dict[str, str]:
    """Columns of a setting by its constructor call."""
    return {name: text.partition("(")[0].lower(), f"{name}_text": text}


def made(accuracy: float | None = 0.5, init: dict[str, Any] = RANDOM, **values: Any) -> dict[str, Any]:
    """One row; its key is a new one."""
    fixed = {"key": f"{next(KEYS):016x}", "parent": None, "seed": 0, "round": 0, "status": "done", "lr": 0.1}
    what = {**setting("data", "Digits()"), **setting("model", "MLP(width=64)"), "batch_size": 32}
    measured = {"test_accuracy": accuracy, "train_seconds": 1.0, "epochs": 1, "steps": 10, "examples_seen": 320}
    return {**fixed, **what, **measured, **init, **values}


def results(rows: Iterable[dict[str, Any]], planned: int = 0, stages: Iterable[dict[str, Any]] = ()) -> Results:
    """The results of a sweep called made."""
    reported = list(rows)
    return Results("made", reported, {row["key"]: row for row in [*stages, *reported]}, planned or len(reported))


def lines(figure: Any, panel: int = 1) -> dict[str, list[tuple[float, float]]]:
    """Points of the lines of a panel by name, the paper's and bands left out; values to four digits."""
    axis = "x" if panel == 1 else f"x{panel}"
    drawn = [t for t in figure.data if (t.xaxis or "x") == axis and t.mode == "lines+markers"]
    return {t.name: [(x, round(y, 4)) for x, y in zip(t.x, t.y, strict=True)] for t in drawn}


def band(figure: Any, name: str) -> list[float]:
    """Heights of an arm's band in the first panel, upper edge first, to four digits."""
    bands = [t for t in figure.data if t.fill == "toself" and t.name == name and (t.xaxis or "x") == "x"]
    return [round(y, 4) for t in bands for y in t.y]


def papers(figure: Any) -> list[list[tuple[float, float]]]:
    """Points of the paper's curves, to four digits."""
    curves = [t for t in figure.data if t.name == "paper"]
    return [[(x, round(y, 4)) for x, y in zip(t.x, t.y, strict=True)] for t in curves]


def titles(figure: Any) -> list[str]:
    """What stands above the panels."""
    return [html.unescape(note.text) for note in figure.layout.annotations]
