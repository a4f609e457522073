"""What DuckDB asks of a store while it reads gives the rows that the whole tables would give, and joins stay quick."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from orchestrator import compaction, merged
from orchestrator.errors import ConfigError
from orchestrator.query import Limits, connect, run_all
from orchestrator.scan import Scan
from orchestrator.shelf import Shelf
from orchestrator.sources import Sources
from orchestrator.store import Store
from orchestrator.table import load
from tests.orchestrator.made_rows import EPOCHS, key_of, put

NUMBERS = (0.5, math.nan, math.inf, -math.inf, None, 0.0, -0.0, 7.0)
A = key_of(1)
SIGNS = ("<", "<=", ">", ">=", "=", "!=")
CONDITIONS = [
    *(f"test_loss {sign} {value}" for sign in SIGNS for value in (0.5, "'nan'", "'inf'")),
    *(f"key {sign} '{A}'" for sign in SIGNS),
    *("test_loss IS NULL", "test_loss IS NOT NULL", "NOT test_loss < 1", "isnan(test_loss)", "steps = 1 OR epoch = 2"),
    *(f"key = '{A}' OR epoch = 1", f"key = '{A}' AND test_loss > 0", f"key = '{A}' AND test_loss IS NULL"),
    *(f"key = '{A}' AND measured_steps IS NULL", f"key = '{A}' AND steps IS NOT NULL", f"NOT key = '{A}'"),
    *(f"key IN ('{A}', 'epoch')", f"key NOT IN ('{A}', 'epoch')", "epoch IN (1, 3)", f"key LIKE '{A[:3]}%'"),
    *("epoch BETWEEN 2 AND 3", "epoch = 2.5", "key = 'epoch'", "key = 'none'", "key IS NULL", "false", "NULL = key"),
    *(f"(key = '{A}' AND epoch > 1) OR (key > '{A}' AND epoch < 2)", f"key = '{A}' AND epoch IN (1, 2)"),
    *(f"key IN (SELECT key FROM stages WHERE lr > 0.2) AND key != '{A}'", "epoch = (SELECT max(epoch) FROM epochs)"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of which most is merged, with losses of all kinds."""
    made = Store(str(tmp_path_factory.mktemp("sources")))
    made.check_format()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        patch.setattr(merged, "MOST_NAMES", 4)
        patch.setattr(compaction, "GROUP_NAMES", 2)
        commit = made.commit
        for number, loss in enumerate(NUMBERS):
            patch.setattr(made, "commit", lambda key, row, epochs, state, loss=loss: commit(
                key, row, [{**epoch, "test_loss": loss} for epoch in epochs], state
            ))  # fmt: skip
            put(made, number, test_loss=loss)
            if number == len(NUMBERS) - 3:
                made.compact()
    cells = [{"sweep": "made", "seed": 0, "round": 0, "key": key_of(number)} for number in range(200)]
    made.record_launch("made", {"source": "made"}, cells)
    return Store(made.root)


@pytest.fixture(scope="module")
def whole(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same tables, in DuckDB itself."""
    with duckdb.connect() as connection:
        for name in ("stages", "epochs"):
            connection.register("given", load(store.files, name))
            connection.execute(f"CREATE TABLE {name} AS FROM given")
        yield connection


def same(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as text in one order, in which NaN is NaN."""
    return sorted(map(repr, rows))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("columns", ["*", "epoch, key", "count(*)"])
def test_a_condition_is_true_of_the_rows_that_duckdb_says(
    store: Store, whole: duckdb.DuckDBPyConnection, columns: str, condition: str
) -> None:
    """To Arrow no comparison with NaN is true; a diverged run must not vanish from `test_loss > 1` for that."""
    sql = f"SELECT {columns} FROM epochs WHERE {condition}"

    assert same(store.sql(sql).to_pylist()) == same(whole.sql(sql).to_arrow_table().to_pylist())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.key, b.epoch FROM epochs a JOIN epochs b ON a.key = b.key AND a.epoch < b.epoch",
        "SELECT key, lr, max(e.epoch) FROM stages JOIN epochs e USING (key) WHERE lr > 0.2 GROUP BY ALL",
        "SELECT * FROM epochs UNION ALL SELECT * FROM epochs WHERE epoch = 1",
        "SELECT key, epoch, row_number() OVER (PARTITION BY key ORDER BY epoch) FROM epochs",
        "FROM stages ANTI JOIN epochs USING (key)",
        "SELECT count(*), count(error), count(DISTINCT key), max(test_loss) FROM stages",
        "PIVOT epochs ON epoch USING first(train_seconds)",
    ],
)
def test_statements_of_several_tables_give_what_whole_tables_give(
    store: Store, whole: duckdb.DuckDBPyConnection, sql: str
) -> None:
    """Each time that a table is named it is read anew, in other columns."""
    assert same(store.sql(sql).to_pylist()) == same(whole.sql(sql).to_arrow_table().to_pylist())


