"""The picture shows every model once, where it belongs, and says what it leaves out."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.figures.results import Results
from orchestrator.figures.scatter import Scatter, pareto_front
from orchestrator.figures.style import WEBGL, write_html

RANDOM = {"init": "random_init", "init_text": "RandomInit()", "shrink": 0.0, "perturb": 1.0}
WARM = {"init": "warm_start", "init_text": "WarmStart()", "shrink": 1.0, "perturb": 0.0}
SHRINK = {
    "init": "shrink_perturb",
    "init_text": "ShrinkPerturb(shrink=0.4, perturb=0.1)",
    "shrink": 0.4,
    "perturb": 0.1,
}
POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12)  # few values: many ties


def row(key: str, accuracy: float | None = 0.5, seconds: float = 1.0, **values: Any) -> dict[str, Any]:
    """A row of results, all that a scatter knows."""
    given = {"key": key, "seed": 0, "status": "done", "stop_reason": "train_accuracy", "test_accuracy": accuracy}
    costs = {"train_seconds": seconds, "steps": 10, "examples_seen": 320, "epochs": 1}
    what = {"data": "digits", "data_text": "Digits()", "model": "mlp", "model_text": "MLP(width=64)", "lr": 0.1}
    return {**given, **costs, **what, **RANDOM, **values}


def draw(*rows: dict[str, Any]) -> Any:
    """The figure of `rows`."""
    return Scatter("quick").draw(Results("made", list(rows)))


def plain(numbers: Any) -> list[float | None]:
    """Numbers of an array, None for what is not there."""
    return [None if math.isnan(number) else number for number in numbers]


def dots(figure: Any) -> dict[str, list[tuple[float | None, float | None]]]:
    """Places of the dots by legend entry."""
    drawn = [trace for trace in figure.data if trace.mode == "markers"]
    return {t.name: list(zip(plain(t.x), plain(t.y), strict=True)) for t in drawn}


def fronts(figure: Any) -> list[list[tuple[float, float]]]:
    """Places of the corners of each front."""
    return [list(zip(t.x, t.y, strict=True)) for t in figure.data if t.mode == "lines+markers"]


def hovered(trace: Any, dot: int = 0) -> str:
    """What hovering over a dot says, but for its place."""
    facts, template = trace.customdata[dot], trace.hovertemplate.removesuffix("<extra></extra>")
    return re.sub(r"%\{customdata\[(\d+)\]\}", lambda place: str(facts[int(place[1])]), template)


@given(POINTS)
def test_a_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    """The figure's claim stands or falls with its fronts; compared with the definition, point by point."""
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] >= p[1]}

    front = [points[place] for place in pareto_front([x for x, _ in points], [y for _, y in points])]

    assert front == sorted(set(points) - beaten)


def test_of_equal_points_the_first_counts() -> None:
    """Doubled corners would make the line run back on itself."""
    assert pareto_front([1.0, 1.0, 0.5], [0.9, 0.9, 0.1]) == [2, 0]


def test_every_model_is_one_dot_in_percent_over_seconds() -> None:
    """A dot in the wrong place is a wrong result that everybody sees."""
    figure = draw(row("a", 0.75, 2.0), row("b", 0.25, 3.0, seed=1))

    assert dots(figure) == {"random init (2)": [(2.0, 75.0), (3.0, 25.0)]}


def test_each_init_has_its_words_colour_and_front() -> None:
    """Readers compare inits; they must tell them apart without our names for them."""
    figure = draw(row("a", 0.5, **WARM), row("b", 0.6, **SHRINK), row("c", 0.7), row("d", 0.1, 9.0, **WARM))

    assert list(dots(figure)) == ["random init (1)", "warm start (2)", "shrink 0.4, noise 0.1 (1)"]
    assert fronts(figure) == [[(1.0, 70.0)], [(1.0, 50.0)], [(1.0, 60.0)]]
    assert len({trace.marker.color for trace in figure.data}) == 3


def test_an_init_keeps_its_colour_in_every_figure() -> None:
    """Two figures side by side in which the colours are swapped are read the wrong way round."""
    alone, beside = draw(row("a", **WARM)), draw(row("a", **WARM), row("b"), row("c", **SHRINK))

    assert alone.data[0].marker.color == beside.data[2].marker.color


def test_many_inits_are_told_apart_by_symbol_too() -> None:
    """There are fewer colours that all eyes can tell apart than shrink factors."""
    figure = draw(
        *(row(str(i), init="shrink_perturb", shrink=i / 20, perturb=0.1, init_text=str(i)) for i in range(20))
    )

    looks = {(trace.marker.color, trace.marker.symbol) for trace in figure.data if trace.mode == "markers"}
    assert len(looks) == 20


