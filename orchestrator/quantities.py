"""Quantities: one number of one seed's rounds, such as accuracy in the end or time over all rounds; compares nothing.

To add one, add one frozen dataclass here.
"""

from __future__ import annotations

import abc
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.figures.results import Results, Row


class Cells:
    """Those cells of a group whose columns have the given values: ``Cells("warm start", init="warm_start")``.

    A value may also be a test of the column's value, which is never asked about None.
    """

    def __init__(self, name: str, **columns: Any) -> None:
        self.name, self.columns = name, columns

    def where(self, name: str = "", **columns: Any) -> Cells:
        """Of these cells, those with these columns too; under another name if one is given."""
        return Cells(name or self.name, **{**self.columns, **columns})

    def has(self, row: Row) -> bool:
        """Whether a row of the view `results` is of these cells; not if it lacks a column."""
        return all(is_match(row.get(name), wanted) for name, wanted in self.columns.items())


def is_match(value: Any, wanted: Any) -> bool:
    """Whether a column's value is, or passes the test, `wanted`; numbers are equal to nine digits."""
    if value is None:
        return wanted is None
    if callable(wanted):
        return bool(wanted(value))
    if isinstance(value, float) and isinstance(wanted, (int, float)):
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == wanted)


RANDOM = Cells("random init", init="random_init")
WARM = Cells("warm start", init="warm_start")


@dataclass(frozen=True)
class Group:
    """Rows of one data set, one model and whatever else is not to be compared.

    Attributes:
        rows: All of them, those that diverged or failed among them.
        results: What they are from: the sweep's stages and epochs.
        absent: What was launched and is not there yet: settings, seed and round alone.
    """

    rows: Sequence[Row]
    results: Results
    absent: Sequence[Row] = ()

    @cached_property
    def rounds(self) -> tuple[int, ...]:
        """Rounds that any row reports or will report, in order."""
        return tuple(sorted({row["round"] for row in (*self.rows, *self.absent)}))

    def of(self, cells: Cells) -> dict[int, list[Row]]:
        """Rows by seed that were trained to their end, in the order of rounds; a stage counts once."""
        found: dict[int, dict[str, Row]] = {}
        for row in self.rows:
            if row["status"] == "done" and cells.has(row):
                found.setdefault(row["seed"], {}).setdefault(row["key"], row)
        return {seed: sorted(rows.values(), key=lambda row: int(row["round"])) for seed, rows in sorted(found.items())}

    def values(self, cells: Cells, column: str) -> list[Any]:
        """What `column` holds in these cells, those not there yet among them, sorted; without None."""
        everything = (*self.rows, *self.absent)
        return sorted({row[column] for row in everything if row.get(column) is not None and cells.has(row)})

    def numbers(self, cells: Cells, quantity: Quantity) -> dict[int, float]:
        """The quantity of each seed that has one.

        Raises:
            ConfigError: under one seed there are several such cells.
        """
        found = {}
        for seed, rows in self.of(cells).items():
            if len({row["round"] for row in rows}) < len(rows):
                raise ConfigError(f"several cells are {cells.name} under one seed: {told_apart(rows)}.")
            value = quantity.of(rows, self)
            if value is not None and math.isfinite(value):
                found[seed] = value
        return found


def told_apart(rows: Sequence[Row]) -> str:
    """What tells the rows of one round apart, by the columns in which they differ."""
    first = rows[0]
    other = next((row for row in rows[1:] if row["round"] == first["round"]), rows[-1])
    skipped = ("key", "parent", "config")
    names = [n for n in first if n not in skipped and isinstance(first[n], str) and first[n] != other.get(n)]
    shown = [n for n in names if n.endswith("_text")] or names[:1] or ["key"]
    return "; ".join(f"{first[n]} and {other.get(n)}" for n in shown)


