"""The command ``warmgrid serve``: the live page of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli_options import StorePath
from orchestrator.errors import ConfigError, StoreError
from orchestrator.request import opened, sweep_name

Shown = Annotated[
    str | None,
    typer.Argument(metavar="SWEEP", help="Shown first; of your own sweep its .py file. Default: any."),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="0.0.0.0 for all; then a token is needed.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in a browser here.")]


def serve_command(
    sweep: Shown = None,
    store: StorePath = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    in_browser: Open = False,
) -> None:
    """Show a store as a page that fills in while a sweep runs.

    Progress with time left, accuracy against cost, learning curves, lineage, failures, claims and SQL; it reads the
    store only, so it works after the cluster is gone. Ctrl-C ends it.
    """
    from orchestrator.live.serve import bind, serve

    kept = opened(store)
    if not kept.check_readable():
        raise StoreError(f"{kept.root}: no store here. Launch a sweep into it, or give another --store.")
    fragment = ""
    if sweep is not None:
        name = sweep_name(sweep)
        if not kept.launches(name):
            raise ConfigError(f"{kept.root}: no launch of {name!r}. Start one with: warmgrid launch {sweep}")
        fragment = f"#sweep={name}"
    place = bind(host, port)
    own = sweep if sweep is not None and sweep.endswith(".py") else None

    def ready() -> None:
        typer.echo(f"{kept.root}\n  {place.link}{fragment}\nCtrl-C ends the page; the store is only read.")

    serve(kept.root, place, own, ready, fragment=fragment, in_browser=in_browser)
