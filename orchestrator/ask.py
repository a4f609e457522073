"""Ask: results of a sweep by condition and columns, without a whole statement; makes the SQL, reads no file itself.

From Python::

    ask(store, Question("figure3", where="init = 'warm_start' AND lr < 0.1", sort=["-test_accuracy"], limit=20))
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.columns import EPOCHS, SETTINGS, names, results_columns
from orchestrator.errors import ConfigError
from orchestrator.quoting import literal, nearest, quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.store import Store

ALL = "all"


class Kind(enum.StrEnum):
    """Which rows of a sweep: one for each cell, seed and reported round, or one for each epoch of these."""

    RESULTS = "results"
    EPOCHS = "epochs"


SHOWN: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Kind.RESULTS: (("test_accuracy", "train_seconds", "epochs"), ("seed", "round", "status")),
    Kind.EPOCHS: (("epoch", "test_accuracy", "train_accuracy", "train_seconds"), ("seed", "round")),
}
"""Columns that are shown where none are asked for, before and after the axes; a narrow terminal shows the first."""
PROBE = "SELECT 1 FROM results WHERE "  # what a condition is parsed in
MOST_NAMES = 12  # that a message lists
BROUGHT = {"shrink": "init_text", "perturb": "init_text", "regularizer_size": "regularizer_text"}
"""Columns that a setting's text tells already, where a sweep has that setting; else they are axes of their own."""
NOW = ("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp")  # columns to DuckDB's parser


@dataclass(frozen=True)
class Question:
    """What is asked of one sweep.

    Attributes:
        sweep: Its name; None for all of the store's sweeps.
        table: Epochs have the settings beside them.
        where: A condition in SQL over the table's columns; None for all rows.
        columns: Names; ``all`` for all; none for what `SHOWN` lists and the sweep's axes that have several values.
        sort: Names, the first before all; with a minus before it, largest first. Empty values come last.
        limit: Most rows; None for all.
    """

    sweep: str | None
    table: Kind = Kind.RESULTS
    where: str | None = None
    columns: Sequence[str] = ()
    sort: Sequence[str] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.table not in tuple(Kind):
            raise ConfigError(f"no table {self.table!r}. Say {' or '.join(Kind)}.")
        object.__setattr__(self, "table", Kind(self.table))  # notebooks give text
        for option, given in (("columns", self.columns), ("sort", self.sort)):
            if isinstance(given, str):  # a sequence of letters
                raise ConfigError(f"{option}={given!r}: give a list of names, such as [{given!r}].")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit {self.limit}: give the most rows to show, 1 or more.")
        if ALL in self.columns and len(self.columns) > 1:
            raise ConfigError(f"--columns {','.join(self.columns)}: {ALL} stands alone.")


def ask(store: Store, question: Question) -> pa.Table:
    """The rows that `question` asks for.

    Raises:
        StoreError: there is no store, or one that this version cannot read.
        ConfigError: the store has no such sweep or column, or the condition means nothing or is more than one.
    """
    condition = None if question.where is None else Condition.of(question.where)
    chosen = "" if question.sweep is None else f" WHERE sweep = {literal(question.sweep)}"
    looked_at = "sweep" if question.columns else "*"  # to learn which axes to show, all columns are needed
    described, cells = store.sql_all(["DESCRIBE results", f"SELECT {looked_at} FROM cells{chosen}"])
    if question.sweep is not None and not cells.num_rows:
        raise ConfigError(no_sweep(store, question.sweep))
    known = columns_of(question.table, described["column_name"].to_pylist())
    return store.sql(statement(question, known, axes_of(cells), condition))


def statement(question: Question, known: Sequence[str], axes: Sequence[str], condition: Condition | None) -> str:
    """The SQL of a question.

    Args:
        known: The table's columns.
        axes: Those of the sweep's axes to show where no columns are asked for.
        condition: What `question.where` says.

    Raises:
        ConfigError: a column is none of `known`; all such are named.
    """
    first, last = SHOWN[question.table]
    taken = [name for name in OWN if question.table is Kind.EPOCHS and f"axis_{name}" in known]
    shown = [f"axis_{name}" if name in taken else name for name in axes]
    wanted = list(question.columns) or [*first, *shown, *last]
    chosen = [name for name in ([] if wanted == [ALL] else wanted) if question.columns or name in known]
    sorting = [name.removeprefix("-") for name in question.sort]
    faults = [*unknown("--columns", chosen, known), *unknown("--sort", sorting, known)]
    if condition is not None:
        faults += condition.faults(known)
    if faults:
        raise ConfigError(" ".join(faults))
    order = [
        f"{quoted(of.removeprefix('-'))}{' DESC' if of.startswith('-') else ''} NULLS LAST" for of in question.sort
    ]
    if order or question.table is Kind.EPOCHS:
        order += [name for name in ("key", "sweep", "seed", "round", "epoch") if name in known]  # the same every time
    return (
        f"SELECT {', '.join(map(quoted, chosen)) or '*'} FROM ({relation(question, taken)}) AS {question.table}"
        + (f" WHERE {condition.sql}" if condition is not None else "")
        + (f" ORDER BY {', '.join(order)}" if order else "")
        + (f" LIMIT {question.limit}" if question.limit is not None else "")
    )


def relation(question: Question, taken: Sequence[str] = ()) -> str:
    """The rows that a condition chooses from; axes that are `taken`, called as columns of epochs are, get a prefix."""
    chosen = "" if question.sweep is None else f" WHERE sweep = {literal(question.sweep)}"
    if question.table is Kind.RESULTS:
        return f"SELECT * FROM results{chosen}"
    left_out = ", ".join(sorted(MEASURED))
    renamed = f" RENAME ({', '.join(f'{name} AS axis_{name}' for name in taken)})" if taken else ""
    return (
        f"SELECT r.*, e.* EXCLUDE (key) FROM (SELECT * EXCLUDE ({left_out}){renamed} FROM results{chosen}) r "
        f"JOIN epochs e ON e.key = r.key"
    )


