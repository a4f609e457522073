"""A verdict is what the seeds' interval says of the bound: each of the four, both ways."""

from __future__ import annotations

import math
import random

import pytest

from orchestrator.verdict import (
    SENTENCES,
    Bound,
    Outcome,
    above,
    at_least,
    at_most,
    below,
    between,
    exactly,
    interval,
    together,
)

SUPPORTED, CONTRADICTED, NOT_DECIDED, NOT_RUN = Outcome


def test_the_interval_is_students() -> None:
    """By hand: mean 4, deviation 2, standard error 2 / sqrt 4 = 1, and 3.1824 of them with 3 degrees of freedom."""
    numbers = [4 - math.sqrt(6), 4, 4, 4 + math.sqrt(6)]

    found = interval(numbers)

    assert (found.mean, found.seeds) == (4, 4)
    assert (found.low, found.high) == pytest.approx((4 - 3.18245, 4 + 3.18245), abs=1e-4)


def test_the_interval_covers_the_truth_in_95_of_100_experiments() -> None:
    """Too narrow an interval decides claims that three seeds cannot decide."""
    draw = random.Random(0)
    found = [interval([draw.gauss(1, 2) for _ in range(3)]) for _ in range(4000)]

    covered = sum(one.low <= 1 <= one.high for one in found) / len(found)

    assert covered == pytest.approx(0.95, abs=0.01)


def test_one_seed_has_no_interval() -> None:
    """A single run looks like proof, and is none."""
    found = interval([4.9])

    assert (found.mean, found.low, found.high) == (4.9, -math.inf, math.inf)
    assert above(0).outcome(found) is NOT_DECIDED


def test_two_seeds_that_agree_by_chance_decide_nothing() -> None:
    """On 600 images two differences are often one and the same; that is no interval of width 0."""
    assert above(0).outcome(interval([0.17, 0.17])) is NOT_DECIDED
    assert above(0).outcome(interval([0.17, 0.17, 0.17])) is SUPPORTED
    assert exactly(0).outcome(interval([0, 0])) is SUPPORTED


def test_two_seeds_that_differ_by_rounding_alone_decide_nothing() -> None:
    """Accuracies are counts over images, and their differences in percent are not exact."""
    numbers = [100 * 0.95 - 100 * 0.9634, -1.34]

    assert numbers[0] != numbers[1]
    assert at_least(-2).outcome(interval(numbers)) is Outcome.NOT_DECIDED


def test_equal_seeds_are_exact() -> None:
    """An identity must not fail on the rounding of a mean."""
    found = interval([0.1, 0.1, 0.1])

    assert found.low == found.mean == found.high == 0.1
    assert exactly(0.1).outcome(found) is SUPPORTED


@pytest.mark.parametrize(
    ("bound", "numbers", "outcome"),
    [
        (above(0), [4, 5, 6], SUPPORTED),
        (above(0), [-4, -5, -6], CONTRADICTED),
        (above(0), [-4, 5, 6], NOT_DECIDED),
        (above(0), [0, 0, 0], CONTRADICTED),
        (at_least(0), [0, 0, 0], SUPPORTED),
        (below(0), [0, 0, 0], CONTRADICTED),
        (at_most(0), [0, 0, 0], SUPPORTED),
        (below(0), [-4, -5, -6], SUPPORTED),
        (at_most(1), [2, 2.1, 2.2], CONTRADICTED),
        (between(-8, -3), [-5, -5.1, -5.2], SUPPORTED),
        (between(-8, -3), [-1, -1.1, -1.2], CONTRADICTED),
        (between(-8, -3), [-9, -9.1, -9.2], CONTRADICTED),
        (between(-8, -3), [-12, -5, 1], NOT_DECIDED),
        (between(-8, -3), [-3.2, -3, -2.8], NOT_DECIDED),
        (exactly(0), [0, 0], SUPPORTED),
        (exactly(0), [1, 1], CONTRADICTED),
        (exactly(0), [0, 0.1], NOT_DECIDED),
    ],
)
def test_an_outcome_follows_from_where_the_interval_lies(bound: Bound, numbers: list[float], outcome: Outcome) -> None:
    """A verdict the wrong way round, at an end above all, is a false statement about the paper."""
    assert bound.outcome(interval(numbers)) is outcome


@pytest.mark.parametrize(
    ("outcomes", "all_together"),
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([SUPPORTED, CONTRADICTED], CONTRADICTED),
        ([NOT_RUN, CONTRADICTED], CONTRADICTED),
        ([SUPPORTED, NOT_DECIDED], NOT_DECIDED),
        ([SUPPORTED, NOT_RUN], NOT_DECIDED),
        ([NOT_RUN, NOT_RUN], NOT_RUN),
        ([], NOT_RUN),
    ],
)
def test_a_claim_holds_only_if_all_its_parts_do(outcomes: list[Outcome], all_together: Outcome) -> None:
    """A part that nobody ran must not make a claim look supported."""
    assert together(outcomes) is all_together


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (above(0), "above 0 points"),
        (at_least(-1), "at least -1 points"),
        (below(0.7), "below 0.7 points"),
        (at_most(1), "at most 1 points"),
        (between(-8, -3), "between -8 and -3 points"),
        (exactly(0), "exactly 0 points"),
    ],
)
def test_a_rule_reads_as_it_decides(bound: Bound, words: str) -> None:
    """A reader checks the verdict against the rule next to it."""
    assert bound.words("points") == words


def test_every_outcome_has_its_sentence() -> None:
    """A word without its meaning invites each reader's own."""
    assert set(SENTENCES) == set(Outcome)
