"""SQL sees each result once under its own settings, and can do nothing but read."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.columns import names
from orchestrator.errors import ConfigError
from orchestrator.files import Files, open_files
from orchestrator.query import connect, run_sql
from orchestrator.scan import Scan
from orchestrator.schema import cells_table, to_bytes, to_table
from orchestrator.shelf import Shelf
from orchestrator.sources import Sources

STAGE = {
    "trainer": "t:f",
    "version": 1,
    "round": 0,
    "seed": 0,
    "status": "done",
    "attempts": 1,
    "warmgrid_version": "0",
}
CELL = {"sweep": "s", "seed": 0, "round": 0, "key": "a"}
SHRINK = {
    "init": "shrink_perturb",
    "init_text": "ShrinkPerturb(shrink=0.4, perturb=0.1)",
    "shrink": 0.4,
    "perturb": 0.1,
}
RANDOM = {"init": "random_init", "init_text": "RandomInit()", "shrink": 0.0, "perturb": 1.0}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty store."""
    return open_files(str(tmp_path))


def put_stage(files: Files, key: str, **values: Any) -> None:
    """Commit a made stage with one epoch."""
    row = {**dict.fromkeys(names("stages")), **STAGE, "key": key, **values}
    epoch = {**dict.fromkeys(names("epochs")), "key": key, "epoch": 1, "train_seconds": 1.0, "steps": 1, "examples": 1}
    files.write(f"epochs/{key}.parquet", to_bytes(to_table("epochs", [epoch])))
    files.write(f"stages/{key}.parquet", to_bytes(to_table("stages", [row])))


def put_cells(files: Files, name: str, *rows: dict[str, Any]) -> None:
    """Write one file of cells."""
    files.write(f"cells/{name}.parquet", to_bytes(cells_table([{**CELL, **row} for row in rows])))


def result(files: Files, columns: str) -> list[tuple[Any, ...]]:
    """Rows of the view results, as tuples."""
    table = run_sql(files, f"SELECT {columns} FROM results")
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("name", ["stages", "epochs", "cells", "results"])
def test_an_empty_store_answers_with_no_rows(files: Files, name: str) -> None:
    """A script that watches a sweep starts before the first stage ends."""
    table = run_sql(files, f"FROM {name}")

    assert table.num_rows == 0
    assert {"key", "seed"} <= set(table.column_names) or name == "epochs"


def test_a_result_is_a_cell_with_what_its_stage_measured(files: Files) -> None:
    """This join is what every table and figure is made of."""
    put_stage(files, "a", lr=0.1, test_accuracy=0.75)
    put_cells(files, "s-1", {"lr": 0.1}, {"lr": 0.2, "key": "not trained yet"})

    assert result(files, "sweep, lr, seed, round, key, test_accuracy") == [("s", 0.1, 0, 0, "a", 0.75)]


def test_a_stage_of_two_sweeps_is_a_result_of_both(files: Files) -> None:
    """Sharing saves training, and must not take the number out of one of the tables."""
    put_stage(files, "a", test_accuracy=0.75)
    put_cells(files, "s-1", {"lr": 0.1})
    put_cells(files, "t-1", {"sweep": "t", "lr": 0.1})

    assert result(files, "sweep, test_accuracy") == [("s", 0.75), ("t", 0.75)]


def test_the_first_round_of_a_cell_belongs_to_its_init(files: Files) -> None:
    """Round 0 is trained from a random init whatever the cell, and is the first point of the cell's curve."""
    put_stage(files, "a", **RANDOM)
    put_cells(files, "s-1", SHRINK, {**RANDOM, "seed": 1})

    assert result(files, "init, shrink, perturb") == [("shrink_perturb", 0.4, 0.1), ("random_init", 0.0, 1.0)]


def test_what_an_init_does_not_have_is_not_filled_in_from_the_stage(files: Files) -> None:
    """An init without a shrink factor must not show the factor of its first round."""
    put_stage(files, "a", **RANDOM)
    put_cells(files, "s-1", {"init": "transplant", "shrink": None, "perturb": None})

    assert result(files, "init, init_text, shrink, perturb") == [("transplant", None, None, None)]


