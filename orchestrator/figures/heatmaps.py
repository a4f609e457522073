"""Heat maps: accuracy in the end, and training time in all, over the plane of shrink and noise."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.figures.lines import Place, on_panels
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.style import arms_of, drawable, heading, is_there, sentences

if TYPE_CHECKING:
    import plotly.graph_objects as go

Cell = tuple[float, float]
EMPTY = "#dddddd"
ROW = 52  # pixels of a row of a map


@dataclass(frozen=True)
class Trial:
    """All rounds of one seed in one cell of the plane, by round."""

    rounds: Mapping[int, Row]

    def ends_in(self, last: int) -> bool:
        """Whether the trial is over: every round up to `last` is trained."""
        return all(
            at in self.rounds and self.rounds[at]["status"] == "done" for at in range(min(self.rounds), last + 1)
        )

    def why_not(self, last: int) -> str:
        """In a word, what keeps it from its end."""
        diverged = [at for at, row in self.rounds.items() if row["status"] == "diverged"]
        return "diverged" if diverged else f"round {max(self.rounds) + 1} of {last + 1}"


@dataclass(frozen=True)
class HeatMaps(Figure):
    """Left the mean test accuracy after the last round, right the mean seconds of all rounds, by shrink and noise.

    Pure random init (shrink 0, noise 1) is at the lower left, pure warm start (shrink 1, noise 0) at the upper right.
    A cell without a finished trial is grey and says why.

    Attributes:
        title: Of the figure; models and data sets are added in words.
        x: Column of the noise.
        y: Column of the shrink.
    """

    title: str
    x: str = "perturb"
    y: str = "shrink"

    def draw(self, results: Results) -> go.Figure:
        """Draw every cell of which a trial is over, and name the others."""
        plane = drawable(results, self.title, [self.x, self.y, "test_accuracy"])
        others = dict.fromkeys(arms_of(plane, (), ("init", "init_text", self.x, self.y)))
        if len(others) > 1:
            raise ConfigError(
                f"{self.title}: heat maps show one sweep over shrink and noise, and these results are of several: "
                f"{'; '.join(others)}. Choose one with --axis."
            )
        rows = [row for row in results.rows if is_there(row.get(self.x)) and is_there(row.get(self.y))]
        trials = self._trials(rows)
        last = max(row["round"] for row in rows)
        xs = sorted({x for x, _ in trials}, reverse=True)
        ys = sorted({y for _, y in trials})
        seeds = max(len(same) for same in trials.values())
        said = [f"Mean over {seeds} seeds." if seeds > 1 else "One seed.", results.missing]
        titles = ("test accuracy after the last round (%)", "training time of all rounds (s)")
        places = [Place("noise", "shrink", title) for title in titles]
        figure = on_panels(places, 2, heading(self.title or results.sweep, plane), sentences(*said))
        for col, (measure, colours) in enumerate(((accuracy, "Viridis"), (seconds, "Viridis_r")), start=1):
            cells = {at: value_of(same, last, measure) for at, same in trials.items()}
            add_map(figure, cells, xs, ys, colours, col)
        figure.layout.meta = {**figure.layout.meta, "height": max(480, 260 + ROW * len(ys))}
        return figure

    def _trials(self, rows: Sequence[Row]) -> dict[Cell, list[Trial]]:
        """Trials by their cell of the plane."""
        found: dict[tuple[Cell, int], dict[int, Row]] = {}
        for row in rows:
            found.setdefault(((row[self.x], row[self.y]), row["seed"]), {})[row["round"]] = row
        cells: dict[Cell, list[Trial]] = {}
        for (cell, _), rounds in found.items():
            cells.setdefault(cell, []).append(Trial(rounds))
        return cells


def accuracy(trial: Trial) -> float:
    """Test accuracy after the last round, in percent."""
    return 100 * float(trial.rounds[max(trial.rounds)]["test_accuracy"])


def seconds(trial: Trial) -> float:
    """Training time of all rounds."""
    return float(sum(row["train_seconds"] for row in trial.rounds.values()))


def value_of(trials: Sequence[Trial], last: int, measure: Callable[[Trial], float]) -> float | str:
    """The mean over the trials that are over; a word where there is none."""
    over = [measure(trial) for trial in trials if trial.ends_in(last)]
    return statistics.fmean(over) if over else trials[0].why_not(last)


def add_map(
    figure: go.Figure,
    cells: Mapping[Cell, float | str],
    xs: Sequence[float],
    ys: Sequence[float],
    colours: str,
    col: int,
) -> None:
    """Add one map with its values written in it; a word in a grey cell, "not run" where `cells` has nothing.

    Colours follow the logarithm, so that one slow cell does not make all others look alike.
    """
    import plotly.graph_objects as go

    said: list[list[Any]] = [[cells.get((x, y), "not run") for x in xs] for y in ys]
    names: dict[str, Any] = {"x": [f"{x:g}" for x in xs], "y": [f"{y:g}" for y in ys], "showscale": False}
    gaps = {"xgap": 2, "ygap": 2}
    grey = [[0, EMPTY], [1, EMPTY]]
    empty = go.Heatmap(z=[[0] * len(xs)] * len(ys), colorscale=grey, hoverinfo="skip", **gaps, **names)
    figure.add_trace(empty, row=1, col=col)
    shade = math.log10 if all(value > 0 for value in cells.values() if isinstance(value, float)) else float
    z = [[shade(value) if isinstance(value, float) else None for value in line] for line in said]
    text = [[in_cell(value) for value in line] for line in said]
    hover = "shrink %{y}, noise %{x}: %{text}<extra></extra>"
    filled = go.Heatmap(
        z=z, text=text, colorscale=colours, hovertemplate=hover, texttemplate="%{text}", **gaps, **names
    )
    figure.add_trace(filled, row=1, col=col)
    for y, line in enumerate(said):  # an annotation's place on such an axis is a number
        for x, value in enumerate(line):
            if isinstance(value, str):
                words = html.escape(value).replace(" ", "<br>", 1)
                figure.add_annotation(x=x, y=y, text=words, showarrow=False, font={"size": 10}, row=1, col=col)
    figure.update_xaxes(type="category", showgrid=False, row=1, col=col)
    figure.update_yaxes(type="category", showgrid=False, row=1, col=col)


def in_cell(value: float | str) -> str:
    """A number with the digits that a cell has room for."""
    return "" if isinstance(value, str) else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
