"""Scatter: test accuracy against training cost, one dot a model, as an interactive picture. Reads no store.

All it knows are the columns of the view `results`.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.figures.inset import add_inset
from orchestrator.figures.results import Figure, Results
from orchestrator.figures.style import (
    CAPS,
    Look,
    call_in_words,
    family_names,
    heading,
    in_order,
    layout,
    looks_of,
    sentences,
    spoken,
    value_in_words,
    varies,
)
from orchestrator.schema import SETTINGS, names

if TYPE_CHECKING:
    import plotly.graph_objects as go

COSTS = {  # column: its button, the axis title
    "train_seconds": ("seconds", "training time (seconds)"),
    "steps": ("steps", "training steps"),
    "examples_seen": ("examples", "training examples processed"),
    "epochs": ("epochs", "training epochs"),
}
NEEDED = ("key", "init", "status", "test_accuracy")
MANY = 300  # dots; from here on they are small and translucent
BUTTONS = {"type": "buttons", "direction": "right", "font": {"size": 12}, "bgcolor": "#fff", "bordercolor": "#bbb"}
SCALES = {"args": "log", "args2": "linear"}  # what the button does the first time, and the second


@dataclass(frozen=True)
class Dot:
    """One trained model.

    Attributes:
        family: Its init in words, and what varies of data set, model and caps; a family has one colour and one front.
        accuracy: Test accuracy in percent.
        costs: What it took, by column; a column without a value is missing.
        hover: HTML lines on what it is.
    """

    family: str
    accuracy: float
    costs: Mapping[str, float]
    hover: str


@dataclass(frozen=True)
class Scatter(Figure):
    """Test accuracy against training cost, with the Pareto front of each init.

    Buttons choose the cost: seconds, steps, examples or epochs. A model that is in several cells of one init is one
    dot; diverged and failed models and those without test accuracy are counted in the subtitle.

    Attributes:
        title: Of the figure, by default the sweep's name; models and data sets are added in words.
        inset: Whether to enlarge the models that are both quick and good, where no dot is or else beside the
            scatter: those within the first quarter of the seconds, and the last of the accuracies, that it spans.
    """

    title: str = ""
    inset: bool = False

    def draw(self, results: Results) -> go.Figure:
        """Draw every model that has an accuracy."""
        import plotly.graph_objects as go

        title, rows = self.title or results.sweep, list(results.rows)
        columns = list(rows[0]) if rows else [*NEEDED, *COSTS]
        costs = [column for column in COSTS if column in columns]
        lacking = [column for column in NEEDED if column not in columns]
        if lacking or not costs:
            raise ConfigError(
                f"{title}: a scatter needs the columns {', '.join(NEEDED)} and one of {', '.join(COSTS)}; these "
                f"results have {', '.join(columns)}. SELECT * FROM results has them all."
            )
        dots = make_dots([row for row in rows if why_not(row) is None])
        left_out = Counter({row["key"]: reason for row in rows if (reason := why_not(row))}.values())
        if not dots:
            said = said_of(left_out) or "no rows"
            raise ConfigError(f"{title}: nothing to draw: {said}. Launch the sweep, or see how far it is with status.")
        families = group(dots)
        looks, many = looks_of(families), len(dots) > MANY
        kind = go.Scatter if self.inset else go.Scattergl  # WebGL would draw its dots over the inset
        figure = go.Figure([t for f, same in families.items() for t in family_traces(same, f, looks[f], many, kind)])
        below = sentences(subtitle(len(dots), left_out), not_there(results))
        figure.update_layout(layout(heading(title, rows), below))
        figure.update_layout(xaxis_rangemode="tozero", yaxis_title_text="test accuracy (%)")
        show_cost(figure, families, costs)
        if self.inset:
            add_inset(figure, families)
        return figure


def not_there(results: Results) -> str:
    """How many models are still to come; those that diverged are told among what is left out."""
    absent = results.planned - len(results.rows)
    return f"{absent:,} of {results.planned:,} are not trained yet." if absent > 0 else ""


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Places of the points that no other point beats: none is cheaper and at least as good, or as cheap and better.

    In the order of rising cost, and so of rising gain. Of equal points the first counts.
    """
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i], i)):
        if not front or gains[place] > gains[front[-1]]:
            front.append(place)
    return front


def why_not(row: Mapping[str, Any]) -> str | None:
    """Why a row is no dot, in words that follow a count; None if it is one."""
    if row["status"] != "done":
        return str(row["status"])
    accuracy = row["test_accuracy"]
    return "without test accuracy" if accuracy is None or math.isnan(accuracy) else None


def make_dots(rows: Sequence[Mapping[str, Any]]) -> list[Dot]:
    """One dot for each family and model in `rows`, in their order."""
    apart = [column for column in ("data", "model", *CAPS) if varies(rows, column)]  # no front is over several of them
    families = [
        ", ".join(filter(None, (family, *(value_in_words(row, column) for column in apart))))
        for row, family in zip(rows, family_names(rows), strict=True)
    ]
    models: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row, family in zip(rows, families, strict=True):
        models.setdefault((family, row["key"]), []).append(row)
    varying = varying_columns(rows)
    return [make_dot(family, same, varying) for (family, _), same in models.items()]


def make_dot(family: str, rows: Sequence[Mapping[str, Any]], varying: Sequence[str]) -> Dot:
    """The dot of one model; `rows` are its cells."""
    row = rows[0]
    accuracy = 100 * row["test_accuracy"]
    costs = {column: row[column] for column in COSTS if row.get(column) is not None}
    lines = [f"<b>{html.escape(family)}</b>", f"test accuracy {accuracy:.2f} %", *spent(costs)]
    lines += [f"{spoken(column)} {html.escape(settings_of(rows, column))}" for column in varying]
    lines += [f"seed {row['seed']}"] if row.get("seed") is not None else []
    lines += [f"stopped by {html.escape(spoken(row['stop_reason']))}"] if row.get("stop_reason") else []
    return Dot(family, accuracy, costs, "<br>".join([*lines, f"key {row['key']}"]))


