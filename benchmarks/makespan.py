"""Makespan: the real trees of figure2 and figure4 on the real Ray backend, against the least that could be.

Long chains beside wide grids, so that order matters: figure2 has chains of 34 rounds beside 165 models from scratch,
figure4 first rounds of 70 lengths that go on from one another, each with a child. Every stage sleeps for as long as a
seeded draw says, around what the schedule expects of it, so that more workers than cores can be measured; each asks for
a quarter of a core. All else is real: plan, schedule, Ray, workers, commits. The bound is max(work / workers, longest
chain); the goal is to be within 10 % of it. ``python -m benchmarks.makespan``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.made_stages import drawn_seconds, expected_seconds, longest_chain
from benchmarks.noop import Nap
from benchmarks.tables import markdown
from orchestrator import Stage, Store
from orchestrator.plan import Plan, plan
from orchestrator.schedule import Schedule
from orchestrator.worker import Options, Report

SWEEPS, WORKERS, SECONDS, GOAL = ("figure2", "figure4"), (2, 4, 8), 45.0, 1.10
CPUS = 0.25
HEAD = ("sweep", "stages", "workers", "bound s", "measured s", "measured / bound", "longest chain s", "busy %", "load")


class Failed(Exception):  # noqa: N818 - a run, not a program
    """Some stage was not committed."""


@dataclass(frozen=True)
class Result:
    """One launch.

    Attributes:
        bound_s: The least seconds: all work over all workers, or the longest chain.
        measured_s: From the moment that the first stage began to the moment that the last one was trained.
        chain_s: The longest chain.
        busy: Share of the workers' seconds in which stages slept.
        load: Of the machine, over the last minute, when it ended.
    """

    sweep: str
    stages: int
    workers: int
    bound_s: float
    measured_s: float
    chain_s: float
    busy: float
    load: float

    @property
    def ratio(self) -> float:
        """How much longer than the bound it took."""
        return self.measured_s / self.bound_s


def napping(planned: Plan, seconds: dict[str, float]) -> Plan:
    """The same tree of stages that sleep."""
    naps: dict[str, Stage] = {}
    for number, stage in enumerate(planned.to_run):  # parents before children
        parent = naps[stage.parent.key] if stage.parent else None
        naps[stage.key] = Stage(Nap(number, seconds=seconds[stage.key]), parent)
    follows = {naps[key].key: naps[before.key] for key, before in planned.follows.items()}
    return replace(planned, to_run=list(naps.values()), stages=list(naps.values()), follows=follows)


def run(sweep: str, workers: int, seconds: float, folder: Path, seed: int = 0) -> Result:
    """Launch the tree of a sweep whose bound is `seconds` with so many workers."""
    from orchestrator.ray_backend import RayBackend

    planned = plan(importlib.import_module(f"sweeps.{sweep}").sweep.trials())
    expected = expected_seconds(planned, seed)
    drawn = drawn_seconds(expected, seed)
    unit = seconds / max(sum(drawn.values()) / workers, longest_chain(planned, drawn))
    naps = napping(planned, {key: unit * one for key, one in drawn.items()})
    cost = {nap.key: unit * expected[stage.key] for nap, stage in zip(naps.to_run, planned.to_run, strict=True)}
    lasts = {nap.key: nap.config.seconds for nap in naps.to_run}
    store, reports = Store(str(folder)), []
    store.check_format()

    def told(report: Report, _blocked: list[str]) -> None:
        reports.append(report)

    schedule = Schedule(naps.to_run, lambda stage: cost[stage.key], naps.follows)
    RayBackend(slots=workers, cpus_per_stage=CPUS).run(schedule, store, Options("makespan", device="cpu"), told)
    rows = store.to_pandas("stages", ["status", "started_at", "finished_at"])
    if len(rows) != len(naps.to_run):
        raise Failed(f"{sweep}: {len(rows)} of {len(naps.to_run)} stages are committed")
    measured = (rows["finished_at"].max() - rows["started_at"].min()).total_seconds()
    work = sum(lasts.values())
    chain = longest_chain(naps, lasts)
    bound = max(work / workers, chain)
    busy = work / (workers * measured)
    return Result(sweep, len(lasts), workers, bound, measured, chain, busy, os.getloadavg()[0])


def table(results: Sequence[Result]) -> str:
    """A row for each launch, in Markdown."""
    rows = []
    for one in results:
        numbers = [f"{one.bound_s:.1f}", f"{one.measured_s:.1f}", f"{one.ratio:.3f}", f"{one.chain_s:.1f}"]
        cells = [one.sweep, str(one.stages), str(one.workers), *numbers, f"{100 * one.busy:.0f}", f"{one.load:.1f}"]
        rows.append(cells)
    return markdown(HEAD, rows)


def main(words: Sequence[str] | None = None) -> bool:
    """Print the table, and all results as a line of JSON; tell whether the goal was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.makespan", description=__doc__)
    parser.add_argument("--sweeps", nargs="+", default=list(SWEEPS), help="whose trees are run")
    parser.add_argument("--workers", nargs="+", type=int, default=list(WORKERS), help="of a quarter of a core each")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that each launch would take at least")
    asked = parser.parse_args(words)
    results = []
    for sweep in asked.sweeps:
        for workers in asked.workers:
            with tempfile.TemporaryDirectory(prefix="warmgrid-makespan-") as name:
                results.append(run(sweep, workers, asked.seconds, Path(name)))
            print(f"{sweep}, {workers} workers: {results[-1].ratio:.3f}", file=sys.stderr)
    is_met = all(one.ratio <= GOAL for one in results)
    print(table(results))
    print(f"goal, at most {GOAL:.2f} of the bound: {'met' if is_met else 'missed'}")
    print(json.dumps([asdict(one) for one in results]))
    return is_met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
