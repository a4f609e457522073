"""A heat map's cell is what its trials reached, or says in a word why there is nothing."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.heatmaps import HeatMaps
from tests.orchestrator.figures.made import RANDOM, WARM, made, results, setting, shrunk


def trial(init: dict[str, Any], *accuracies: float | None, **values: Any) -> list[dict[str, Any]]:
    """Rows of all rounds of a trial, of 10 seconds each; None for one that diverged."""
    return [
        made(accuracy, init, round=at, status="diverged" if accuracy is None else "done", train_seconds=10.0, **values)
        for at, accuracy in enumerate(accuracies)
    ]


def cells(figure: Any) -> list[dict[tuple[str, str], str]]:
    """Texts of the cells of both maps, by noise and shrink."""
    maps = [t for t in figure.data if t.text is not None]
    return [{(x, y): t.text[j][i] for i, x in enumerate(t.x) for j, y in enumerate(t.y)} for t in maps]


def words(figure: Any) -> list[str]:
    """Words in the empty cells of the left map."""
    return [a.text for a in figure.layout.annotations if a.xref == "x"]


def draw(*trials: list[dict[str, Any]], planned: int = 0) -> Any:
    """The maps of all rows."""
    return HeatMaps("Figure 8").draw(results([row for rows in trials for row in rows], planned))


def test_a_cell_is_the_mean_of_the_last_round_and_of_the_sum_of_all() -> None:
    """The mean over rounds, or the last round's time, would rank the inits another way."""
    figure = draw(trial(RANDOM, 0.1, 0.5), trial(RANDOM, 0.1, 0.7, seed=1))

    assert cells(figure) == [{("1", "0"): "60.0"}, {("1", "0"): "20.0"}]


def test_random_init_is_at_the_lower_left_and_warm_start_at_the_upper_right() -> None:
    """As the paper draws them; mirrored, its band of good cells is looked for in the wrong corner."""
    left = draw(trial(RANDOM, 0.1), trial(WARM, 0.2), trial(shrunk(0.6, 0.01), 0.3)).data[1]

    assert (list(left.x), list(left.y)) == (["1", "0.01", "0"], ["0", "0.6", "1"])


def test_an_empty_cell_says_why() -> None:
    """Grey alone may mean bad, not run, or not there yet."""
    figure = draw(trial(RANDOM, 0.1, 0.5, 0.6), trial(WARM, 0.1, None), trial(shrunk(0.0, 0.0), 0.1, 0.2), planned=12)

    assert sorted(set(words(figure))) == ["diverged", "not<br>run", "round<br>2 of 3"]
    assert "5 of 12 models are not trained yet, 1 diverged." in figure.layout.meta["subtitle"]


def test_unfinished_seeds_do_not_lower_the_mean() -> None:
    """A cell half done looks worse than it is by the accuracy of its early rounds."""
    figure = draw(trial(RANDOM, 0.1, 0.5), trial(RANDOM, 0.3, seed=1))

    assert cells(figure)[0] == {("1", "0"): "50.0"}


def test_two_sweeps_are_not_averaged() -> None:
    """The mean over two data sets is a number about nothing."""
    with pytest.raises(ConfigError, match=r"these results are of several: .*Digits; Iris.* Choose one with --axis"):
        draw(trial(RANDOM, 0.1), trial(RANDOM, 0.1, **setting("data", "Iris()")))
