"""Inset: the corner of the quick and good models of a scatter, enlarged where the scatter is empty, else beside it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.figures.style import AXIS, looks_of

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

Box = tuple[float, float, float, float]  # left, low, width, height: shares of the scatter
COST = "train_seconds"
SHARE = 0.25  # of what the scatter spans; the paper's inset has 0-1,500 of 6,000 s and 70-80 of 40-80 %
SIZES = ((0.42, 0.4), (0.34, 0.32))  # width and height, as shares of the scatter; the larger one if there is room
LEFT, RIGHT, LOW, TOP = 20, 98, 24, 97  # percent of the scatter that it may stand in; lower is the button for the scale
FEW = 3  # dots that are worth an inset
BESIDE = (0.74, 0.4, 0.26, 0.57)  # where it stands if every place of the scatter has dots, which then is narrower
NARROW = [0.0, 0.66]
EDGE = 0.06  # of what the scatter spans, left free around it


class Dot(Protocol):
    """What an inset knows of a model."""

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent."""

    @property
    def costs(self) -> Mapping[str, float]:
        """What it took, by column."""

    @property
    def facts(self) -> Sequence[str]:
        """What hovering tells."""


def add_inset(
    figure: go.Figure, families: Mapping[str, Sequence[Dot]], template: Callable[[str], str], kind: type[Any]
) -> None:
    """Enlarge the corner of `figure`, a scatter of `families`; one with too few models there is left as it is.

    Args:
        figure: Of these dots, placed.
        families: Dots by family.
        template: What hovering over a dot of a family says, with places for its facts.
        kind: Plotly's class for the dots. WebGL would draw those of the scatter over an inset that stands in it.
    """
    import plotly.graph_objects as go

    dots = [dot for same in families.values() for dot in same if COST in dot.costs]
    found = corner(dots)
    if not found:
        return
    place = None if kind is go.Scattergl else emptiest(dots)
    if place is None:
        figure.update_layout(xaxis_domain=NARROW)
        place = BESIDE
    (left, right), (low, high) = found
    for family, look in looks_of(families).items():
        inside = [dot for dot in families[family] if is_inside(dot, right, low)]
        figure.add_trace(
            kind(
                x=[dot.costs[COST] for dot in inside],
                y=[dot.accuracy for dot in inside],
                customdata=facts_of(inside),
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 6, "opacity": 0.7},
                hovertemplate=template(family),
                legendgroup=family,
                name=html.escape(family),
                showlegend=False,
                xaxis="x2",
                yaxis="y2",
            )
        )
    x, y, width, height = place
    frame = {**AXIS, "mirror": True, "showline": True, "tickfont": {"size": 11}}
    figure.update_layout(
        xaxis2={**frame, "domain": [x, x + width], "anchor": "y2", "range": [left, right], "title": QUICK},
        yaxis2={**frame, "domain": [y, y + height], "anchor": "x2", "range": [low, high]},
    )


def facts_of(dots: Sequence[Dot]) -> np.ndarray:
    """What hovering tells of each dot: an array, because plotly looks at every entry of a list."""
    import numpy as np

    return np.array([dot.facts for dot in dots], dtype=object)


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


def places() -> list[Box]:
    """Where an inset may stand, the best first: large, to the right, low."""
    return [
        (x / 100, y / 100, width, height)
        for width, height in SIZES
        for x in range(RIGHT - round(100 * width), LEFT - 1, -4)
        for y in range(LOW, TOP - round(100 * height) + 1, 4)
    ]


def emptiest(dots: Sequence[Dot]) -> Box | None:
    """The first place without a dot; None if each would hide one.

    Dots may lie under the inset's own labels where that cannot be helped.
    """
    slowest = max(dot.costs[COST] for dot in dots)
    lowest, highest = min(dot.accuracy for dot in dots), max(dot.accuracy for dot in dots)
    high = (highest - lowest) * (1 + 2 * EDGE)
    spots = [(d.costs[COST] / slowest / (1 + EDGE), (d.accuracy - lowest) / high + EDGE / (1 + 2 * EDGE)) for d in dots]

    def covered(box: Box, left: float = 0.02, below: float = 0.02) -> int:
        x, y, width, height = box
        return sum(x - left <= a <= x + width + 0.02 and y - below <= b <= y + height + 0.02 for a, b in spots)

    free = [box for box in places() if not covered(box)]
    return min(free, key=lambda box: covered(box, left=0.06, below=0.12), default=None)
