"""Rows reach people and programs as they are, in every form."""

from __future__ import annotations

import datetime
import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import ConfigError
from orchestrator.writing import SUFFIXES, Format, form_of, write, write_file


def written(table: pa.Table, format_: Format) -> str:
    """What `write` writes to a stream that is no terminal."""
    out = io.StringIO()
    write(table, format_, out)
    return out.getvalue()


ROWS = pa.table(
    {
        "init": ["random_init", "warm_start"],
        "steps": [9, 1200],
        "avg(test_accuracy)": [0.5, None],
        "loss": [float("nan"), 1 / 3],
        "ok": [True, False],
        "keys": [["a", "b"], []],
        "at": pa.array([0, None], pa.timestamp("us", tz="UTC")),
    }
)


def test_a_table_for_people_lines_up() -> None:
    """Digits under digits: a slipped decimal is seen."""
    assert written(ROWS, "table").splitlines() == [
        "init         steps  avg(test_accuracy)      loss  ok     keys        at",
        'random_init      9              0.5000       nan  true   ["a", "b"]  1970-01-01 00:00:00',
        "warm_start    1200                      0.333333  false  []",
    ]


def test_a_terminal_gets_the_columns_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty columns squeezed into a terminal are one character wide each."""
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)

    write(ROWS, "table", out)

    assert "random_init" in out.getvalue()
    assert "loss" not in out.getvalue()
    assert "2 rows; 2 of 7 columns fit here" in " ".join(out.getvalue().split())


def test_markup_in_a_value_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error text such as [/red] must not break the table that reports it."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)

    write(pa.table({"error": ["[bold]x[/red]"]}), "table", out)

    assert "[bold]x[/red]" in out.getvalue()


def test_csv_reads_back_in_pandas() -> None:
    """CSV is how results reach a spreadsheet."""
    frame = pd.read_csv(io.StringIO(written(ROWS, "csv")))

    assert frame["steps"].to_list() == [9, 1200]
    assert frame["loss"].to_list()[1] == 1 / 3
    assert frame["at"].to_list()[0] == "1970-01-01T00:00:00.000000+00:00"
    assert [json.loads(keys) for keys in frame["keys"]] == [["a", "b"], []]
    assert frame["avg(test_accuracy)"].isna().to_list() == [False, True]


def test_json_is_a_list_of_records_that_any_parser_reads() -> None:
    """NaN is not JSON; many parsers stop there."""
    records = json.loads(written(ROWS, "json"), parse_constant=pytest.fail)

    assert records[0]["loss"] is None
    assert list(records[1]) == ROWS.column_names
    assert list(records[1].values()) == ["warm_start", 1200, None, 1 / 3, False, [], None]


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_no_rows_are_written_as_such(format_: Format) -> None:
    """A script must be able to tell no result from a failure."""
    text = written(ROWS.slice(0, 0), format_)

    assert json.loads(text) == [] if format_ == "json" else len(text.splitlines()) == 1


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_a_stream_of_bytes_gets_the_same_text(format_: Format) -> None:
    """--output and a pipe must agree."""
    out = io.BytesIO()

    write(ROWS, format_, out)

    assert out.getvalue().decode() == written(ROWS, format_)


def test_parquet_reads_back_whole() -> None:
    """Parquet keeps the types that CSV loses."""
    out = io.BytesIO()

    write(ROWS, "parquet", out)

    assert pq.read_table(io.BytesIO(out.getvalue())).drop_columns("loss").equals(ROWS.drop_columns("loss"))


def test_parquet_through_standard_output_is_bytes() -> None:
    """`query --format parquet > results.parquet` goes through a text stream."""
    out = io.TextIOWrapper(io.BytesIO())

    write(ROWS, "parquet", out)

    assert pq.read_table(out.buffer).num_rows == 2


@pytest.mark.parametrize(("format_", "expected"), [("table", "h?te"), ("csv", "hôte"), ("json", "hôte")])
def test_letters_that_a_terminal_does_not_know_are_no_failure(format_: Format, expected: str) -> None:
    """Programs get UTF-8 everywhere; a table in an old terminal, or a batch job's log, one letter less."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")

    write(pa.table({"host": ["hôte"]}), format_, out)
    out.flush()

    assert expected in out.buffer.getvalue().decode()  # type: ignore[attr-defined]


class Terminal(io.BytesIO):
    """Bytes that say they are a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [Terminal(), io.TextIOWrapper(Terminal()), io.StringIO()])
def test_parquet_is_kept_off_the_terminal(out: Any) -> None:
    """Bytes on a terminal can leave it unusable."""
    with pytest.raises(ConfigError, match=r"--output results\.parquet"):
        write(ROWS, "parquet", out)


def test_text_that_csv_could_misread_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error message with commas, quotes and lines must stay in its own cell, wherever the machine is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    texts = ["a, b", 'he said "no"', "two\nlines", "ä", "1", None]
    noon = [datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)] * len(texts)

    frame = pd.read_csv(io.StringIO(written(pa.table({"error": texts, "at": noon}), "csv")), dtype=str)

    assert frame["error"].to_list()[:5] == texts[:5]
    assert frame["error"].isna().to_list()[5]
    assert set(frame["at"]) == {"2026-01-02T12:00:00.000000+00:00"}


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_two_columns_of_one_name_keep_their_own_values(format_: Format) -> None:
    """`SELECT a.test_accuracy, b.test_accuracy` compares two models, and must not show one of them twice."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])

    text = written(table, format_)

    assert text.split() == ["a,a_1", "1,2"] if format_ == "csv" else list(json.loads(text)[0].values()) == [1, 2]


