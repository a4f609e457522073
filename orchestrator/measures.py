"""Measures: what a claim looks at, one number per seed, from the results of one group of cells; judges nothing.

Quantities of cells are compared seed by seed, so that what all of a seed's networks share drops out of a difference.
To add a measure, add one frozen dataclass here.
"""

from __future__ import annotations

import abc
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.quantities import RANDOM, WARM, Cells, Final, Group, Quantity

Numbers = Mapping[int, float]  # by seed


class Measure(abc.ABC):
    """One number per seed, or several under names when the same is asked of several cells.

    Attributes:
        words: What it is, for a table.
        unit: Of its numbers; "" without one.
    """

    words: str
    unit: str

    @abc.abstractmethod
    def numbers(self, group: Group) -> dict[str, Numbers]:
        """By name and seed; the name is "" where there is one thing only. Seeds that lack a side are left out.

        Raises:
            ConfigError: a side is not one cell.
        """


@dataclass(frozen=True)
class Value(Measure):
    """A quantity as it is."""

    quantity: Quantity
    side: Cells

    @property
    def words(self) -> str:  # type: ignore[override]
        """Quantity and cells."""
        return f"{self.quantity.words}: {self.side.name}"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The quantity's."""
        return self.quantity.unit

    def numbers(self, group: Group) -> dict[str, Numbers]:
        return {"": group.numbers(self.side, self.quantity)}


@dataclass(frozen=True)
class Pair(Measure, abc.ABC):
    """Two sides compared seed by seed.

    Attributes:
        quantity: What of them.
        side: One side.
        other: The other.
        each: A column; every value of it among `side` is compared with `other` on its own.
        alike: The same, and `other` has that value too.
    """

    quantity: Quantity
    side: Cells
    other: Cells
    each: str = ""
    alike: str = ""

    @abc.abstractmethod
    def compare(self, one: float, other: float) -> float:
        """One seed's number; may be infinite or NaN, and is then left out."""

    def numbers(self, group: Group) -> dict[str, Numbers]:
        column = self.each or self.alike
        if not column:
            return {"": self._paired(group, self.side, self.other)}
        found: dict[str, Numbers] = {}
        for value in group.values(self.side, column):
            same = {column: value}
            other = self.other.where(**same) if self.alike else self.other
            found[f"{spoken(column)} {shown(value)}"] = self._paired(group, self.side.where(**same), other)
        return found

    def _paired(self, group: Group, side: Cells, other: Cells) -> Numbers:
        ours, theirs = group.numbers(side, self.quantity), group.numbers(other, self.quantity)
        both = {seed: self.compare(ours[seed], theirs[seed]) for seed in ours if seed in theirs}
        return {seed: number for seed, number in both.items() if math.isfinite(number)}


@dataclass(frozen=True)
class Difference(Pair):
    """`side` minus `other`."""

    @property
    def words(self) -> str:  # type: ignore[override]
        """Quantity and sides."""
        return f"{self.quantity.words}: {self.side.name} minus {self.other.name}"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The quantity's."""
        return self.quantity.unit

    def compare(self, one: float, other: float) -> float:
        return one - other


def gap(**columns: Any) -> Difference:
    """The warm-start gap in points: held-out accuracy of random init minus warm start, both with these columns."""
    return Difference(Final(), RANDOM.where(**columns), WARM.where(**columns))


@dataclass(frozen=True)
class Ratio(Pair):
    """`side` divided by `other`."""

    unit: str = "times"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Quantity and sides."""
        return f"{self.quantity.words}: {self.side.name} over {self.other.name}"

    def compare(self, one: float, other: float) -> float:
        return one / other if other else math.inf


@dataclass(frozen=True)
class AgainstBest(Measure):
    """`side` minus the best of `others`, the best of each seed and each value of the column `alike`."""

    quantity: Quantity
    side: Cells
    others: Sequence[Cells]
    alike: str

    @property
    def words(self) -> str:  # type: ignore[override]
        """Quantity and sides."""
        return f"{self.quantity.words}: {self.side.name} minus the better of {names(self.others)}"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The quantity's."""
        return self.quantity.unit

    def numbers(self, group: Group) -> dict[str, Numbers]:
        found: dict[str, Numbers] = {}
        for value in group.values(self.side, self.alike):
            ours, *theirs = (
                group.numbers(cells.where(**{self.alike: value}), self.quantity) for cells in (self.side, *self.others)
            )
            seeds = [seed for seed in ours if all(seed in one for one in theirs)]
            label = f"{spoken(self.alike)} {shown(value)}"
            found[label] = {seed: ours[seed] - max(one[seed] for one in theirs) for seed in seeds}
        return found


@dataclass(frozen=True)
class Order(Measure):
    """Whether a quantity rises along `sides`: each one minus the one before it."""

    quantity: Quantity
    sides: Sequence[Cells]

    @property
    def words(self) -> str:  # type: ignore[override]
        """Quantity and order."""
        return f"{self.quantity.words} rises in the order {names(self.sides)}"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """The quantity's."""
        return self.quantity.unit

    def numbers(self, group: Group) -> dict[str, Numbers]:
        steps = zip(self.sides, self.sides[1:], strict=False)
        return {f"{b.name} minus {a.name}": Difference(self.quantity, b, a).numbers(group)[""] for a, b in steps}


