"""Grid: a table of numbers in words, as a picture, as HTML and as text for terminals. Knows no sweep."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 968  # pixels of the picture: 1000 less its margins
SIZE, LETTER = 13, 7.4  # pixels of the font, and about of one letter in it
LINE, PAPER_LINE, BAND = 26, 16, 28  # pixels of a line, of the paper's numbers below it, of a block's name
DASH = "\N{EN DASH}"  # for a number that is not there yet
INK, GREY, BAND_COLOUR, RULE = "#222222", "#767676", "#eceef1", "#d8dadd"


@dataclass(frozen=True)
class Entry:
    """One number of a table, in the unit that it is printed in.

    Attributes:
        mean: Over seeds; None if there is nothing yet.
        error: Standard error of the mean, None of a single seed.
        decimals: How many are printed.
        paper: The paper's mean and what stands in parentheses behind it, each None where there is none.
        is_measured: Whether our number is to be there; a dash says that it is not there yet.
    """

    mean: float | None = None
    error: float | None = None
    decimals: int = 1
    paper: tuple[float | None, float | None] = (None, None)
    is_measured: bool = True

    @property
    def words(self) -> str:
        """Our number: "56.2 (1.0)", a dash for what is not there."""
        if not self.is_measured:
            return ""
        return DASH if self.mean is None else printed(self.mean, self.error, self.decimals)

    @property
    def paper_words(self) -> str:
        """The paper's number, "" if it has none."""
        mean, error = self.paper
        return "" if mean is None else printed(mean, error, self.decimals)


@dataclass(frozen=True)
class Line:
    """One line of a table: `block` is what it has in common with its neighbours; a gap is set in italics."""

    block: str
    name: str
    entries: Sequence[Entry]
    is_gap: bool = False

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number for it."""
        return any(one.paper_words for one in self.entries)


@dataclass(frozen=True)
class Grid:
    """A table: `heads` of the columns of entries, each one line or more, and the lines below them."""

    heads: Sequence[Sequence[str]]
    lines: Sequence[Line]

    @property
    def blocks(self) -> list[tuple[str, list[Line]]]:
        """Lines by block, in order."""
        named = dict.fromkeys(line.block for line in self.lines)
        return [(block, [line for line in self.lines if line.block == block]) for block in named]

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number anywhere."""
        return any(line.has_paper for line in self.lines)


