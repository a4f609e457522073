"""Overviews: how far a sweep is, for the page; and which sweeps' files it may run to know that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import catalogue
from orchestrator.errors import ConfigError, SweepError
from orchestrator.live.questions import as_json
from orchestrator.overview import grouped, overview, planned_of
from orchestrator.progress import settings

if TYPE_CHECKING:
    from orchestrator.catalogue import Found
    from orchestrator.live.follow import Follower
    from orchestrator.live.models import Models
    from orchestrator.plan import Plan
    from orchestrator.store import Store

MOST_LINES, MOST_STAGES = 100, 20  # of a kind, and of a failure, that the page is told


class Overviews:
    """The overviews of one store's sweeps."""

    def __init__(self, store: Store, own: str | None = None) -> None:
        """Read nothing yet.

        Args:
            store: For what is asked here alone.
            own: A user's file that defines a sweep, which may be run to know its stages and claims. Others that the
                store names are not: whoever made the store wrote down their paths.
        """
        self.store, self.own = store, str(Path(own).expanduser().absolute()) if own else ""
        self._plans: dict[str, tuple[str, Plan]] = {}

    def of(self, sweep: str, follower: Follower, models: Models | None) -> dict[str, Any]:
        """Counts of stages, time left, failures and what happened, as `orchestrator.overview` has them.

        Of a sweep whose file may not be run, a ``note`` that says so, and the failures of its results.
        """
        try:
            rows = {**follower.committed, **follower.failed}
            found = shortened(overview(self.store, sweep, {}, None, rows, self._plan(sweep)))
            return {name: as_json(value) for name, value in found.items()}  # a made-up store's hours may be NaN
        except (SweepError, OSError) as error:
            failures = [] if models is None else failures_of(models, follower)
            return {"note": str(error), **shortened({"failures": failures, "running": [], "happened": []})}

    def _plan(self, sweep: str) -> Plan:
        """The stages that a sweep's launches asked for; made again only after another launch."""
        self.find(sweep)
        launches = json.dumps(self.store.launches(sweep), sort_keys=True)
        if self._plans.get(sweep, ("",))[0] != launches:
            self._plans[sweep] = launches, planned_of(self.store, sweep, {}, None)
        return self._plans[sweep][1]

    def find(self, sweep: str) -> Found:
        """A sweep that was launched from one of our files, or from the user's own.

        Raises:
            ConfigError: it was launched from another one, or that one is gone.
        """
        sources = list(dict.fromkeys(recipe["source"] for recipe in self.store.launches(sweep)))
        for source in sources:
            if source != self.own and (source.endswith(".py") or "/" in source):
                raise ConfigError(
                    f"{source} defines this sweep, and is not run because a store says so. Where you trust it: "
                    f"warmgrid serve {source}. Stages that are no result themselves, time left and claims need it."
                )
        return catalogue.find(sources[-1] if sources else sweep)


def failures_of(models: Models, follower: Follower) -> list[dict[str, Any]]:
    """The results of a sweep that failed, by error, as an overview has them."""
    failed = [row for row in follower.failed.values() if row["key"] in models.keys]
    stages: dict[str, list[dict[str, Any]]] = {}
    for row in failed:
        stages.setdefault(row["error"], []).append({"key": row["key"], "settings": settings(row), "blocks": []})
    return [{**group, "stages": stages[group["error"]]} for group in grouped(failed)]


def shortened(overview: Mapping[str, Any]) -> dict[str, Any]:
    """An overview as the page is told it every few seconds: of long lists what it shows, of blocked stages a count."""
    failures = [
        {**group, "stages": [{**one, "blocks": len(one["blocks"])} for one in group["stages"][:MOST_STAGES]]}
        for group in overview["failures"][:MOST_LINES]
    ]
    lists = {"running": overview["running"][:MOST_LINES], "happened": overview["happened"][-MOST_LINES:]}
    left_out = ("events", "attempts", "waiting")
    kept = {name: value for name, value in overview.items() if name not in left_out}
    return {**kept, **lists, "failures": failures}
