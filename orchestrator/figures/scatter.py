"""Scatter: test accuracy against training cost, one dot a model, as an interactive picture. Reads no store.

All it knows are the columns of the view `results`.
"""

from __future__ import annotations

import html
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.columns import SETTINGS, names
from orchestrator.errors import ConfigError
from orchestrator.figures.inset import add_inset, facts_of
from orchestrator.figures.results import Figure, Results
from orchestrator.figures.style import (
    CAPS,
    WEBGL,
    Look,
    call_in_words,
    family_names,
    heading,
    in_order,
    kind_of_dots,
    layout,
    looks_of,
    sentences,
    spoken,
    value_in_words,
    varies,
)

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

COSTS = {  # column: its button, the axis title
    "train_seconds": ("seconds", "training time (seconds)"),
    "solo_seconds": ("solo seconds", "training time with the device to itself (seconds)"),
    "steps": ("steps", "training steps"),
    "examples_seen": ("examples", "training examples processed"),
    "epochs": ("epochs", "training epochs"),
}
COST_LINES = (("train_seconds", "solo_seconds", "epochs"), ("steps", "examples_seen"))  # that a phone can show
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
        facts: What hovering tells beside these, as HTML in the order of `Said`; "-" for what is not known.
    """

    family: str
    accuracy: float
    costs: Mapping[str, float]
    facts: Sequence[str]


@dataclass(frozen=True)
class Said:
    """What hovering tells of every dot: said once, so that ten thousand dots bring their facts alone.

    Attributes:
        costs: Columns of what a model took.
        settings: Columns that vary.
        has_seed: Whether rows have a seed.
        has_reason: Whether rows say why training stopped.
    """

    costs: Sequence[str]
    settings: Sequence[str]
    has_seed: bool
    has_reason: bool

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Said:
        """What there is to tell of `rows`."""
        known = [any(row.get(column) is not None for row in rows) for column in ("seed", "stop_reason")]
        costs = [column for column in costs_of(rows) if any(row.get(column) is not None for row in rows)]
        return cls(costs, varying_columns(rows), *known)

    def facts(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The facts of one model; `rows` are its cells."""
        row = rows[0]
        told = [amount(column, row.get(column)) for column in self.costs]
        told += [settings_of(rows, column) for column in self.settings]
        told += [str(row["seed"])] if self.has_seed else []
        told += [spoken(row["stop_reason"] or "-")] if self.has_reason else []
        return [html.escape(fact) for fact in [*told, str(row["key"])]]

    def template(self, family: str) -> str:
        """HTML lines in which plotly puts a dot's facts, in the order of `facts`."""
        places = (f"%{{customdata[{number}]}}" for number in itertools.count())
        amounts = {column: f"{next(places)} {COSTS[column][0]}" for column in self.costs}
        lines = [f"<b>{html.escape(family)}</b>", "test accuracy %{y:.2f} %"]
        lines += [", ".join(amounts[c] for c in line if c in amounts) for line in COST_LINES]
        lines += [f"{html.escape(spoken(column))} {next(places)}" for column in self.settings]
        lines += [f"seed {next(places)}"] if self.has_seed else []
        lines += [f"stopped by {next(places)}"] if self.has_reason else []
        return "<br>".join(line for line in [*lines, f"key {next(places)}"] if line) + "<extra></extra>"


@dataclass(frozen=True)
class Scatter(Figure):
    """Test accuracy against training cost, with the Pareto front of each init.

    Buttons choose the cost: seconds, steps, examples or epochs. A model that is in several cells of one init is one
    dot; diverged and failed models and those without test accuracy are counted in the subtitle. From `WEBGL` dots on
    WebGL draws them.

    Attributes:
        title: Of the figure, by default the sweep's name; models and data sets are added in words.
        inset: Whether to enlarge the models that are both quick and good, where no dot is or else, as where WebGL
            draws them, beside the scatter: those within the first quarter of the seconds, and the last of the
            accuracies, that it spans.
    """

    title: str = ""
    inset: bool = False

    def draw(self, results: Results) -> go.Figure:
        """Draw every model that has an accuracy."""
        import plotly.graph_objects as go

        title, rows = self.title or results.sweep, list(results.rows)
        columns = list(rows[0]) if rows else [*NEEDED, *COSTS]
        costs = [column for column in costs_of(rows) if column in columns]
        lacking = [column for column in NEEDED if column not in columns]
        if lacking or not costs:
            raise ConfigError(
                f"{title}: a scatter needs the columns {', '.join(NEEDED)} and one of {', '.join(COSTS)}; these "
                f"results have {', '.join(columns)}. SELECT * FROM results has them all."
            )
        drawn = [row for row in rows if why_not(row) is None]
        said, dots = Said.of(drawn), make_dots(drawn)
        left_out = Counter({row["key"]: reason for row in rows if (reason := why_not(row))}.values())
        if not dots:
            why = said_of(left_out) or "no rows"
            raise ConfigError(f"{title}: nothing to draw: {why}. Launch the sweep, or see how far it is with status.")
        families, kind = group(dots), kind_of_dots(len(dots))
        figure = go.Figure(traces(families, said, kind))
        below = sentences(subtitle(len(dots), left_out), not_there(results))
        figure.update_layout(layout(heading(title, rows), below))
        figure.update_layout(xaxis_rangemode="tozero", yaxis_title_text="test accuracy (%)")
        show_cost(figure, families, costs)
        if self.inset:
            add_inset(figure, families, said.template, kind)
        return figure


