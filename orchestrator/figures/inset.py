"""Inset: the corner of the quick and good models of a scatter, enlarged where the scatter is empty."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.figures.style import AXIS, looks_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

COST = "train_seconds"
SHARE = 0.25  # of what the scatter spans; the paper's inset has 0-1,500 of 6,000 s and 70-80 of 40-80 %
SIZE = (0.42, 0.4)  # width and height, as shares of the scatter
PLACES = [(x, y) for x in (0.56, 0.3) for y in (0.14, 0.3, 0.56)]  # lower left corners that it may have
FEW, CROWD = 3, 0.05  # dots that are worth an inset; share of all dots that it may cover


class Dot(Protocol):
    """What an inset knows of a model."""

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent."""

    @property
    def costs(self) -> Mapping[str, float]:
        """What it took, by column."""

    @property
    def hover(self) -> str:
        """HTML lines on what it is."""


def add_inset(figure: go.Figure, families: Mapping[str, Sequence[Dot]]) -> None:
    """Enlarge the corner of `figure`, a scatter of `families`, where there is room; else leave it as it is."""
    import plotly.graph_objects as go

    dots = [dot for same in families.values() for dot in same if COST in dot.costs]
    found = corner(dots)
    place = emptiest(dots) if found else None
    if not found or not place:
        return
    (left, right), (low, high) = found
    for family, look in looks_of(families).items():
        inside = [dot for dot in families[family] if is_inside(dot, right, low)]
        figure.add_trace(
            go.Scatter(
                x=[dot.costs[COST] for dot in inside],
                y=[dot.accuracy for dot in inside],
                text=[dot.hover for dot in inside],
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 6, "opacity": 0.7},
                hovertemplate="%{text}<extra></extra>",
                legendgroup=family,
                name=html.escape(family),
                showlegend=False,
                xaxis="x2",
                yaxis="y2",
            )
        )
    (x, y), (width, height) = place, SIZE
    frame = {**AXIS, "mirror": True, "showline": True, "tickfont": {"size": 11}}
    figure.update_layout(
        xaxis2={**frame, "domain": [x, x + width], "anchor": "y2", "range": [left, right], "title": QUICK},
        yaxis2={**frame, "domain": [y, y + height], "anchor": "x2", "range": [low, high]},
    )


QUICK = {"text": "the upper left corner: seconds, %", "font": {"size": 11}, "standoff": 4}


def corner(dots: Sequence[Dot]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Range of seconds and of accuracies of the quick and good models; None if they are too few to enlarge."""
    if not dots:
        return None
    lowest, highest = min(dot.accuracy for dot in dots), max(dot.accuracy for dot in dots)
    right = SHARE * max(dot.costs[COST] for dot in dots)
    free = 0.02 * (highest - lowest)
    low = highest - SHARE * (highest - lowest)
    if right <= 0 or free == 0 or sum(is_inside(dot, right, low) for dot in dots) < FEW:
        return None
    return (0.0, right), (low, highest + free)


def is_inside(dot: Dot, right: float, low: float) -> bool:
    """Whether a model is quick and good."""
    return COST in dot.costs and dot.costs[COST] <= right and dot.accuracy >= low


def emptiest(dots: Sequence[Dot]) -> tuple[float, float] | None:
    """Lower left corner of the place that has the fewest dots, as shares of the scatter; None if all are crowded."""
    slowest = max(dot.costs[COST] for dot in dots)
    lowest, highest = min(dot.accuracy for dot in dots), max(dot.accuracy for dot in dots)
    spots = [(dot.costs[COST] / slowest, (dot.accuracy - lowest) / (highest - lowest)) for dot in dots]

    def covered(place: tuple[float, float]) -> int:
        left, low = place[0] - 0.06, place[1] - 0.12  # room for the inset's own labels
        return sum(left <= x <= place[0] + SIZE[0] and low <= y <= place[1] + SIZE[1] for x, y in spots)

    best = min(PLACES, key=covered)
    return best if covered(best) <= CROWD * len(dots) else None
