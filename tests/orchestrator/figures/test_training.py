"""Learning curves and gradient norms stand where they were measured, and nothing is smoothed away unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.lines import PaperCurve
from orchestrator.figures.results import Results
from orchestrator.figures.training import GradientNorms, LearningCurves, parted, smoothed

RANDOM = {"init": "random_init", "init_text": "RandomInit()"}
WARM = {"init": "warm_start", "init_text": "WarmStart()"}
CURVES, NORMS = LearningCurves("Curves"), GradientNorms("Norms", window=1)
Epochs = list[dict[str, Any]]


def stage(key: str, seed: int = 0, parent: str | None = None, **values: Any) -> dict[str, Any]:
    """A row of the tables stages and results: by default a second round from a random init."""
    place = {"data": "digits", "data_text": "Digits()", "model": "mlp", "model_text": "MLP()", **RANDOM}
    ended = {"status": "done", "test_accuracy": 0.5, "epochs": 2, "fraction": 1.0, "round": 1}
    return {"key": key, "sweep": "made", "seed": seed, "parent": parent, **place, **ended, **values}


def epochs(*accuracies: float, **values: Sequence[list[float]]) -> Epochs:
    """Rows of the table epochs; test accuracy is half of training accuracy."""
    rows: Epochs = []
    for place, accuracy in enumerate(accuracies):
        norms = {name: lists[place] for name, lists in values.items()}
        rows.append({"epoch": place + 1, "train_accuracy": accuracy, "test_accuracy": accuracy / 2, **norms})
    return rows


def two_rounds(**values: Any) -> Results:
    """A first round of two epochs, a warm start from it, and a random init, of one seed."""
    first = stage("first", round=0, fraction=0.49998)
    rows = [stage("warm", parent="first", **WARM, **values), stage("random", **values)]
    own = {"first": epochs(0.2, 0.4), "warm": epochs(0.6, 0.8), "random": epochs(0.1, 0.9)}
    return Results("made", rows, {row["key"]: row for row in [first, *rows]}, 2, own)


def norms_of(*seeds: tuple[list[float], list[float], list[float]]) -> Results:
    """Stages of one epoch each, whose steps, old and new norms are given by seed."""
    rows = [stage(f"s{seed}", seed, **WARM) for seed in range(len(seeds))]
    names = ("measured_steps", "old_gradient_norms", "new_gradient_norms")
    lists = [{name: [values] for name, values in zip(names, given, strict=True)} for given in seeds]
    own = {f"s{seed}": epochs(0.5, **lists[seed]) for seed in range(len(seeds))}
    return Results("made", rows, {row["key"]: row for row in rows}, len(rows), own)


def lines(figure: Any, panel: str = "x") -> dict[str, list[tuple[float, float]]]:
    """Points of each line on a panel, by name."""
    drawn = [t for t in figure.data if t.mode == "lines" and t.fill is None and (t.xaxis or "x") == panel]
    return {t.name: list(zip(t.x, t.y, strict=True)) for t in drawn if t.x[0] is not None}


def test_the_second_round_begins_where_the_first_ended() -> None:
    """Drawn from epoch 0, a warm start would seem to learn in no time what it learnt before."""
    found = lines(CURVES.draw(two_rounds()))

    assert found == {
        "first round, 50 % of the examples": [(1, 20), (2, 40)],
        "random init": [(3, 10), (4, 90)],
        "warm start": [(3, 60), (4, 80)],
    }


def test_test_accuracy_has_its_own_panel() -> None:
    """Training accuracy shown as test accuracy would hide the whole effect."""
    assert lines(CURVES.draw(two_rounds()), "x2")["warm start"] == [(3, 30), (4, 40)]


def test_a_dashed_line_marks_the_change() -> None:
    """Without it the jump of the curve looks like a fault."""
    shapes = CURVES.draw(two_rounds()).layout.shapes

    assert [(shape.x0, shape.line.dash) for shape in shapes] == [(2, "dash"), (2, "dash")]


def test_a_first_round_shared_by_two_arms_counts_once() -> None:
    """Counted twice, its band would be half as wide."""
    made = two_rounds()
    also = stage("also", parent="first", init="shrink_perturb", init_text="S()", shrink=0.4, perturb=0.1)
    own = {**made.epochs, "also": epochs(0.5, 0.5)}
    shared = Results("made", [*made.rows, also], {**made.stages, "also": also}, 3, own)

    figure = CURVES.draw(shared)

    (first,) = (t for t in figure.data if t.name.startswith("first") and t.mode == "lines" and t.xaxis == "x")
    assert [count for _, count in first.customdata] == [1, 1]


def test_epochs_without_a_measurement_are_left_out() -> None:
    """Between two measurements there is nothing, not zero."""
    made = two_rounds()
    made.epochs["warm"][0]["test_accuracy"] = None  # type: ignore[index]

    assert lines(CURVES.draw(made), "x2")["warm start"] == [(4, 40)]


def test_the_papers_curve_stands_behind_its_own_data_set_alone() -> None:
    """CIFAR-10's curve behind Digits' would be read as a target."""
    paper = [PaperCurve("warm start", [(3, 55), (4, 56)], "test_accuracy")]
    cifar = two_rounds(data="cifar10", data_text="CIFAR10()")

    assert lines(LearningCurves("C", paper=paper).draw(cifar), "x2")["paper"] == [(3, 55), (4, 56)]
    digits = LearningCurves("C", paper=paper).draw(two_rounds())
    assert "paper" not in lines(digits, "x2")
    assert "The paper's curves are of cifar10, and so not drawn." in digits.layout.meta["subtitle"]


def test_a_band_that_reaches_a_little_beyond_100_percent_keeps_the_papers_range() -> None:
    """Two panels of one figure, one from 0 and the other from 32, are compared wrongly."""
    rows = [stage("a", 0), stage("b", 1)]
    own = {"a": epochs(0.5, 1.0), "b": epochs(0.5, 0.97)}

    figure = CURVES.draw(Results("made", rows, {row["key"]: row for row in rows}, 2, own))

    low, high = figure.layout.yaxis.range
    assert low == 0
    assert 100 < high < 101


def test_a_curve_of_the_paper_breaks_where_it_was_hidden() -> None:
    """A line drawn across a gap of 160 epochs claims what nobody saw."""
    whole = parted([(5, 1.0), (10, 2.0), (15, 3.0), (175, 4.0), (180, 5.0)])

    assert [x for x, y in whole if y != y] == [95]  # noqa: PLR0124 # NaN is not itself
    assert len(whole) == 6


def test_norms_stand_at_their_steps_in_thousands() -> None:
    """The paper's axis counts thousands of batches."""
    found = lines(NORMS.draw(norms_of(([0, 500], [2, 4], [6, 8]))))

    assert found == {"old examples": [(0, 2), (0.5, 4)], "new examples": [(0, 6), (0.5, 8)]}