class Quantity(abc.ABC):
    """One number of one seed's rounds.

    Attributes:
        words: What it is, for a table.
        unit: Of its numbers; "" without one.
    """

    words: str
    unit: str

    @abc.abstractmethod
    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        """The number, of one row a round, in order; None if rounds that it needs are not there."""


@dataclass(frozen=True)
class Final(Quantity):
    """A column's value in the group's last round, by default held-out accuracy in percent."""

    column: str = "test_accuracy"
    scale: float = 100.0
    words: str = "held-out accuracy"
    unit: str = "points"

    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        last = rows[-1]
        value = last[self.column] if last["round"] == group.rounds[-1] else None
        return None if value is None else self.scale * float(value)


@dataclass(frozen=True)
class Total(Quantity):
    """Sum of a column over all rounds, by default of training time."""

    column: str = "train_seconds"
    words: str = "training time"
    unit: str = "s"

    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        return math.fsum(row[self.column] for row in rows) if is_complete(rows, self.column, group) else None


@dataclass(frozen=True)
class MeanOf(Quantity):
    """Mean of held-out accuracy over some rounds at the beginning or the end.

    Attributes:
        rounds: How many, from the front; from the end if negative. At most half of all rounds, so that the beginning
            and the end of a short sweep do not overlap.
    """

    rounds: int
    column: str = "test_accuracy"
    scale: float = 100.0
    unit: str = "points"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Which rounds."""
        return f"held-out accuracy, {'last' if self.rounds < 0 else 'first'} {abs(self.rounds)} rounds"

    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        count = min(abs(self.rounds), len(group.rounds) // 2)
        if not count or not is_complete(rows, self.column, group):
            return None
        chosen = rows[-count:] if self.rounds < 0 else rows[:count]
        return self.scale * statistics.fmean(row[self.column] for row in chosen)


@dataclass(frozen=True)
class Growth(Quantity):
    """Exponent by which a column grows with the number of examples: slope of its log over theirs, by least squares.

    1 is linear growth, 0 none.
    """

    column: str = "train_seconds"
    words: str = "exponent of training time over examples"
    unit: str = ""

    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        if len(rows) < 3 or not is_complete(rows, self.column, group) or any(row[self.column] <= 0 for row in rows):
            return None
        examples = [math.log(row["examples"]) for row in rows]
        if min(examples) == max(examples):
            return None
        return statistics.linear_regression(examples, [math.log(row[self.column]) for row in rows]).slope


@dataclass(frozen=True)
class GradientRatio(Quantity):
    """How much longer the gradient of new examples is than that of old ones, early in the last round.

    Mean over the measured steps of `first` to `last` epoch, the new examples' divided by the old ones'.
    """

    first: int
    last: int
    unit: str = ""

    @property
    def words(self) -> str:  # type: ignore[override]
        """Which epochs."""
        return f"gradient norm of new over old examples, epochs {self.first} to {self.last}"

    def of(self, rows: Sequence[Row], group: Group) -> float | None:
        last = rows[-1]
        if last["round"] != group.rounds[-1]:
            return None
        epochs = group.results.epochs.get(last["key"], ())
        chosen = [epoch for epoch in epochs if self.first <= epoch["epoch"] <= self.last]
        new, old = (measured(chosen, column) for column in ("new_gradient_norms", "old_gradient_norms"))
        if not new or not old or len(chosen) <= self.last - self.first or not any(old):
            return None
        return statistics.fmean(new) / statistics.fmean(old)


def measured(epochs: Sequence[Row], column: str) -> list[float]:
    """All finite numbers of a column of lists."""
    lists = [epoch.get(column) for epoch in epochs]
    return [
        number for one in lists if one is not None for number in one if number is not None and math.isfinite(number)
    ]


def is_complete(rows: Sequence[Row], column: str, group: Group) -> bool:
    """Whether there is a value in every round that the group has."""
    return tuple(row["round"] for row in rows) == group.rounds and all(row[column] is not None for row in rows)
