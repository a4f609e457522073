"""Writing: rows of a query as a table for people, CSV, JSON or Parquet; asks nothing.

DuckDB writes CSV and JSON, a hundred times faster than Python could.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, cast, get_args

from orchestrator.errors import ConfigError
from orchestrator.quoting import quoted

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["table", "csv", "json", "parquet"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
MOST_LINES = 1000  # rows that a terminal gets; nobody scrolls through more
CSV = "FORMAT csv, HEADER {header}, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f+00:00'"
JSON = "FORMAT json, ARRAY true, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%f+00:00'"


def write(table: pa.Table, format_: Format, out: TextIO | BinaryIO) -> None:
    """Write a result in the form that a person (table) or a program (csv, json, parquet) reads.

    Times are UTC. JSON is a list of records, with null for NaN and infinity, which JSON cannot hold. On a terminal a
    table shows the columns that fit and its first rows; elsewhere it shows all, plain.

    Raises:
        ConfigError: Parquet would go to a terminal, or to a stream that takes no bytes.
    """
    if format_ == "table":
        text, encoding = table_text(table, out), getattr(out, "encoding", None) or "utf-8"
        as_bytes = text.encode(encoding, errors="replace")  # a terminal that knows no such letter gets a question mark
        out.write(as_bytes.decode(encoding)) if isinstance(out, io.TextIOBase) else cast(BinaryIO, out).write(as_bytes)
        return
    raw = getattr(out, "buffer", None) if isinstance(out, io.TextIOBase) else out
    if format_ == "parquet" and (raw is None or raw.isatty()):
        raise ConfigError(
            "--format parquet writes bytes, and this is a terminal: name a file, --output results.parquet."
        )
    with tempfile.TemporaryDirectory(prefix="warmgrid-") as folder:
        path = Path(folder) / "rows"
        render(table, format_, path)
        if raw is None:
            with path.open(encoding="utf-8", newline="") as text_file:
                shutil.copyfileobj(text_file, cast(TextIO, out))
        else:
            out.flush()
            with path.open("rb") as file:  # in UTF-8, whatever the terminal's letters are
                shutil.copyfileobj(file, cast(BinaryIO, raw))


def write_file(table: pa.Table, format_: Format, path: Path) -> None:
    """Write a result into a file of that name, whole or not at all; one that was there stays until all is written."""
    with replacing(path) as hidden:
        render(table, format_, hidden)


def render(table: pa.Table, format_: Format, path: Path, *, header: bool = True) -> None:
    """Write `table` into the file `path`.

    Args:
        header: Whether a CSV begins with the columns' names.
    """
    if format_ == "table":
        with path.open("w", encoding="utf-8") as out:
            out.write(table_text(table, out))
    elif format_ == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(table, path, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise ConfigError(f"Parquet cannot hold a column of these: {error}. Cast it, or write CSV.") from None
    else:
        copy(table, (CSV if format_ == "csv" else JSON).format(header=header), path, is_json=format_ == "json")


def copy(table: pa.Table, options: str, path: Path, *, is_json: bool) -> None:
    """Let DuckDB write `table` into the file `path`."""
    import duckdb

    by_place = [f"column {place}" for place in range(table.num_columns)]  # a query may name two columns alike
    chosen = ", ".join(
        f"{written_sql(quoted(name), field.type, is_json=is_json)} AS {quoted(field.name)}"
        for name, field in zip(by_place, table.schema, strict=True)
    )
    place = str(path).replace("'", "''")
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("incoming", table.rename_columns(by_place))
        try:
            connection.execute(f"COPY (SELECT {chosen} FROM incoming) TO '{place}' ({options})")
        except duckdb.IOException as error:  # no room, or no right to write there
            raise OSError(str(error).splitlines()[0]) from None


def written_sql(name: str, type_: pa.DataType, *, is_json: bool) -> str:
    """One column as CSV or JSON can hold it: JSON knows no NaN, and CSV no lists, which are JSON there."""
    import pyarrow as pa

    if is_json or pa.types.is_nested(type_):
        name = finite_sql(name, type_)
    return f"to_json({name})" if not is_json and pa.types.is_nested(type_) else name


def finite_sql(name: str, type_: pa.DataType, depth: int = 0) -> str:
    """`name` with null for every number in it, at any depth, that is NaN or infinite."""
    import pyarrow as pa

    if pa.types.is_floating(type_):
        return f"CASE WHEN isfinite({name}) THEN {name} END"
    value = f"v{depth}"
    if pa.types.is_map(type_):
        inner = finite_sql(f"{value}.value", type_.item_type, depth + 1)
        pair = f"struct_pack(key := {value}.key, value := {inner})"
        return f"map_from_entries(list_transform(map_entries({name}), lambda {value}: {pair}))"
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        return f"list_transform({name}, lambda {value}: {finite_sql(value, type_.value_type, depth + 1)})"
    if pa.types.is_struct(type_):
        fields = ((quoted(field.name), field.type) for field in type_)
        packed = ", ".join(f"{own} := {finite_sql(f'{name}.{own}', kind, depth + 1)}" for own, kind in fields)
        return f"CASE WHEN {name} IS NOT NULL THEN struct_pack({packed}) END"
    return name


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a hidden file beside `path`, which takes its place when all went well, and vanishes else."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield hidden
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Make sure that a file can be put in the place of `path`, before anything is asked.

    Raises:
        ConfigError: its folder is missing, or something else than a file is there.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}. Make it first, or name another file.")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder. Name a file in it.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: is no ordinary file, and would be replaced by one. Send the output there with >.")


def form_of(given: str | None, path: Path | None) -> Format:
    """The form in which to write: as `given`, else by the suffix of `path`, else a table.

    Raises:
        ConfigError: the suffix says another form than `given`, or none is given and the suffix says none.
    """
    told = None if path is None else SUFFIXES.get(path.suffix.lower())
    if given is None and path is not None and told is None:
        raise ConfigError(f"{path}: its name does not say in which form. End it in {', '.join(SUFFIXES)}, or --format.")
    if given is not None and told not in (None, given):
        raise ConfigError(f"{path}: the name says {told}, and --format {given}. Change one of them.")
    found = given or told or "table"
    assert found in get_args(Format), found
    return cast(Format, found)


def table_text(table: pa.Table, out: TextIO | BinaryIO) -> str:
    """`table` for people: numbers to the right, accuracies to 4 digits, nulls empty."""
    is_terminal, rows = out.isatty(), table.num_rows
    table = table.slice(0, MOST_LINES) if is_terminal else table
    cells = [[shown(field.name, value) for value in table[i].to_pylist()] for i, field in enumerate(table.schema)]
    columns = list(zip(table.column_names, cells, map(is_number, table.schema.types), strict=True))
    return terminal_text(columns, out, rows) if is_terminal else plain_text(columns, rows)


def is_number(type_: pa.DataType) -> bool:
    """Whether values of an Arrow type line up to the right."""
    import pyarrow as pa

    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def shown(name: str, value: Any) -> str:
    """A value as people read it, on one line; what could steer a terminal is shown as a question mark."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if "accuracy" in name else f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if hasattr(value, "nanoseconds"):  # an interval, such as finished_at - started_at
        span = datetime.timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
        return f"{value.months} months {span}" if value.months else str(span)
    text = json.dumps(value, default=in_list) if isinstance(value, (bool, list, dict)) else str(value)
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", " ".join(text.splitlines()))


def in_list(value: Any) -> Any:
    """A value inside a list as JSON can hold it."""
    return float(value) if isinstance(value, decimal.Decimal) else str(value)


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
    """As many columns as the terminal has room for, and a line that says what is not shown."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=cast(TextIO, out), highlight=False)
    fitting, lines = fit([width(column) + 3 for column in columns], console.width), min(rows, MOST_LINES)
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, _, right in columns[:fitting]:
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in range(lines):
        grid.add_row(*(Text(values[row]) for _, values, _ in columns[:fitting]))
    with console.capture() as capture:
        console.print(grid)
        if fitting < len(columns):
            console.print(f"{rows} rows; {fitting} of {len(columns)} columns fit here. Ask for fewer, or --format csv.")
        if lines < rows:
            console.print(f"The first {lines} of {rows} rows. All: --output FILE.csv; fewer: LIMIT, or --limit.")
    return capture.get()


def fit(widths: list[int], room: int) -> int:
    """How many columns from the left fit into `room` characters, at least one."""
    count = sum(1 for end in range(1, len(widths) + 1) if sum(widths[:end]) <= room)
    return max(count, 1)