def test_a_mean_ends_where_its_first_seed_ends() -> None:
    """A seed that stops earlier would make the mean jump."""
    found = lines(NORMS.draw(norms_of(([0, 10, 20], [2, 2, 9], [1, 1, 1]), ([0, 10], [4, 4], [1, 1]))))

    assert found["old examples"] == [(0, 3), (0.01, 3)]


def test_smoothing_keeps_both_ends_and_the_mean_between() -> None:
    """The norm at the start, before any step on new examples, is what the figure is about."""
    assert smoothed([9, 3, 3, 3, 6], 3) == [9, 5, 3, 4, 6]
    assert smoothed([9, 3, 6], 1) == [9, 3, 6]


def test_the_window_is_said() -> None:
    """A reader must know how much of the noise was taken out."""
    steps = [float(step) for step in range(0, 100, 10)]
    figure = GradientNorms("Norms", window=3).draw(norms_of((steps, steps, steps)))

    assert "running mean of 3 measurements, one every 10 batches" in figure.layout.meta["subtitle"]


def test_every_arm_has_a_panel_of_its_own_in_the_order_of_the_sweep() -> None:
    """Warm start first, then ever smaller factors, as in the paper."""
    made = norms_of(([0], [1], [2]), ([0], [1], [2]))
    made.rows[1].update(init="shrink_perturb", init_text="S()", shrink=0.5, perturb=0.01, seed=0)  # type: ignore[attr-defined]

    assert [note.text for note in NORMS.draw(made).layout.annotations] == ["warm start", "shrink 0.5, noise 0.01"]


def test_without_norms_the_message_says_how_to_measure_them() -> None:
    """Norms cost time, and are measured only if asked for."""
    with pytest.raises(ConfigError, match="gradient_norms_every=20"):
        NORMS.draw(two_rounds())


def long(count: int) -> Results:
    """Two seeds of so many epochs; in the second from last of one seed, training collapsed."""
    rows = [stage(f"s{seed}", seed, epochs=count) for seed in range(2)]
    own = {f"s{seed}": epochs(*([0.8] * (count - 2)), 0.1 * seed, 0.8) for seed in range(2)}
    return Results("made", rows, {row["key"]: row for row in rows}, 2, own)


def test_very_long_curves_are_drawn_in_bins_and_say_so() -> None:
    """A hundred thousand epochs, one by one, open in no browser; in bins, unsaid, they are not what was measured."""
    figure = CURVES.draw(long(3000))

    (curve,) = lines(figure).values()
    assert (len(curve), curve[0], curve[-1]) == (500, (1, 80), (3000, 80))
    (band,) = (trace for trace in figure.data if trace.fill == "toself" and trace.xaxis == "x")
    assert min(band.y) == pytest.approx(5 - 10 / 2**0.5)  # the collapse: mean of 0 and 10, less its deviation
    assert "3,000 places in 500 bins" in figure.layout.meta["subtitle"]


def test_a_line_that_is_not_drawn_is_not_told() -> None:
    """A reader who looks for the dashed line finds another one and takes it for it."""
    alone, both = long(3), two_rounds()

    assert "Dashed line" not in CURVES.draw(alone).layout.meta["subtitle"]
    assert "Dashed line" in CURVES.draw(both).layout.meta["subtitle"]


def test_a_running_mean_costs_the_same_at_any_width() -> None:
    """A hundred thousand norms took minutes with a wide window; what is no number spoils its own windows alone."""
    values = [float(number % 10) for number in range(100_000)]
    values[50_000] = float("inf")

    found = smoothed(values, 2001)

    assert found[40_000] == pytest.approx(sum(values[39_000:41_001]) / 2001)
    assert [number != number for number in found].index(True) == 49_000  # noqa: PLR0124 # NaN is not itself
    assert found[51_001] == pytest.approx(sum(values[50_001:52_002]) / 2001)
