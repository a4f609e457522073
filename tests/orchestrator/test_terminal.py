"""What a store says can be printed anywhere: without colours of its own, in blocks or in plain characters."""

from __future__ import annotations

import io
import sys

import pytest

from orchestrator.stage_text import print_curve
from orchestrator.terminal import chart, clean, clean_lines, has_blocks, print_table


def test_control_characters_are_escaped() -> None:
    """A store from elsewhere could hide a line, or type commands into a terminal."""
    assert clean("a\x1b[2Jb\tc\x07 µ") == "a\\x1b[2Jb\\tc\\x07 µ"


def test_what_standard_output_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback with a Greek letter would end `status` in a traceback of its own."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))

    assert clean("10 µs") == "10 \\xb5s"


def test_a_message_keeps_its_lines() -> None:
    """Faults of a sweep are one a line."""
    assert clean_lines("a\x1b\nb") == "a\\x1b\nb"


def test_a_chart_rises_as_its_values_do() -> None:
    """Eighths of a character tell 32 heights apart in 4 lines."""
    assert chart([0.0, 0.5, None, 1.0], width=4) == ["1 |   █", "  |   █", "  | █ █", "0 |▁█ █"]


def test_a_chart_without_blocks_is_drawn_too() -> None:
    """Over a serial line or in an old log there is ASCII alone."""
    lines = chart([0.0, 0.5, float("nan"), 1.0], width=4, blocks=False)

    assert lines == ["1 |   #", "  |   #", "  | # #", "0 | # #"]


@pytest.mark.parametrize(("count", "width"), [(1, 4), (3, 12), (60, 60), (100_000, 60)])
def test_a_chart_fits(count: int, width: int) -> None:
    """A hundred thousand epochs are no wider than sixty, and two epochs can be told apart."""
    lines = chart([float(i) for i in range(count)])

    assert {len(line.split("|")[1]) for line in lines[-1:]} == {width}
    assert len(lines) == 4


def test_the_last_epoch_is_always_shown() -> None:
    """It is the result."""
    assert chart([0.0] * 1_000 + [1.0])[0].endswith("█")


def test_values_that_are_all_equal_are_drawn() -> None:
    """No epoch got any better: a flat line, and no division by zero."""
    assert chart([0.1, 0.1], width=2) == ["0.1 |██", "    |██", "    |██", "0.1 |██"]


def test_an_output_says_whether_it_has_blocks() -> None:
    """Else `status` would end in a UnicodeEncodeError."""
    outs = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for encoding in ("utf-8", "ascii")]

    assert [has_blocks(out) for out in outs] == [True, False]


def test_a_table_is_plain_where_nobody_looks() -> None:
    """Programs and logs get columns without lines."""
    out = io.StringIO()
    print_table(["sweep", "done"], [["figure3", "504"], ["b\x1b", "7"]], out)

    assert out.getvalue() == "sweep    done\nfigure3   504\nb\\x1b       7\n"


def test_a_table_on_a_terminal_has_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a header is told from rows."""
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    print_table(["sweep", "done"], [["figure3", "504"]], out)

    assert "───" in out.getvalue()


def test_a_table_on_a_narrow_terminal_has_a_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """In columns of four characters nobody can read the name of an axis; what is 0 goes first."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    print_table(["sweep", "done", "running", "failed", "pending"], [["figure3", "10", "0", "2", "0"]], out)

    assert out.getvalue() == "figure3: 10 done, 2 failed\n"


def test_a_stages_chart_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar that is broken into two lines is no chart."""
    monkeypatch.setenv("COLUMNS", "40")
    print_curve([{"epoch": epoch, "test_accuracy": epoch / 128, "train_accuracy": None} for epoch in range(1, 101)])

    assert {len(line) <= 40 for line in capsys.readouterr().out.splitlines()} == {True}
