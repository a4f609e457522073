"""Lines: means over seeds with their bands, and the paper's curves behind them, placed on panels. Reads no results.

A line of more places than a browser can move is drawn in bins (`orchestrator.figures.spreads`).
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.figures.spreads import BINS, MOST_PLACES, Spread, in_bins
from orchestrator.figures.style import (
    AXIS,
    FONT,
    GREY,
    Look,
    Row,
    call_in_words,
    is_there,
    is_whole,
    layout,
    pale,
    spoken,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

Points = Sequence[tuple[float, float]]
NO_BUTTONS = 24  # pixels that a figure without buttons above it does not need
NARROWEST = 320  # pixels of a panel with its labels
LETTERS = 114  # of panel titles that stand beside each other in a picture 1000 pixels wide
PANEL_HEIGHT = 300  # pixels of each further row of panels
LEGEND, ENTRY, LETTER, ENTRY_HEIGHT = 900, 60, 7, 20  # pixels: its width; an entry without text; a letter; a row
ROOM = 0.04  # of a range, left free at either end


@dataclass(frozen=True)
class PaperCurve:
    """A curve of the paper, to stand behind ours.

    Attributes:
        arm: The arm it belongs to, in our words.
        points: Its points (x, y), in the panel's units.
        y: The column whose panel it belongs to.
        where: Settings by column under which it was measured; it is drawn behind results of these alone.
    """

    arm: str
    points: Points
    y: str = "test_accuracy"
    where: Mapping[str, Any] = field(default_factory=lambda: {"data": "cifar10"})

    def stands_behind(self, arm: str, rows: Sequence[Row]) -> bool:
        """Whether it is of this arm and was measured under the settings of these rows, all of whole data sets."""
        named = arm == self.arm or arm.startswith(f"{self.arm}, ") or not self.arm
        alike = all(row.get(name) == value for row in rows for name, value in self.where.items())
        return named and alike and all(map(is_whole, rows))


@dataclass(frozen=True)
class Place:
    """One of a figure's panels.

    Attributes:
        x_title: What the x axis counts.
        y_title: What the y axis counts.
        title: What stands above it; "" for nothing.
        y_range: Wished range of y; taken if it holds all data, or nearly so.
        log_x: Whether x has a logarithmic scale.
    """

    x_title: str
    y_title: str
    title: str = ""
    y_range: tuple[float, float] | None = None
    log_x: bool = False


def why_no_paper(paper: Sequence[PaperCurve], is_drawn: bool) -> str:
    """A sentence on why none of the paper's curves is drawn; "" if one is, or there is none."""
    if not paper or is_drawn:
        return ""
    where = [value if isinstance(value, str) else f"{spoken(name)} {value}" for name, value in paper[0].where.items()]
    return f"The paper's curves are of {', '.join(map(call_in_words, where))}, and so not drawn."


