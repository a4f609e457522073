"""Completion: what the shell offers for a word that is begun; it reads names only, and loads nothing heavy.

Where nothing can be read, as of a store that is away, nothing is offered: a message in the middle of a command line
helps nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from orchestrator.store import Store

TABLES = ("results", "stages", "epochs", "cells")
FEWEST = 2  # digits of a key before keys are offered
MOST = 50  # keys


def sweeps(incomplete: str) -> list[str]:
    """Names of our sweeps, and of Python files, that begin so."""
    from orchestrator.catalogue import names

    return [*begin(names(), incomplete), *files(incomplete)]


def sweeps_of_store(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps that were launched into the store."""
    from orchestrator.errors import SweepError

    try:
        return begin(store_of(ctx).files.folders("launches"), incomplete)
    except SweepError:
        return []


def sweeps_and_stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same, and keys of stages once two digits are there."""
    return [*sweeps_of_store(ctx, incomplete), *stages(ctx, incomplete)]


def stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of stages that begin so, by the names of small files: to open merged ones takes too long for a key press."""
    from orchestrator.errors import SweepError

    if len(incomplete) < FEWEST:
        return []
    try:
        files = store_of(ctx).files
        found = {name.partition(".")[0] for folder in ("stages", "failures", "running") for name in files.list(folder)}
        found |= {name.partition(".")[0] for name in files.list("weights")}
    except SweepError:
        return []
    return begin(sorted(found), incomplete)[:MOST]


def axes(ctx: typer.Context, incomplete: str) -> list[str]:
    """``NAME=`` of each axis of the sweep on the command line, and of what else its protocol takes."""
    from orchestrator.catalogue import find
    from orchestrator.errors import ConfigError

    words = [ctx.params.get("sweep"), ctx.params.get("asked"), *ctx.args]  # the last, as --axis has no value yet
    name = next(filter(None, words), None)
    if name is None or "=" in incomplete:
        return []
    try:
        return begin([f"{axis}=" for axis in find(name).sweep.parameters()], incomplete)
    except ConfigError:
        return []


def tables(incomplete: str) -> list[str]:
    """Names of tables."""
    return begin(TABLES, incomplete)


def store_of(ctx: typer.Context) -> Store:
    """The store of the command line so far."""
    from orchestrator.store import open_store

    return open_store(ctx.params.get("store"))


def begin(words: list[str] | tuple[str, ...], incomplete: str) -> list[str]:
    """Those of `words` that begin so."""
    return [word for word in words if word.startswith(incomplete)]


def files(incomplete: str) -> list[str]:
    """Python files and folders that begin so, as a path is completed step by step."""
    folder = Path(incomplete).parent if incomplete and not incomplete.endswith("/") else Path(incomplete or ".")
    try:
        found = sorted(folder.expanduser().iterdir())
    except OSError:
        return []
    start = incomplete[: incomplete.rfind("/") + 1]
    named = [f"{start}{path.name}{'/' if path.is_dir() else ''}" for path in found if not path.name.startswith(".")]
    return [name for name in begin(named, incomplete) if name.endswith((".py", "/"))]
