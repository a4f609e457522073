"""Training: what happens epoch by epoch and step by step: learning curves, and gradient norms of old and new examples.

Read from the table `epochs`; means over seeds, panels beside each other, the paper's curves behind.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from orchestrator.figures.style import (
    COLOURS,
    FIRST_COLOURS,
    Look,
    Spread,
    arms_of,
    drawable,
    heading,
    is_there,
    looks_of,
    over_seeds,
    seeds_in_words,
    sentences,
    value_in_words,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

ACCURACIES = {"train_accuracy": "training accuracy (%)", "test_accuracy": "test accuracy (%)"}
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
        rows = [row for row in rows if row["round"] == max(row["round"] for row in rows)]
        parts: dict[str, dict[str, list[Row]]] = {}
        for row, arm in zip(rows, arms_of(rows, self.arm, self.split), strict=True):
            part = ", ".join(filter(None, (value_in_words(row, column) for column in self.split)))
            parts.setdefault(part, {}).setdefault(arm, []).append(row)
        places = [Place("epoch", said, part, (0, 100)) for part in parts for said in ACCURACIES.values()]
        note = "Dashed line: the other examples arrive."
        is_behind = any(
            curve.stands_behind(arm, same) for of in parts.values() for arm, same in of.items() for curve in self.paper
        )
        said = sentences(seeds_in_words(rows), note, why_no_paper(self.paper, is_behind), results.missing)
        figure = on_panels(places, len(ACCURACIES), heading(self.title, rows), said)
        looks = looks_of(arm for arms in parts.values() for arm in arms)
        shown: set[str] = set()
        for number, place in enumerate(places):
            arms, column = list(parts.values())[number // 2], list(ACCURACIES)[number % 2]
            self._fill(figure, place, results, arms, column, looks, shown, row=number // 2 + 1, col=number % 2 + 1)
        figure.update_traces(mode="lines", selector={"mode": "lines+markers"})
        if is_behind:
            add_paper_entry(figure)
        return figure

    def _fill(
        self,
        figure: go.Figure,
        place: Place,
        results: Results,
        arms: Mapping[str, Sequence[Row]],
        column: str,
        looks: Mapping[str, Look],
        shown: set[str],
        **at: int,
    ) -> None:
        """Draw one panel; `shown` are the entries that the legend has."""
        firsts = first_rounds(results, [row for rows in arms.values() for row in rows])
        change = max((row["epochs"] for row in firsts), default=0)
        lines = {first_name(firsts): accuracy(results, firsts, column, 0)} if firsts else {}
        lines |= {arm: accuracy(results, arms[arm], column, change) for arm in looks if arm in arms}
        lines = {name: spreads for name, spreads in lines.items() if spreads}
        behind = [
            (arm, parted(curve.points))
            for curve in self.paper
            for arm in arms
            if curve.y == column and curve.stands_behind(arm, arms[arm])
        ]
        for arm, points in behind:
            add_paper(figure, points, looks[arm].colour, **at)
        for name, spreads in lines.items():
            add_arm(figure, name, looks.get(name, FIRST_ROUND), spreads, showlegend=name not in shown, **at)
            shown.add(name)
        if change:
            figure.add_vline(change, line={"dash": "dash", "width": 1, "color": "#444"}, **at)
        if lines:
            everything = [spread for spreads in lines.values() for spread in spreads]
            fit_axes(figure, place, everything, [points for _, points in behind], **at)


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
        rows = [row for row in drawable(results, self.title, ["test_accuracy"]) if norms(results, row["key"])[0]]
        if not rows:
            wish = "gradient_norms_every=20"
            raise ConfigError(
                f"{self.title}: no stage has measured gradient norms. Launch with {wish} or another step."
            )
        arms: dict[str, list[Row]] = {}
        for row, arm in zip(rows, arms_of(rows), strict=True):
            arms.setdefault(arm, []).append(row)
        window = self.window or max(1, max(len(norms(results, row["key"])[0]) for row in rows) // WINDOWS)
        drawn = {
            arm: {column: self._spreads(results, of, column, window) for column in NORMS} for arm, of in arms.items()
        }
        behind = [(arm, c) for arm, of in arms.items() for c in self.paper if c.stands_behind(arm, of)]
        said = f"Each seed smoothed by a running mean of {window_in_words(results, rows, window)}."
        if window < 2:
            said = ""
        places = [
            Place("training batch (thousands)", "gradient L2 norm", arm, (0, highest(drawn, behind))) for arm in drawn
        ]
        below = sentences(seeds_in_words(rows), said, why_no_paper(self.paper, bool(behind)), results.missing)
        columns = min(len(places), 3)
        figure = on_panels(places, columns, heading(self.title, rows), below)
        for number, (place, arm) in enumerate(zip(places, drawn, strict=True)):
            at = {"row": number // columns + 1, "col": number % columns + 1}
            curves = [curve for name, curve in behind if name == arm]
            for curve in curves:
                add_paper(figure, curve.points, NORMS[curve.y][1].colour, **at)
            for column, (name, look) in NORMS.items():
                add_arm(figure, name, look, drawn[arm][column], showlegend=number == 0, **at)
            everything = [spread for spreads in drawn[arm].values() for spread in spreads]
            fit_axes(figure, place, everything, [curve.points for curve in curves], **at)
        figure.update_traces(mode="lines", selector={"mode": "lines+markers"})
        if behind:
            add_paper_entry(figure)
        return figure

    def _spreads(self, results: Results, rows: Sequence[Row], column: str, window: int) -> list[Spread]:
        """The smoothed norms of one arm, x in thousands of batches."""
        found = {row["key"]: norms(results, row["key"], column) for row in rows}
        end = min(steps[-1] for steps, _ in found.values())
        return over_seeds(
            (step / 1000, value)
            for steps, values in found.values()
            for step, value in zip(steps, smoothed(values, window), strict=True)
            if step <= end
        )


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
    keys = dict.fromkeys(row["key"] for row in rows)
    measured = (row for key in keys for row in results.epochs.get(key, ()) if is_there(row[column]))
    return over_seeds((offset + row["epoch"], 100 * row[column]) for row in measured)


def parted(points: Points) -> list[tuple[float, float]]:
    """A curve with a break where its points are much further apart than elsewhere, as where the paper hides it."""
    steps = [after - before for (before, _), (after, _) in itertools.pairwise(points)]
    far = BREAK * statistics.median(steps) if steps else 0.0
    whole: list[tuple[float, float]] = list(points[:1])
    for (before, _), point in itertools.pairwise(points):
        whole += [((before + point[0]) / 2, math.nan)] if point[0] - before > far else []
        whole.append(point)
    return whole


def norms(results: Results, key: str, column: str = "old_gradient_norms") -> tuple[list[float], list[float]]:
    """Steps of a stage at which norms were measured, and the norms there."""
    rows = results.epochs.get(key, ())
    steps = [step for row in rows for step in row.get("measured_steps") or ()]
    return steps, [value for row in rows for value in row.get(column) or ()]


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Running means of `window` values around each; near either end of as many as lie symmetrically around it."""
    half, last = window // 2, len(values) - 1
    reach = [min(half, place, last - place) for place in range(len(values))]
    return [statistics.fmean(values[place - far : place + far + 1]) for place, far in enumerate(reach)]


def window_in_words(results: Results, rows: Sequence[Row], window: int) -> str:
    """How many measurements a running mean is of, and how far they reach."""
    steps = norms(results, rows[0]["key"])[0]
    every = steps[1] - steps[0] if len(steps) > 1 else 1
    count = 2 * (window // 2) + 1
    return f"{count} measurements, one every {every:,g} batches"


def highest(drawn: Mapping[str, Mapping[str, Sequence[Spread]]], behind: Sequence[tuple[str, PaperCurve]]) -> float:
    """Upper end of the y axis that all panels share."""
    ours = [s.mean + s.std for columns in drawn.values() for spreads in columns.values() for s in spreads]
    return 1.04 * max([*ours, *(y for _, curve in behind for _, y in curve.points)])
