"""CPU: the one benchmark of trainer, grids and overhead beside baselines, on this machine. ``make bench``.

Four parts, chosen with ``--parts``: `trainer`, images a second beside the authors' loop; `grids`, stages an hour beside
raw Ray Tune with the authors' loop; `overhead`, what a stage costs that trains nothing; `start`, from the launch to the
first training step. Baselines are written by us from their description (`benchmarks.authors_loop`) and say so.
Variants take turns within each round. Goals stand beside the figures; exit code 1 if one is missed.
``cpu.json`` and ``cpu.md`` are left in ``--output``. Nothing else should run meanwhile; the load is told.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import grids, tune_loop
from benchmarks.cpu_trainer import CASES, QUICK_CASES, trainer_goals, trainer_part, trainer_text
from benchmarks.first_step import first_step_seconds
from benchmarks.grids import Grid, GridRun
from benchmarks.overhead import ROLES, Run, fresh_folder, launched_once
from benchmarks.tables import Goal, exit_code, goals_table, machine, machine_text, markdown, ratio, say, shown, written

PARTS = ("trainer", "grids", "overhead", "start")
GRID_GOAL, OVERHEAD_GOAL_S, START_GOAL_S = 20.0, 0.03, 6.0
OVERHEAD_GOAL_AT = 512  # and at the largest size, which makes it flat


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        grids: Each grid with its rounds, and how many of its trials Ray Tune runs with actors reused and with defaults;
            None for all.
        overheads: Stages of each launch, with its rounds.
        starts: Rounds.
    """

    rounds: int
    window_s: float
    cases: Sequence[Any]
    grids: Sequence[tuple[Grid, int, int | None, int | None]]
    overheads: Sequence[tuple[int, int]]
    starts: int


FULL = Size(
    rounds=3,
    window_s=0.3,
    cases=CASES,
    grids=[(grids.SMALL, 2, None, 8), (grids.LARGE, 1, 60, 12)],
    overheads=[(32, 2), (512, 1), (5000, 1)],
    starts=3,
)
QUICK = Size(1, 0.05, QUICK_CASES, [(grids.TINY, 1, None, 0)], [(8, 1)], 1)


@dataclass
class Part:
    """What one part came to."""

    facts: dict[str, Any]
    goals: list[Goal]
    text: str


def grids_part(size: Size) -> Part:
    """Stages an hour of each grid."""
    runs: dict[str, list[GridRun]] = {}
    for grid, rounds, most_reused, most_defaults in size.grids:
        for _ in range(rounds):
            takes: list[Callable[[], GridRun]] = [lambda grid=grid: grids.warmgrid(grid)]  # type: ignore[misc]
            for mode, most in ((tune_loop.REUSED, most_reused), (tune_loop.DEFAULTS, most_defaults)):
                if most != 0:
                    takes.append(lambda grid=grid, mode=mode, most=most: grids.tune(mode, grid, most))  # type: ignore[misc]
            for take in takes:
                run = take()
                runs.setdefault(f"{run.stages} stages, {run.who}", []).append(run)
                say(f"{run.who}: {run.trials_run} of {run.trials} trials in {run.wall_s:.1f} s")
    goals = [grid_goal(runs)]
    facts = {name: [asdict(run) for run in found] for name, found in runs.items()}
    return Part(facts, goals, grids_text(runs))


def beside(runs: dict[str, list[GridRun]], other: Sequence[GridRun]) -> list[GridRun]:
    """Ours of the same grid."""
    return runs[f"{other[0].stages} stages, {grids.OURS}"]


def grid_goal(runs: dict[str, list[GridRun]]) -> Goal:
    """Against Ray Tune with its defaults, on the largest grid; repeated rounds of Tune's count as trained."""
    found = [one for one in runs.values() if one[0].who == grids.TUNE[tune_loop.DEFAULTS]]
    reached = None
    if found:
        largest = max(found, key=lambda one: one[0].stages)
        ours = [run.trained_an_hour for run in beside(runs, largest)]
        reached = ratio(ours, [run.trained_an_hour for run in largest]).median
    what = "stages trained an hour, warmgrid to raw Ray Tune's defaults, largest grid of short stages"
    return Goal(what, GRID_GOAL, reached)


def grids_text(runs: dict[str, list[GridRun]]) -> str:
    """One row for each grid and tool."""
    head = ["grid and tool", "trials run", "stages trained", "rounds", "wall s", "stages of the grid an hour"]
    head += [
        "trained an hour",
        "ours to it, grid",
        "ours to it, trained",
        "CPU s a stage",
        "J a stage",
        "in training",
        "in stages",
    ]
    rows = []
    for name, found in runs.items():
        one, ours = found[0], beside(runs, found)
        cells = [name, f"{one.trials_run} of {one.trials}", str(one.trained), str(len(found))]
        cells += [shown([run.wall_s for run in found], 1), shown([run.stages_an_hour for run in found])]
        cells += [shown([run.trained_an_hour for run in found])]
        for of in ("stages_an_hour", "trained_an_hour"):
            both = [[getattr(run, of) for run in side] for side in (ours, found)]
            cells.append(shown(ratio(*both).values, 1))
        cells += [shown([run.cpu_s / run.trained for run in found], 2)]
        cells += [shown([run.joules / run.trained for run in found if run.joules is not None], 1), *busy(found)]
        rows.append(cells)
    return markdown(head, rows) + (
        "\n\nA trial of Tune trains its own first round, be it trained before: *trained* counts it each time, *of the "
        "grid* once. Where not all trials were run, Tune's rates leave Ray's start out, ours never do. *In training* "
        "and *in stages*: the share of the workers' time between the first stage's start and the last one's end."
    )