def costs_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of `COSTS` that say something of `rows`: alone in its process, a model's seconds are its solo seconds."""
    in_packs = any((row.get("pack_size") or 1) > 1 for row in rows)
    return [column for column in COSTS if column != "solo_seconds" or in_packs]


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
    said = Said.of(rows)
    return [make_dot(family, same, said) for (family, _), same in models.items()]


def make_dot(family: str, rows: Sequence[Mapping[str, Any]], said: Said) -> Dot:
    """The dot of one model; `rows` are its cells."""
    row = rows[0]
    costs = {column: row[column] for column in COSTS if row.get(column) is not None}
    return Dot(family, 100 * row["test_accuracy"], costs, said.facts(rows))


def amount(column: str, value: float | None) -> str:
    """What a model took, as people read it."""
    return "-" if value is None else f"{value:,.4g}" if column.endswith("_seconds") else f"{value:,}"


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
    families: dict[str, list[Dot]] = {family: [] for family in in_order(dot.family for dot in dots)}
    for dot in dots:
        families[dot.family].append(dot)
    return families


def traces(families: Mapping[str, Sequence[Dot]], said: Said, kind: type[Any]) -> list[Any]:
    """For each family its dots, of plotly's class `kind`, and the line of its front; `show_cost` gives them places."""
    import plotly.graph_objects as go

    made, count = [], sum(map(len, families.values()))
    for family, look in looks_of(families).items():
        dots = families[family]
        shared = {"legendgroup": family, "name": f"{html.escape(family)} ({len(dots):,})"}
        facts = {"customdata": facts_of(dots), "hovertemplate": said.template(family)}
        made.append(kind(mode="markers", marker=marker_of(look, count), **facts, **shared))
        line = {"color": look.colour, "dash": look.dash, "width": 2, "shape": "hv"}
        corners = {"mode": "lines+markers", "marker": {"color": look.colour, "size": 4}, "line": line}
        made.append(go.Scatter(hoverinfo="skip", showlegend=False, **corners, **shared))
    return made


def marker_of(look: Look, count: int) -> dict[str, Any]:
    """How a dot looks, alone or among so many."""
    size, opacity = (9, 0.75) if count <= MANY else (6, 0.45) if count < WEBGL else (4, 0.4)
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


def cost_places(dots: Sequence[Dot], cost: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places (x, y) of a family's dots, NaN where the cost is not known, then those of its front.

    As arrays, which plotly writes in a fraction of the bytes of lists.
    """
    import numpy as np

    x = np.array([dot.costs.get(cost, math.nan) for dot in dots], dtype=float)
    y = np.array([dot.accuracy for dot in dots], dtype=float)
    known = np.flatnonzero(~np.isnan(x))
    front = known[pareto_front(x[known].tolist(), y[known].tolist())]
    return [(x, y), (x[front], y[front])]


def subtitle(count: int, left_out: Mapping[str, int]) -> str:
    """How many models there are, what the lines mean, and what is not drawn."""
    missing = f" Left out: {said_of(left_out)}." if left_out else ""
    models = "1 model" if count == 1 else f"{count:,} models"
    return f"{models}, one dot each. Lines: Pareto fronts, no model of that init is both cheaper and better.{missing}"


def said_of(left_out: Mapping[str, int]) -> str:
    """Counts in words: "3 diverged, 1 failed"."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())
