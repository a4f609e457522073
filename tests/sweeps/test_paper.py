"""The paper's numbers are at hand as published, and whoever asks for others is told which there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sweeps.paper
from orchestrator.errors import ConfigError
from sweeps.paper import curve, items, number, source, value

FILES = sorted(Path(sweeps.paper.__file__).parent.glob("*.json"))
CURVES = [(file.stem, name) for file in FILES for name in json.loads(file.read_text()).get("curves", {})]


@pytest.mark.parametrize(
    ("item", "series", "point"),
    [
        ("figure1", "test_random_full", (695.0, 61.5)),
        ("figure2", "acc_warm", (34.0, 63.6)),
        ("figure2", "time_s_random", (1.0, 9.0)),
        ("figure4", "right_pct_difference", (150.0, -7.9)),
        ("figure5", "new_1.0", (0.0, 151.0)),
        ("figure5", "old_0.3", (4.0, 94.0)),
        ("figure7", "acc_lambda_0.2", (34.0, 80.2)),
        ("figure9", "SVHN_to_CIFAR100_warm", (1.0, 39.9)),
    ],
)
def test_a_curve_has_its_points(item: str, series: str, point: tuple[float, float]) -> None:
    """A curve drawn behind the wrong one of ours would make a disagreement out of nothing."""
    assert point in curve(item, series)


@pytest.mark.parametrize(
    ("names", "entry"),
    [
        (("table1", "cifar10", "resnet18", "sgd", "random_init"), (56.2, 1.0)),
        (("table1", "cifar100", "logistic", "sgd", "warm_start"), (16.3, 0.28)),
        (("table1", "svhn", "mlp", "adam", "warm_start"), (69.4, 0.6)),
        (("regularization", "confidence_penalty", "0.0001", "warm_start"), (49.3, 1.2)),
    ],
    ids=str,
)
def test_an_entry_has_its_value_and_spread(names: tuple[str, ...], entry: tuple[float, float]) -> None:
    """Claims are measured against these."""
    assert number(*names) == entry


@pytest.mark.parametrize(
    ("names", "sum_"),
    [
        (("figure7", "total_seconds", "0.6"), 3160),
        (("figure7", "final_accuracy", "0.0"), 76.3),
        (("figure2", "total_seconds", "warm_start"), 1400),
        (("figure5", "new_to_old_at_1000", "0.3"), 1.1),
    ],
    ids=str,
)
def test_a_figure_has_its_sums(names: tuple[str, ...], sum_: float) -> None:
    """Ratios of time are claimed of sums over rounds, which a curve with gaps does not give."""
    assert value(*names) == sum_


def test_the_tables_are_whole() -> None:
    """3 data sets x 3 models x 2 optimizers, and 3 penalties x 4 sizes, each from two inits."""
    counts = {file.stem: len(json.loads(file.read_text()).get("numbers", {})) for file in FILES}

    assert (counts["table1"], counts["regularization"]) == (36, 24)


@pytest.mark.parametrize(("item", "series"), CURVES)
def test_every_curve_goes_from_left_to_right(item: str, series: str) -> None:
    """A line through unsorted points is a scribble."""
    xs = [x for x, _ in curve(item, series)]

    assert len(xs) > 5
    assert xs == sorted(set(xs))


@pytest.mark.parametrize("item", items())
def test_every_item_says_where_it_is_from(item: str) -> None:
    """Numbers read off a picture are no acceptance values."""
    assert source(item).startswith("Ash & Adams 2020, ")


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: curve("figure3", "x"), r"no numbers of the paper's 'figure3'. There are some of figure1, figure2,"),
        (lambda: curve("figure2", "acc"), r"figure2 has no 'acc' among its curves: acc_warm, acc_random, time_s_warm"),
        (lambda: curve("table1", "x"), r"table1 has no 'x' among its curves: it has none"),
        (
            lambda: number("table1", "cifar10"),
            r"table1 has no 'cifar10' among its numbers: cifar10/resnet18/sgd/random",
        ),
    ],
)
def test_what_is_not_there_is_said_with_what_is(ask: object, sentence: str) -> None:
    """A figure without its paper's curve must not pass for one that the paper does not have."""
    with pytest.raises(ConfigError, match=sentence):
        ask()  # type: ignore[operator]