def test_inits_that_words_cannot_tell_apart_are_named_in_full() -> None:
    """Two kinds of noise under one name would be drawn as one init."""
    gaussian = {**SHRINK, "init_text": "ShrinkPerturb(shrink=0.4, perturb=0.1, noise='gaussian')"}

    figure = draw(row("a", **SHRINK), row("b", **gaussian))

    assert list(dots(figure)) == [
        "ShrinkPerturb (shrink 0.4, perturb 0.1) (1)",
        "ShrinkPerturb (shrink 0.4, perturb 0.1, noise gaussian) (1)",
    ]


def test_a_model_of_several_cells_is_one_dot() -> None:
    """A stage shared by many cells, drawn many times, looks like many models that agree."""
    figure = draw(row("a", lr=0.1), row("a", lr=0.2), row("b", lr=0.3))

    assert len(dots(figure)["random init (2)"]) == 2
    assert "lr several" in hovered(figure.data[0])


def test_what_is_left_out_is_counted() -> None:
    """A picture of the models that happened to work, without saying so, is a selected picture."""
    figure = draw(
        row("a"),
        row("b", None, status="diverged"),
        row("b", None, status="diverged", lr=0.2),
        row("c", None, status="failed"),
        row("d", None),
        row("e", float("nan")),
    )

    assert "1 model, one dot each." in figure.layout.meta["subtitle"]
    assert "Left out: 1 diverged, 1 failed, 2 without test accuracy." in figure.layout.meta["subtitle"]


def test_the_title_says_data_and_model() -> None:
    """A picture travels without its page."""
    figure = draw(row("a"), row("b", data_text="CIFAR10()"))

    assert figure.layout.meta["title"] == "quick: MLP (width 64) on Digits, CIFAR10"
    assert figure.layout.meta["title"] in figure.layout.title.text


def test_hovering_tells_what_varies_and_which_model_it_is() -> None:
    """An outlier is worth nothing if nobody can find its stage again."""
    text = hovered(draw(row("ab12", seed=3, first_lr=0.01), row("cd", first_lr=None)).data[0])

    assert text.startswith(
        "<b>random init</b><br>test accuracy %{y:.2f} %<br>1 seconds, 1 epochs<br>10 steps, 320 examples"
    )
    assert [line for line in text.split("<br>") if line in ("first lr 0.01", "seed 3", "key ab12")] == [
        *("first lr 0.01", "seed 3", "key ab12"),
    ]
    assert "stopped by train accuracy" in text
    assert "Digits" not in text


def test_models_of_packs_can_be_placed_by_the_time_that_they_take_alone() -> None:
    """Whoever was on the card beside a model moves its seconds; alone, both are the same, and one button will do."""
    given = {"solo_seconds": 2.0, "pack_size": 4}
    packed, alone = draw(row("a", seconds=9.0, **given)), draw(row("a", seconds=2.0, **{**given, "pack_size": 1}))

    buttons = {button.label: button.args for button in packed.layout.updatemenus[0].buttons}
    assert plain(buttons["solo seconds"][0]["x"][0]) == [2.0]
    assert "9 seconds, 2 solo seconds, 1 epochs" in hovered(packed.data[0])
    assert "solo" not in str(alone.layout.updatemenus) + hovered(alone.data[0])


def test_each_button_moves_dots_and_fronts() -> None:
    """A front kept from another axis would join the wrong models."""
    figure = draw(row("a", 0.5, 1.0, steps=9), row("b", 0.6, 2.0, steps=4))

    buttons = {button.label: button.args for button in figure.layout.updatemenus[0].buttons}

    assert list(buttons) == ["seconds", "steps", "examples", "epochs"]
    assert fronts(figure) == [[(1.0, 50.0), (2.0, 60.0)]]
    assert [[*map(plain, buttons["steps"][0][way])] for way in "xy"] == [[[9, 4], [4]], [[50.0, 60.0], [60.0]]]
    assert buttons["steps"][1]["xaxis.title.text"] == "training steps"


def test_a_cost_that_a_model_lacks_leaves_the_others_where_they_are() -> None:
    """A missing time must not shift the times of all models after it."""
    figure = draw(row("a", train_seconds=None), row("b", 0.6, 2.0))

    assert dots(figure) == {"random init (2)": [(None, 50.0), (2.0, 60.0)]}
    assert fronts(figure) == [[(2.0, 60.0)]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"lr": 0.1}], "needs the columns key, init, status, test_accuracy and one of train_seconds"),
        ([], "nothing to draw: no rows"),
        ([row("a", None, status="failed")], "nothing to draw: 1 failed"),
    ],
)
def test_nothing_to_draw_is_said_so(rows: list[dict[str, Any]], message: str) -> None:
    """An empty picture looks like a finished sweep without results."""
    with pytest.raises(ConfigError, match=message):
        draw(*rows)


