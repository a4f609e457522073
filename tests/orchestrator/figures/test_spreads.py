"""Means and bands say what was measured at a place; of very many places, bins hide neither ends nor extremes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.spreads import (
    BINS,
    FEWEST,
    MOST_PLACES,
    Spread,
    bins_in_words,
    in_bins,
    most_places,
    over_seeds,
)

VALUES = st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 5)), min_size=3, max_size=60)
LONG = [Spread(float(x), x % 7, 0.5, 3) for x in range(1, 5001)]


def test_means_and_spreads_are_over_the_values_of_a_place() -> None:
    """A band of the wrong width decides what a reader believes."""
    spreads = over_seeds([(2, 1.0), (1, 5.0), (2, 3.0), (2, None), (2, float("nan"))])

    assert [(s.x, s.mean, round(s.std, 4), s.count) for s in spreads] == [(1, 5.0, 0.0, 1), (2, 2.0, 1.4142, 2)]


def test_nothing_measured_is_no_place() -> None:
    """An arm whose stages all diverged has no line, and must not end the figure."""
    assert over_seeds([(1, None), (2, float("inf"))]) == []


@given(VALUES, st.integers(4, 12), st.booleans())
def test_bins_keep_ends_and_extremes(values: list[tuple[float, float]], bins: int, log_x: bool) -> None:
    """A collapse in one epoch of a hundred thousand is what such a figure is looked at for."""
    spreads = [Spread(float(x), mean, std, 2) for x, (mean, std) in enumerate(values, start=1)]

    found = in_bins(spreads, bins, log_x)

    assert (found[0].mean, found[0].x, found[-1].mean, found[-1].x) == (
        *(spreads[0].mean, 1, spreads[-1].mean, len(values)),
    )
    assert min(one.low for one in found) == min(s.mean - s.std for s in spreads)
    assert max(one.high for one in found) == max(s.mean + s.std for s in spreads)
    assert len(found) <= bins


@pytest.mark.parametrize("log_x", [False, True])
def test_bins_part_the_axis_evenly(log_x: bool) -> None:
    """On a logarithmic axis the first epochs are most of the picture, and deserve most of the bins."""
    found = in_bins(LONG, 100, log_x)

    assert [one.first for one in found] == sorted({one.first for one in found})
    assert all(before.last + 1 == after.first for before, after in itertools.pairwise(found))
    assert (found[-2].last - found[-2].first > 2 * (found[20].last - found[20].first)) is log_x


def test_a_bin_is_drawn_at_the_mean_of_its_places() -> None:
    """A step to the left or right would move the moment in which a curve changes."""
    second = in_bins(LONG, 100)[1]

    assert second.x == (second.first + second.last) / 2
    assert second.mean == sum(x % 7 for x in range(int(second.first), int(second.last) + 1)) / (
        second.last - second.first + 1
    )


def test_bins_are_told() -> None:
    """A band from the lowest to the highest value is no standard deviation."""
    assert bins_in_words([LONG[:MOST_PLACES]]) == ""
    assert bins_in_words([LONG]).startswith(f"5,000 places in {BINS} bins")


def test_many_lines_have_fewer_places() -> None:
    """Eight hundred arms of a thousand epochs would be a page that no browser opens."""
    assert [most_places(lines) for lines in (1, 60, 10_000)] == [MOST_PLACES, 500, FEWEST]
    assert bins_in_words([LONG[:900]] * 60).startswith("900 places in 500 bins")
