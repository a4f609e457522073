"""Terminal: tables and small charts in characters, plain where the output is no terminal or has no blocks."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TextIO

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 60, 4  # characters of a chart
NARROWEST, GAP = 20, 3  # characters of a table's first column, and between two
WIDEST_BAR = 4  # characters an epoch, where there are few


def clean(text: str) -> str:
    """`text` of a store without what could move a terminal's cursor, colour it or break the line: these are escaped.

    And so is what standard output's encoding has no character for.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, errors="backslashreplace").decode(encoding)


def clean_lines(text: str) -> str:
    """The same of a message that may have several lines."""
    return "\n".join(map(clean, text.split("\n")))


def is_terminal(out: TextIO) -> bool:
    """Whether a person looks at `out`, on a terminal that does more than print."""
    from rich.console import Console

    console = Console(file=out)
    return console.is_terminal and not console.is_dumb_terminal


def has_blocks(out: TextIO) -> bool:
    """Whether `out` can show block characters."""
    try:
        BLOCKS.encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO | None = None) -> None:
    """A table of texts: with lines on a terminal, plain columns two blanks apart elsewhere.

    All columns but the first are aligned to the right, as they are counts.
    """
    out = out or sys.stdout
    cleaned = [[clean(text) for text in row] for row in rows]
    if is_terminal(out):
        print_grid(header, cleaned, out)
        return
    widths = [max(map(len, column)) for column in zip(header, *cleaned, strict=True)]
    for row in (header, *cleaned):
        first, *others = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip(), file=out)


def print_grid(header: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """The same with rich's lines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, highlight=False)
    counts = [max(map(len, column)) for column in zip(header, *rows, strict=True)][1:]
    if console.width - sum(counts) - GAP * len(counts) < NARROWEST:
        print_lines(header, rows, out)
        return
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for place, name in enumerate(header):
        grid.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid)


def print_lines(header: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO) -> None:
    """The same for a narrow terminal, which breaks lines itself: each row with what is not 0 or empty of it."""
    for first, *others in rows:
        told = ", ".join(f"{text} {name}" for text, name in zip(others, header[1:], strict=True) if text.strip("0"))
        print(f"{first}: {told}" if told else first, file=out)


def chart(
    values: Sequence[float | None], *, blocks: bool = True, width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """`values` as bars from left to right, the highest at the top, with the scale at the left.

    Args:
        values: In order; None or NaN where there is none, but somewhere there is one. Of more than `width` the last of
            each share is shown.
        blocks: Whether eighths of a character may be used; else only whole ones, ``#``.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known), max(known)
    levels = [level(value, low, high, height) for value in spread(values, width)]
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    return [
        f"{label.rjust(margin)} |{''.join(part(eighths - 8 * below, blocks) for eighths in levels)}".rstrip()
        for label, below in zip(labels, reversed(range(height)), strict=True)
    ]


def spread(values: Sequence[float | None], width: int) -> list[float | None]:
    """One value a character: the last of each share, or each several times where there are few."""
    count = len(values)
    if count > width:
        return [values[(place + 1) * count // width - 1] for place in range(width)]
    times = min(WIDEST_BAR, width // count)
    return [value for value in values for _ in range(times)]


def level(value: float | None, low: float, high: float, height: int) -> int:
    """Eighths of a character that a bar is high, at least one of `height` characters; 0 without a value."""
    if value is None or not math.isfinite(value):
        return 0
    share = (value - low) / (high - low) if high > low else 1.0
    return max(1, round(share * 8 * height))


def part(eighths: int, blocks: bool) -> str:
    """One character of a bar of which so many eighths lie in it or above."""
    inside = min(8, max(0, eighths))
    return BLOCKS[inside] if blocks else "#" if inside >= 4 else " "
