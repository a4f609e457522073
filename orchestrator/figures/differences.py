"""Differences: what an init loses against random init, cell by cell and seed by seed, in points or in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    make_room,
    on_panels,
    why_no_paper,
)
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.spreads import Spread, over_seeds
from orchestrator.figures.style import (
    CAPS,
    GREY,
    arms_of,
    decided,
    drawable,
    family_names,
    heading,
    is_there,
    looks_of,
    sentences,
    told,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

BASE = "random_init"
PAIRED = "Differences of models of one seed; band: one standard deviation over seeds."
INIT_COLUMNS = ("init", "init_text", "shrink", "perturb")


@dataclass(frozen=True)
class Pair:
    """A model, and what random init reached in its place: the mean, where that is several models."""

    row: Row
    base: float


@dataclass(frozen=True)
class Gap(Figure):
    """Test accuracy of random init minus that of every other init, in points, against a setting.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        x: Column of the x axis.
        x_title: What it counts.
        paper: Curves that stand behind ours, of arms such as "warm start".
        x_scale: Factor from the column's unit to the axis's.
    """

    title: str
    x: str
    x_title: str
    paper: Sequence[PaperCurve] = ()
    x_scale: float = 1.0

    def draw(self, results: Results) -> go.Figure:
        """Draw the gap wherever both models of a seed are there."""
        rows = drawable(results, self.title, ["test_accuracy"])
        pairs = paired(rows, self.title, self.x)
        place = Place(self.x_title, "test accuracy: random init - other init (points)")
        points = {
            arm: [(pair.row[self.x] * self.x_scale, 100 * (pair.base - pair.row["test_accuracy"])) for pair in same]
            for arm, same in by_arm(pairs, self.x).items()
        }
        arms = {arm: over_seeds(same) for arm, same in points.items()}
        behind = papers_behind(self.paper, by_arm(pairs, self.x))
        below = sentences(PAIRED, why_no_paper(self.paper, any(behind.values())), results.missing)
        figure = on_panels([place], 1, heading(self.title or results.sweep, rows), below)
        draw_panel(figure, place, arms, behind, row=1, col=1)
        if any(behind.values()):
            add_paper_entry(figure)
        make_room(figure)
        return figure


@dataclass(frozen=True)
class PercentDifference(Figure):
    """How soon a first round harms: left its own test accuracy, right what the next loses against random init.

    The right panel is ``100 * (accuracy - accuracy of random init) / accuracy of random init`` against the epochs that
    the first round had; the left one the test accuracy of those first rounds, which are the models' parents.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        x: Column with the epochs of the first round.
        paper_left: The paper's curve of the left panel, and
        paper_right: that of the right one.
    """

    title: str
    x: str = "first_epochs"
    paper_left: Sequence[PaperCurve] = ()
    paper_right: Sequence[PaperCurve] = ()
    left: Place = field(default=Place("epochs of the first round", "test accuracy after the first round (%)"))
    right: Place = field(default=Place("epochs of the first round", "difference from random init (%)"))

    def draw(self, results: Results) -> go.Figure:
        """Draw every first round that is there, and every difference of which both models are there."""
        rows = drawable(results, self.title, ["test_accuracy"])
        warm = by_arm(paired(rows, self.title, self.x), self.x)
        differences = {
            arm: over_seeds((p.row[self.x], 100 * (p.row["test_accuracy"] - p.base) / p.base) for p in same if p.base)
            for arm, same in warm.items()
        }
        firsts = {arm: over_seeds(self._first_rounds(results, same)) for arm, same in warm.items()}
        behind = [papers_behind(paper, warm) for paper in (self.paper_left, self.paper_right)]
        is_behind = any(curves for panel in behind for curves in panel.values())
        missing = why_no_paper([*self.paper_left, *self.paper_right], is_behind)
        below = sentences(PAIRED, missing, results.missing)
        figure = on_panels([self.left, self.right], 2, heading(self.title or results.sweep, rows), below)
        if any(firsts.values()):
            draw_panel(figure, self.left, firsts, behind[0], row=1, col=1, showlegend=False)
        draw_panel(figure, self.right, differences, behind[1], row=1, col=2)
        if is_behind:
            add_paper_entry(figure)
        make_room(figure)
        return figure

    def _first_rounds(self, results: Results, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
        """Epochs and test accuracy in percent of the models' parents, each once."""
        parents = {parent["key"]: parent for pair in pairs if (parent := results.parent(pair.row["key"]))}
        return [
            (parent["epochs"], 100 * parent["test_accuracy"])
            for parent in parents.values()
            if is_there(parent["test_accuracy"])
        ]


def paired(rows: Sequence[Row], title: str, x: str) -> list[Pair]:
    """Every model of another init than random, with what random init reached under the same seed and settings.

    Settings that make no difference to random init, None in its row, are no reason to part two models.

    Raises:
        ConfigError: no model has a partner.
    """
    same = [column for column in decided(rows) if column not in INIT_COLUMNS]
    same += ["seed", "round", *([x] if x not in same else [])]
    bases = [row for row in rows if row["init"] == BASE]
    pairs = []
    for row in rows:
        if row["init"] == BASE or not is_there(row.get(x)):
            continue
        partners = [base["test_accuracy"] for base in bases if fits(base, row, same)]
        if partners:
            pairs.append(Pair(row, sum(partners) / len(partners)))
    if not pairs:
        raise ConfigError(
            f"{title}: nothing to draw: no model has a random init of the same seed and settings beside it, or none "
            f"has a value of {x}. Launch the sweep with both inits."
        )
    return pairs


def fits(base: Row, row: Row, columns: Sequence[str]) -> bool:
    """Whether the two rows agree on `columns`, of which None agrees with everything; but no cap is one of its own."""
    return all(
        told(base, column) == told(row, column) or (told(base, column) is None and column not in CAPS)
        for column in columns
    )


def by_arm(pairs: Sequence[Pair], x: str) -> dict[str, list[Pair]]:
    """The pairs by arm: their init in words, and other settings that vary."""
    rows = [pair.row for pair in pairs]
    arms: dict[str, list[Pair]] = {}
    for pair, arm, init in zip(pairs, arms_of(rows, ("init",), (x,)), family_names(rows), strict=True):
        arms.setdefault(arm or init, []).append(pair)
    return arms


def papers_behind(paper: Sequence[PaperCurve], arms: Mapping[str, Sequence[Pair]]) -> dict[str, list[Points]]:
    """The paper's curves by the arm that they stand behind."""
    return {
        arm: [curve.points for curve in paper if curve.stands_behind(arm, [pair.row for pair in pairs])]
        for arm, pairs in arms.items()
    }


def draw_panel(
    figure: go.Figure,
    place: Place,
    arms: Mapping[str, Sequence[Spread]],
    behind: Mapping[str, Sequence[Points]],
    showlegend: bool = True,
    **at: Any,
) -> None:
    """Draw all arms of one panel over the paper's curves, with a line where there is no difference."""
    looks = looks_of(arms)
    for arm, curves in behind.items():
        for points in curves:
            add_paper(figure, points, looks[arm].colour, **at)
    for arm, look in looks.items():
        add_arm(figure, arm, look, arms[arm], showlegend=showlegend, **at)
    spreads = [spread for same in arms.values() for spread in same]
    fit_axes(figure, place, spreads, [points for curves in behind.values() for points in curves], **at)
    figure.update_yaxes(zeroline=True, zerolinecolor=GREY, zerolinewidth=1, **at)
