"""Tables: accuracies by setting and arm, as papers print them: means, standard errors, gaps. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.figures import grid as grids
from orchestrator.figures.grid import Entry, Grid, Line, mean_and_error
from orchestrator.figures.results import Figure, Results, Row
from orchestrator.figures.style import (
    WORDS,
    arms_of,
    call_in_words,
    first_of,
    heading,
    is_whole,
    layout,
    spoken,
    value_in_words,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEASURES = {  # column: its heading, factor, decimals
    "test_accuracy": ("test accuracy (%)", 100, 1),
    "train_accuracy": ("training accuracy (%)", 100, 1),
    "train_seconds": ("training time (s)", 1, 1),
    "epochs": ("epochs", 1, 1),
    "steps": ("steps", 1, 0),
}
BUTTONS = 40  # pixels that a layout leaves above the data, which a table needs not
ACCURACY = "test_accuracy"
Place = tuple[str, ...]
NO_PAPER = (None, None)


@dataclass(frozen=True)
class ResultTable(Figure):
    """Mean (standard error over seeds) of the last round's models, a line for each arm.

    With `columns`, test accuracy in percent for each of their values, and below the two arms of `gap` their
    difference. Without, one column for each of `measures`, and the gap of each arm to the first of `gap`. Gaps are
    paired over seeds. Settings that vary and stand in neither are named with the arm; no mean is taken over them.

    Attributes:
        title: What the table is of; models and data sets are added in words.
        rows: Settings whose values make the blocks of lines.
        columns: Settings whose values make the columns.
        arms: Settings that are compared within a block.
        gap: Kinds of init, the first minus the second; None for no gap.
        measures: Columns of the table `stages`, if `columns` is empty; the first is where the gap is.
        paper: The paper's test accuracy in percent, alone or with what it prints in parentheses, by the kinds or
            numbers of `rows`, `columns` and `arms`, in this order: ``("cifar10", "resnet18", "sgd", "random_init")``.
    """

    title: str
    rows: Sequence[str] = ("data",)
    columns: Sequence[str] = ()
    arms: Sequence[str] = ("init",)
    gap: tuple[str, str] | None = ("random_init", "warm_start")
    measures: Sequence[str] = (ACCURACY, "train_seconds", "epochs")
    paper: Mapping[tuple[Any, ...], float | tuple[float, float]] = field(default_factory=dict)

    def draw(self, results: Results) -> go.Figure:
        """The table as a picture; ConfigError without a model that is done."""
        import plotly.graph_objects as go

        words, shapes, height = grids.picture(grid := self.grid(results))
        size = grids.font_size(grid)
        font = {"color": [w.colour for w in words], "size": [size - 2 * w.small for w in words]}
        text = {"text": [w.text for w in words], "textposition": [w.beside for w in words], "textfont": font}
        x, y = [w.x for w in words], [w.y for w in words]
        figure = go.Figure(go.Scatter(x=x, y=y, mode="text", hoverinfo="skip", cliponaxis=False, **text))
        figure.update_layout(layout(self.head(results), self.below(results)), shapes=shapes, showlegend=False)
        hidden = {"visible": False, "fixedrange": True, "automargin": False}
        figure.update_layout(xaxis={**hidden, "range": [0, grids.WIDTH]}, yaxis={**hidden, "range": [height, 0]})
        figure.update_layout(margin={"l": 16, "r": 16, "b": 16, "t": figure.layout.margin.t - BUTTONS})
        total = int(figure.layout.margin.t + figure.layout.margin.b + height)
        return figure.update_layout(height=total, meta={**figure.layout.meta, "height": total})

    def html(self, results: Results) -> str:
        """The table as an HTML element, without title."""
        return grids.as_html(self.grid(results))

    def text(self, results: Results) -> str:
        """The table for terminals, as rich markup: the paper's numbers dim below ours."""
        said = [self.head(results), *grids.text_lines(self.grid(results)), self.below(results)]
        return "\n".join([grids.escaped(said[0]), *said[1:-1], grids.escaped(said[-1])])

    def head(self, results: Results) -> str:
        """The title."""
        return heading(self.title, self.printable(results))

    def printable(self, results: Results) -> list[Row]:
        """Rows of the models to print: done, with an accuracy, of the last round of their sweep."""
        last = max((row["round"] for row in results.rows), default=0)
        done = [row for row in results.rows if row["status"] == "done" and row["round"] == last]
        rows = [row for row in done if row[ACCURACY] is not None and not math.isnan(row[ACCURACY])]
        if not rows:
            raise ConfigError(f"{self.title}: nothing to print yet. {results.missing or 'Launch the sweep first.'}")
        return rows

    def below(self, results: Results) -> str:
        """What the numbers mean, and what is missing."""
        rows = self.printable(results)
        counts = Sorted(self, rows).counts
        seeds = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else f"{counts[0]}"
        over = "of one seed" if counts[-1] == 1 else f"(standard error over {seeds} seeds)"
        said = [f"Test accuracy in %, mean {over}." if self.columns else f"Means {over}."]
        if self.gap is not None:
            first, second = map(init_words, self.gap)
            said.append(f"Gap: {first} minus {second if self.columns else 'the other'}, paired over seeds.")
        said += [f"{name} is {call_in_words(text)}." for name, text in shortened(rows, self.columns).items()]
        said += ["Grey: the paper."] if self.grid(results).has_paper else []
        return " ".join([*said, results.missing]).strip()

    def grid(self, results: Results) -> Grid:
        """The table in words."""
        found = Sorted(self, self.printable(results))
        if self.columns:
            heads = [[part for part in column if part] or ["all"] for column in found.columns]
            return Grid(heads, [line for block in found.blocks for line in crossed(self, found, block)])
        named = [MEASURES[measure][0] for measure in self.measures]
        if self.gap is not None:
            named.insert(1, f"gap to {init_words(self.gap[0])} (points)")
        parted = [head.replace(" (", "\n(").split("\n") for head in named]
        return Grid(parted, [line for block in found.blocks for line in measured(self, found, block)])