def test_settings_that_are_no_axis_come_from_the_stage(files: Files) -> None:
    """A sweep with one data set and another that compares data sets share the column data."""
    put_stage(files, "a", data="digits", lr=0.1)
    put_cells(files, "s-1", {"lr": 0.1})
    put_cells(files, "t-1", {"sweep": "t", "data": "digits", "lr": None})

    assert result(files, "sweep, data, lr") == [("s", "digits", 0.1), ("t", "digits", 0.1)]


def test_an_axis_never_hides_what_was_measured(files: Files) -> None:
    """An axis called epochs is a cap; shown in place of the epochs run, it makes warm starts look as dear as others."""
    put_stage(files, "a", epochs=7)
    put_cells(files, "s-1", {"epochs": 350})

    assert result(files, "epochs, axis_epochs") == [(7, 350)]


def test_the_time_that_does_not_depend_on_neighbours_is_a_column(files: Files) -> None:
    """Whoever draws accuracy over time may have trained half of the models in packs."""
    put_stage(files, "a", steps=40, solo_step_seconds=0.25, train_seconds=77.0)
    put_cells(files, "1", {"solo_seconds": 3})

    assert result(files, "train_seconds, solo_seconds, axis_solo_seconds") == [(77.0, 10.0, 3)]


def test_axes_of_their_own_keep_their_names(files: Files) -> None:
    """A grid over both rounds asks by the first round's learning rate."""
    put_stage(files, "a")
    put_cells(files, "s-1", {"first_lr": 0.01, "odd name": "x"})

    assert result(files, 'first_lr, "odd name"') == [(0.01, "x")]


def test_a_cell_listed_by_two_launches_is_one_result(files: Files) -> None:
    """A launch that spells out an axis lists old cells with one column more; doubled, they shrink every error bar."""
    put_stage(files, "a", model="mlp", lr=0.1)
    put_cells(files, "s-1", {"lr": 0.1})
    put_cells(files, "s-2", {"lr": 0.1, "model": "mlp"})

    assert result(files, "lr, model") == [(0.1, "mlp")]


def test_results_come_in_the_order_of_the_cells(files: Files) -> None:
    """Two calls of one query must print the same table."""
    keys = [f"k{i}" for i in range(40)]
    for key in keys:
        put_stage(files, key)
    put_cells(files, "s-1", *({"width": -i, "key": key} for i, key in enumerate(keys)))

    assert [key for (key,) in result(files, "key")] == keys


@pytest.mark.parametrize("value", ["auto", True])
def test_an_axis_of_another_type_than_the_setting_still_joins(files: Files, value: Any) -> None:
    """One odd sweep in a store must not stop the queries of all others."""
    put_stage(files, "a", lr=0.1)
    put_cells(files, "s-1", {"lr": value}, {"sweep": "t", "lr": None})

    assert [str(lr) for (lr,) in result(files, "lr")] == [str(value).lower(), "0.1"]


def test_failed_and_diverged_stages_are_results_with_their_status(files: Files) -> None:
    """A mean over what happened to work is a selected mean; the reader must be able to see it."""
    put_stage(files, "a", status="diverged")
    put_cells(files, "s-1", {})

    assert result(files, "status") == [("diverged",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM epochs",
        "WITH e AS (FROM Epochs) SELECT count(*) FROM e",
        "SELECT max(e.n) FROM results JOIN (SELECT key, count(*) n FROM main.epochs GROUP BY key) e USING (key)",
        "PIVOT epochs ON epoch USING count(*)",
    ],
)
def test_epochs_are_there_when_they_are_asked_for(files: Files, sql: str) -> None:
    """A curve without points is taken for a model that learnt nothing."""
    put_stage(files, "a")
    put_cells(files, "s-1", {})

    assert run_sql(files, sql).to_pylist()[0].popitem()[1] == 1


