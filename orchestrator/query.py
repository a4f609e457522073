"""Query: SQL over the store's tables in an in-memory DuckDB that can reach nothing else.

Tables `stages`, `epochs` and `cells` are what `orchestrator.table` loads. The view `results` joins cells with stages on
key: one row per cell, seed and reported stage that is committed or failed. Where both have a column, *settings* (see
`orchestrator.schema.SETTINGS`) are the cell's: in an online sweep the first round of a warm-start cell is trained from
a random init, but belongs to warm start. A setting that is no axis of the sweep is the stage's. Everything else is the
stage's, so that an axis called epochs, a cap, never hides the epochs that were run; such an axis is `axis_epochs`.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import difflib
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, cast

from orchestrator.errors import ConfigError
from orchestrator.schema import SETTINGS, names, schema
from orchestrator.table import empty, load

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from orchestrator.files import Files

Format = Literal["table", "csv", "json", "parquet"]
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


def run_all(files: Files, statements: Sequence[str]) -> list[pa.Table]:
    """Rows of several reading statements over one reading of the store's files, which is what takes the time.

    Raises:
        ConfigError: as for `run_sql`.
    """
    import duckdb

    with connect(files, statements) as connection:
        found = []
        for sql in statements:
            try:
                found.append(plain_numbers(connection.sql(sql).to_arrow_table()))
            except duckdb.Error as error:
                raise ConfigError(explain(connection, sql, str(error))) from None
        return found


def connect(files: Files, statements: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """A locked in-memory DuckDB with the store's tables; `epochs`, the largest, is filled only if it is read.

    The caller closes it.

    Raises:
        ConfigError: one of `statements` is not one single reading statement.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        for lock in LOCKS:
            connection.execute(lock)
        for sql in statements:
            check_reads(connection, sql)
        stages, cells = load(files, "stages"), load(files, "cells")
        put(connection, "stages", stages)
        put(connection, "cells", cells)
        put(connection, "epochs", empty(schema("epochs")))
        connection.execute(f"CREATE VIEW results AS {results_sql(cells.schema)}")
        if any(reads_epochs(connection, sql) for sql in statements):
            put(connection, "epochs", load(files, "epochs", stages))
    except BaseException:
        connection.close()
        raise
    return connection


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