def test_numbers_keep_all_their_digits() -> None:
    """A difference in the last digit is how it is seen that two runs were not the same bits."""
    values = [0.1 + 0.2, 1e-300, 1 / 3, 2.0**60]
    table = pa.table({"x": values})

    assert pd.read_csv(io.StringIO(written(table, "csv")))["x"].to_list() == values
    assert [row["x"] for row in json.loads(written(table, "json"))] == values


def test_no_number_in_a_list_is_no_json() -> None:
    """The norm of a gradient that overflowed must not stop the parser."""
    table = pa.table({"norms": [[1.0, float("nan"), float("inf")]]})

    assert json.loads(written(table, "json"), parse_constant=pytest.fail) == [{"norms": [1.0, None, None]}]
    assert json.loads(pd.read_csv(io.StringIO(written(table, "csv")))["norms"][0]) == [1.0, None, None]


def test_no_number_at_any_depth_is_no_json() -> None:
    """`SELECT list({'lr': lr, 'loss': test_loss})` gathers curves; a diverged one must not stop a parser."""
    nan, inf = float("nan"), float("inf")
    kinds = pa.schema({"curve": pa.list_(pa.struct({"a b": pa.float64(), "by": pa.map_(pa.string(), pa.float64())}))})
    table = pa.table({"curve": [[{"a b": nan, "by": {"x": inf, "y": 1.5}}, None], None]}, schema=kinds)

    records = json.loads(written(table, "json"), parse_constant=pytest.fail)

    assert [row["curve"] for row in records] == [[{"a b": None, "by": {"x": None, "y": 1.5}}, None], None]
    assert json.loads(pd.read_csv(io.StringIO(written(table, "csv")))["curve"][0]) == records[0]["curve"]


TOOK = pa.table({"took": pa.array([pa.MonthDayNano([0, 1, 7_500_000_000])])})


def test_how_long_it_took_is_shown_in_hours() -> None:
    """`finished_at - started_at` is asked for often, and is an interval to SQL."""
    assert written(TOOK, "table").split() == ["took", "1", "day,", "0:00:07.500000"]


def test_what_parquet_cannot_hold_is_told(tmp_path: Path) -> None:
    """It knows no intervals, and a traceback does not say what to do."""
    with pytest.raises(ConfigError, match="Parquet cannot hold"):
        write_file(TOOK, "parquet", tmp_path / "x.parquet")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_", ["table", "csv", "json", "parquet"])
def test_a_place_that_takes_no_file_is_an_error_of_the_system(tmp_path: Path, format_: Format) -> None:
    """The command tells these in a line; a folder may vanish, or be read-only, whatever was looked at before."""
    with pytest.raises(OSError, match="No such file"):
        write_file(ROWS, format_, tmp_path / "gone" / "rows")


def test_rows_keep_their_order_in_a_file(tmp_path: Path) -> None:
    """A table sorted by accuracy must still be so where it is opened."""
    table = pa.table({"x": list(range(300_000, 0, -1))})

    for name in ("x.csv", "x.json"):
        write_file(table, SUFFIXES[Path(name).suffix], tmp_path / name)

    assert pd.read_csv(tmp_path / "x.csv")["x"].to_list() == table["x"].to_pylist()
    assert [row["x"] for row in json.loads((tmp_path / "x.json").read_text())] == table["x"].to_pylist()


@pytest.mark.parametrize("format_", ["table", "csv", "json", "parquet"])
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: Format
) -> None:
    """A full disk must not leave half a table in the place of a whole one."""
    path = tmp_path / "results"
    path.write_text("yesterday")

    def fill_up(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):  # noqa: PT012 - patched for it alone
        patch.setattr(os, "replace", fill_up)
        write_file(ROWS, format_, path)
    before = {one.name: one.read_text() for one in tmp_path.iterdir()}
    write_file(ROWS, format_, path)

    assert before == {"results": "yesterday"}
    assert [one.name for one in tmp_path.iterdir()] == ["results"]
    assert path.stat().st_size > 20


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """A quote in a folder's name must not end the statement that writes there."""
    folder = tmp_path / "it's; DROP"
    folder.mkdir()

    write_file(ROWS, "csv", folder / 'a "b".csv')

    assert pd.read_csv(folder / 'a "b".csv')["steps"].to_list() == [9, 1200]


def test_a_terminal_gets_a_thousand_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand rows push everything else off the screen, for minutes."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)

    write(pa.table({"x": range(5000)}), "table", out)

    assert len(out.getvalue().splitlines()) == 1000 + 3
    assert "The first 1000 of 5000 rows" in out.getvalue()


def test_what_would_steer_a_terminal_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may come from a stranger, and an escape sequence can retitle, clear or type."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)

    write(pa.table({"error": ["\x1b[2Jgone", "a\x9bb"]}), "table", out)

    assert "?[2Jgone" in out.getvalue()
    assert not {"\x1b[2J", "\x9b"} & set(out.getvalue())


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (None, None, "table"),
        ("json", None, "json"),
        (None, "a.csv", "csv"),
        (None, "a.PARQUET", "parquet"),
        (None, "a.txt", "table"),
        ("csv", "a.csv", "csv"),
        ("csv", "a.data", "csv"),
    ],
)
def test_the_form_is_what_is_asked_or_named(given: str | None, name: str | None, expected: str) -> None:
    """One of the two is enough to say it."""
    assert form_of(given, None if name is None else Path(name)) == expected


@pytest.mark.parametrize(("given", "name"), [(None, "a"), (None, "a.pdf"), ("json", "a.csv"), ("table", "a.parquet")])
def test_a_name_that_says_otherwise_is_refused(given: str | None, name: str) -> None:
    """JSON in a file called .csv is found out a week later."""
    with pytest.raises(ConfigError, match=name):
        form_of(given, Path(name))