MEASURED = {column.name for column in results_columns()} - {*SETTINGS, *names("cells"), "status"}
"""Columns of `results` that tell of a whole stage, not of an epoch."""
OWN = tuple(column.name for column in EPOCHS if column.name not in names("stages"))
"""Columns that epochs alone have; an axis may be called so."""


def columns_of(table: Kind, results: Sequence[str]) -> list[str]:
    """The columns that can be asked for, given those of the view `results`."""
    if table is Kind.RESULTS:
        return list(results)
    kept = [f"axis_{name}" if name in OWN else name for name in results if name not in MEASURED]
    return kept + [column.name for column in EPOCHS if column.name != "key"]


def axes_of(cells: pa.Table) -> list[str]:
    """Columns of `results` that tell a sweep's cells apart; settings by their kind if that is enough, else by text."""
    counts = {name: len(cells[name].drop_null().unique()) for name in cells.column_names if name not in names("cells")}
    texts = {f"{name}_text": name for name in counts if f"{name}_text" in counts}
    brought = {name for name, text in BROUGHT.items() if text in counts}
    found = []
    for name, count in counts.items():
        if count < 2 or name in brought or (name in texts.values() and count < counts[f"{name}_text"]):
            continue
        if name in texts and count == counts[texts[name]]:
            continue
        found.append(in_results(name))
    return found


def in_results(axis: str) -> str:
    """The column of `results` that shows a column of `cells`."""
    return axis if axis in SETTINGS or axis.lower() not in names("stages") else f"axis_{axis}"


@dataclass(frozen=True)
class Condition:
    """A condition that was parsed: one expression, and nothing beside it.

    Attributes:
        sql: In SQL, in brackets where it needs them, as DuckDB writes what it understood.
        columns: The names in it that stand for columns; None where it brings names of its own, as subqueries do.
    """

    sql: str
    columns: frozenset[str] | None

    @classmethod
    def of(cls, text: str) -> Condition:
        """Parse `text`, which nothing runs.

        Raises:
            ConfigError: it is no expression, or goes on after one.
        """
        import duckdb

        with duckdb.connect(":memory:") as connection:
            plain, tree = (tree_of(connection, part) for part in ("true", text))
            if "statements" not in tree:
                raise ConfigError(f"--where {text}: {said_of(tree)}. Give one condition, such as lr < 0.1.")
            found = [one["node"].pop("where_clause", None) for one in (*plain["statements"], *tree["statements"])]
            if any(one.get("class") == "PARAMETER" for one in parts(found[1])):
                raise ConfigError(f"--where {text}: a placeholder, and nothing to put there. Write the value.")
            if tree != plain:  # a second statement, UNION, ORDER BY, LIMIT, ...
                raise ConfigError(f"--where {text}: more than one condition. Use --sort and --limit, or write the SQL.")
            plain["statements"][0]["node"]["where_clause"] = found[1]
            (said,) = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(plain)]).fetchone() or ("",)
        has_own = any(one.get("class") in ("SUBQUERY", "LAMBDA") for one in parts(found[1]))
        named = (one["column_names"] for one in parts(found[1]) if one.get("class") == "COLUMN_REF")
        sql = f"({said.removeprefix(PROBE)})"
        return cls(sql, None if has_own else frozenset(names[-1] for names in named))

    def faults(self, known: Sequence[str]) -> list[str]:
        """What is wrong with the names in it; a word in double quotes, or in none, stands for a column."""
        there = {*NOW, *(name.lower() for name in known)}
        strange = sorted(name for name in self.columns or () if name.lower() not in there)
        told = unknown("--where", strange, known)
        return [f"{fault} Text goes in single quotes: '{name}'." for name, fault in zip(strange, told, strict=True)]


def said_of(tree: Mapping[str, Any]) -> str:
    """What is wrong with a condition that DuckDB could not take apart."""
    said = str(tree["error_message"]).splitlines()[0]
    return "more than one condition" if said.startswith("Only SELECT") else said.rstrip(" .!")


def tree_of(connection: Any, condition: str) -> dict[str, Any]:
    """What DuckDB understands of a SELECT with this condition."""
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"{PROBE}{condition}\n"]).fetchone()
    tree: dict[str, Any] = json.loads(text)
    return tree


def parts(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects in a syntax tree."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for one in tree:
            yield from parts(one)


def unknown(option: str, asked: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """A sentence for each name that is no column, with the nearest that are."""
    there = {name.lower() for name in known}
    for name in asked:
        if name.lower() not in there:
            yield f"{option}: no column {name!r}{nearest(name, known) or '. All: warmgrid schema'}."


def no_sweep(store: Store, name: str) -> str:
    """What to say of a sweep that the store does not hold."""
    held = store.sql("SELECT DISTINCT sweep FROM cells ORDER BY sweep")["sweep"].to_pylist()
    if name in ("results", "stages", "epochs", "cells"):
        return f'{name} is a table, and no sweep: warmgrid query "FROM {name}", or name a sweep: {listed(held)}.'
    return f"{store.root}: no sweep {name!r}{nearest(name, held)}. It holds {listed(held)}."


def listed(held: Sequence[str]) -> str:
    """Some names."""
    return ", ".join(held[:MOST_NAMES]) + (", ..." if len(held) > MOST_NAMES else "") if held else "none yet"
