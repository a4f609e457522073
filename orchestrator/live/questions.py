"""Questions: SQL from the page, within a time limit and as many rows as a page can show. It can only read."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.store import Store

LIMIT_S, MOST_ROWS, AT_ONCE = 20.0, 1000, 2
MOST_BYTES = 16_000_000  # of an answer, which becomes several times as much on its way into a table
MEMORY = "2GB"  # of DuckDB, for a statement
LARGEST = 2**53  # whole numbers beyond are others in a browser


class Questions:
    """The SQL box of one page."""

    def __init__(self, root: str, limit_s: float = LIMIT_S) -> None:
        """Ask nothing yet. A statement may run for `limit_s` seconds."""
        self.root, self.limit_s = root, limit_s
        self._room, self._ended = threading.Semaphore(AT_ONCE), threading.Event()

    def end(self) -> None:
        """Stop what runs, and answer no more."""
        self._ended.set()

    def ask(self, sql: str) -> dict[str, Any]:
        """The first rows of one reading statement, as JSON values.

        Raises:
            ConfigError: it means nothing, would do more than read, takes too long or too much, or too many run already.
            StoreError: the store cannot be read.
        """
        from orchestrator.query import Limits, run_all

        if not self._room.acquire(blocking=False):
            raise ConfigError(f"SQL: {AT_ONCE} statements run already. Wait for one of them to end.")
        began = time.monotonic()
        try:
            store, limits = Store(self.root), Limits(self.limit_s, MOST_ROWS + 1, MEMORY, self._ended)
            store.check_readable()
            (rows,) = run_all(store.files, [sql], limits=limits)
        finally:
            self._room.release()
        if rows.nbytes > MOST_BYTES:
            raise ConfigError(f"SQL: {rows.nbytes / 1e6:,.0f} MB are too much for a page. Ask for less.")
        values = [[as_json(value) for value in column.to_pylist()] for column in rows.columns]
        told = {"columns": rows.column_names, "rows": [list(row) for row in zip(*values, strict=True)][:MOST_ROWS]}
        return {**told, "is_more": rows.num_rows > MOST_ROWS, "seconds": time.monotonic() - began}

    def tables(self) -> list[dict[str, Any]]:
        """Every table with its columns, the axes of the store's sweeps among them."""
        from orchestrator.schema_page import described

        tables: dict[str, list[dict[str, str]]] = {}
        for one in described(Store(self.root)):
            told = {"name": one.column, "type": one.type, "unit": one.unit, "sentence": one.sentence}
            tables.setdefault(one.table, []).append(told)
        return [{"name": name, "columns": columns} for name, columns in tables.items()]


def as_json(value: Any) -> Any:
    """`value` in JSON's types: null for NaN and infinity, text for what JSON or a browser has no type for."""
    if isinstance(value, dict):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > LARGEST:
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