class Sorted:
    """Rows by where they stand in a table; a place is the words of the settings that decide it.

    Attributes:
        blocks, columns: Places of the table in the order of the rows.
        arms: By block, in the order in which they are printed.
    """

    def __init__(self, table: ResultTable, rows: Sequence[Row]) -> None:
        """Sort `rows` into `table`."""
        self._table = table
        placed = (*table.rows, *table.columns)
        besides = [column for name in placed for column in (name, name.removesuffix("_size"))]
        names = arms_of(rows, table.arms, besides)
        others = arms_of(rows, [arm for arm in table.arms if arm != "init"], [*besides, "init"])
        short = shortened(rows, table.columns)
        self._at: dict[tuple[Place, Place, str], dict[int, Row]] = {}
        self._rest: dict[str, str] = {}  # what an arm is besides its init
        for row, name, other in zip(rows, names, others, strict=True):
            block = tuple(place_words(row, setting, placed) for setting in table.rows)
            column = tuple(place_words(row, setting, placed, short) for setting in table.columns)
            self._at.setdefault((block, column, name), {})[row["seed"]] = row
            self._rest[name] = other
        self.blocks = list(dict.fromkeys(block for block, _, _ in self._at))
        self.columns = list(dict.fromkeys(column for _, column, _ in self._at))
        arms = sorted(self._rest, key=first_of)
        self.arms = {b: [a for a in arms if any((b, c, a) in self._at for c in self.columns)] for b in self.blocks}

    @property
    def counts(self) -> list[int]:
        """How many seeds the cells have that have any, each number once, the smallest first."""
        return sorted({len(seeds) for seeds in self._at.values()})

    def kind(self, arm: str) -> str:
        """Kind of init of an arm."""
        return str(next(row["init"] for (_, _, name), rows in self._at.items() if name == arm for row in rows.values()))

    def values(self, block: Place, column: Place, arm: str, measure: str = ACCURACY) -> dict[int, float]:
        """A measure by seed, in the unit that it is printed in."""
        factor, rows = MEASURES[measure][1], self._at.get((block, column, arm), {})
        return {seed: factor * row[measure] for seed, row in rows.items() if row.get(measure) is not None}

    def paper(self, block: Place, column: Place, arm: str) -> tuple[float | None, float | None]:
        """The paper's number at this place, also where ours is not there yet; none beside capped results."""
        table, row = self._table, self.like(block, column, arm)
        given = table.paper.get(tuple(row.get(name) for name in (*table.rows, *table.columns, *table.arms)))
        ours = [one for (b, _, a), rows in self._at.items() if (b, a) == (block, arm) for one in rows.values()]
        if not all(map(is_whole, ours)):
            return NO_PAPER
        return given if isinstance(given, tuple) else (given, None)

    def like(self, block: Place, column: Place, arm: str) -> Row:
        """The settings that decide this place, put together from rows of its block, its column and its arm."""
        settings: dict[str, Any] = {}
        named = ((self._table.rows, 0, block), (self._table.columns, 1, column), (self._table.arms, 2, arm))
        for names, part, place in named:
            row = next(row for at, rows in self._at.items() if at[part] == place for row in rows.values())
            settings |= {name: row.get(name) for name in names}
        return settings

    def reference(self, block: Place, arm: str) -> str | None:
        """The arm of the gap's first init that `arm` is compared with: equal in all else, or the only one there is."""
        if self._table.gap is None:
            return None
        there = [name for name in self.arms[block] if self.kind(name) == self._table.gap[0]]
        found = [name for name in there if self._rest[name] == self._rest[arm]] or there
        return found[0] if len(found) == 1 and found[0] != arm else None

    def gap(self, block: Place, column: Place, first: str, second: str) -> Entry:
        """The first arm minus the second, over the seeds that both have; the paper's from its means."""
        ours, theirs = (self.values(block, column, arm) for arm in (first, second))
        paper, papers = None, [self.paper(block, column, arm)[0] for arm in (first, second)]
        if papers[0] is not None and papers[1] is not None:
            paper = papers[0] - papers[1]
        paired = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        return Entry(*mean_and_error(paired), paper=(paper, None))