@dataclass(frozen=True)
class Change(Measure):
    """One comparison minus another, seed by seed, such as the gap of one model minus that of another.

    Attributes:
        words: What it is, for a table.
        one: A comparison of two cells.
        other: What is taken from it, likewise.
        each: A column; every value of it among the first side of `one` is taken on its own.
    """

    words: str
    one: Pair
    other: Pair
    each: str = ""

    @property
    def unit(self) -> str:  # type: ignore[override]
        """That of both."""
        return self.one.unit

    def numbers(self, group: Group) -> dict[str, Numbers]:
        taken = self.other.numbers(group)[""]
        found: dict[str, Numbers] = {}
        for value in group.values(self.one.side, self.each) if self.each else [None]:
            same: dict[str, Any] = {self.each: value} if self.each else {}
            one = replace(self.one, side=self.one.side.where(**same), other=self.one.other.where(**same))
            numbers = one.numbers(group)[""]
            label = f"{spoken(self.each)} {shown(value)}" if self.each else ""
            found[label] = {seed: numbers[seed] - taken[seed] for seed in numbers if seed in taken}
        return found


@dataclass(frozen=True)
class PercentAlong(Measure):
    """Percent by which held-out accuracy differs from that of `base`, mean over a range of a column.

    Attributes:
        side: Cells that differ in `column`.
        base: What they are compared with, one cell.
        column: A number of at least 0, such as the epochs of a first round.
        low: Lower end of the range, as a share of the column's largest value in the group.
        high: Its upper end.
    """

    side: Cells
    base: Cells
    column: str
    low: float
    high: float
    unit: str = "%"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Sides and range."""
        ends = f"{self.low:.0%} to {self.high:.0%}".replace("%", " %")
        return f"accuracy of {self.side.name} against {self.base.name}, {spoken(self.column)} {ends} of the longest"

    def numbers(self, group: Group) -> dict[str, Numbers]:
        values = group.values(self.side, self.column)
        inside = [value for value in values if self.low <= value / (values[-1] or 1) <= self.high]
        base = group.numbers(self.base, Final())
        series = [group.numbers(self.side.where(**{self.column: value}), Final()) for value in inside]
        seeds = [seed for seed in base if base[seed] and series and all(seed in one for one in series)]
        return {"": {seed: 100 * (statistics.fmean(one[seed] for one in series) / base[seed] - 1) for seed in seeds}}


@dataclass(frozen=True)
class Correlation(Measure):
    """Pearson's correlation of two columns over all cells of a side, seed by seed; at least three cells."""

    x: str
    y: str
    side: Cells
    unit: str = ""

    @property
    def words(self) -> str:  # type: ignore[override]
        """Columns and cells."""
        return f"correlation of {spoken(self.x)} with {spoken(self.y)} over {self.side.name}s"

    def numbers(self, group: Group) -> dict[str, Numbers]:
        found = {}
        for seed, rows in group.of(self.side).items():
            pairs = [(row[self.x], row[self.y]) for row in rows if None not in (row.get(self.x), row.get(self.y))]
            if len(pairs) >= 3 and all(min(values) < max(values) for values in zip(*pairs, strict=True)):
                found[seed] = statistics.correlation(*zip(*pairs, strict=True))
        return {"": found}


@dataclass(frozen=True)
class FastCorner(Measure):
    """How far the best of the fast cells of `side` stays behind the best cell of `base`, in points.

    A cell of `side` is fast if it took less than `share` of the time of the fastest cell of `base` that comes within
    `margin` points of the best of `base`. A seed without a fast cell has no number; if none has one, nothing can be
    compared, which is a ConfigError.

    Attributes:
        side: Cells of which some may be both fast and accurate.
        base: Cells that they have to beat.
        share: Of the time, in (0, 1].
        margin: Points that count as equally accurate.
    """

    side: Cells
    base: Cells
    share: float = 0.75
    margin: float = 1.0
    unit: str = "points"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Sides and what is fast."""
        return (
            f"held-out accuracy: best {self.side.name} in less than {self.share:.0%} of the time of the fastest "
            f"{self.base.name} within {self.margin:g} point of the best, minus the best {self.base.name}"
        ).replace("%", " %")

    def numbers(self, group: Group) -> dict[str, Numbers]:
        sides, found = group.of(self.side), {}
        for seed, rows in group.of(self.base).items():
            base = [row for row in rows if row["test_accuracy"] is not None]
            if not base:
                continue
            best = max(row["test_accuracy"] for row in base)
            equal = (row for row in base if 100 * (best - row["test_accuracy"]) <= self.margin + 1e-9)
            limit = self.share * min(row["train_seconds"] for row in equal)
            quick = [row["test_accuracy"] for row in sides.get(seed, ()) if row["train_seconds"] < limit]
            fast = [accuracy for accuracy in quick if accuracy is not None]
            if fast:
                found[seed] = 100 * (max(fast) - best)
        if sides and not found:
            raise ConfigError(f"no {self.side.name} was that fast, so there is no accuracy to compare.")
        return {"": found}


def spoken(column: str) -> str:
    """A column's name in words."""
    return column.removeprefix("axis_").removesuffix("_text").replace("_", " ")


def shown(value: Any) -> str:
    """A column's value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def names(cells: Sequence[Cells]) -> str:
    """Names of cells, one after the other."""
    return ", ".join(one.name for one in cells)
