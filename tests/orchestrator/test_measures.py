"""Every measure gives the number that a person gets by hand from the same rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.measures import (
    AgainstBest,
    Change,
    Correlation,
    Difference,
    FastCorner,
    Order,
    PercentAlong,
    Ratio,
    Value,
    gap,
)
from orchestrator.quantities import RANDOM, WARM, Cells, Final, GradientRatio, Growth, MeanOf, Total
from tests.orchestrator.made_results import group, pairs, row


def online(init: str, accuracies: list[float], seconds: list[float], **columns: object) -> list[dict[str, object]]:
    """Rounds of one seed, 1,000 more examples in each."""
    rounds = zip(accuracies, seconds, strict=True)
    return [
        row(init, 0, a, round=r, train_seconds=s, examples=1000 * (r + 1), **columns) for r, (a, s) in enumerate(rounds)
    ]


def test_a_gap_is_paired_over_seeds() -> None:
    """Unpaired, the spread between seeds hides a gap that every seed shows."""
    found = gap().numbers(group(*pairs(4, 5, 6)))

    assert found[""] == pytest.approx({0: 4, 1: 5, 2: 6})


def test_a_seed_that_lacks_a_side_has_no_gap() -> None:
    """A half-run sweep must not compare one seed's random init with another's warm start."""
    found = gap().numbers(group(*pairs(4, 5)[:3]))

    assert list(found[""]) == [0]


def test_a_diverged_side_has_no_gap() -> None:
    """NaN, or an accuracy of the last sane epoch, is no result."""
    rows = [row("random_init"), row("warm_start", accuracy=0.1, status="diverged")]

    assert gap().numbers(group(*rows)) == {"": {}}


def test_several_cells_on_one_side_are_refused() -> None:
    """The mean of a warm start with and one without kept buffers is no measurement of either."""
    rows = [*pairs(4), row("warm_start", init_text="WarmStart(keep_buffers=True)")]

    with pytest.raises(ConfigError, match=r"several cells are warm start.*keep_buffers"):
        gap().numbers(group(*rows))


def test_a_stage_listed_twice_counts_once() -> None:
    """Two launches of one sweep list the same stage under other axes."""
    twice = [{**one, "evaluate_every": n} for one in pairs(4) for n in (None, 1)]

    assert gap().numbers(group(*twice))[""] == pytest.approx({0: 4})


def test_the_final_accuracy_is_that_of_the_last_round() -> None:
    """A warm start at round 10 beside a random init at round 34 looks worse than it is."""
    rows = [*online("random_init", [0.3, 0.5], [1, 1]), *online("warm_start", [0.3], [1])]

    assert Value(Final(), RANDOM).numbers(group(*rows))[""] == {0: 50}
    assert gap().numbers(group(*rows)) == {"": {}}


def test_the_gap_of_some_rounds_is_that_of_their_means() -> None:
    """By hand: of 4 rounds no more than 2 are the last; (0.7 + 0.9) / 2 - (0.5 + 0.6) / 2 = 0.25."""
    rows = [*online("random_init", [0.1, 0.2, 0.7, 0.9], [1] * 4), *online("warm_start", [0.1, 0.1, 0.5, 0.6], [1] * 4)]

    last = Difference(MeanOf(-5), RANDOM, WARM).numbers(group(*rows))[""]
    first = Difference(MeanOf(1), RANDOM, WARM).numbers(group(*rows))[""]

    assert (last[0], first[0]) == pytest.approx((25, 0))


def test_times_are_summed_over_all_rounds() -> None:
    """By hand: (1 + 2 + 3) / (1 + 1 + 1) = 2."""
    rows = [*online("random_init", [0.5] * 3, [1, 2, 3]), *online("warm_start", [0.5] * 3, [1, 1, 1])]

    assert Ratio(Total(), RANDOM, WARM).numbers(group(*rows))[""] == {0: 2}


def test_a_sum_over_some_of_the_rounds_is_none() -> None:
    """An arm that is half run would be the cheapest."""
    rows = [*online("random_init", [0.5] * 3, [1, 2, 3]), *online("warm_start", [0.5] * 2, [1, 1])]

    assert Ratio(Total(), RANDOM, WARM).numbers(group(*rows)) == {"": {}}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_growth_is_the_exponent(exponent: float) -> None:
    """Linear growth is 1, no growth 0."""
    seconds = [3 * (n + 1) ** exponent for n in range(6)]

    found = Value(Growth(), RANDOM).numbers(group(*online("random_init", [0.5] * 6, seconds)))

    assert found[""][0] == pytest.approx(exponent, abs=1e-9)


def test_the_gradient_ratio_looks_at_the_epochs_it_names() -> None:
    """By hand: epochs 2 and 3 have (6 + 8 + 10) / 3 over (2 + 2 + 2) / 3 = 4; a missing measurement is left out."""
    one = row("warm_start")
    norms = [([100.0], [1.0]), ([6.0, 8.0], [2.0, 2.0]), ([10.0, math.nan], [2.0, math.nan]), ([99.0], [1.0])]
    epochs = [
        {"epoch": n, "new_gradient_norms": new, "old_gradient_norms": old} for n, (new, old) in enumerate(norms, 1)
    ]

    found = Value(GradientRatio(2, 3), WARM).numbers(group(one, epochs={one["key"]: epochs}))

    assert found[""] == {0: 4}


def test_a_gradient_ratio_of_fewer_epochs_is_none() -> None:
    """A stage that stopped after the first epoch has no number for epochs 1 to 3."""
    one = row("warm_start")
    epochs = {one["key"]: [{"epoch": 1, "new_gradient_norms": [2.0], "old_gradient_norms": [1.0]}]}

    assert Value(GradientRatio(1, 3), WARM).numbers(group(one, epochs=epochs)) == {"": {}}


def test_each_value_of_a_column_is_compared_with_the_same_other() -> None:
    """Noise of 0.1 and of 0.01 are two answers, not one mean."""
    noisy = [
        row("shrink_perturb", 0, a, shrink=1.0, perturb=p, init_text=f"SP({p})") for a, p in ((0.5, 0.1), (0.4, 1.0))
    ]
    side = Cells("noise alone", init="shrink_perturb", shrink=1.0)

    found = Difference(Final(), side, RANDOM, each="init_text").numbers(group(row("random_init", 0, 0.6), *noisy))

    assert {label: one[0] for label, one in found.items()} == pytest.approx({"init SP(0.1)": -10, "init SP(1.0)": -20})


def test_alike_compares_equal_values_alone() -> None:
    """A warm start on a tenth of the data beside a random init on all of it says nothing."""
    rows = [one for f, points in ((0.1, -3), (1.0, 2)) for one in pairs(points, axis_fraction=f)]

    found = Difference(Final(), RANDOM, WARM, alike="axis_fraction").numbers(group(*rows))

    assert [one[0] for one in found.values()] == pytest.approx([-3, 2])


def test_the_best_of_the_others_is_that_of_the_seed() -> None:
    """By hand: seed 0: 60 - max(60, 55) = 0; seed 1: 60 - max(60, 70) = -10."""
    rows = [one | {"axis_fraction": 1.0} for one in [*pairs(5, -10), row("other", 0, 0.6), row("other", 1, 0.6)]]

    found = AgainstBest(Final(), Cells("other", init="other"), [WARM, RANDOM], "axis_fraction").numbers(group(*rows))

    assert found == {"fraction 1": pytest.approx({0: 0, 1: -10})}


def test_order_compares_neighbours() -> None:
    """First and last alone would let the middle go up and down."""
    rows = [row("shrink_perturb", 0, a, shrink=s, perturb=0.0) for s, a in ((0.2, 0.5), (0.4, 0.7), (0.6, 0.6))]
    sides = [Cells(f"shrink {s}", shrink=s) for s in (0.2, 0.4, 0.6)]

    found = Order(Final(), sides).numbers(group(*rows))

    assert [one[0] for one in found.values()] == pytest.approx([20, -10])


def test_a_change_is_one_gap_minus_another() -> None:
    """By hand: 7 - 2 = 5 for the one network, 3 - 2 = 1 for the other."""
    rows = [*pairs(7, model_text="A"), *pairs(3, model_text="B"), *pairs(2, model="logistic", model_text="C")]

    found = Change("", gap(model="mlp"), gap(model="logistic"), "model_text").numbers(group(*rows))

    assert {label: one[0] for label, one in found.items()} == pytest.approx({"model A": 5, "model B": 1})


def test_percent_differences_are_averaged_over_the_range() -> None:
    """By hand: 100 * ((48 + 45) / 2 / 50 - 1) = -7, of the first rounds of half to all of the longest."""
    warm = [row("warm_start", 0, a, first_epochs=n) for n, a in ((10, 0.5), (100, 0.48), (200, 0.45))]

    found = PercentAlong(WARM, RANDOM, "first_epochs", 0.5, 1).numbers(group(row("random_init", 0, 0.5), *warm))

    assert found[""][0] == pytest.approx(-7)


def test_a_correlation_is_numpys() -> None:
    """Over all warm starts of a seed."""
    x, y = [0.9, 0.5, 0.1, 0.3], [0.4, 0.5, 0.7, 0.65]
    rows = [row("warm_start", 0, b, weight_correlation=a, lr=n) for n, (a, b) in enumerate(zip(x, y, strict=True))]

    found = Correlation("weight_correlation", "test_accuracy", WARM).numbers(group(*rows, row("random_init")))

    assert found[""][0] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_two_cells_have_no_correlation() -> None:
    """Any two points lie on a line."""
    rows = [row("warm_start", 0, a, weight_correlation=a, lr=a) for a in (0.1, 0.2)]

    assert Correlation("weight_correlation", "test_accuracy", WARM).numbers(group(*rows)) == {"": {}}


def test_the_fast_corner_holds_the_best_fast_warm_start() -> None:
    """By hand: equal to the best, 80, is 79.5 after 60 s; fast is under 45 s; there 77 is the best: -3."""
    base = [row("random_init", 0, a, train_seconds=s, lr=s) for a, s in ((0.8, 100.0), (0.795, 60.0), (0.75, 10.0))]
    warm = [row("warm_start", 0, a, train_seconds=s, lr=s) for a, s in ((0.77, 40.0), (0.7, 5.0), (0.799, 46.0))]

    found = FastCorner(WARM, RANDOM).numbers(group(*base, *warm))

    assert found[""][0] == pytest.approx(-3)


def test_an_empty_corner_says_so() -> None:
    """Where no warm start is fast, there is no accuracy to speak of; "not run" would be wrong."""
    rows = [row("random_init", train_seconds=1.0), row("warm_start", train_seconds=2.0)]

    with pytest.raises(ConfigError, match="no warm start was that fast"):
        FastCorner(WARM, RANDOM).numbers(group(*rows))