def test_a_half_finished_sweep_says_so() -> None:
    """A picture of the cheap half of a sweep looks like a result."""
    figure = Scatter("quick").draw(Results("made", [row("a")], planned=4))

    assert "3 of 4 are not trained yet." in figure.layout.meta["subtitle"]


def test_what_a_model_does_not_tell_moves_no_other_fact() -> None:
    """A missing time would otherwise show the epochs as seconds, and the seed as epochs."""
    texts = draw(row("a", train_seconds=None, stop_reason=None), row("b", seed=1)).data[0]

    assert "- seconds, 1 epochs<br>10 steps" in hovered(texts)
    assert hovered(texts).endswith("seed 0<br>stopped by -<br>key a")


@pytest.mark.parametrize(("count", "kind"), [(WEBGL - 1, "scatter"), (WEBGL, "scattergl")])
def test_webgl_draws_thousands_of_dots_and_no_fewer(count: int, kind: str) -> None:
    """SVG stutters with thousands of dots; of WebGL a browser keeps few, and a report has many figures."""
    figure = Scatter(inset=True).draw(Results("made", [row(str(n), n / count, 1.0 + n) for n in range(count)]))

    assert {trace.type for trace in figure.data if trace.mode == "markers"} == {kind}


def test_an_inset_of_thousands_is_not_hidden_by_them() -> None:
    """WebGL draws dots over what stands in the scatter, so the inset of a large one stands beside it."""
    rising = [row(str(n), n / WEBGL, 1.0 + n) for n in range(WEBGL - 3)]  # a diagonal, with room on either side of it
    figure = Scatter(inset=True).draw(Results("made", [*rising, *(row(f"q{n}", 0.99) for n in range(3))]))

    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]


def test_ten_thousand_models_fit_into_a_page(tmp_path: Path) -> None:
    """A page of tens of megabytes opens on no phone, and no mail takes it."""
    rows = [row(f"{n:016x}", n / 10_000, 1.0 + n / 7, seed=n, steps=n, examples_seen=320 * n) for n in range(10_000)]

    write_html(Scatter(inset=True).draw(Results("made", rows)), tmp_path / "figure.html")

    assert (tmp_path / "figure.html").stat().st_size < 10_000_000


def corner_of(figure: Any) -> list[float]:
    """Seconds of the dots in the inset."""
    return [x for trace in figure.data if trace.xaxis == "x2" for x in trace.x]


def test_an_inset_enlarges_the_quick_and_good() -> None:
    """The figure's question is decided in that corner, where hundreds of dots lie on each other."""
    quick = [row(f"q{i}", 0.79 + i / 1000, 10.0 + i) for i in range(3)]
    slow = [row(f"s{i}", 0.7 - i / 10, 1000.0 - i) for i in range(4)]

    assert corner_of(draw(*quick, *slow)) == []
    figure = Scatter(inset=True).draw(Results("made", [*quick, *slow]))
    assert corner_of(figure) == [10.0, 11.0, 12.0]
    buttons = figure.layout.updatemenus[0].buttons
    assert {tuple(button.args[2]) for button in buttons} == {(0, 1)}  # they move the dots and the front, not the inset


def test_an_inset_of_too_few_is_left_out() -> None:
    """A frame around one dot hides more than it shows."""
    rows = [row("a", 0.8, 1.0), row("b", 0.4, 100.0)]

    assert corner_of(Scatter(inset=True).draw(Results("made", rows))) == []


def test_texts_of_users_are_no_markup(tmp_path: Path) -> None:
    """A class named by a user must not break the page, nor run in it."""
    evil = "<img src=x onerror=y>"
    figure = draw(row("a", model_text=evil, **{**WARM, "init": evil}), row("b", model_text="x", stop_reason=evil))

    write_html(figure, tmp_path / "figure.html")

    assert evil not in (tmp_path / "figure.html").read_text(encoding="utf-8")
    assert not any(evil in trace.name or evil in hovered(trace) for trace in figure.data if trace.mode == "markers")


def test_no_front_is_over_several_data_sets() -> None:
    """A quick model on Digits would beat every model on CIFAR-10."""
    figure = draw(row("a", 0.9, 1.0), row("b", 0.5, 2.0, data="cifar10", data_text="CIFAR10()"))

    fronts = {trace.name: [*trace.x] for trace in figure.data if trace.mode == "lines+markers"}
    assert sorted(fronts.values()) == [[1.0], [2.0]]
    assert any("CIFAR10" in name for name in fronts)


def test_an_inset_hides_no_model() -> None:
    """It stands before the dots: one behind it would be lost; a scatter full of dots has it beside."""
    everywhere = [row(f"{x} {y}", y / 20, 10.0 + 100 * x) for x in range(11) for y in range(11)]

    figure = Scatter(inset=True).draw(Results("made", everywhere))

    assert len(corner_of(figure)) > 3
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
