"""Report: everything a store holds, put together for one page: sweeps, claims, costs, versions, failures. No HTML."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import catalogue
from orchestrator.claims import Verdict, verdicts_of
from orchestrator.errors import ConfigError
from orchestrator.figures.results import Figure, Results, Row, Tables, read
from orchestrator.figures.scatter import Scatter
from orchestrator.figures.style import by_size
from orchestrator.overview import grouped
from orchestrator.totals import seconds_alone

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.sweep import Sweep

# An absolute path: what stands before its last part says where a machine keeps things, and is nobody's business.
FOLDERS = re.compile(r"""(?<![\w./:])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'",()]+)+[/\\](?=[^\s/\\:'",()])""")
VERSIONS = ("warmgrid_version", "torch_version", "device")


@dataclass(frozen=True)
class Cost:
    """What training took: worker seconds of `stages` stages, and those that trials would have cost one by one."""

    stages: int
    spent: float
    saved: float


@dataclass(frozen=True)
class Part:
    """What the report tells of one sweep.

    Attributes:
        name: Of the sweep.
        results: What the store holds of it.
        sweep: As its file has it; None if the file is gone.
        question: First line of that file's docstring; "" without one.
        note: Why the figure is not the sweep's own; "" if it is.
        launches: Recipes of its launches.
        cost: Of its stages, shared ones too; saved by sharing within the sweep.
        failures: Its failed stages by error: ``error``, ``count``, and one ``key`` to look at.
    """

    name: str
    results: Results
    sweep: Sweep | None
    question: str
    note: str
    launches: Sequence[Mapping[str, Any]]
    cost: Cost
    failures: Sequence[Mapping[str, Any]]

    @property
    def figure(self) -> Figure:
        """The form in which it is drawn."""
        return (self.sweep and self.sweep.figure) or Scatter("")


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        store: Path of the store.
        parts: One per sweep that was launched into it.
        verdicts: On every claim of these sweeps and of ours, by number.
        cost: Of all stages; saved by sharing between sweeps too.
        versions: How many stages each version of warmgrid and torch, and each device, trained, by column.
        hosts: How many machines trained them.
        failures: As in `Part`, of all stages.
    """

    store: str
    parts: Sequence[Part]
    verdicts: Sequence[Verdict]
    cost: Cost
    versions: Mapping[str, Mapping[str, int]]
    hosts: int
    failures: Sequence[Mapping[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """What ``report --json`` prints beside the page's path."""
        outcomes = Counter(str(verdict.outcome) for verdict in self.verdicts)
        models = {part.name: len(part.results.rows) for part in self.parts}
        failed = sum(failure["count"] for failure in self.failures)
        cost = {"stages": self.cost.stages, "wall_seconds": self.cost.spent, "saved_seconds": self.cost.saved}
        return {"store": self.store, "models": models, "claims": dict(outcomes), **cost, "failed": failed}


def report_of(store: Store) -> Report:
    """Put together what `store` holds.

    Raises:
        StoreError: there is no store.
        ConfigError: nothing was launched into it.
    """
    tables = read(store)
    names = sorted({*tables.cells, *store.files.list("launches")}, key=by_size)
    if not names:
        raise ConfigError(f"{store.root}: no sweep was launched into this store. Launch one first.")
    parts = [part_of(tables, name) for name in names]
    everything = [trial for name in tables.cells for trial in trials(tables, name)]
    rows = tables.stages.values()
    return Report(
        store.root,
        parts,
        verdicts(parts),
        cost_of(everything, tables.stages, set(tables.stages)),
        {column: dict(Counter(str(row[column]) for row in rows if row[column])) for column in VERSIONS},
        len({row["host"] for row in rows if row["host"]}),
        failures(rows),
    )


def trials(tables: Tables, sweep: str) -> list[frozenset[str]]:
    """Keys of the committed or failed stages of each cell under each seed, ancestors among them."""
    found: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for row in tables.cells.get(sweep, ()):
        address = tuple((name, str(value)) for name, value in row.items() if name not in ("round", "key"))
        found.setdefault(address, set()).update(tables.lineage(row["key"]))
    return [frozenset(keys) for keys in found.values()]


def cost_of(trials: Sequence[frozenset[str]], stages: Mapping[str, Row], keys: set[str]) -> Cost:
    """What the stages `keys` took, and what they would have taken more if no trial shared any, be it a part of one."""
    uses = Counter(key for trial in trials for key in trial)
    took = {key: stages[key]["wall_seconds"] or 0.0 for key in keys}
    final = [(stages[key], count) for key, count in uses.items() if stages[key]["status"] != "failed"]
    saved = sum(count * seconds_alone(row) - (row["wall_seconds"] or 0.0) for row, count in final)
    return Cost(len(keys), sum(took.values()), saved)


def part_of(tables: Tables, name: str) -> Part:
    """What the report tells of the sweep `name`."""
    launches, own_trials = tables.store.launches(name), trials(tables, name)
    own = {key for trial in own_trials for key in trial}
    results = tables.results_of(name)
    found, note = found_sweep(name, [launch["source"] for launch in launches])
    cost = cost_of(own_trials, tables.stages, own)
    failed = failures([tables.stages[key] for key in own])
    sweep, question = (found.sweep, question_of(found)) if found else (None, "")
    return Part(name, results, sweep, question, note, launches, cost, failed)


def found_sweep(name: str, sources: Sequence[str]) -> tuple[catalogue.Found | None, str]:
    """The sweep's file, or None and why: one of ours by its name, a user's by what it was launched from."""
    source = name if name in catalogue.names() else next(iter(sources[::-1]), "")
    if not source:
        return None, "No launch says where its file is, so it is drawn as a scatter."
    try:
        return catalogue.find(source), ""
    except ConfigError as error:
        return None, f"Its file cannot be read any more, so it is drawn as a scatter: {without_folders(str(error))}"


def question_of(found: catalogue.Found) -> str:
    """First line of the docstring of a sweep's file."""
    module = found.module or sys.modules.get(f"{catalogue.PACKAGE}.{found.sweep.name}")
    return ((module and module.__doc__) or "").strip().partition("\n")[0]


def verdicts(parts: Sequence[Part]) -> list[Verdict]:
    """On every claim of the sweeps in the store, and of ours that are not, by number."""
    known = {part.name: (part.results, part.sweep) for part in parts}
    for name in catalogue.names():
        known.setdefault(name, (Results(name, []), catalogue.find(name).sweep))
    found = [one for results, sweep in known.values() if sweep is not None for one in verdicts_of(results, sweep)]
    return sorted(found, key=lambda verdict: verdict.number)


def is_failed(row: Row) -> bool:
    """Whether a stage's last attempt failed."""
    return bool(row["status"] == "failed")


def failures(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Failed stages by error, without the folders of the machine that they failed on."""
    found = grouped([row for row in rows if is_failed(row)])
    return [{**failure, "error": without_folders(failure["error"] or "no error was kept")} for failure in found]


def without_folders(text: str) -> str:
    """`text` with only the last part of each absolute path: ``/home/me/sweep.py`` becomes ``…/sweep.py``."""
    return FOLDERS.sub("…/", text)


def file_of(source: str) -> str:
    """What a launch was made from, without folders."""
    return Path(source).name
