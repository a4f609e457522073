"""Quoting: names and texts as SQL takes them, and the names that look like one; asks nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def nearest(name: str, known: Sequence[str]) -> str:
    """The names in `known` that look most like `name`, as the end of a phrase; "" if none does."""
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"; nearest: {', '.join(near)}" if near else ""
