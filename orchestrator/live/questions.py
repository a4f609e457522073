"""Questions: SQL from the page, within a time limit and as many rows as a page can show. It can only read."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

LIMIT_S, MOST_ROWS, AT_ONCE = 20.0, 1000, 2
MOST_BYTES = 16_000_000  # of an answer, which becomes several times as much on its way into a table
LOOK_EVERY_S = 0.1  # whether a statement has to stop
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
        if not self._room.acquire(blocking=False):
            raise ConfigError(f"SQL: {AT_ONCE} statements run already. Wait for one of them to end.")
        began = time.monotonic()
        try:
            rows = self._rows(sql)
        finally:
            self._room.release()
        if rows.nbytes > MOST_BYTES:
            raise ConfigError(f"SQL: {rows.nbytes / 1e6:,.0f} MB are too much for a page. Ask for less.")
        values = [[as_json(value) for value in column.to_pylist()] for column in rows.columns]
        told = {"columns": rows.column_names, "rows": [list(row) for row in zip(*values, strict=True)][:MOST_ROWS]}
        return {**told, "is_more": rows.num_rows > MOST_ROWS, "seconds": time.monotonic() - began}

    def _rows(self, sql: str) -> pa.Table:
        """The first rows, and one more if there are more; as `orchestrator.query.run_all`, but that `end` stops it."""
        import duckdb

        from orchestrator.query import connect, explain, plain_numbers
        from orchestrator.scan import Scan
        from orchestrator.shelf import Shelf
        from orchestrator.sources import Sources

        store = Store(self.root)
        store.check_readable()
        sources = Sources(Scan(store.files, Shelf(store.files)))
        with connect(sources, [sql]) as connection, self._limited(connection):
            try:
                return plain_numbers(connection.sql(sql).limit(MOST_ROWS + 1).to_arrow_table())
            except duckdb.InterruptException:
                why = "the page ends" if self._ended.is_set() else f"it was not done after {self.limit_s:g} s"
                raise ConfigError(f"SQL: stopped, as {why}. Ask for less.") from None
            except duckdb.Error as error:
                if sources.trouble:
                    raise sources.trouble[0] from None
                raise ConfigError(explain(connection, sql, str(error))) from None

    @contextlib.contextmanager
    def _limited(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt what the connection does once its time is over, or at the end; again, until it has stopped."""
        deadline, is_done = time.monotonic() + self.limit_s, threading.Event()

        def stop() -> None:
            while not is_done.wait(LOOK_EVERY_S):
                if self._ended.is_set() or time.monotonic() > deadline:
                    connection.interrupt()

        watcher = threading.Thread(target=stop, name="SQL's time", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_done.set()
            watcher.join()

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