def busy(found: Sequence[GridRun]) -> list[str]:
    """Shares of the workers' time that went into epochs of training, and into stages or trials as a whole."""
    workers = len(os.sched_getaffinity(0))
    known = [run for run in found if run.train_s is not None]
    training = [f"{100 * (run.train_s or 0) / run.work_s / workers:.0f} %" for run in known[-1:]]
    return [*(training or ["-"]), f"{100 * found[-1].stage_s / found[-1].work_s / workers:.0f} %"]


def overhead_part(size: Size) -> Part:
    """Seconds a stage that trains nothing."""
    runs: dict[int, list[Run]] = {}
    for n, rounds in size.overheads:
        for _ in range(rounds):
            with fresh_folder() as folder:
                runs.setdefault(n, []).append(launched_once(n, folder))
            say(f"{n:,} stages that train nothing: {runs[n][-1].wall_s:.1f} s")
    goals = []
    for n in sorted({OVERHEAD_GOAL_AT, max(OVERHEAD_GOAL_AT, *runs)}):
        reached = statistics.median(run.span_ms for run in runs[n]) / 1000 if n in runs else None
        what = f"seconds a stage beside training, at {n:,} stages"
        goals.append(Goal(what, OVERHEAD_GOAL_S, reached, at_most=True))
    return Part({str(n): [asdict(run) for run in found] for n, found in runs.items()}, goals, overhead_text(runs))


def overhead_text(runs: dict[int, list[Run]]) -> str:
    """One row for each number of stages."""
    head = ["stages that train nothing", "rounds", "ms a stage, first start to last commit", "start and end, s"]
    head += [*(f"CPU ms a stage, {role}" for role in ROLES), "driver's memory, MiB"]
    rows = []
    for n, found in runs.items():
        cells = [f"{n:,}", str(len(found)), shown([run.span_ms for run in found], 1)]
        cells += [shown([run.wall_s - (run.span_s or 0.0) for run in found], 1)]
        cells += [shown([run.cpu_ms(role) for run in found], 1) for role in ROLES]
        rows.append([*cells, shown([run.peak_mib for run in found])])
    return markdown(head, rows)


def start_part(size: Size) -> Part:
    """From the launch to the first training step."""
    found = [first_step_seconds() for _ in range(size.starts)]
    goal = Goal(
        "seconds from the launch to the first training step", START_GOAL_S, sorted(found)[len(found) // 2], True
    )
    return Part({"seconds": found}, [goal], f"From the launch to the first training step: {shown(found, 1)} s.")


def trainer(size: Size) -> Part:
    """Images a second; see `benchmarks.cpu_trainer`."""
    found = trainer_part(size.cases, size.rounds, size.window_s)
    return Part(found.facts(), trainer_goals(found), trainer_text(found))


TITLES = {
    "trainer": ("Images a second", trainer),
    "grids": ("Grids of short stages", grids_part),
    "overhead": ("Beside training", overhead_part),
    "start": ("Start", start_part),
}


@dataclass
class Told:
    """All parts that were run."""

    parts: dict[str, Part] = field(default_factory=dict)

    def text(self, where: str, seconds: float) -> str:
        """The page."""
        goals = [goal for part in self.parts.values() for goal in part.goals]
        load = f"load of the last 15 minutes {os.getloadavg()[2]:.1f}"
        head = f"On {where}; {seconds / 60:.1f} minutes, {load}. Baselines were written by us from their description."
        sections = [f"### {TITLES[name][0]}\n\n{part.text}" for name, part in self.parts.items()]
        return "\n\n".join([head, goals_table(goals), *sections])


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts, write and print what came of them; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that it runs; judges no goal")
    parser.add_argument("--output", type=Path, default=Path("bench"), help="folder for cpu.json and cpu.md")
    asked = parser.parse_args(words)
    size, began, told = QUICK if asked.quick else FULL, time.perf_counter(), Told()
    for name in asked.parts:
        told.parts[name] = TITLES[name][1](size)
    facts = machine()
    text = told.text(machine_text(facts), seconds := time.perf_counter() - began)
    goals = [goal for part in told.parts.values() for goal in part.goals]
    found: dict[str, Any] = {name: part.facts for name, part in told.parts.items()}
    files = written(
        asked.output, "cpu", {"machine": facts, "seconds": seconds, "load": os.getloadavg(), **found}, goals, text
    )
    print(text)
    say(f"Written: {', '.join(map(str, files))}")
    return 0 if asked.quick else exit_code(goals)


if __name__ == "__main__":
    sys.exit(main())
