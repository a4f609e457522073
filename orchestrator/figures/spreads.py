"""Spreads: what stands at each place of an axis, over seeds; of very many places, in bins. Draws nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# More are drawn in bins, because a browser stutters with them and no screen shows them.
MOST_PLACES, MOST_IN_ALL, FEWEST = 2000, 30_000, 20  # of a line, of a figure, and of a line of very many
BINS = 500


@dataclass(frozen=True)
class Spread:
    """Values at one place `x`: their mean, standard deviation (0 of a single one), and how many there are."""

    x: float
    mean: float
    std: float
    count: int


@dataclass(frozen=True)
class Bin:
    """What stands at the places from `first` to `last`, which are drawn at `x`, their mean.

    Attributes:
        mean: Of the places' means.
        low: Lower end of the lowest band of any of the places.
        high: Upper end of the highest band.
    """

    x: float
    first: float
    last: float
    mean: float
    low: float
    high: float


def over_seeds(points: Iterable[tuple[float, float | None]]) -> list[Spread]:
    """Mean and sample standard deviation of the values at each place, by place; what is no finite number is none."""
    import numpy as np

    there = [(x, value) for x, value in points if value is not None]
    return spreads_of(np.array([x for x, _ in there], float), np.array([value for _, value in there], float))


def spreads_of(x: np.ndarray, values: np.ndarray) -> list[Spread]:
    """The same of two arrays of one length."""
    import numpy as np

    x, values = x[np.isfinite(values)], values[np.isfinite(values)]
    if not x.size:
        return []
    places, at, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(at, values) / counts
    squares = np.bincount(at, (values - means[at]) ** 2)
    stds = np.sqrt(squares / np.maximum(counts - 1, 1))
    columns = (places.tolist(), means.tolist(), stds.tolist(), counts.tolist())
    return [Spread(*found) for found in zip(*columns, strict=True)]


def most_places(lines: int) -> int:
    """How many places a line may have in a figure of so many, before it is drawn in bins."""
    return min(MOST_PLACES, max(FEWEST, MOST_IN_ALL // max(lines, 1)))


def in_bins(spreads: Sequence[Spread], bins: int = BINS, log_x: bool = False) -> list[Bin]:
    """`spreads`, more than two and sorted by place, in at most so many equal parts of the axis.

    The first place and the last are bins of their own, so that a curve begins and ends where it did; the highest and
    the lowest value are at the edge of a bin's band.
    """
    ends = [math.log(spread.x) if log_x else spread.x for spread in (spreads[1], spreads[-2])]
    width = (ends[1] - ends[0]) / (bins - 2) or 1.0
    parts: dict[float, list[Spread]] = {-1: [spreads[0]]}
    for spread in spreads[1:-1]:
        place = math.log(spread.x) if log_x else spread.x
        parts.setdefault(min((place - ends[0]) // width, bins - 3), []).append(spread)
    return [bin_of(part) for part in (*parts.values(), [spreads[-1]])]


def bin_of(part: Sequence[Spread]) -> Bin:
    """One bin of all of `part`."""
    low = min(spread.mean - spread.std for spread in part)
    high = max(spread.mean + spread.std for spread in part)
    x, mean = (math.fsum(values) / len(part) for values in zip(*((s.x, s.mean) for s in part), strict=True))
    return Bin(x, part[0].x, part[-1].x, mean, low, high)


def bins_in_words(lines: Sequence[Sequence[Spread]]) -> str:
    """A sentence on the bins in which lines with too many places are drawn; "" if there are none."""
    longest, most = max(map(len, lines), default=0), most_places(len(lines))
    if longest <= most:
        return ""
    bins = min(BINS, most)
    return f"{longest:,} places in {bins} bins: a line is a bin's mean, a band holds the bands of all its places."
