"""A table says of every cell of an experiment its mean, its error and its gap, and never mixes two settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.grid import DASH
from orchestrator.figures.results import Results
from orchestrator.figures.tables import ResultTable

RANDOM = {"init": "random_init", "init_text": "RandomInit()"}
WARM = {"init": "warm_start", "init_text": "WarmStart()"}
SGD, ADAM = ({"optimizer": name.lower(), "optimizer_text": f"{name}()"} for name in ("SGD", "Adam"))
CROSSED = ResultTable("Table", columns=("optimizer",), paper={("digits", "sgd", "random_init"): (90.0, 1.5)})
Lines = dict[tuple[str, str], list[str]]


def row(accuracy: float, seed: int = 0, **values: Any) -> dict[str, Any]:
    """A row of results: by default a warm start with SGD on Digits."""
    place = {"data": "digits", "data_text": "Digits()", "model": "mlp", "model_text": "MLP()", **SGD, **WARM}
    measured = {"status": "done", "test_accuracy": accuracy, "train_seconds": 2.0, "epochs": 3}
    given = {"sweep": "made", "round": 1, "seed": seed, "lr": 0.1, **place, **measured, **values}
    return {**given, "key": str(sorted(given.items()))}


def results(rows: Sequence[dict[str, Any]], planned: int = 0) -> Results:
    """What a store holds."""
    return Results("made", rows, planned=planned or len(rows))


def words(table: ResultTable, *rows: dict[str, Any]) -> Lines:
    """Entries of each line, by block and name."""
    lines = table.grid(results(rows)).lines
    return {(line.block, line.name): [one.words for one in line.entries] for line in lines}


def test_an_entry_is_mean_and_standard_error_in_percent() -> None:
    """0.5 and 0.7 are 60 with an error of 10; the deviation (14.1) printed as an error would hide every gap."""
    assert words(CROSSED, row(0.5), row(0.7, 1))["Digits", "warm start"] == ["60.0 (10.0)"]


def test_a_gap_is_paired_over_seeds() -> None:
    """Seeds that are all hard alike must not drown a gap of exactly 10 points."""
    rows = [row(mean, seed) for seed, mean in enumerate((0.3, 0.6))]
    rows += [row(mean, seed, **RANDOM) for seed, mean in enumerate((0.4, 0.7))]

    assert words(CROSSED, *rows)["Digits", "gap"] == ["10.0 (0.0)"]


def test_a_gap_counts_only_seeds_that_both_arms_have() -> None:
    """In a half-finished sweep a seed of one arm alone would shift the gap."""
    lines = words(CROSSED, row(0.9, 0, **RANDOM), row(0.8, 0), row(0.1, 1), row(0.7, 2, **RANDOM))

    assert lines["Digits", "gap"] == ["10.0"]


def test_what_is_not_trained_yet_is_a_dash_in_its_place() -> None:
    """A missing cell must not move the others into its column."""
    lines = words(CROSSED, row(0.5), row(0.6, **ADAM), row(0.9, **ADAM, **RANDOM))

    assert lines["Digits", "random init"] == [DASH, "90.0"]
    assert lines["Digits", "gap"] == [DASH, "30.0"]


def test_no_mean_is_taken_over_a_setting_that_the_table_does_not_name() -> None:
    """Two launches with other learning rates are two experiments."""
    lines = words(CROSSED, row(0.5, lr=0.1), row(0.7, lr=0.2))

    assert [*lines.values()] == [["50.0"], ["70.0"]]
    assert all("lr" in name for _, name in lines)


def test_a_block_is_what_the_rows_say() -> None:
    """CIFAR-100's accuracy must never stand under CIFAR-10."""
    other = {"data": "svhn", "data_text": "SVHN()"}

    assert words(CROSSED, row(0.5), row(0.7, **other)) == {
        ("Digits", "warm start"): ["50.0"],
        ("SVHN", "warm start"): ["70.0"],
    }


def test_the_papers_number_stands_below_ours_of_the_same_place() -> None:
    """The paper's 90.0 is of SGD and a random init; elsewhere it would be a false comparison."""
    lines = CROSSED.grid(results([row(0.5, **RANDOM), row(0.6), row(0.6, **ADAM)])).lines

    assert {line.name: [one.paper_words for one in line.entries] for line in lines} == {
        "random init": ["90.0 (1.5)", ""],
        "warm start": ["", ""],
        "gap": ["", ""],
    }


