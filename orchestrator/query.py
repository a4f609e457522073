"""Query: SQL over the store's tables in an in-memory DuckDB that can reach nothing else.

Tables `stages` and `epochs` are read while DuckDB asks for them (`orchestrator.sources`), in the columns and, where a
condition on `key` allows it, of the stages that a statement needs; `cells` is loaded. The view `results` joins cells
with stages on key: one row per cell, seed and reported stage that is committed or failed. Where both have a column,
*settings* (see `orchestrator.columns.SETTINGS`) are the cell's: in an online sweep the first round of a warm-start cell
is trained from a random init, but belongs to warm start. A setting that is no axis of the sweep is the stage's.
Everything else is the stage's, so that an axis called epochs, a cap, never hides the epochs that were run; such an axis
is `axis_epochs`.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.columns import DERIVED, SETTINGS, TableName, names
from orchestrator.errors import ConfigError
from orchestrator.quoting import nearest, quoted
from orchestrator.scan import Scan
from orchestrator.schema import schema
from orchestrator.shelf import Shelf
from orchestrator.sources import Sources
from orchestrator.table import alike

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from orchestrator.files import Files

TABLES = ("stages", "epochs", "cells", "results")
# Columns that a setting brings with it: where the cell has the setting, the stage's are not looked at.
BROUGHT_BY = {
    "data_text": "data",
    "model_text": "model",
    "init_text": "init",
    "shrink": "init",
    "perturb": "init",
    "optimizer_text": "optimizer",
    "regularizer_text": "regularizer",
    "regularizer_size": "regularizer",
}
LOCKS = (
    "SET TimeZone = 'UTC'",
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
HIDDEN = "sources"  # the schema of what the tables are made of
JOINED = f"FROM {HIDDEN}.cells c JOIN main.stages s ON c.key = s.key"
USUAL_EPOCHS = 100  # of a stage, for estimates
LOOK_EVERY_S = 0.1  # whether a statement has to stop
COLUMN_NAMES = "SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'main' ORDER BY 1"
NO_COLUMN = re.compile(r'Referenced column "(.+?)" not found|does not have a column named "(.+?)"')
NO_TABLE = re.compile(r"Table with name (\S+) does not exist|Referenced table \"(.+?)\" not found")


def run_sql(files: Files, sql: str) -> pa.Table:
    """Rows of one reading statement over the store's tables.

    Sums of whole numbers come as int64 and decimals as float64, as researchers' tools expect them.

    Raises:
        ConfigError: the statement means nothing, or would do more than read.
    """
    (rows,) = run_all(files, [sql])
    return rows


@dataclass(frozen=True)
class Limits:
    """What answers may cost; None is no limit.

    Attributes:
        seconds: For all statements together.
        rows: Of each answer so many are made, at most.
        memory: For DuckDB, as it writes sizes, such as "2GB".
        ended: Once set, what runs is stopped.
    """

    seconds: float | None = None
    rows: int | None = None
    memory: str | None = None
    ended: threading.Event | None = None


def run_all(
    files: Files, statements: Sequence[str], shelf: Shelf | None = None, limits: Limits = Limits()
) -> list[pa.Table]:
    """Rows of several reading statements over one state of the store.

    Args:
        files: The store's files.
        statements: One reading statement each.
        shelf: Of the same files, where a caller keeps one: what it knows of merged files is not read again.
        limits: What they may cost.

    Raises:
        ConfigError: as for `run_sql`, or a limit was passed.
        StoreError: the store cannot be read.
    """
    sources = Sources(Scan(files, shelf or Shelf(files)))
    with connect(sources, statements, limits) as connection:
        return [answer(connection, sources, sql, limits.rows) for sql in statements]


def answer(connection: duckdb.DuckDBPyConnection, sources: Sources, sql: str, most_rows: int | None) -> pa.Table:
    """Rows of one statement.

    Raises:
        ConfigError: it means nothing, or takes more memory than it may.
        StoreError: the store cannot be read.
    """
    import duckdb

    try:
        rows = connection.sql(sql)
        return plain_numbers((rows if most_rows is None else rows.limit(most_rows)).to_arrow_table())
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        if sources.trouble:
            raise sources.trouble[0] from None
        raise ConfigError(explain(connection, sql, str(error))) from None


@contextlib.contextmanager
def connect(
    sources: Sources, statements: Sequence[str], limits: Limits = Limits()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked in-memory DuckDB with the store's tables; of `stages` and `epochs` it reads what it needs.

    Raises:
        ConfigError: one of `statements` is not one single reading statement, or the time is over.
        StoreError: the store cannot be read.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        if limits.memory is not None:
            connection.execute(f"SET memory_limit = '{limits.memory}'")
        for lock in LOCKS:
            connection.execute(lock)
        for sql in statements:
            check_reads(connection, sql)
        with stopped_in_time(connection, limits):
            with said_as_it_is(sources):
                put(connection, sources)
            yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def said_as_it_is(sources: Sources) -> Iterator[None]:
    """Raise what went wrong in a reading that DuckDB asked for, and not what DuckDB makes of it."""
    import duckdb

    try:
        yield
    except duckdb.Error:
        if sources.trouble:
            raise sources.trouble[0] from None
        raise


@contextlib.contextmanager
def stopped_in_time(connection: duckdb.DuckDBPyConnection, limits: Limits) -> Iterator[None]:
    """Interrupt what the connection does once its time is over, or it is told to end; again, until it has stopped."""
    import duckdb

    is_done, ended = threading.Event(), limits.ended or threading.Event()
    deadline = math.inf if limits.seconds is None else time.monotonic() + limits.seconds

    def stop() -> None:
        while not is_done.wait(LOOK_EVERY_S):
            if ended.is_set() or time.monotonic() > deadline:
                connection.interrupt()

    watcher = threading.Thread(target=stop, name="warmgrid-limits", daemon=True)
    if limits.seconds is not None or limits.ended is not None:
        watcher.start()
    try:
        yield
    except duckdb.InterruptException:
        why = "it was told to end" if ended.is_set() else f"it was not done after {limits.seconds} s"
        raise ConfigError(f"SQL: stopped, as {why}. Ask for less.") from None
    finally:
        is_done.set()
        if watcher.is_alive():
            watcher.join()


def check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not one statement that only reads: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW, PIVOT."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise ConfigError(f"SQL: {first_line(str(error))}.") from None
    if len(statements) != 1:
        raise ConfigError(f"SQL: one statement at a time, and this text holds {len(statements)}.")
    if statements[0].type.name not in ("SELECT", "MULTI"):  # a PIVOT is several statements to DuckDB
        raise ConfigError(
            f"SQL: {statements[0].type.name} is refused, because results can only be read. Begin with SELECT, WITH, "
            f"FROM, DESCRIBE, SUMMARIZE, SHOW or PIVOT."
        )


def put(connection: duckdb.DuckDBPyConnection, sources: Sources) -> None:
    """Make the tables; what they are made of is out of sight, in a schema of its own."""
    cells, stages = sources.cells, len(sources.scan.keys)
    connection.execute(f"CREATE SCHEMA {HIDDEN}")
    connection.execute(f"USE {HIDDEN}")
    connection.from_arrow(sources.stages).create_view("stages")
    connection.from_arrow(sources.epochs).create_view("epochs")
    connection.from_arrow(cells).create_view("given")
    connection.execute("CREATE TABLE cells AS FROM given")
    connection.execute("USE main")
    connection.execute(f"CREATE VIEW stages AS {of_size('stages', stages)}")
    connection.execute(f"CREATE VIEW epochs AS {of_size('epochs', stages * USUAL_EPOCHS)}")
    connection.execute(f"CREATE VIEW cells AS FROM {HIDDEN}.cells")
    connection.execute(f"CREATE TABLE {HIDDEN}.again (place BIGINT)")
    connection.execute(f"CREATE VIEW results AS {results_sql(cells.schema)}")
    if alike(cells):
        connection.execute(f"INSERT INTO {HIDDEN}.again {again_sql(cells.schema)}")


def of_size(table: TableName, rows: int) -> str:
    """The SELECT behind the view of a source, which tells DuckDB about how many rows there are.

    DuckDB takes each source for one row, and would put three million of them into the hash table of a join, or sort
    them all for the first ten. So it is shown as many rows more, of which none is ever made.
    """
    nothing = ", ".join("NULL" for _ in names(table))
    return f"FROM {HIDDEN}.{table} UNION ALL FROM (SELECT {nothing} FROM range({rows}) LIMIT (SELECT 0))"


def results_sql(cells: pa.Schema) -> str:
    """The SELECT behind the view `results`, given the columns of `cells`; rows in the order of the cells."""
    measured = [f"s.{quoted(name)}" for name in names("stages") if name not in (*SETTINGS, "key")]
    columns = ", ".join([*decided(cells), *measured, "s.steps * s.solo_step_seconds AS solo_seconds"])
    return f"SELECT {columns} {JOINED} WHERE c.rowid NOT IN (SELECT place FROM {HIDDEN}.again) ORDER BY c.rowid"


def again_sql(cells: pa.Schema) -> str:
    """The SELECT of the places of cells whose result is there before.

    Two launches of a sweep, one with an axis spelt out that the other left at its default, may list one cell twice;
    after the join such rows are equal, and one is kept.
    """
    listed = f"SELECT c.rowid AS place, {', '.join(decided(cells))} {JOINED}"
    first = f"SELECT * EXCLUDE (place), min(place) AS place FROM ({listed}) GROUP BY ALL"
    return f"SELECT place FROM ({listed}) EXCEPT SELECT place FROM ({first})"


def decided(cells: pa.Schema) -> list[str]:
    """The columns of `results` that say which result it is; all others follow from the key."""
    fixed = names("cells")
    taken = {name.lower() for name in (*names("stages"), *fixed, *(column.name for column in DERIVED))}
    axes = [name for name in cells.names if name not in (*SETTINGS, *fixed)]
    chosen = ["c.sweep", "c.seed", "c.round"]
    chosen += [setting_sql(name, cells) for name in SETTINGS if name not in fixed]
    chosen += [f"c.{quoted(name)}" for name in axes if name.lower() not in taken]
    chosen += [f"c.{quoted(name)} AS {quoted('axis_' + name)}" for name in axes if name.lower() in taken]
    return [*chosen, "c.key"]


def setting_sql(name: str, cells: pa.Schema) -> str:
    """The column of `results` for one setting: the cell's, else the stage's."""
    stage, head = f"s.{quoted(name)}", BROUGHT_BY.get(name, "")
    if head in cells.names:
        stage = f"CASE WHEN c.{quoted(head)} IS NULL THEN {stage} END"
    if name not in cells.names:
        return f"{stage} AS {quoted(name)}"
    cell, types = f"c.{quoted(name)}", {str(cells.field(name).type), str(schema("stages").field(name).type)}
    if len(types) > 1 and types != {"int64", "double"}:
        cell, stage = f"CAST({cell} AS VARCHAR)", f"CAST({stage} AS VARCHAR)"
    return f"coalesce({cell}, {stage}) AS {quoted(name)}"


def plain_numbers(table: pa.Table) -> pa.Table:
    """DuckDB's wide integers as int64 where they fit, its decimals as float64."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if not pa.types.is_decimal(field.type):
            continue
        values = table.column(place)
        try:
            numbers = values.cast(pa.int64() if field.type.scale == 0 else pa.float64())
        except pa.ArrowInvalid:
            numbers = values.cast(pa.float64())
        table = table.set_column(place, field.name, numbers)
    return table


def explain(connection: duckdb.DuckDBPyConnection, sql: str, message: str) -> str:
    """One line on what is wrong with `sql`, with the nearest names where a name is unknown."""
    if found := NO_COLUMN.search(message):
        name = found[1] or found[2]
        known = connection.sql(COLUMN_NAMES).fetchall()
        hint = f" Text goes in single quotes: '{name}'." if f'"{name}"' in sql else ""
        return f"SQL: no column {name!r}{nearest(name, [row[0] for row in known])}.{hint} All: DESCRIBE results."
    if found := NO_TABLE.search(message):
        return f"SQL: no table {(found[1] or found[2])!r}. Tables: {', '.join(TABLES)}."
    return f"SQL: {first_line(message)}."


def first_line(message: str) -> str:
    """The first line of DuckDB's message, without its full stop."""
    return message.strip().splitlines()[0].rstrip(" .!:")
