"""Groups: which rows of a sweep belong together, so that a claim never mixes data sets, models or caps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.columns import names
from orchestrator.figures.results import Results, Row
from orchestrator.figures.style import CAPS
from orchestrator.measures import shown, spoken
from orchestrator.quantities import Cells, Group

ALWAYS = (  # what a group shares, besides the sweep's own axes; not init, because that is what claims compare
    *("data_text", "model_text", "optimizer_text", "lr", "batch_size", "regularizer_text", "stop"),
    *("augmentation_text", "after_step_text", "selection_text", "precision"),
)
QUIET = ("evaluate_every", "gradient_norms_every")  # how often is looked at the network, which changes no result
Address = Mapping[str, Any]


def groups_of(results: Results, across: Collection[str], only: Cells) -> list[tuple[Address, Group]]:
    """Rows of `results` that have the same value in every column but those in `across`; each with these values.

    The data set is the one that the stage was trained on, with its cap on images, not the axis's. Where merged cells
    leave a first round's axis empty because a stage has no parent, the stage is in every group that its other columns
    fit: one random init is compared with the warm starts of all first rounds.

    Args:
        results: Stages that failed are left out, those that diverged are not.
        across: Columns that the claim compares.
        only: Which rows it speaks of.
    """
    rows = [trained(row, results) for row in results.rows if row["key"] in results.stages]
    rows = [row for row in rows if is_meant(row, only)]
    columns = [name for name in address_columns(rows) if name not in across]
    loose = [{name for name in columns if row[name] is None and is_loose(row, name)} for row in rows]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row, free in zip(rows, loose, strict=True):
        if not free:
            found.setdefault(tuple(row[name] for name in columns), []).append(row)
    for row, free in zip(rows, loose, strict=True):
        if free:
            own = tuple(row[name] for name in columns)
            fitting = [
                a for a in found if all(v == o for n, v, o in zip(columns, a, own, strict=True) if n not in free)
            ]
            for address in fitting or [own]:
                found.setdefault(address, []).append(row)
    addressed = [(dict(zip(columns, address, strict=True)), same) for address, same in found.items()]
    return [(address, Group(same, results, absent_of(address, same, results, across))) for address, same in addressed]


def absent_of(address: Address, rows: Sequence[Row], results: Results, across: Collection[str]) -> list[Row]:
    """What was launched and is not there yet of the group of `rows`: else a half-finished sweep would look finished."""
    kinds = {row.get("data") for row in rows}
    return [cell for cell in results.absent if cell.get("data") in kinds | {None} and is_at(cell, address, across)]


def is_at(cell: Row, address: Address, across: Collection[str]) -> bool:
    """Whether a row of the table `cells` has an address, as far as its axes say."""
    capped = {"data_text"} if cell.get("limit") is not None else set()  # the address's data has the cap in it
    said = [name for name, value in cell.items() if value is not None and name not in capped.union(across)]
    told = [name for name in said if name in ALWAYS or (is_own(name) and f"{name}_text" not in cell)]
    return all(address.get(name) == cell[name] for name in told)


def trained(row: Row, results: Results) -> Row:
    """A row with the data set that its stage was trained on, and the precision: before there was a choice, fp32."""
    unsaid = {"precision": "fp32"} if row.get("precision", "") is None else {}
    return {**row, **unsaid, "data_text": results.stages[row["key"]]["data_text"]}


def is_meant(row: Row, only: Cells) -> bool:
    """Whether a row is of `only`, as far as its axes make a difference to it."""
    asked = {
        name: wanted for name, wanted in only.columns.items() if row.get(name) is not None or not is_loose(row, name)
    }
    return Cells("", **asked).has(row)


def is_loose(row: Row, name: str) -> bool:
    """Whether an empty column of a row says that its axis makes no difference to it."""
    return row["parent"] is None and is_own(name) and name not in CAPS


def address_columns(rows: Sequence[Row]) -> list[str]:
    """Columns that tell groups apart: settings, and axes of the sweep that no column of the table `stages` is."""
    present = list(rows[0]) if rows else []
    own = [name for name in present if is_own(name) and f"{name}_text" not in present]
    filled = {name for name in own if any(row[name] is not None for row in rows)}
    return [name for name in present if name in ALWAYS or name in filled]


def is_own(name: str) -> bool:
    """Whether a column of the view `results` is an axis that is no setting of a stage."""
    fixed = (*names("stages"), *names("cells"))
    return name not in fixed and name.removeprefix("axis_").removesuffix("_text") != "stop"


def described(address: Address, others: Sequence[Address]) -> str:
    """What a table says of a group besides data set and model: own axes, and what tells it from `others`."""
    said = []
    for name, value in address.items():
        varies = any(other.get(name) != value for other in others)
        if name in ("data_text", "model_text") or (value is None and not varies):
            continue
        if varies or (is_own(name) and name not in QUIET):
            said.append(f"{spoken(name).replace(' ', '_')}={shown(value)}")
    return ", ".join(said)
