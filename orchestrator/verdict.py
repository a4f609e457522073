"""Verdict: decides from one number per seed whether a bound holds; knows no claim, no sweep and no store."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of every interval


class Outcome(enum.StrEnum):
    """What the seeds say about a bound."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_DECIDED = "not decided"
    NOT_RUN = "not run"


SENTENCES: Mapping[Outcome, str] = {
    Outcome.SUPPORTED: "the 95 % interval of the mean over seeds lies wholly inside the bound",
    Outcome.CONTRADICTED: "the 95 % interval lies wholly outside the bound",
    Outcome.NOT_DECIDED: "the 95 % interval spans the bound, or there is none: one seed, or two that agree by chance",
    Outcome.NOT_RUN: "there is no result to decide it with",
}


@dataclass(frozen=True)
class Interval:
    """Mean over seeds with its 95 % confidence interval.

    Attributes:
        mean: Of the seeds' numbers.
        low: Lower end; -inf with one seed, which says nothing about the spread.
        high: Upper end; inf with one seed.
        seeds: How many numbers.
    """

    mean: float
    low: float
    high: float
    seeds: int


def interval(numbers: Sequence[float]) -> Interval:
    """Mean and Student's t interval of one finite number or more, one per seed.

    Seeds that all give the same number, but for rounding, make an interval of width 0, as an exact identity should.
    """
    count = len(numbers)
    mean = math.fsum(numbers) / count
    if count < 2:
        return Interval(mean, -math.inf, math.inf, count)
    if math.isclose(min(numbers), max(numbers), rel_tol=1e-9, abs_tol=1e-9):
        return Interval(numbers[0], numbers[0], numbers[0], count)  # free of rounding, so that exact stays exact
    variance = math.fsum((number - mean) ** 2 for number in numbers) / (count - 1)
    half = t_quantile(count - 1) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)


def t_quantile(freedom: int) -> float:
    """How many standard errors half of the 95 % interval is, with so many degrees of freedom, at least 1."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


@dataclass(frozen=True)
class Bound:
    """Where a number has to lie for a claim to hold.

    Attributes:
        low: Lower end, which belongs to it unless it is `strict`.
        high: Upper end, likewise.
        strict: Whether the ends themselves are outside.
    """

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False

    def outcome(self, found: Interval) -> Outcome:
        """Compare an interval with the bound."""
        if found.seeds < 2 or (found.seeds == 2 and found.low == found.high and self.low != self.high):
            return Outcome.NOT_DECIDED  # two accuracies on few images are easily equal, and show no spread then
        if self._holds(found.low) and self._holds(found.high):
            return Outcome.SUPPORTED
        if self._is_below(found.high) or self._is_above(found.low):
            return Outcome.CONTRADICTED
        return Outcome.NOT_DECIDED

    def _holds(self, number: float) -> bool:
        return not self._is_below(number) and not self._is_above(number)

    def _is_below(self, number: float) -> bool:
        return number < self.low or (self.strict and number == self.low)

    def _is_above(self, number: float) -> bool:
        return number > self.high or (self.strict and number == self.high)

    def words(self, unit: str = "") -> str:
        """The bound as a reader says it: ``above 0 points``, ``between -8 and -3 %``."""
        after = f" {unit}" if unit else ""
        if self.low == self.high:
            return f"exactly {self.low:g}{after}"
        if math.isinf(self.high):
            return f"{'above' if self.strict else 'at least'} {self.low:g}{after}"
        if math.isinf(self.low):
            return f"{'below' if self.strict else 'at most'} {self.high:g}{after}"
        return f"between {self.low:g} and {self.high:g}{after}"


def above(low: float) -> Bound:
    """More than `low`."""
    return Bound(low=low, strict=True)


def at_least(low: float) -> Bound:
    """`low` or more."""
    return Bound(low=low)


def below(high: float) -> Bound:
    """Less than `high`."""
    return Bound(high=high, strict=True)


def at_most(high: float) -> Bound:
    """`high` or less."""
    return Bound(high=high)


def between(low: float, high: float) -> Bound:
    """From `low` to `high`, both included."""
    return Bound(low, high)


def exactly(number: float) -> Bound:
    """`number` and nothing else, for identities that hold without rounding."""
    return Bound(number, number)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """What several bounds that must all hold say: supported if all are, contradicted if any is.

    Else not decided, or not run if none of them was.
    """
    given = set(outcomes)
    if Outcome.CONTRADICTED in given:
        return Outcome.CONTRADICTED
    if given == {Outcome.SUPPORTED}:
        return Outcome.SUPPORTED
    return Outcome.NOT_RUN if given <= {Outcome.NOT_RUN} else Outcome.NOT_DECIDED