def crossed(table: ResultTable, found: Sorted, block: Place) -> list[Line]:
    """Lines of a block of a table with columns: each arm, and below the second of a gap's arms the gap."""
    lines, said = [], ", ".join(filter(None, block))
    seconds = [arm for arm in found.arms[block] if table.gap is not None and found.kind(arm) == table.gap[1]]
    for arm in found.arms[block]:
        entries = [
            Entry(*mean_and_error([*found.values(block, at, arm).values()]), paper=found.paper(block, at, arm))
            for at in found.columns
        ]
        lines.append(Line(said, arm, entries))
        first = found.reference(block, arm)
        if first is not None and arm in seconds:
            gaps = [found.gap(block, at, first, arm) for at in found.columns]
            lines.append(Line(said, "gap" if len(seconds) == 1 else f"gap of {arm}", gaps, is_gap=True))
    return lines


def measured(table: ResultTable, found: Sorted, block: Place) -> list[Line]:
    """Lines of a block of a table without columns: the measures of each arm, and its gap."""
    lines: list[Line] = []
    for arm in found.arms[block]:
        entries = []
        for measure in table.measures:
            values = [*found.values(block, (), arm, measure).values()]
            paper = found.paper(block, (), arm) if measure == ACCURACY else NO_PAPER
            entries.append(Entry(*mean_and_error(values), MEASURES[measure][2], paper))
        if table.gap is not None:
            first = found.reference(block, arm)
            entries.insert(1, Entry(is_measured=False) if first is None else found.gap(block, (), first, arm))
        lines.append(Line(", ".join(filter(None, block)), arm, entries))
    return lines


def shortened(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, str]:
    """Classes that stand for a value in the head of a column, where it is the only one of its class: by class, text."""
    short: dict[str, str] = {}
    for column in columns:
        texts = {str(row[f"{column}_text"]) for row in rows if row.get(f"{column}_text")}
        classes = [text.partition("(")[0] for text in texts]
        short |= {
            name: text
            for name, text in zip(classes, texts, strict=True)
            if classes.count(name) == 1 and "()" not in text
        }
    return dict(sorted(short.items()))


def place_words(row: Row, name: str, placed: Sequence[str], short: Mapping[str, str] | None = None) -> str:
    """A setting's value in the head of a block or column.

    The class alone, where its size is a setting of its own, or where `short` says what it stands for.
    """
    text = str(row.get(f"{name}_text") or "")
    kind = text.partition("(")[0]
    if text and (f"{name}_size" in placed or (short or {}).get(kind) == text):
        return kind
    if name.endswith("_size"):
        return "" if row.get(name) is None else f"size {row[name]:g}"
    return value_in_words(row, name)


def init_words(kind: str) -> str:
    """A kind of init in words."""
    return WORDS.get(kind) or spoken(kind)