@pytest.mark.parametrize("cap", [{"limit": 600}, {"axis_epochs": 2}, {"data_text": "Digits(limit=600)"}])
def test_the_papers_number_does_not_stand_below_capped_results(cap: dict[str, Any]) -> None:
    """Two epochs on 600 images do not fail to reproduce anything."""
    (line,) = CROSSED.grid(results([row(0.5, **RANDOM, **cap)])).lines

    assert not line.has_paper


def test_the_papers_gap_is_the_difference_of_its_means() -> None:
    """The paper's table prints no gap; 4.5 is what its text speaks of."""
    paper = {("digits", "sgd", "random_init"): (56.2, 1.0), ("digits", "sgd", "warm_start"): (51.7, 0.9)}
    table = ResultTable("Table", columns=("optimizer",), paper=paper)

    gap = table.grid(results([row(0.5, **RANDOM), row(0.6)])).lines[-1]

    assert [one.paper_words for one in gap.entries] == ["4.5"]


def test_a_setting_whose_size_makes_the_columns_is_one_block_by_kind() -> None:
    """The paper prints L2 as one block with a column for each size."""
    table = ResultTable("Table", rows=("regularizer",), columns=("regularizer_size",))
    sizes = [{"regularizer": "l2", "regularizer_text": f"L2(size={s})", "regularizer_size": s} for s in (0.1, 0.01)]

    grid = table.grid(results([row(0.5, **sizes[0]), row(0.6, **sizes[1])]))

    assert [*grid.heads] == [["size 0.1"], ["size 0.01"]]
    assert [(line.block, line.name) for line in grid.lines] == [("L2", "warm start")]


def test_a_table_without_columns_tells_measures_and_the_gap_to_random_init() -> None:
    """Whether noise suffices is read off its gap, and what it costs off its seconds."""
    lines = words(ResultTable("Table"), row(0.9, **RANDOM), row(0.6, train_seconds=1.5))

    assert lines["Digits", "warm start"] == ["60.0", "30.0", "1.5", "3.0"]
    assert lines["Digits", "random init"] == ["90.0", "", "2.0", "3.0"]


def test_an_arm_is_compared_with_the_random_init_of_its_own_other_settings() -> None:
    """Under EWC a random init is trained without it, and is still what warm starts are measured by."""
    table = ResultTable("Table", arms=("init", "regularizer"))
    none, ewc = ({"regularizer": kind, "regularizer_text": f"{kind}()"} for kind in ("none", "ewc"))

    lines = words(table, row(0.9, **RANDOM, **none), row(0.8, **none), row(0.6, **ewc))

    assert [entries[1] for entries in lines.values()] == ["", "10.0", "30.0"]


def test_diverged_models_and_earlier_rounds_are_not_in_the_means() -> None:
    """An online sweep reports every round; the table is of the last."""
    rows = [row(0.5), row(0.1, round=0), row(float("nan"), 1), row(0.2, 2, status="diverged")]

    assert words(CROSSED, *rows)["Digits", "warm start"] == ["50.0"]


def test_a_table_of_nothing_says_what_to_do() -> None:
    """A figure asked for too early is a message, not a traceback."""
    with pytest.raises(ConfigError, match="nothing to print yet"):
        CROSSED.draw(results([], 3))


def test_the_title_names_data_and_models_and_the_subtitle_what_is_missing() -> None:
    """Digits' accuracy must not be read as CIFAR-10's, nor half a sweep as the whole."""
    meta = CROSSED.draw(results([row(0.5)], planned=7)).layout.meta

    assert meta["title"] == "Table: MLP on Digits"
    assert "6 of 7" in meta["subtitle"]


def test_all_entries_are_in_the_picture_below_each_other() -> None:
    """The picture is drawn by hand: every word must be within it, and no two at one place."""
    figure = CROSSED.draw(results([row(0.5, **RANDOM), row(0.6), row(0.6, **ADAM)]))

    (trace,) = figure.data
    places = list(zip(trace.x, trace.y, strict=True))
    bottom, top = figure.layout.yaxis.range
    assert {"50.0", "60.0", "<i>\N{MINUS SIGN}10.0</i>", "90.0 (1.5)"} <= set(trace.text)
    assert len(set(places)) == len(places)
    assert all(top <= y <= bottom and 0 <= x <= 968 for x, y in places)


def test_cells_with_fewer_seeds_are_said() -> None:
    """A mean of two seeds beside one of three is no mean of three."""
    made = results([row(0.5), row(0.6, 1), row(0.7, 2), row(0.5, **RANDOM), row(0.6, 1, **RANDOM)])

    assert "(standard error over 2 to 3 seeds)" in CROSSED.below(made)
