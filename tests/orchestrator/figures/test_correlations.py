"""The correlation above a panel is that of its dots, with the p-value that textbooks give it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from orchestrator.figures.correlations import Correlations, correlation_in_words, p_value
from orchestrator.figures.style import write_html
from tests.orchestrator.figures.made import WARM, made, results, setting, titles


def test_a_p_value_is_scipys() -> None:
    """It decides what is called significant; scipy.stats itself takes seconds to load."""
    from scipy.stats import pearsonr

    draw = random.Random(0)
    points = [(draw.random(), draw.random()) for _ in range(12)]
    found = pearsonr(*zip(*points, strict=True))

    assert p_value(found.statistic, 12) == pytest.approx(found.pvalue)
    assert correlation_in_words(points) == f"r = {found.statistic:.2f}, p = {found.pvalue:.2g}"


@pytest.mark.parametrize("points", [[(1, 1), (2, 2)], [(1, 1), (1, 2), (1, 3)], [(1, 5), (2, 5), (3, 5)]])
def test_no_correlation_is_made_of_too_little(points: list[tuple[float, float]]) -> None:
    """Two dots always lie on a line."""
    assert correlation_in_words(points) == "too few models for a correlation"


def test_each_model_is_one_dot() -> None:
    """A stage shared by many cells counts once, or it makes any correlation significant."""
    rows = [made(0.1 * i, WARM, weight_correlation=1 - 0.1 * i) for i in range(3)]

    figure = Correlations("Figure 11").draw(results([*rows, {**rows[0], "first_lr": 0.3}]))

    assert [len(trace.x) for trace in figure.data] == [3, 3]
    assert titles(figure) == ["r = -1.00, p < 0.001", "too few models for a correlation"]


def test_ten_thousand_models_are_drawn_by_webgl_in_a_page_that_opens(tmp_path: Path) -> None:
    """SVG stutters with thousands of dots, and a page of tens of megabytes opens on no phone."""
    rows = [made(n / 10_000, WARM, weight_correlation=n / 10_000, seed=n) for n in range(10_000)]

    figure = Correlations("Figure 11").draw(results(rows))
    write_html(figure, tmp_path / "figure.html")

    assert {trace.type for trace in figure.data if trace.x[0] is not None} == {"scattergl"}
    assert (tmp_path / "figure.html").stat().st_size < 10_000_000


def test_models_have_panels_of_their_own() -> None:
    """A convex model and a network in one panel correlate because they differ, not because weights do."""
    rows = [made(0.5, WARM, weight_correlation=0.1, **setting("model", text)) for text in ("Big()", "Small()")]

    figure = Correlations("Figure 11").draw(results(rows))

    assert [text.partition(":")[0] for text in titles(figure)] == ["Digits, Big"] * 2 + ["Digits, Small"] * 2


def test_colour_and_symbol_are_in_the_legend() -> None:
    """A cloud of colours that nobody can name."""
    rows = [made(0.5, WARM, weight_correlation=0.1, lr=lr, batch_size=b) for lr in (0.1, 0.01) for b in (16, 128)]

    figure = Correlations("Figure 11").draw(results(rows))

    assert [t.name for t in figure.data if t.name] == ["lr 0.01", "lr 0.1", "batch size 16", "batch size 128"]
    assert len({(c, s) for c, s in zip(figure.data[0].marker.color, figure.data[0].marker.symbol, strict=True)}) == 4