def on_panels(places: Sequence[Place], columns: int, head: str, below: str) -> go.Figure:
    """An empty figure with a panel for each place, `columns` beside each other.

    An axis title that the panel to the left (below) has too is said there alone.
    """
    from plotly.subplots import make_subplots

    rows = math.ceil(len(places) / columns)
    titles = ["<br>".join(map(html.escape, textwrap.wrap(place.title, LETTERS // columns))) for place in places]
    gaps = {"horizontal_spacing": 0.2 / columns, "vertical_spacing": 0.24 / rows}
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=titles if any(titles) else None, **gaps)
    around = layout(head, below, 560 + PANEL_HEIGHT * (rows - 1), NARROWEST * columns)
    figure.update_layout({name: value for name, value in around.items() if name not in {"xaxis", "yaxis"}})
    figure.update_layout(
        margin_t=around["margin"]["t"] - NO_BUTTONS, legend={"itemsizing": "trace", "itemwidth": 40, "tracegroupgap": 0}
    )
    figure.update_annotations(font={"size": 13, "family": FONT})
    for number, place in enumerate(places):
        at = {"row": number // columns + 1, "col": number % columns + 1}
        left = places[number - 1] if number % columns else None
        under = places[number + columns] if number + columns < len(places) else None
        x_title = "" if under and under.x_title == place.x_title else place.x_title
        y_title = "" if left and left.y_title == place.y_title else place.y_title
        figure.update_xaxes(AXIS, title_text=x_title, type="log" if place.log_x else "linear", **at)
        figure.update_yaxes(AXIS, title_text=y_title, **at)
    return figure


def add_arm(figure: go.Figure, name: str, look: Look, spreads: Sequence[Spread], **where: Any) -> None:
    """Add an arm's mean with its band; with bars instead of the band where it has but one place.

    Args:
        figure: Of `on_panels`.
        name: Of the arm, plain text.
        look: Of the arm.
        spreads: In the panel's units.
        where: ``row`` and ``col`` of the panel, ``showlegend``, ``log_x`` if its x axis is logarithmic, and ``most``,
            how many places are drawn one by one.
    """
    import plotly.graph_objects as go

    shared = {"name": html.escape(name), "legendgroup": name}
    at = {"row": where["row"], "col": where["col"]}
    if len(spreads) > where.get("most", MOST_PLACES):
        add_binned(figure, look, spreads, shared, **where)
        return
    if len(spreads) > 1 and any(spread.count > 1 for spread in spreads):
        upper, lower = ([s.mean + side * s.std for s in spreads] for side in (1, -1))
        figure.add_trace(go.Scatter(**band([s.x for s in spreads], upper, lower, look), **shared), **at)
    bars = {"array": [s.std for s in spreads], "thickness": 1.5} if len(spreads) == 1 else None
    line = go.Scatter(
        x=[spread.x for spread in spreads],
        y=[spread.mean for spread in spreads],
        error_y=bars,
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash, "width": 2},
        marker={"color": look.colour, "symbol": look.symbol, "size": 6 if len(spreads) <= 40 else 4},
        customdata=[[spread.std, spread.count] for spread in spreads],
        hovertemplate="%{x:,.6~g}: %{y:,.4~g} ± %{customdata[0]:.2~g}, %{customdata[1]} seeds",
        showlegend=where["showlegend"],
        **shared,
    )
    figure.add_trace(line, **at)


def add_binned(
    figure: go.Figure, look: Look, spreads: Sequence[Spread], shared: Mapping[str, str], **where: Any
) -> None:
    """Add an arm of very many places in bins; the arguments are those of `add_arm`, its name and group in `shared`."""
    import numpy as np
    import plotly.graph_objects as go

    bins = in_bins(spreads, min(BINS, where.get("most", BINS)), where.get("log_x", False))
    columns = ([getattr(one, name) for one in bins] for name in ("x", "mean", "low", "high", "first", "last"))
    x, mean, low, high, first, last = columns
    at = {"row": where["row"], "col": where["col"]}
    figure.add_trace(go.Scatter(**band(x, high, low, look), **shared), **at)
    line = go.Scatter(
        x=np.array(x),
        y=np.array(mean),
        mode="lines",
        line={"color": look.colour, "dash": look.dash, "width": 2},
        customdata=np.array([low, high, first, last]).T,
        hovertemplate="%{customdata[2]:,.6~g} to %{customdata[3]:,.6~g}: mean %{y:,.4~g}, "
        "%{customdata[0]:,.4~g} to %{customdata[1]:,.4~g}",
        showlegend=where["showlegend"],
        **shared,
    )
    figure.add_trace(line, **at)


def band(x: Sequence[float], upper: Sequence[float], lower: Sequence[float], look: Look) -> dict[str, Any]:
    """What of plotly's trace makes it a band between two edges."""
    import numpy as np

    around = {"x": np.array([*x, *x[::-1]], float), "y": np.array([*upper, *lower[::-1]], float)}
    fill = {"fill": "toself", "fillcolor": pale(look.colour, 0.18), "line": {"width": 0}, "hoverinfo": "skip"}
    return {**around, "mode": "lines", "showlegend": False, **fill}


def make_room(figure: go.Figure) -> None:
    """Make the picture higher by the rows that its legend takes; call it after the last entry was added."""
    rows, used = 1, 0.0
    for trace in figure.data:
        if trace.showlegend is not False and trace.name:
            width = ENTRY + LETTER * len(trace.name)
            rows, used = (rows, used + width) if used + width <= LEGEND or not used else (rows + 1, width)
    figure.update_layout(
        meta={**figure.layout.meta, "height": figure.layout.meta["height"] + ENTRY_HEIGHT * (rows - 1)}
    )


def add_paper(figure: go.Figure, points: Points, colour: str, **where: Any) -> None:
    """Add a curve of the paper, thin and pale, under the legend's entry "paper", which `add_paper_entry` makes."""
    import plotly.graph_objects as go

    curve = go.Scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines",
        line={"color": pale(colour, 0.55), "width": 1.2},
        name="paper",
        legendgroup="paper",
        showlegend=False,
        hovertemplate="%{x:,.6~g}: %{y:,.4~g}",
    )
    figure.add_trace(curve, **where)


def add_paper_entry(figure: go.Figure) -> None:
    """Add the legend's entry of all the paper's curves."""
    import plotly.graph_objects as go

    entry = {"name": "paper (thin)", "legendgroup": "paper", "showlegend": True, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line={"color": GREY, "width": 1.2}, **entry))


def fit_axes(figure: go.Figure, place: Place, spreads: Sequence[Spread], papers: Sequence[Points], **at: int) -> None:
    """Give a panel's axes the range of our data on x, and of ours and the paper's there on y."""
    left, right = (side(spread.x for spread in spreads) for side in (min, max))
    if place.log_x:
        left, right = math.log10(left), math.log10(right)
    free = ROOM * (right - left) or 0.5
    figure.update_xaxes(range=[left - free, right + free], **at)
    first, last = (10**edge if place.log_x else edge for edge in (left - free, right + free))
    values = [s.mean + side * s.std for s in spreads for side in (-1, 1)]
    values += [y for points in papers for x, y in points if first <= x <= last and is_there(y)]
    low, high = min(values), max(values)
    wish = place.y_range or (math.inf, -math.inf)
    slack = ROOM * (wish[1] - wish[0])  # such as of a band that reaches beyond 100 %
    if wish[0] - slack <= low and high <= wish[1] + slack:
        figure.update_yaxes(range=[min(low, wish[0]), max(high, wish[1])], **at)
    else:
        free = ROOM * (high - low) or 0.5
        figure.update_yaxes(range=[low - free, high + free], **at)
