"""Made results whose truth is known: rows of the view `results` without a store. No test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.columns import STAGES
from orchestrator.figures.results import Results
from orchestrator.groups import groups_of
from orchestrator.quantities import Cells, Group

PLANE = {"random_init": (0.0, 1.0), "warm_start": (1.0, 0.0)}
NOTHING = {column.name: None for column in STAGES}


def row(init: str, seed: int = 0, accuracy: float | None = 0.5, **columns: Any) -> dict[str, Any]:
    """One reported stage: a random init, a warm start, or another init with its `shrink` and `perturb` given."""
    shrink, perturb = PLANE.get(init, (None, None))
    made = {
        **NOTHING,
        "seed": seed,
        "round": 1,
        "status": "done",
        "data_text": "CIFAR10()",
        "model": "mlp",
        "model_text": "MLP()",
        "init": init,
        "init_text": init,
        "shrink": shrink,
        "perturb": perturb,
        "train_seconds": 1.0,
        "parent": None if init == "random_init" else "parent",
        "test_accuracy": accuracy,
        "train_accuracy": 1.0,
        **columns,
    }
    return {**made, "key": columns.get("key") or " ".join(f"{n}={made[n]}" for n in sorted(made) if n != "key")}


def results(rows: Sequence[Mapping[str, Any]], epochs: Mapping[str, Any] | None = None, planned: int = 0) -> Results:
    """Results in which every stage that did not fail is committed."""
    stages = {one["key"]: one for one in rows if one["status"] != "failed"}
    return Results("made", list(rows), stages, planned or len(rows), epochs or {})


def group(*rows: Mapping[str, Any], epochs: Mapping[str, Any] | None = None) -> Group:
    """Rows that are compared whatever their columns are."""
    return Group(rows, results(rows, epochs))


def pairs(*gaps: float, **columns: Any) -> list[dict[str, Any]]:
    """A random init and a warm start under each seed, so many points apart."""
    made = []
    for seed, points in enumerate(gaps):
        made += [row("random_init", seed, 0.6, **columns), row("warm_start", seed, 0.6 - points / 100, **columns)]
    return made


def places(rows: Sequence[Mapping[str, Any]], *across: str) -> list[tuple[Any, ...]]:
    """The values of each group's address that are not None, nor a plain fp32, with the number of its rows."""
    found = groups_of(results(rows), across, Cells("all"))
    plain = (None, "fp32")
    return [(*(value for value in address.values() if value not in plain), len(one.rows)) for address, one in found]
