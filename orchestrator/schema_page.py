"""Schema page: every table and column in words, for the terminal, for programs, and as tables in docs/results.md.

``python -m orchestrator.schema_page docs/results.md`` writes them anew between the marks of that file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.ask import in_results
from orchestrator.columns import AXES_SENTENCE, TABLE_SENTENCES, TABLES, TYPES, Column, names, results_columns
from orchestrator.errors import ConfigError
from orchestrator.quoting import nearest, quoted

if TYPE_CHECKING:
    from orchestrator.store import Store

MARKED = re.compile(r"(<!-- columns: begin[^\n]*-->\n).*?(<!-- columns: end -->)", re.DOTALL)
HEADS = ("column", "type", "unit", "what it says")


@dataclass(frozen=True)
class Described:
    """One column in words.

    Attributes:
        table: results, stages, epochs or cells.
        type: As `orchestrator.columns.Column` tells it.
        unit: "" where there is none.
        sweeps: Those whose axis it is; () for a column that every store has.
    """

    table: str
    column: str
    type: str
    unit: str
    sentence: str
    sweeps: tuple[str, ...] = ()


def described(store: Store | None = None, table: str | None = None) -> list[Described]:
    """Every column, table by table; with a store, also the axes of its sweeps.

    Args:
        table: Only this one.

    Raises:
        ConfigError: there is no such table.
        StoreError: the store is none, or one that this version cannot read.
    """
    if table is not None and table not in TABLE_SENTENCES:
        raise ConfigError(f"no table {table!r}{nearest(table, list(TABLE_SENTENCES))}. Say {listed(TABLE_SENTENCES)}.")
    axes = [] if store is None else list(axes_in(store))
    found = []
    for name in TABLE_SENTENCES if table is None else [table]:
        own = [Described(name, c.name, c.type, c.unit, c.sentence) for c in columns_of(name)]
        known = {one.column for one in own}
        found += own + [axis for axis in axes if axis.table == name and axis.column not in known]
    return found


def columns_of(table: str) -> tuple[Column, ...]:
    """The columns that a table has in every store."""
    return results_columns() if table == "results" else TABLES[table]


def axes_in(store: Store) -> Iterator[Described]:
    """The columns of the store's cells that are axes of sweeps, in `cells` and in `results`."""
    cells, results = (
        dict(zip(one["column_name"].to_pylist(), one["column_type"].to_pylist(), strict=True))
        for one in store.sql_all(["DESCRIBE cells", "DESCRIBE results"])
    )
    axes = [name for name in cells if name not in names("cells")]
    counts = ", ".join(["sweep", *(f"count({quoted(name)}) AS {quoted(name)}" for name in axes)])
    rows = store.sql(f"SELECT {counts} FROM cells GROUP BY sweep ORDER BY sweep").to_pylist()
    for name in axes:
        sweeps = tuple(row["sweep"] for row in rows if row[name])
        sentence = f"Axis of {', '.join(sweeps)}." if sweeps else "Axis that no cell has a value of."
        for table, column, types in (("cells", name, cells), ("results", in_results(name), results)):
            yield Described(table, column, type_named(types[column]), "", sentence, sweeps)


def type_named(sql: str) -> str:
    """Our word for an SQL type."""
    return next((word for word, (named, _) in TYPES.items() if named == sql), sql.lower())


def listed(words: Sequence[str] | dict[str, str]) -> str:
    """Words with a comma between."""
    return ", ".join(words)


def schema_text(columns: Sequence[Described]) -> str:
    """What ``warmgrid schema`` prints."""
    parts = []
    for table, rows in groupby(columns, lambda one: one.table):
        lines = [HEADS, *((one.column, one.type, one.unit, one.sentence) for one in rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(3)]
        padded = ("  ".join((*map(str.ljust, line[:3], widths), line[3])).rstrip() for line in lines)
        parts.append("\n".join((f"{table}: {TABLE_SENTENCES[table]}", "", *(f"  {line}" for line in padded), "")))
    return "\n".join(parts)


def markdown() -> str:
    """The tables of docs/results.md."""
    parts = []
    for table, sentence in TABLE_SENTENCES.items():
        rows = ((f"`{c.name}`", c.type, c.unit, c.sentence) for c in columns_of(table))
        lines = (f"| {' | '.join(row)} |" for row in (HEADS, ("---",) * len(HEADS), *rows))
        parts.append("\n".join((f"### `{table}`", "", sentence, "", *lines, "")))
    types = (f"| {word} | `{sql}` | {arrow} |" for word, (sql, arrow) in TYPES.items())
    types_table = "\n".join(("| type | in SQL | in the files |", "| --- | --- | --- |", *types))
    return "\n".join((*parts, AXES_SENTENCE, "", types_table, ""))


def renewed(page: str) -> str:
    """`page` with the tables as they are now between its marks.

    Raises:
        ConfigError: it has no marks.
    """
    if MARKED.search(page) is None:
        raise ConfigError("no marks `<!-- columns: begin -->` and `<!-- columns: end -->` in this page.")
    return MARKED.sub(lambda found: f"{found[1]}\n{markdown()}\n{found[2]}", page)


def main() -> None:
    """Write the tables anew in the page that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m orchestrator.schema_page docs/results.md")
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