def test_epochs_are_not_read_for_the_column_of_that_name(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all epochs of a large store for a query over its stages would double the wait."""
    put_stage(files, "a", epochs=7)
    put_cells(files, "s-1", {})
    monkeypatch.setattr(Scan, "epochs", None)

    assert result(files, "max(epochs)") == [(7,)]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_csv('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM glob('{path}')",
        "SELECT * FROM read_blob('{path}')",
        "COPY stages TO '{path}.out'",
        "COPY (SELECT 1) TO '{path}.out'",
        "ATTACH '{path}.out' AS other",
        "EXPORT DATABASE '{path}.out'",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "LOAD json",
        "CREATE TABLE stolen AS SELECT 1",
        "INSERT INTO stages FROM stages",
        "DELETE FROM stages",
        "SELECT 1; SELECT 2",
        "SELECT * FROM secret",
    ],
)
def test_sql_can_reach_nothing_but_the_tables(files: Files, tmp_path: Path, sql: str) -> None:
    """A query copied from a web page must not read a user's files, nor write any."""
    path = tmp_path / "private.csv"
    path.write_text("word\nswordfish\n")
    secret = pa.table({"word": ["swordfish"]})

    with pytest.raises(ConfigError) as caught:
        run_sql(files, sql.format(path=path))

    assert "swordfish" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["private.csv"]
    assert secret.num_rows == 1


def test_the_settings_of_the_database_cannot_be_changed_back(files: Files) -> None:
    """Whoever holds the connection is still locked in."""
    sources = Sources(Scan(files, Shelf(files)))

    with connect(sources, ["SELECT 1"]) as connection, pytest.raises(Exception, match="configuration has been locked"):
        connection.execute("SET enable_external_access = true")


@pytest.mark.parametrize("sql", ["DESCRIBE results", "SUMMARIZE stages", "SHOW TABLES", "WITH x AS (SELECT 1) FROM x"])
def test_looking_around_is_allowed(files: Files, sql: str) -> None:
    """A user must find the columns without reading our code."""
    assert run_sql(files, sql).num_columns > 0


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT test_acuracy FROM results", r"^SQL: no column 'test_acuracy'; nearest: test_accuracy"),
        ("SELECT r.lrs FROM results r", r"^SQL: no column 'lrs'; nearest: lr"),
        ('SELECT * FROM results WHERE sweep = "figure"', r"Text goes in single quotes: 'figure'"),
        ("FROM result", r"^SQL: no table 'result'. Tables: stages, epochs, cells, results\.$"),
        ("SELEC 1", r'^SQL: Parser Error: syntax error at or near "SELEC"\.$'),
        ("SELECT lr FROM stages GROUP BY seed", r"^SQL: Binder Error: column \"lr\" must appear in the GROUP BY"),
        ("SELECT CAST('x' AS INT)", r"^SQL: Conversion Error"),
        ("SELECT error('boom') FROM range(1)", r"boom"),
        ("", r"this text holds 0"),
        ("DROP TABLE stages", r"^SQL: DROP is refused"),
    ],
)
def test_a_mistake_is_told_in_one_line(files: Files, sql: str, message: str) -> None:
    """A stack trace for a typing slip sends people back to spreadsheets."""
    with pytest.raises(ConfigError, match=message) as caught:
        run_sql(files, sql)

    assert "\n" not in str(caught.value)


def test_sums_and_decimals_are_ordinary_numbers(files: Files) -> None:
    """DuckDB's wide integers would reach pandas as objects, on which arithmetic is slow and plots fail."""
    table = run_sql(files, "SELECT sum(x) AS total, 0.5 AS half, sum(x) * 10^30::HUGEINT AS vast FROM range(4) t(x)")

    assert list(map(str, table.schema.types)) == ["int64", "double", "double"]
    assert table.to_pylist() == [{"total": 6, "half": 0.5, "vast": pytest.approx(6e30)}]


def test_times_are_utc_wherever_the_query_runs(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two colleagues in two time zones must print the same table."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    put_stage(files, "a", finished_at=datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC))

    table = run_sql(files, "SELECT finished_at, CAST(finished_at AS VARCHAR) AS said FROM stages")

    assert table["said"].to_pylist() == ["2026-01-02 03:00:00+00"]
