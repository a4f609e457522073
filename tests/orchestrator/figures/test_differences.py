"""A gap is random init minus the other init under the same seed and settings, and never anything else."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.differences import Gap, PercentDifference, paired
from orchestrator.figures.lines import PaperCurve
from tests.orchestrator.figures.made import RANDOM, WARM, band, lines, made, papers, results, setting, shrunk

GAP = Gap("Gap", "first_fraction", "share")


def firsts(*epochs_and_accuracies: tuple[int, float]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Warm starts of accuracy 0.45 beside a random init's 0.5, and the first rounds that they start from."""
    parents = [made(accuracy, epochs=epochs) for epochs, accuracy in epochs_and_accuracies]
    rows = [made(0.45, WARM, first_epochs=p["epochs"], parent=p["key"], round=1) for p in parents]
    return [made(0.5, first_epochs=None, round=1), *rows], parents


def test_a_gap_is_of_one_seed() -> None:
    """Seeds differ by more than inits do: unpaired, the band would swallow the gap."""
    rows = [made(0.5 + s / 10, seed=s, first_fraction=None) for s in (0, 1)]
    rows += [made(0.4 + s / 10, WARM, seed=s, first_fraction=x) for s in (0, 1) for x in (0.1, 0.5)]

    figure = GAP.draw(results(rows))

    assert lines(figure) == {"warm start": [(0.1, 10.0), (0.5, 10.0)]}
    assert band(figure, "warm start") == [10.0, 10.0, 10.0, 10.0]


def test_a_gap_is_positive_where_random_init_is_better() -> None:
    """With its sign turned it supports the opposite."""
    figure = GAP.draw(results([made(0.5), made(0.6, WARM, first_fraction=0.1)]))

    assert lines(figure) == {"warm start": [(0.1, -10.0)]}


@pytest.mark.parametrize("other", [{"seed": 1}, {"lr": 0.2}, setting("model", "MLP(width=8)"), {"round": 1}])
def test_models_of_other_settings_are_no_pair(other: dict[str, Any]) -> None:
    """A small model's warm start against a large one's random init has a gap whatever warm starts do."""
    rows = [
        made(0.5),
        made(0.3, **other),
        made(0.4, WARM, first_fraction=0.1),
        made(0.1, WARM, first_fraction=0.1, **other),
    ]

    pairs = paired(rows, "Gap", "first_fraction")

    assert [round(pair.base - pair.row["test_accuracy"], 4) for pair in pairs] == [0.1, 0.2]


def test_a_capped_model_is_no_pair_with_one_without() -> None:
    """None is a cap of its own, not an axis that makes no difference."""
    with pytest.raises(ConfigError, match="no model has a random init of the same seed"):
        paired([made(limit=None), made(init=WARM, limit=600, first_fraction=0.5)], "Gap", "first_fraction")


def test_every_other_init_has_its_line() -> None:
    """Shrink-perturb is judged by the same gap."""
    rows = [made(0.5), made(0.4, WARM, first_fraction=0.1), made(0.45, shrunk(0.6, 0.01), first_fraction=0.1)]

    assert list(lines(GAP.draw(results(rows)))) == ["warm start", "shrink 0.6, noise 0.01"]


def test_without_a_partner_there_is_nothing_to_draw() -> None:
    """A gap against nothing is none."""
    with pytest.raises(ConfigError, match="no model has a random init of the same seed"):
        GAP.draw(results([made(0.5, seed=1), made(0.4, WARM, first_fraction=0.1)]))


def test_a_difference_is_in_percent_of_random_init() -> None:
    """Points and percent differ by a factor of two at the paper's accuracies."""
    rows, parents = firsts((5, 0.2), (10, 0.3))

    figure = PercentDifference("Figure 4").draw(results(rows, stages=parents))

    assert lines(figure, 2) == {"warm start": [(5, -10.0), (10, -10.0)]}


def test_the_left_panel_is_the_first_rounds_own_accuracy() -> None:
    """It tells whether the damage comes before or after the first round has learnt its data."""
    rows, parents = firsts((5, 0.2), (10, 0.3))

    figure = PercentDifference("Figure 4").draw(results(rows, stages=parents))

    assert lines(figure, 1) == {"warm start": [(5, 20.0), (10, 30.0)]}


def test_first_rounds_that_are_not_there_leave_the_right_panel() -> None:
    """A store may have lost them; the difference needs none."""
    rows, _ = firsts((5, 0.2))

    figure = PercentDifference("Figure 4").draw(results(rows, planned=7))

    assert (lines(figure, 1), lines(figure, 2)) == ({}, {"warm start": [(5, -10.0)]})
    assert "4 of 7" not in figure.layout.meta["subtitle"]
    assert "5 of 7 models are not trained yet" in figure.layout.meta["subtitle"]


def test_the_papers_curves_are_each_in_their_panel() -> None:
    """Accuracies drawn as differences."""
    rows, parents = firsts((5, 0.2))
    left, right = ([PaperCurve("warm start", [(5, y)], where={"data": "digits"})] for y in (24.7, 0.3))

    figure = PercentDifference("4", paper_left=left, paper_right=right).draw(results(rows, stages=parents))

    assert papers(figure) == [[(5, 24.7)], [(5, 0.3)]]
    assert [t.xaxis for t in figure.data if t.name == "paper"] == ["x", "x2"]


def test_no_gap_has_a_line_of_its_own() -> None:
    """Whether a band crosses zero is the question."""
    assert GAP.draw(results([made(0.5, RANDOM), made(0.4, WARM, first_fraction=0.1)])).layout.yaxis.zeroline
