"""A grid says the same as a picture, as HTML and in a terminal, and none of them can be misread."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.figures.grid import DASH, Entry, Grid, Line, as_html, font_size, mean_and_error, picture, text_lines

GRID = Grid(
    [["SGD"], ["<b>", "Adam"]],
    [
        Line("Digits [8x8]", "random init", [Entry(56.21, 1.04, paper=(78.0, 0.6)), Entry()]),
        Line("Digits [8x8]", "gap", [Entry(-0.04, None), Entry(is_measured=False)], is_gap=True),
    ],
)


def test_one_seed_has_no_error() -> None:
    """An error of 0.0 would make one run look exact."""
    assert mean_and_error([0.5]) == (0.5, None)


def test_a_rounded_zero_has_no_minus() -> None:
    """A gap of -0.04 is no warm start ahead."""
    assert Entry(-0.04, 0.01).words == "0.0 (0.0)"


def test_a_terminal_shows_every_number_below_its_head() -> None:
    """Brackets in names are no markup, and columns stay columns."""
    console = Console(file=io.StringIO(), width=100, highlight=False)
    console.print("\n".join(text_lines(GRID)))

    _, head, block, ours, paper, gap = console.file.getvalue().splitlines()  # type: ignore[attr-defined]

    assert block == "Digits [8x8]"
    assert ours.index("56.2 (1.0)") + 10 == head.index("SGD") + 3 == paper.rstrip().index("78.0 (0.6)") + 10
    assert gap.split() == ["gap", "0.0"]


def test_html_holds_the_numbers_and_takes_no_name_as_a_tag() -> None:
    """A setting's text comes from a user's file."""
    page = as_html(GRID)

    assert all(said in page for said in ("56.2 (1.0)", "78.0 (0.6)", DASH, "&lt;b&gt;"))
    assert "<b>" not in page


def test_a_wide_table_is_set_smaller_instead_of_overlapping() -> None:
    """Twenty columns in a picture of 1000 pixels."""
    wide = Grid([["head"]] * 20, [Line("", "arm", [Entry(56.2, 1.0)] * 20)])

    assert font_size(wide) < font_size(GRID) == 13


def test_a_picture_is_as_high_as_its_lines() -> None:
    """Nothing of a long table is cut."""
    words, _, height = picture(GRID)

    assert max(word.y for word in words) < height
