"""Training: what happens epoch by epoch and step by step: learning curves, and gradient norms of old and new examples.

Read from the table `epochs`; means over seeds, panels beside each other, the paper's curves behind.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.figures.lines import (
    PaperCurve,
    Place,
    Points,
    add_arm,
    add_paper,
    add_paper_entry,
    fit_axes,
    on_panels,
    why_no_paper,
)
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.spreads import Spread, bins_in_words, most_places, over_seeds, spreads_of
from orchestrator.figures.style import (
    COLOURS,
    FIRST_COLOURS,
    Look,
    arms_of,
    drawable,
    heading,
    is_there,
    looks_of,
    seeds_in_words,
    sentences,
    value_in_words,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

ACCURACIES = {"train_accuracy": "training accuracy (%)", "test_accuracy": "test accuracy (%)"}
STEPS = "measured_steps"
NORMS = {  # column of the table epochs: its name in the legend, its look
    "old_gradient_norms": ("old examples", Look(COLOURS[0], "circle", "solid")),
    "new_gradient_norms": ("new examples", Look(COLOURS[1], "diamond", "dash")),
}
FIRST_ROUND = Look(FIRST_COLOURS["warm start"], "circle", "dot")
BREAK = 5  # median steps between two points of the paper's; a wider one is a gap
WINDOWS = 50  # into how many running means a curve is smoothed by itself


@dataclass(frozen=True)
class LearningCurves(Figure):
    """Training and test accuracy against epochs: the first round, and after the change every arm of the second.

    Arms without a parent are drawn from the same epoch on. Where first rounds end after different epochs, the change
    is where the last of them ends. Of each arm's seeds, those that reached an epoch are counted there.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        arm: Columns that a panel compares; any other setting that varies is named after them.
        split: Columns for each combination of whose values there is a row of panels.
        paper: Curves that stand behind ours; `y` is train_accuracy or test_accuracy, in percent.
    """

    title: str
    arm: Sequence[str] = ("init",)
    split: Sequence[str] = ()
    paper: Sequence[PaperCurve] = ()

    def draw(self, results: Results) -> go.Figure:
        """Draw every model of the last round that is done."""
        rows = drawable(results, self.title, ["test_accuracy"])
        last = max(row["round"] for row in rows)
        rows = [row for row in rows if row["round"] == last]
        parts: dict[str, dict[str, list[Row]]] = {}
        for row, arm in zip(rows, arms_of(rows, self.arm, self.split), strict=True):
            part = ", ".join(filter(None, (value_in_words(row, column) for column in self.split)))
            parts.setdefault(part, {}).setdefault(arm, []).append(row)
        looks = looks_of(arm for arms in parts.values() for arm in arms)
        panels = [self._panel(results, part, arms, column) for part, arms in parts.items() for column in ACCURACIES]
        is_behind = any(panel.behind for panel in panels)
        note = "Dashed line: the other examples arrive." if any(panel.change for panel in panels) else ""
        lines = [spreads for panel in panels for spreads in panel.lines.values()]
        said = sentences(
            seeds_in_words(rows), note, bins_in_words(lines), why_no_paper(self.paper, is_behind), results.missing
        )
        places = [panel.place for panel in panels]
        figure = on_panels(places, len(ACCURACIES), heading(self.title, rows), said)
        shown: set[str] = set()
        for number, panel in enumerate(panels):
            panel.fill(figure, looks, shown, most_places(len(lines)), row=number // 2 + 1, col=number % 2 + 1)
        figure.update_traces(mode="lines", selector={"mode": "lines+markers"})
        if is_behind:
            add_paper_entry(figure)
        return figure

    def _panel(self, results: Results, part: str, arms: Mapping[str, Sequence[Row]], column: str) -> Accuracies:
        """What one panel shows."""
        firsts = first_rounds(results, [row for rows in arms.values() for row in rows])
        change = max((row["epochs"] for row in firsts), default=0)
        lines = {first_name(firsts): accuracy(results, firsts, column, 0)} if firsts else {}
        lines |= {arm: accuracy(results, arms[arm], column, change) for arm in looks_of(arms)}
        behind = [
            (arm, parted(curve.points))
            for curve in self.paper
            for arm in arms
            if curve.y == column and curve.stands_behind(arm, arms[arm])
        ]
        place = Place("epoch", ACCURACIES[column], part, (0, 100))
        return Accuracies(place, {name: spreads for name, spreads in lines.items() if spreads}, behind, change)


@dataclass(frozen=True)
class Accuracies:
    """One panel of learning curves.

    Attributes:
        place: Its axes.
        lines: Means in percent by name; the first round before the arms.
        behind: The paper's curves with the arms that they stand behind.
        change: Epochs after which the other examples arrive; 0 if they were there from the start.
    """

    place: Place
    lines: Mapping[str, Sequence[Spread]]
    behind: Sequence[tuple[str, Points]]
    change: int

    def fill(self, figure: go.Figure, looks: Mapping[str, Look], shown: set[str], most: int, **at: int) -> None:
        """Draw it; `shown` are the entries that the legend has, `most` how many places are drawn one by one."""
        for arm, points in self.behind:
            add_paper(figure, points, looks[arm].colour, **at)
        for name, spreads in self.lines.items():
            add_arm(figure, name, looks.get(name, FIRST_ROUND), spreads, showlegend=name not in shown, most=most, **at)
            shown.add(name)
        if self.change:
            figure.add_vline(self.change, line={"dash": "dash", "width": 1, "color": "#444"}, **at)
        if self.lines:
            everything = [spread for spreads in self.lines.values() for spread in spreads]
            fit_axes(figure, self.place, everything, [points for _, points in self.behind], **at)


@dataclass(frozen=True)
class GradientNorms(Figure):
    """Gradient norms of a batch's old and new examples against training batches, a panel for each arm.

    Each seed's norms are smoothed by a centred running mean, narrower towards the ends, then the mean over seeds is
    taken, as far as all of an arm's seeds were trained.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        paper: Curves that stand behind ours; `y` is old_gradient_norms or new_gradient_norms, x thousands of batches.
        window: Measurements in one running mean; by default a fiftieth of the longest stage's.
    """

    title: str
    paper: Sequence[PaperCurve] = ()
    window: int | None = None

    def draw(self, results: Results) -> go.Figure:
        """Draw every model whose norms were measured."""
        finished = drawable(results, self.title, ["test_accuracy"])
        read = {row["key"]: norms(results, row["key"]) for row in finished}
        rows = [row for row in finished if read[row["key"]][STEPS]]
        if not rows:
            wish = "gradient_norms_every=20"
            raise ConfigError(
                f"{self.title}: no stage has measured gradient norms. Launch with {wish} or another step."
            )
        arms: dict[str, list[Row]] = {}
        for row, arm in zip(rows, arms_of(rows), strict=True):
            arms.setdefault(arm, []).append(row)
        window = self.window or max(1, max(len(read[row["key"]][STEPS]) for row in rows) // WINDOWS)
        drawn = {arm: spreads_of_norms([read[row["key"]] for row in of], window) for arm, of in arms.items()}
        behind = [(arm, c) for arm, of in arms.items() for c in self.paper if c.stands_behind(arm, of)]
        y_range = (0, highest(drawn, behind))
        places = [Place("training batch (thousands)", "gradient L2 norm", arm, y_range) for arm in drawn]
        lines = [spreads for columns in drawn.values() for spreads in columns.values()]
        said = [seeds_in_words(rows), window_in_words(read[rows[0]["key"]][STEPS], window), bins_in_words(lines)]
        below = sentences(*said, why_no_paper(self.paper, bool(behind)), results.missing)
        columns = min(len(places), 3)
        figure = on_panels(places, columns, heading(self.title, rows), below)
        for number, (place, arm) in enumerate(zip(places, drawn, strict=True)):
            how = {"showlegend": number == 0, "most": most_places(len(lines))}
            at = {"row": number // columns + 1, "col": number % columns + 1}
            fill_norms(figure, place, drawn[arm], [curve for name, curve in behind if name == arm], how, **at)
        figure.update_traces(mode="lines", selector={"mode": "lines+markers"})
        if behind:
            add_paper_entry(figure)
        return figure


def fill_norms(
    figure: go.Figure,
    place: Place,
    drawn: Mapping[str, Sequence[Spread]],
    papers: Sequence[PaperCurve],
    how: Mapping[str, Any],
    **at: int,
) -> None:
    """Draw the norms of one arm; `how` is told by `orchestrator.figures.lines.add_arm`."""
    for curve in papers:
        add_paper(figure, curve.points, NORMS[curve.y][1].colour, **at)
    for column, (name, look) in NORMS.items():
        add_arm(figure, name, look, drawn[column], **how, **at)
    everything = [spread for spreads in drawn.values() for spread in spreads]
    fit_axes(figure, place, everything, [curve.points for curve in papers], **at)


def spreads_of_norms(read: Sequence[Mapping[str, Sequence[float]]], window: int) -> dict[str, list[Spread]]:
    """The smoothed norms of one arm by column, x in thousands of batches; `read` is what `norms` gives by stage."""
    end = min(one[STEPS][-1] for one in read)
    return {
        column: over_seeds(
            (step / 1000, value)
            for one in read
            for step, value in zip(one[STEPS], smoothed(one[column], window), strict=True)
            if step <= end
        )
        for column in NORMS
    }


def first_rounds(results: Results, rows: Iterable[Row]) -> list[Row]:
    """Rows of the table `stages` of the parents of `rows`, each once."""
    parents = (results.parent(row["key"]) for row in rows)
    return list({parent["key"]: parent for parent in parents if parent is not None}.values())


def first_name(firsts: Sequence[Row]) -> str:
    """What the legend calls the first round."""
    shares = sorted({round(100 * row["fraction"], 1) for row in firsts if is_there(row.get("fraction"))})
    return (
        f"first round, {' or '.join(f'{share:g} %' for share in shares)} of the examples" if shares else "first round"
    )


def accuracy(results: Results, rows: Iterable[Row], column: str, offset: int) -> list[Spread]:
    """Accuracy of stages in percent, by epoch counted from `offset` on."""
    epochs, values = results.by_epoch(dict.fromkeys(row["key"] for row in rows), column)
    return spreads_of(offset + epochs, 100 * values)


def parted(points: Points) -> list[tuple[float, float]]:
    """A curve with a break where its points are much further apart than elsewhere, as where the paper hides it."""
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(points)]
    far = BREAK * statistics.median(steps) if steps else 0.0
    whole: list[tuple[float, float]] = list(points[:1])
    for (before, _), point in itertools.pairwise(points):
        whole += [((before + point[0]) / 2, math.nan)] if point[0] - before > far else []
        whole.append(point)
    return whole


def norms(results: Results, key: str) -> dict[str, list[float]]:
    """Steps of a stage at which norms were measured, and the norms there, by column."""
    rows = results.epochs.get(key, ())
    return {column: [value for row in rows for value in row.get(column) or ()] for column in (STEPS, *NORMS)}


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Running means of `window` values around each; near either end of as many as lie symmetrically around it."""
    import numpy as np

    half, places = window // 2, np.arange(len(values))
    reach = np.minimum(half, np.minimum(places, places[::-1]))
    given = np.array(values, float)
    is_number = np.isfinite(given)  # what is none spoils the windows that it is in, and no other
    sums, spoilt = (np.concatenate([[0.0], np.cumsum(of)]) for of in (np.where(is_number, given, 0.0), ~is_number))
    means, holes = ((of[places + reach + 1] - of[places - reach]) / (2 * reach + 1) for of in (sums, spoilt))
    found: list[float] = np.where(holes > 0, np.nan, means).tolist()
    return found


def window_in_words(steps: Sequence[float], window: int) -> str:
    """A sentence on how many measurements a running mean is of, and how far they reach; "" if it is of one."""
    if window < 2:
        return ""
    every = steps[1] - steps[0] if len(steps) > 1 else 1
    count = 2 * (window // 2) + 1
    return f"Each seed smoothed by a running mean of {count} measurements, one every {every:,g} batches."


def highest(drawn: Mapping[str, Mapping[str, Sequence[Spread]]], behind: Sequence[tuple[str, PaperCurve]]) -> float:
    """Upper end of the y axis that all panels share."""
    ours = [s.mean + s.std for columns in drawn.values() for spreads in columns.values() for s in spreads]
    return 1.04 * max([*ours, *(y for _, curve in behind for _, y in curve.points)])