def test_stages_come_sorted_and_epochs_in_their_order(store: Store) -> None:
    """A curve is drawn as its points come."""
    keys, epochs = store.sql("SELECT key FROM stages")["key"].to_pylist(), store.sql("SELECT key, epoch FROM epochs")

    assert keys == sorted(keys)
    assert epochs["epoch"].to_pylist() == [1, 2, 3] * len(NUMBERS)
    assert len(dict.fromkeys(epochs["key"].to_pylist()[::EPOCHS])) == len(NUMBERS)


def held(plan: dict[str, Any]) -> Iterator[str]:
    """The columns that the joins of a plan hold in memory, which are those of their second side."""
    for place, child in enumerate(plan["children"]):
        yield from scanned(child) if place and "JOIN" in plan["name"] else held(child)


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """The columns that a part of a plan reads."""
    columns = plan["extra_info"].get("Projections", [])
    yield from [columns] if isinstance(columns, str) else columns
    for child in plan["children"]:
        yield from scanned(child)


@pytest.mark.parametrize("tables", ["epochs e JOIN cells r", "cells r JOIN epochs e"])
def test_the_small_table_of_a_join_is_the_one_in_memory(store: Store, tables: str) -> None:
    """DuckDB takes a source for one row: it put 35 million epochs into memory, to look ten stages up in them."""
    sources = Sources(Scan(store.files, Shelf(store.files)))
    sql = f"SELECT e.epoch, max(e.test_accuracy) FROM {tables} USING (key) WHERE r.seed = 0 GROUP BY 1"

    with connect(sources, []) as connection:
        ((_, text),) = connection.sql(f"EXPLAIN (FORMAT json) {sql}").fetchall()

    in_memory = set(held(json.loads(text)[0]))
    assert "key" in in_memory
    assert "epoch" not in in_memory


def test_a_statement_that_takes_too_long_is_stopped(store: Store) -> None:
    """A slip in the page's SQL box would hold a server for hours."""
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 3"

    with pytest.raises(ConfigError, match=r"SQL: stopped, as it was not done after 0\.1 s"):
        run_all(store.files, [endless], limits=Limits(seconds=0.1))
    assert len(run_all(store.files, ["FROM stages"], limits=Limits(seconds=60.0))[0]) == len(NUMBERS)


def test_a_statement_that_takes_too_much_memory_is_stopped(store: Store) -> None:
    """The same slip would make the system kill the server."""
    with pytest.raises(ConfigError, match=r"Out of Memory"):
        run_all(store.files, ["SELECT list(range) FROM range(2000000000)"], limits=Limits(60.0, memory="100MB"))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_a_reading_is_no_mistake_in_the_statement(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """Ctrl-C while rows are read was told as wrong SQL; so would be a fault of ours."""
    monkeypatch.setattr(Scan, "epochs", lambda *_: (_ for _ in ()).throw(kind("stop")))

    with pytest.raises(kind, match="stop"):
        store.sql("SELECT max(test_loss) FROM epochs")