def spent(costs: Mapping[str, float]) -> list[str]:
    """What a model took, in lines that a phone can show: time and epochs, then steps and examples."""
    said = {c: f"{costs[c]:,.4g}" if c == "train_seconds" else f"{costs[c]:,}" for c in costs}
    said = {c: f"{number} {COSTS[c][0]}" for c, number in said.items()}
    lines = [[said[c] for c in line if c in said] for line in (("train_seconds", "epochs"), ("steps", "examples_seen"))]
    return [", ".join(line) for line in lines if line]


def settings_of(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """What the cells of one model say of a setting; cells that merged into one model may differ."""
    values = dict.fromkeys(row[column] for row in rows)
    if len(values) > 1:
        return "several"
    value = next(iter(values))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else call_in_words(str(value))


def varying_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings and axes that differ between `rows`, without those that another column tells in full."""
    columns = list(rows[0]) if rows else []
    measured = [c for c in names("stages") if c not in (*SETTINGS, "fraction", "examples", "stop")]
    told_elsewhere = {*measured, "seed", "key", "init", "init_text", "shrink", "perturb"}
    told_elsewhere |= {
        c.removesuffix("_text") + ending for c in columns if c.endswith("_text") for ending in ("", "_size")
    }
    return [c for c in columns if c not in told_elsewhere and len({row[c] for row in rows}) > 1]


def group(dots: Sequence[Dot]) -> dict[str, list[Dot]]:
    """Dots by family: random init first, then warm start, then the others by name."""
    families = in_order(dot.family for dot in dots)
    return {family: [dot for dot in dots if dot.family == family] for family in families}


def family_traces(dots: Sequence[Dot], family: str, look: Look, many: bool, kind: type[Any]) -> list[Any]:
    """The dots of a family and the line of its front, both still without places; `show_cost` gives them."""
    import plotly.graph_objects as go

    line = {"color": look.colour, "dash": look.dash, "width": 2, "shape": "hv"}
    shared = {"legendgroup": family, "name": f"{html.escape(family)} ({len(dots)})"}
    point = {"color": look.colour, "size": 4}
    said = {"text": [dot.hover for dot in dots], "hovertemplate": "%{text}<extra></extra>"}
    return [
        kind(mode="markers", marker=marker_of(look, many), **said, **shared),
        go.Scatter(mode="lines+markers", marker=point, line=line, hoverinfo="skip", showlegend=False, **shared),
    ]


def marker_of(look: Look, many: bool) -> dict[str, Any]:
    """How a dot looks, alone or among many."""
    size, opacity = (6, 0.45) if many else (9, 0.75)
    return {"color": look.colour, "symbol": look.symbol, "size": size, "opacity": opacity}


def show_cost(figure: go.Figure, families: Mapping[str, Sequence[Dot]], costs: Sequence[str]) -> None:
    """Place all traces of `figure` by the first of `costs`; add a button for each cost, and one for the scale."""
    places = {cost: [place for dots in families.values() for place in cost_places(dots, cost)] for cost in costs}
    for trace, (x, y) in zip(figure.data, places[costs[0]], strict=True):
        trace.update(x=x, y=y)
    choices = [
        {
            "label": COSTS[cost][0],
            "method": "update",
            "args": [
                {"x": [x for x, _ in places[cost]], "y": [y for _, y in places[cost]]},
                {"xaxis.title.text": COSTS[cost][1], "xaxis.autorange": True, "yaxis.autorange": True},
                list(range(len(places[cost]))),  # of an inset, none: it stays as it is
            ],
        }
        for cost in costs
    ]
    scale: dict[str, Any] = {"label": "log scale", "method": "relayout"}
    scale |= {name: [{"xaxis.type": type_, "xaxis.autorange": True}] for name, type_ in SCALES.items()}
    above = {**BUTTONS, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 8}, "buttons": choices}
    inside = {**BUTTONS, "x": 1, "xanchor": "right", "y": 0, "yanchor": "bottom", "pad": {"r": 6, "b": 6}}
    figure.update_layout(xaxis_title_text=COSTS[costs[0]][1])
    figure.update_layout(updatemenus=[above, {**inside, "active": -1, "showactive": False, "buttons": [scale]}])


def cost_places(dots: Sequence[Dot], cost: str) -> list[tuple[list[float | None], list[float | None]]]:
    """Places (x, y) of a family's dots, then those of its front."""
    known = [(dot.costs[cost], dot.accuracy) for dot in dots if cost in dot.costs]
    front = [known[place] for place in pareto_front([x for x, _ in known], [y for _, y in known])]
    return [
        ([dot.costs.get(cost) for dot in dots], [dot.accuracy for dot in dots]),
        ([x for x, _ in front], [y for _, y in front]),
    ]


def subtitle(count: int, left_out: Mapping[str, int]) -> str:
    """How many models there are, what the lines mean, and what is not drawn."""
    missing = f" Left out: {said_of(left_out)}." if left_out else ""
    models = "1 model" if count == 1 else f"{count:,} models"
    return f"{models}, one dot each. Lines: Pareto fronts, no model of that init is both cheaper and better.{missing}"


def said_of(left_out: Mapping[str, int]) -> str:
    """Counts in words: "3 diverged, 1 failed"."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
