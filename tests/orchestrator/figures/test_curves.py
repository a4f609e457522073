"""Curves show the mean and spread of every arm in the right place, and the paper's curve where it belongs."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.curves import ACCURACY, Curves, Panel
from orchestrator.figures.lines import PaperCurve
from tests.orchestrator.figures.made import RANDOM, WARM, band, lines, made, papers, results, setting, titles

ONLINE = Curves("Online", "examples", "thousands", x_scale=0.001)
CURVE = PaperCurve("warm start", [(1, 40.0), (2, 50.0)], where={"data": "digits"})


def of_data(target: str, source: str | None, accuracy: float, **values: Any) -> dict[str, Any]:
    """A row of a transfer; random init belongs to no source."""
    where = {**setting("data", target), **(setting("source", source) if source else {"source": None})}
    return made(accuracy, RANDOM if source is None else WARM, examples=1000, **where, **values)


def test_a_line_is_the_mean_over_seeds() -> None:
    """A point in the wrong place, or of one seed, is a wrong result that everybody sees."""
    rows = [made(0.4, examples=1000), made(0.6, examples=1000, seed=1), made(0.7, examples=2000)]

    figure = ONLINE.draw(results([*rows, made(0.1, WARM, examples=1000)]))

    assert lines(figure) == {"random init": [(1.0, 50.0), (2.0, 70.0)], "warm start": [(1.0, 10.0)]}
    assert band(figure, "random init") == [64.1421, 70.0, 70.0, 35.8579]


def test_each_panel_has_its_own_measurement() -> None:
    """Seconds on an axis of accuracy."""
    figure = ONLINE.draw(results([made(0.4, examples=1000, train_seconds=7.0)]))

    assert (lines(figure, 1), lines(figure, 2)) == ({"random init": [(1.0, 40.0)]}, {"random init": [(1.0, 7.0)]})


def test_an_arm_is_in_the_legend_once() -> None:
    """A legend of every panel's lines is longer than the figure."""
    figure = ONLINE.draw(results([made(examples=1000), made(init=WARM, examples=1000)]))

    assert [t.name for t in figure.data if t.showlegend] == ["random init", "warm start"]


def test_a_cell_without_a_place_is_everywhere() -> None:
    """A random init depends on no first round; without it there is nothing to compare a warm start with."""
    rows = [made(0.5, first_lr=None), *(made(0.4, WARM, first_lr=rate) for rate in (0.1, 0.2))]

    figure = Curves("First", "first_lr", "rate", [ACCURACY]).draw(results(rows))

    assert lines(figure)["random init"] == [(0.1, 50.0), (0.2, 50.0)]


def test_what_diverged_or_has_no_place_is_not_drawn() -> None:
    """A zero for a missing value would be taken for a result."""
    rows = [made(0.5, examples=1000), made(None, examples=2000, status="diverged"), made(0.6, examples=None)]

    assert lines(ONLINE.draw(results(rows))) == {"random init": [(1.0, 50.0)]}


def test_a_half_finished_sweep_says_what_is_missing() -> None:
    """Curves that end early look like a method that fails."""
    below = ONLINE.draw(results([made(examples=1000)], planned=5)).layout.meta["subtitle"]

    assert below == "One seed. Missing: 4 of 5 models are not trained yet."


def test_the_title_names_data_and_model() -> None:
    """A picture travels without its page."""
    assert ONLINE.draw(results([made(examples=1)])).layout.meta["title"] == "Online: MLP (width 64) on Digits"


def test_the_papers_curve_stands_behind_its_arm() -> None:
    """Behind another one it would confirm what it denies."""
    form = Curves("Online", "examples", "thousands", [ACCURACY], paper=[CURVE], x_scale=0.001)

    figure = form.draw(results([made(examples=1000), made(init=WARM, examples=1000)]))

    assert papers(figure) == [[(1, 40.0), (2, 50.0)]]
    assert figure.data[0].name == "paper"
    assert "rgba(0,114,178" in figure.data[0].line.color
    assert [t.name for t in figure.data if t.showlegend][-1] == "paper (thin)"