def put(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Copy `table` into the database, in place of what was there under that name."""
    connection.register("incoming", table)
    connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM incoming")
    connection.unregister("incoming")


def reads_epochs(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether `sql` reads the table epochs; stages and results have a column of that name, which does not count."""
    import duckdb

    try:
        return any(name.lower().endswith("epochs") for name in connection.get_table_names(sql))
    except duckdb.Error:  # a PIVOT, or a mistake that running it will report
        return re.search(r"\bepochs\b", sql, re.IGNORECASE) is not None


def results_sql(cells: pa.Schema) -> str:
    """The SELECT behind the view `results`, given the columns of `cells`; rows in the order of the cells.

    Two launches of a sweep, one with an axis spelt out that the other left at its default, may list one cell twice;
    after the join such rows are equal, and one is kept.
    """
    fixed, measured = names("cells"), [name for name in names("stages") if name not in (*SETTINGS, "key")]
    taken = {name.lower() for name in (*names("stages"), *fixed)}
    axes = [name for name in cells.names if name not in (*SETTINGS, *fixed)]
    chosen = ["c.sweep", "c.seed", "c.round"]
    chosen += [setting_sql(name, cells) for name in SETTINGS if name not in fixed]
    chosen += [f"c.{quoted(name)}" for name in axes if name.lower() not in taken]
    chosen += [f"c.{quoted(name)} AS {quoted('axis_' + name)}" for name in axes if name.lower() in taken]
    chosen += ["c.key", *(f"s.{quoted(name)}" for name in measured)]
    joined = (
        f"SELECT {', '.join(chosen)}, min(c.rowid) AS place_ FROM cells c JOIN stages s ON c.key = s.key GROUP BY ALL"
    )
    return f"SELECT * EXCLUDE (place_) FROM ({joined}) ORDER BY place_"


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


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


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
        known = connection.sql("SELECT DISTINCT column_name FROM information_schema.columns ORDER BY 1").fetchall()
        hint = f" Text goes in single quotes: '{name}'." if f'"{name}"' in sql else ""
        return f"SQL: no column {name!r}{nearest(name, [row[0] for row in known])}.{hint} All: DESCRIBE results."
    if found := NO_TABLE.search(message):
        return f"SQL: no table {(found[1] or found[2])!r}. Tables: {', '.join(TABLES)}."
    return f"SQL: {first_line(message)}."


def nearest(name: str, known: list[str]) -> str:
    """The names in `known` that look most like `name`, as the end of a phrase."""
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"; nearest: {', '.join(near)}" if near else ""


def first_line(message: str) -> str:
    """The first line of DuckDB's message, without its full stop."""
    return message.strip().splitlines()[0].rstrip(" .!:")


def write(table: pa.Table, format_: Format, out: TextIO | BinaryIO) -> None:
    """Write a result in the form that a person (table) or a program (csv, json, parquet) reads.

    Times are UTC. JSON is a list of records, with null for NaN and infinity, which JSON cannot hold. On a terminal a
    table shows the columns that fit; elsewhere it shows all, plain.

    Raises:
        ConfigError: Parquet would go to a terminal, or to a stream that takes no bytes.
    """
    if format_ == "parquet":
        write_parquet(table, out)
        return
    texts: dict[str, Callable[[pa.Table, TextIO | BinaryIO], str]]
    texts = {"table": table_text, "csv": csv_text, "json": json_text}
    text = texts[format_](table, out)
    if isinstance(out, io.TextIOBase):
        out.write(text)
    else:
        cast(BinaryIO, out).write(text.encode())


def write_parquet(table: pa.Table, out: TextIO | BinaryIO) -> None:
    """Write `table` as one Parquet file to the bytes under `out`."""
    import pyarrow.parquet as pq

    raw = getattr(out, "buffer", None) if isinstance(out, io.TextIOBase) else out
    if raw is None or raw.isatty():
        raise ConfigError(
            "--format parquet writes bytes, and this is a terminal: send them to a file, > results.parquet."
        )
    pq.write_table(table, raw, compression="zstd")


def csv_text(table: pa.Table, _: object = None) -> str:
    """`table` as CSV with a header; null is empty, times are ISO 8601."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(table.column_names)
    rows.writerows(zip(*([csv_cell(v) for v in column.to_pylist()] for column in table.columns), strict=True))
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """A value as the csv module should write it."""
    if isinstance(value, (bool, list, dict)):
        return json.dumps(json_value(value))
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def json_text(table: pa.Table, _: object = None) -> str:
    """`table` as a JSON list of records, one a line."""
    records = (json.dumps(json_value(row), ensure_ascii=False, allow_nan=False) for row in table.to_pylist())
    return "[" + ",\n ".join(records) + "]\n"


def json_value(value: Any) -> Any:
    """`value` in JSON's types."""
    if isinstance(value, dict):
        return {str(name): json_value(v) for name, v in value.items()}
    if isinstance(value, list):
        return [json_value(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)


def table_text(table: pa.Table, out: TextIO | BinaryIO) -> str:
    """`table` for people: numbers to the right, accuracies to 4 digits, nulls empty."""
    cells = [[shown(field.name, value) for value in table[i].to_pylist()] for i, field in enumerate(table.schema)]
    columns = list(zip(table.column_names, cells, map(is_number, table.schema.types), strict=True))
    return terminal_text(columns, out, table.num_rows) if out.isatty() else plain_text(columns, table.num_rows)


def is_number(type_: pa.DataType) -> bool:
    """Whether values of an Arrow type line up to the right."""
    import pyarrow as pa

    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def shown(name: str, value: Any) -> str:
    """A value as people read it, on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if "accuracy" in name else f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, (bool, list, dict)):
        return json.dumps(json_value(value))
    return " ".join(str(value).splitlines())


Shown = tuple[str, list[str], bool]  # a column's name, its values as text, whether they are numbers


def width(column: Shown) -> int:
    """Characters that a column takes."""
    return max(map(len, (column[0], *column[1])))


def plain_text(columns: list[Shown], rows: int) -> str:
    """All columns in full, two blanks apart."""
    widths = [width(column) for column in columns]
    lines = []
    for row in range(-1, rows):
        line = [name if row < 0 else values[row] for name, values, _ in columns]
        aligned = (
            text.rjust(size) if right else text.ljust(size)
            for text, size, (_, _, right) in zip(line, widths, columns, strict=True)
        )
        lines.append("  ".join(aligned).rstrip() + "\n")
    return "".join(lines)


def terminal_text(columns: list[Shown], out: TextIO | BinaryIO, rows: int) -> str:
    """As many columns as the terminal has room for, and a line that says how many are not shown."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=cast(TextIO, out), highlight=False)
    fitting = fit([width(column) + 3 for column in columns], console.width)
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, _, right in columns[:fitting]:
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in range(rows):
        grid.add_row(*(Text(values[row]) for _, values, _ in columns[:fitting]))
    with console.capture() as capture:
        console.print(grid)
        if fitting < len(columns):
            console.print(f"{rows} rows; {fitting} of {len(columns)} columns fit here. SELECT fewer, or --format csv.")
    return capture.get()


def fit(widths: list[int], room: int) -> int:
    """How many columns from the left fit into `room` characters, at least one."""
    count = sum(1 for end in range(1, len(widths) + 1) if sum(widths[:end]) <= room)
    return max(count, 1)
