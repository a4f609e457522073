"""Correlations: what a model reached and took, against how much of its starting weights is left in it."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.figures.curves import ACCURACY, SECONDS, Panel
from orchestrator.figures.lines import Place, make_room, on_panels
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.style import (
    COLOURS,
    GREY,
    SYMBOLS,
    by_size,
    drawable,
    heading,
    is_there,
    kind_of_dots,
    sentences,
    told,
    value_in_words,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST = 3  # dots of which a correlation says anything


@dataclass(frozen=True)
class Correlations(Figure):
    """One dot a model, with Pearson's correlation of the dots and its p-value in words above each panel.

    The p-value takes the dots as independent, which models that share a first round or a seed are not.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        x: Column of the x axis.
        x_title: What it counts.
        panels: What is drawn against it, beside each other.
        colour: Column that the colour of a dot tells.
        symbol: Column that its symbol tells.
        split: Columns for each combination of whose values there is a row of panels.
    """

    title: str
    x: str = "weight_correlation"
    x_title: str = "correlation of final with starting weights"
    panels: Sequence[Panel] = (ACCURACY, SECONDS)
    colour: str = "lr"
    symbol: str = "batch_size"
    split: Sequence[str] = ("data", "model")

    def draw(self, results: Results) -> go.Figure:
        """Draw every model that has a value of x, once."""
        found = drawable(results, self.title, [self.x, self.panels[0].y])
        rows = list({row["key"]: row for row in found}.values())
        parts: dict[str, list[Row]] = {}
        for row in rows:
            parts.setdefault(", ".join(value_in_words(row, column) for column in self.split), []).append(row)
        drawn = [(part if len(parts) > 1 else "", same, panel) for part, same in parts.items() for panel in self.panels]
        places = [Place(self.x_title, panel.title, self._above(part, same, panel)) for part, same, panel in drawn]
        count = "1 model" if len(rows) == 1 else f"{len(rows):,} models, one dot each"
        below = sentences(f"{count}.", "r: Pearson's correlation of a panel's dots.", results.missing)
        figure = on_panels(places, len(self.panels), heading(self.title or results.sweep, rows), below)
        for number, (_, same, panel) in enumerate(drawn):
            line, column = divmod(number, len(self.panels))
            figure.add_trace(self._dots(rows, same, panel), row=line + 1, col=column + 1)
        figure.add_traces(self._entries(rows))
        make_room(figure)
        return figure

    def _dots(self, rows: Sequence[Row], same: Sequence[Row], panel: Panel) -> Any:
        """The dots of one panel; colours and symbols are those of all rows."""
        import numpy as np

        drawn = [row for row in same if is_there(row.get(panel.y))]
        colours, symbols = (values_of(rows, column) for column in (self.colour, self.symbol))
        marker = {
            "color": [COLOURS[colours.index(told(row, self.colour)) % len(COLOURS)] for row in drawn],
            "symbol": [SYMBOLS[symbols.index(told(row, self.symbol)) % len(SYMBOLS)] for row in drawn],
            "size": 7,
            "opacity": 0.7,
        }
        x, y = (np.array(of, float) for of in ([row[self.x] for row in drawn], [row[panel.y] for row in drawn]))
        hover = {"text": [self._hover(row) for row in drawn], "hovertemplate": "%{text}<extra></extra>"}
        return kind_of_dots(len(rows))(x=x, y=y * panel.scale, mode="markers", marker=marker, showlegend=False, **hover)

    def _entries(self, rows: Sequence[Row]) -> list[go.Scatter]:
        """Entries of the legend: what each colour means, and what each symbol."""
        import plotly.graph_objects as go

        entries = []
        for column in (self.colour, self.symbol):
            values = values_of(rows, column)
            for turn, value in enumerate(values if len(values) > 1 else []):
                tells = {"color": COLOURS[turn % len(COLOURS)], "symbol": "circle"}
                tells = tells if column == self.colour else {"color": GREY, "symbol": SYMBOLS[turn % len(SYMBOLS)]}
                name = value_in_words(next(row for row in rows if told(row, column) == value), column)
                entry = {"name": html.escape(name or "-"), "hoverinfo": "skip", "marker": {**tells, "size": 8}}
                entries.append(go.Scatter(x=[None], y=[None], mode="markers", **entry))
        return entries

    def _above(self, part: str, rows: Sequence[Row], panel: Panel) -> str:
        """What stands above a panel."""
        points = [(row[self.x], row[panel.y]) for row in rows if is_there(row.get(panel.y))]
        return ": ".join(filter(None, (part, correlation_in_words(points))))

    def _hover(self, row: Row) -> str:
        """HTML lines on what a dot is."""
        lines = [f"correlation {row[self.x]:.3f}", f"test accuracy {100 * row['test_accuracy']:.2f} %"]
        lines += [value_in_words(row, column) for column in (self.colour, self.symbol)]
        return "<br>".join(html.escape(line) for line in [*lines, f"seed {row['seed']}", f"key {row['key']}"] if line)


def values_of(rows: Sequence[Row], column: str) -> list[Any]:
    """Values of a setting, small numbers first."""
    return sorted(dict.fromkeys(told(row, column) for row in rows), key=lambda value: by_size(str(value)))


def correlation_in_words(points: Sequence[tuple[float, float]]) -> str:
    """Pearson's correlation of the points and its p-value, or why there is none."""
    xs, ys = ([point[side] for point in points] for side in (0, 1))
    if len(points) < LEAST or len(set(xs)) == 1 or len(set(ys)) == 1:
        return "too few models for a correlation"
    r = statistics.correlation(xs, ys)
    p = p_value(r, len(points))
    return f"r = {r:.2f}, {'p < 0.001' if p < 0.001 else f'p = {p:.2g}'}"


def p_value(r: float, count: int) -> float:
    """Two-sided p-value of Pearson's correlation of `count` points, by Student's t with ``count - 2`` degrees."""
    from scipy.special import stdtr  # loads in a tenth of the time of scipy.stats

    if abs(r) >= 1:
        return 0.0
    return float(2 * stdtr(count - 2, -abs(r) * math.sqrt((count - 2) / (1 - r * r))))
