"""Curves: what was measured against a setting or the data seen so far, one line an arm, mean and band over seeds.

It knows columns of the view `results` alone; what they mean, and the paper's curves, are told by a sweep's file.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.figures.lines import (
    PaperCurve,
    Place,
    Points,
    add_arm,
    add_paper,
    add_paper_entry,
    fit_axes,
    make_room,
    on_panels,
    why_no_paper,
)
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.spreads import Spread, bins_in_words, most_places, over_seeds
from orchestrator.figures.style import (
    arms_of,
    decided,
    drawable,
    heading,
    heads_of,
    is_there,
    looks_of,
    seeds_in_words,
    sentences,
    told,
    value_in_words,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Panel:
    """One measurement, with an axis of its own.

    Attributes:
        y: Column of the view `results`.
        title: Of its axis, with the unit.
        scale: Factor from the column's unit to the axis's: 100 for percent.
        range: Wished range of the axis, such as the paper's; taken if it holds all data, or nearly so.
        comparable: Whether the paper's numbers mean the same as ours. If not, as with seconds of another machine, its
            curves are scaled: by one factor, which makes the mean of its first arm ours, and which the panel tells.
    """

    y: str
    title: str
    scale: float = 1.0
    range: tuple[float, float] | None = None
    comparable: bool = True


ACCURACY = Panel("test_accuracy", "test accuracy (%)", scale=100)
SECONDS = Panel("train_seconds", "training time (s)", comparable=False)


@dataclass(frozen=True)
class Curves(Figure):
    """Lines of means over seeds with bands of a standard deviation, panels beside each other.

    A row without a value of `x`, of a cell to which that axis makes no difference, counts at every x of the figure.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        x: Column of the x axis.
        x_title: What it counts.
        panels: What is drawn against it.
        arm: Columns that a figure compares; any other setting that varies is named after them.
        split: Columns for each combination of whose values there is a panel. A row of a cell to which one of them makes
            no difference is in all of its panels.
        paper: Curves that stand behind ours.
        x_scale: Factor from the column's unit to the axis's: 0.001 for thousands.
        log_x: Whether the x axis is logarithmic.
    """

    title: str
    x: str
    x_title: str
    panels: Sequence[Panel] = (ACCURACY, SECONDS)
    arm: Sequence[str] = ("init",)
    split: Sequence[str] = ()
    paper: Sequence[PaperCurve] = ()
    x_scale: float = 1.0
    log_x: bool = False

    def draw(self, results: Results) -> go.Figure:
        """Draw every row that has a place and a value for some panel."""
        wanted = [panel.y for panel in self.panels]
        rows = drawable(results, self.title, [wanted[0]])
        if not any(is_there(row.get(self.x)) for row in rows):
            drawable(results, self.title, [self.x])  # says that there is none
        drawn = [contents for panel in self.panels for contents in self._contents(rows, panel)]
        is_behind = any(contents.papers for contents in drawn)
        lines = [spreads for contents in drawn for spreads in contents.arms.values()]
        said = [seeds_in_words(rows), bins_in_words(lines), why_no_paper(self.paper, is_behind), results.missing]
        columns = min(len(drawn), 3 if len(drawn) > 4 else 2)
        places = [contents.place for contents in drawn]
        figure = on_panels(places, columns, heading(self.title or results.sweep, rows), sentences(*said))
        heads = heads_of(rows, self.arm, (self.x, *self.split))
        looks, shown = looks_of((arm for contents in drawn for arm in contents.arms), heads), set[str]()
        for number, contents in enumerate(drawn):
            at = {"row": number // columns + 1, "col": number % columns + 1}
            how = {"log_x": self.log_x, "most": most_places(len(lines))}
            for arm, points in contents.papers:
                add_paper(figure, points, looks[arm].colour, **at)
            for arm in (arm for arm in looks if arm in contents.arms):
                add_arm(figure, arm, looks[arm], contents.arms[arm], showlegend=arm not in shown, **how, **at)
                shown.add(arm)
            fit_axes(figure, contents.place, contents.spreads, [points for _, points in contents.papers], **at)
        if is_behind:
            add_paper_entry(figure)
        make_room(figure)
        return figure

    def _contents(self, rows: Sequence[Row], panel: Panel) -> list[Contents]:
        """What each panel of one measurement shows, one for each part of the rows."""
        arms = arms_of(rows, self.arm, (self.x, *self.split))
        parts: dict[str, dict[str, list[Row]]] = {}
        for row, arm in zip(rows, arms, strict=True):
            for filled in filled_in(row, rows, self.split):
                part = " to ".join(filter(None, (value_in_words(filled, column) for column in self.split)))
                parts.setdefault(part, {}).setdefault(arm, []).append(filled)
        made = [self._panel(panel, part, of) for part, of in parts.items()]
        return [contents for contents in made if contents.arms]

    def _panel(self, panel: Panel, part: str, rows: Mapping[str, Sequence[Row]]) -> Contents:
        """One panel: means in its units, and the paper's curves in the same."""
        everywhere = sorted({row[self.x] for same in rows.values() for row in same if is_there(row.get(self.x))})
        arms = {arm: self._spreads(panel, same, everywhere) for arm, same in rows.items()}
        arms = {arm: spreads for arm, spreads in arms.items() if spreads}
        behind = [
            (arm, curve.points)
            for curve in self.paper
            for arm in arms
            if curve.y == panel.y and curve.stands_behind(arm, rows[arm])
        ]
        factor = 1.0 if panel.comparable or not behind else same_mean(arms[behind[0][0]], behind[0][1])
        scaled = "" if factor == 1 else f"paper scaled by {factor:.2g}: equal mean for {behind[0][0]}"
        place = Place(self.x_title, panel.title, "; ".join(filter(None, (part, scaled))), panel.range, self.log_x)
        return Contents(place, arms, [(arm, [(x, y * factor) for x, y in points]) for arm, points in behind])

    def _spreads(self, panel: Panel, rows: Sequence[Row], everywhere: Sequence[float]) -> list[Spread]:
        """The means of one arm, in the panel's units; `everywhere` are the places of rows that an axis leaves open."""
        points = [
            (x * self.x_scale, row[panel.y] * panel.scale)
            for row in rows
            if is_there(row.get(panel.y))
            for x in ([row[self.x]] if is_there(row.get(self.x)) else everywhere if self.x in decided(rows) else [])
        ]
        return over_seeds(points)


