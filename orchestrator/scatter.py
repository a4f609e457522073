"""Scatter: test accuracy against training cost, one dot a model, as an interactive picture. Reads no store.

All it knows are the columns of the view `results`.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.schema import SETTINGS, names

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import pyarrow as pa

COSTS = {  # column: its button, the axis title
    "train_seconds": ("seconds", "training time (seconds)"),
    "steps": ("steps", "training steps"),
    "examples_seen": ("examples", "training examples processed"),
    "epochs": ("epochs", "training epochs"),
}
NEEDED = ("key", "init", "status", "test_accuracy")
WORDS = {"random_init": "random init", "warm_start": "warm start"}
# Okabe and Ito's colours without the yellow, which white swallows; told apart by all kinds of colour vision.
FIRST_COLOURS = {"random init": "#D55E00", "warm start": "#0072B2"}
COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # of the fronts, as SYMBOLS of the dots
MANY = 300  # dots; from here on they are small and translucent
BUTTONS = {"type": "buttons", "direction": "right", "font": {"size": 12}, "bgcolor": "#fff", "bordercolor": "#bbb"}
SCALES = {"args": "log", "args2": "linear"}  # what the button does the first time, and the second
SHOWN = {"responsive": True, "displaylogo": False, "modeBarButtons": [["zoom2d", "resetScale2d", "toImage"]]}
# Its policy lets the page load nothing, not even by mistake. plotly.js compiles functions for WebGL: unsafe-eval.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:">
<title>{title}</title>
<style>
body {{ margin: 0; height: 100vh; height: 100dvh; display: flex; flex-direction: column;
       background: #fff; color: #222; font: 13px/1.4 {font}; }}
header {{ padding: 12px 16px 0; }}
h1 {{ font-size: 18px; font-weight: 600; margin: 0 0 2px; }}
p {{ margin: 0; color: #555; }}
main {{ flex: 1; min-height: 460px; min-width: 0; }}
@media (max-width: 600px) {{ .modebar {{ display: none; }} }}
</style>
</head>
<body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<main>{figure}</main>
</body>
</html>
"""
FONT = "system-ui, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Dot:
    """One trained model.

    Attributes:
        family: Its init in words; dots of one family share colour and front.
        accuracy: Test accuracy in percent.
        costs: What it took, by column; a column without a value is missing.
        hover: HTML lines on what it is.
    """

    family: str
    accuracy: float
    costs: Mapping[str, float]
    hover: str


def scatter(results: pa.Table, title: str) -> go.Figure:
    """Draw test accuracy against training cost, with the Pareto front of each init.

    Buttons choose the cost: seconds, steps, examples or epochs. A model that is in several cells of one init is one
    dot; diverged and failed models and those without test accuracy are counted in the subtitle.

    Args:
        results: Rows of the view `results`, all of its columns or at least key, init, status, test_accuracy and one
            cost (train_seconds, steps, examples_seen, epochs).
        title: What the picture is of; the models and data sets are added in words.

    Raises:
        ConfigError: columns are missing, or there is no model to draw.
    """
    import plotly.graph_objects as go

    costs = [column for column in COSTS if column in results.column_names]
    lacking = [column for column in NEEDED if column not in results.column_names]
    if lacking or not costs:
        raise ConfigError(
            f"a scatter needs the columns {', '.join(NEEDED)} and one of {', '.join(COSTS)}; these results have "
            f"{', '.join(results.column_names) or 'none'}. SELECT * FROM results has them all."
        )
    rows = results.to_pylist()
    dots = make_dots([row for row in rows if why_not(row) is None])
    left_out = Counter({row["key"]: reason for row in rows if (reason := why_not(row))}.values())
    if not dots:
        said = said_of(left_out) or "no rows"
        raise ConfigError(f"{title}: nothing to draw: {said}. Launch the sweep, or see how far it is with status.")
    families = group(dots)
    traces = [trace for family in families for trace in family_traces(families, family)]
    figure = go.Figure(traces)
    figure.update_layout(layout(heading(title, rows), subtitle(len(dots), left_out)))
    show_cost(figure, families, costs)
    return figure


def write_html(figure: go.Figure, path: str | Path) -> None:
    """Write a figure of `scatter` as one HTML file that needs nothing else and, by its own policy, asks no other host.

    Title and subtitle become text of the page, which wraps at any width.
    """
    import plotly.graph_objects as go

    untitled = go.Figure(figure).update_layout(title=None, margin_t=56)
    body = untitled.to_html(full_html=False, include_plotlyjs=True, default_height="100%", config=SHOWN)
    title, below = (html.escape(figure.layout.meta[part]) for part in ("title", "subtitle"))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(PAGE.format(title=title, subtitle=below, figure=body, font=FONT), encoding="utf-8")


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
    """One dot for each init family and model in `rows`, in their order."""
    families = family_names(rows)
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
    told = {*measured, "seed", "key", "init", "init_text", "shrink", "perturb"}
    told |= {c.removesuffix("_text") + ending for c in columns if c.endswith("_text") for ending in ("", "_size")}
    return [c for c in columns if c not in told and len({row[c] for row in rows}) > 1]