def mean_and_error(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean of `values` and its standard error, None where they are too few."""
    if not values:
        return None, None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def printed(mean: float, error: float | None, decimals: int) -> str:
    """A number with its error in parentheses; a zero has no minus."""
    said = f"{round(mean, decimals) + 0.0:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")
    return said if error is None else f"{said} ({error:,.{decimals}f})"


# As a picture


@dataclass(frozen=True)
class Word:
    """A piece of text in a picture: its place in pixels from the top left, its place beside that, and its look."""

    x: float
    y: float
    text: str
    beside: str = "middle center"
    colour: str = INK
    small: bool = False


def picture(grid: Grid) -> tuple[list[Word], list[dict[str, Any]], float]:
    """Words, shapes (bands and rules) and height in pixels of a table that is WIDTH wide."""
    middles = column_middles(grid)
    words, shapes, y = list(head_words(grid, middles)), [], head_height(grid)
    shapes.append(rule(y, INK))
    for block, lines in grid.blocks:
        if block:
            shapes.append(band(y))
            words.append(Word(4, y + BAND / 2, f"<b>{html.escape(block)}</b>", "middle right"))
            y += BAND
        for line in lines:
            words += line_words(line, y, middles)
            y += line_height(line)
            shapes.append(rule(y))
    return words, shapes, y


def head_height(grid: Grid) -> float:
    """Pixels of the head."""
    return 10 + 18 * max(map(len, grid.heads))


def line_height(line: Line) -> int:
    """Pixels of a line."""
    return LINE + PAPER_LINE * line.has_paper


def column_middles(grid: Grid) -> list[float]:
    """Middle of each column of entries, after the column of names."""
    names = 24 + LETTER * max(len(line.name) for line in grid.lines)
    names = min(names, WIDTH * 0.5)
    wide = min((WIDTH - names) / len(grid.heads), 220)
    return [names + wide * (place + 0.5) for place in range(len(grid.heads))]


def font_size(grid: Grid) -> float:
    """Pixels of the font in which the widest entry fits its column."""
    middles = column_middles(grid)
    wide = 2 * (WIDTH - middles[-1]) if len(middles) == 1 else middles[1] - middles[0]
    entries = [len(one.words) for line in grid.lines for one in line.entries]
    longest = max([*entries, *(len(part) for head in grid.heads for part in head)])
    return max(8.0, min(SIZE, SIZE * (wide - 8) / (LETTER * longest)))


def head_words(grid: Grid, middles: Sequence[float]) -> Iterator[Word]:
    """The heads of the columns."""
    for head, x in zip(grid.heads, middles, strict=True):
        for place, part in enumerate(head):
            yield Word(x, 14 + 18 * place, f"<b>{html.escape(part)}</b>")


def line_words(line: Line, y: float, middles: Sequence[float]) -> Iterator[Word]:
    """Name and entries of a line whose top is at `y`, the paper's numbers in grey below."""
    middle, below = y + LINE / 2, y + LINE + PAPER_LINE / 2 - 4
    yield Word(16, middle, slanted(html.escape(line.name), line), "middle right")
    if line.has_paper:
        yield Word(16, below, "paper", "middle right", GREY, small=True)
    for x, one in zip(middles, line.entries, strict=True):
        yield Word(x, middle, slanted(one.words, line))
        if one.paper_words:
            yield Word(x, below, one.paper_words, colour=GREY, small=True)


def slanted(text: str, line: Line) -> str:
    """`text` of a line, in italics if the line is a gap."""
    return f"<i>{text}</i>" if line.is_gap and text else text


def band(y: float) -> dict[str, Any]:
    """What a block's name stands on."""
    fill = {"fillcolor": BAND_COLOUR, "line": {"width": 0}, "layer": "below"}
    return {"type": "rect", "x0": 0, "x1": WIDTH, "y0": y, "y1": y + BAND, **fill}


def rule(y: float, colour: str = RULE) -> dict[str, Any]:
    """A line across the table."""
    return {"type": "line", "x0": 0, "x1": WIDTH, "y0": y, "y1": y, "line": {"color": colour, "width": 1}}


# As HTML


def as_html(grid: Grid) -> str:
    """A grid as a table element of class "grid"; numbers of the paper are in spans of class "paper"."""
    heads = "".join(f"<th>{'<br>'.join(map(html.escape, head))}</th>" for head in grid.heads)
    body = []
    for block, lines in grid.blocks:
        if block:
            body.append(f'<tr class="block"><th colspan="{len(grid.heads) + 1}">{html.escape(block)}</th></tr>')
        for line in lines:
            name = html.escape(line.name) + ('<br><span class="paper">paper</span>' if line.has_paper else "")
            cells = "".join(f"<td>{html_entry(one)}</td>" for one in line.entries)
            body.append(f'<tr{" class=gap" * line.is_gap}><th scope="row">{name}</th>{cells}</tr>')
    return f'<table class="grid"><thead><tr><th></th>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def html_entry(one: Entry) -> str:
    """An entry with the paper's number below it."""
    return one.words + (f'<br><span class="paper">{one.paper_words}</span>' if one.paper_words else "")


# As text


def text_lines(grid: Grid) -> list[str]:
    """A grid as aligned text in rich markup: blocks bold, the paper's numbers dim."""
    deep = max(map(len, grid.heads))
    heads = [[""] * (deep - len(head)) + list(head) for head in grid.heads]
    plain = [["", *(head[line] for head in heads)] for line in range(deep)]
    for block, lines in grid.blocks:
        plain += [[block]] if block else []
        for line in lines:
            plain.append([f"  {line.name}", *(one.words for one in line.entries)])
            if line.has_paper:
                plain.append(["    paper", *(one.paper_words for one in line.entries)])
    widths = [max(len(row[place]) for row in plain if len(row) > 1) for place in range(len(plain[0]))]
    return [marked(row, widths) for row in plain]


def marked(row: Sequence[str], widths: Sequence[int]) -> str:
    """One line of text, its name to the left and its entries to the right."""
    if len(row) == 1:
        return f"[bold]{escaped(row[0])}[/bold]"
    entries = [word.rjust(width) for word, width in zip(row[1:], widths[1:], strict=True)]
    said = escaped("  ".join([row[0].ljust(widths[0]), *entries]).rstrip())
    return f"[dim]{said}[/dim]" if row[0] == "    paper" else said


def escaped(text: str) -> str:
    """`text` as rich prints it unchanged."""
    return text.replace("[", r"\[")