def test_the_papers_curve_of_other_data_is_not_drawn() -> None:
    """Digits' accuracy beside CIFAR-10's looks like a discovery."""
    paper = [PaperCurve("warm start", CURVE.points, where={"data_text": "CIFAR10()", "per_round": 1000})]
    form = Curves("Online", "examples", "thousands", [ACCURACY], paper=paper)

    figure = form.draw(results([made(init=WARM, examples=1000, data="digits")]))

    assert papers(figure) == []
    assert "The paper's curves are of CIFAR10, per round 1000, and so not drawn." in figure.layout.meta["subtitle"]


@pytest.mark.parametrize("cap", [{"limit": 600}, {"axis_epochs": 2}, {"data_text": "Digits(limit=600)"}])
def test_the_papers_curve_does_not_stand_behind_capped_results(cap: dict[str, Any]) -> None:
    """Two epochs on 600 images do not fail to reproduce anything."""
    form = Curves("Online", "examples", "thousands", [ACCURACY], paper=[CURVE])

    assert papers(form.draw(results([made(init=WARM, examples=1000, **cap)]))) == []


def test_another_machines_seconds_are_scaled_by_one_factor() -> None:
    """Its seconds mean nothing here, but how the arms compare does; one factor an arm would hide just that."""
    paper = [
        PaperCurve(arm, [(1, y), (2, y)], "train_seconds", {}) for arm, y in (("random init", 100), ("warm start", 30))
    ]
    rows = [made(init=i, examples=x, train_seconds=s) for i, s in ((RANDOM, 5.0), (WARM, 1.0)) for x in (1, 2)]

    figure = Curves("Online", "examples", "", [Panel("train_seconds", "s", comparable=False)], paper=paper).draw(
        results(rows)
    )

    assert papers(figure) == [[(1, 5.0), (2, 5.0)], [(1, 1.5), (2, 1.5)]]
    assert titles(figure) == ["paper scaled by 0.05: equal mean for random init"]


@pytest.mark.parametrize(("accuracy", "wished"), [(0.5, True), (0.95, False)])
def test_the_papers_range_is_taken_if_it_holds_the_data(accuracy: float, wished: bool) -> None:
    """Outside of it curves would leave the picture, or press themselves against its edge."""
    form = Curves("Online", "examples", "", [Panel("test_accuracy", "%", 100, (20, 90))])

    shown = form.draw(results([made(accuracy, examples=1)])).layout.yaxis.range

    assert (shown == (20, 90)) is wished
    assert shown[0] < 100 * accuracy < shown[1]


def test_a_split_gives_each_pair_its_panel() -> None:
    """Six transfers in one panel are a tangle, and their mean is nothing."""
    rows = [of_data("A()", "B()", 0.1), of_data("A()", "C()", 0.2), of_data("B()", "A()", 0.3)]

    figure = Curves("Transfer", "examples", "", [ACCURACY], split=["source", "data"]).draw(results(rows))

    assert titles(figure) == ["B to A", "C to A", "A to B"]
    assert [lines(figure, panel)["warm start"][0][1] for panel in (1, 2, 3)] == [10.0, 20.0, 30.0]


def test_a_cell_that_a_split_does_not_part_is_in_all_its_panels() -> None:
    """A random init knows no source: it is the same beside each, and must not be left out, nor get a panel."""
    rows = [
        of_data("A()", "B()", 0.1),
        of_data("A()", "C()", 0.2),
        of_data("B()", "A()", 0.3),
        of_data("A()", None, 0.5),
    ]
    paper = [PaperCurve("random init", [(1000, 77.0)], where={"source": "c", "data": "a"})]

    figure = Curves("Transfer", "examples", "", [ACCURACY], split=["source", "data"], paper=paper).draw(results(rows))

    assert [lines(figure, panel).get("random init") for panel in (1, 2, 3)] == [[(1000, 50.0)], [(1000, 50.0)], None]
    assert [t.xaxis for t in figure.data if t.name == "paper"] == ["x2"]


def test_nothing_to_draw_is_said_so() -> None:
    """An empty picture looks like a finished sweep without results."""
    with pytest.raises(ConfigError, match="no result has a value of examples"):
        ONLINE.draw(results([made(examples=None)]))