def family_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The init of each row in words; as it is written in the sweep where words would not tell two inits apart."""
    said = [init_in_words(row) for row in rows]
    texts: dict[str, set[Any]] = {}
    for row, words in zip(rows, said, strict=True):
        texts.setdefault(words, set()).update([row["init_text"]] if row.get("init_text") else [])
    return [
        call_in_words(row["init_text"]) if len(texts[words]) > 1 and row.get("init_text") else words
        for row, words in zip(rows, said, strict=True)
    ]


def init_in_words(row: Mapping[str, Any]) -> str:
    """An init as people say it: "random init", "warm start", "shrink 0.4, noise 0.1"."""
    kind = row["init"]
    if kind == "shrink_perturb" and row.get("shrink") is not None and row.get("perturb") is not None:
        return f"shrink {row['shrink']:g}, noise {row['perturb']:g}"
    return WORDS.get(kind) or spoken(kind or "init not given")


def spoken(name: str) -> str:
    """A name of the tables as words."""
    return name.removesuffix("_text").replace("_", " ")


def call_in_words(text: str) -> str:
    """A constructor call as words: ``MLP(width=64)`` is "MLP (width 64)", ``Digits()`` is "Digits"."""
    name, opened, given = text.partition("(")
    inside = given.removesuffix(")").replace("=", " ").replace("'", "")
    return f"{name} ({inside})" if opened and inside else name


def group(dots: Sequence[Dot]) -> dict[str, list[Dot]]:
    """Dots by family: random init first, then warm start, then the others by name."""
    order = sorted({dot.family for dot in dots}, key=lambda f: (f not in FIRST_COLOURS, f != "random init", f))
    return {family: [dot for dot in dots if dot.family == family] for family in order}


def family_traces(families: Mapping[str, Sequence[Dot]], family: str) -> list[Any]:
    """The dots of a family and the line of its front, both still without places; `show_cost` gives them."""
    import plotly.graph_objects as go

    dots = families[family]
    colour, turn = look(list(families), family)
    many = sum(map(len, families.values())) > MANY
    marker = {"color": colour, "symbol": SYMBOLS[turn], "size": 6 if many else 9, "opacity": 0.45 if many else 0.75}
    line = {"color": colour, "dash": DASHES[turn], "width": 2, "shape": "hv"}
    shared = {"legendgroup": family, "name": f"{html.escape(family)} ({len(dots)})"}
    point = {"color": colour, "size": 4}
    said = {"text": [dot.hover for dot in dots], "hovertemplate": "%{text}<extra></extra>"}
    return [
        go.Scattergl(mode="markers", marker=marker, **said, **shared),
        go.Scatter(mode="lines+markers", marker=point, line=line, hoverinfo="skip", showlegend=False, **shared),
    ]


def look(families: Sequence[str], family: str) -> tuple[str, int]:
    """Colour of a family, and which symbol and dash; those of random init and warm start never change."""
    if family in FIRST_COLOURS:
        return FIRST_COLOURS[family], 0
    turn, colour = divmod([name for name in families if name not in FIRST_COLOURS].index(family), len(COLOURS))
    return COLOURS[colour], turn % len(SYMBOLS)


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


def heading(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The title, with the models and data sets of all rows in words."""
    models, data = (listed(rows, column) for column in ("model", "data"))
    what = " on ".join(part for part in (models, data) if part)
    return f"{title}: {what}" if what else title


def listed(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """The values of a setting in words, or how many there are if they are more than three."""
    texts = dict.fromkeys(str(row.get(f"{column}_text") or row.get(column) or "") for row in rows)
    said = [call_in_words(text) for text in texts if text]
    return ", ".join(said) if len(said) <= 3 else f"{len(said)} {'data sets' if column == 'data' else column + 's'}"


def subtitle(count: int, left_out: Mapping[str, int]) -> str:
    """How many models there are, what the lines mean, and what is not drawn."""
    missing = f" Left out: {said_of(left_out)}." if left_out else ""
    models = "1 model" if count == 1 else f"{count:,} models"
    return f"{models}, one dot each. Lines: Pareto fronts, no model of that init is both cheaper and better.{missing}"


def said_of(left_out: Mapping[str, int]) -> str:
    """Counts in words: "3 diverged, 1 failed"."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items())


def layout(head: str, below: str) -> dict[str, Any]:
    """Everything around the dots; the title is wrapped for a picture 1000 pixels wide."""
    big, small = ([html.escape(line) for line in textwrap.wrap(t, width)] for t, width in ((head, 100), (below, 150)))
    lines = [*big, *(f'<span style="font-size:13px;color:#555">{line}</span>' for line in small)]
    title = {"text": "<br>".join(lines), "x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container"}
    axis = {"automargin": True, "linecolor": "#888", "ticks": "outside", "tickcolor": "#888"}
    return {
        "template": "plotly_white",
        "font": {"family": FONT, "size": 13, "color": "#222"},
        "title": {**title, "pad": {"t": 24, "l": 16}, "font": {"size": 18}},
        "meta": {"title": head, "subtitle": below},
        "margin": {"l": 56, "r": 16, "t": 66 + 24 * len(lines), "b": 50},
        "xaxis": {**axis, "rangemode": "tozero", "separatethousands": True},
        "yaxis": {**axis, "title": {"text": "test accuracy (%)"}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        "hoverlabel": {"align": "left", "bgcolor": "#fff"},
        "hovermode": "closest",
    }