@dataclass(frozen=True)
class Contents:
    """What one panel shows: means by arm, and the paper's curves with the arms that they stand behind."""

    place: Place
    arms: Mapping[str, Sequence[Spread]]
    papers: Sequence[tuple[str, Points]]

    @property
    def spreads(self) -> list[Spread]:
        """The means of all arms."""
        return [spread for spreads in self.arms.values() for spread in spreads]


def filled_in(row: Row, rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """The row once for each combination of values of `columns` that it belongs to.

    None, of a cell to which an axis makes no difference, stands for every value that other rows have beside the row's
    other values; for none if there is no other row.
    """
    if all(row.get(column) is not None for column in columns):
        return [row]
    parts: dict[tuple[Any, ...], Row] = {}
    for other in rows:
        values = tuple(told(other, column) for column in columns)
        own = (told(row, column) for column in columns)
        if None not in values and all(mine in {None, value} for mine, value in zip(own, values, strict=True)):
            given = {name: other.get(name) for column in columns for name in (column, f"{column}_text")}
            parts.setdefault(values, {**row, **given})
    return list(parts.values()) or [row]


def same_mean(ours: Sequence[Spread], papers: Points) -> float:
    """Factor on the paper's values that makes their mean ours, where both have any; 1 if they have no common place."""
    left, right = max(ours[0].x, papers[0][0]), min(ours[-1].x, papers[-1][0])
    own = [spread.mean for spread in ours if left <= spread.x <= right]
    theirs = [y for x, y in papers if left <= x <= right]
    return statistics.fmean(own) / statistics.fmean(theirs) if own and theirs and any(theirs) else 1.0
