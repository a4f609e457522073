"""Simulation: what the driver costs at 100,000 stages, by the real plan, schedule, gate and watch; trains nothing.

`benchmarks.made_cluster` takes the stages, lets them last as long as a seeded draw says, and loses workers, answers and
whole nodes on a made-up clock. ``python -m benchmarks.simulation``.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.made_cluster import NO_TROUBLES, NODE_GPUS, Cluster, bound, hand_out, troubles_of
from benchmarks.made_stages import A_SEED, drawn_seconds, expected_seconds, trials_of
from benchmarks.tables import markdown
from orchestrator.plan import plan
from orchestrator.schedule import Schedule

SIZES, ROUNDS, STAGES_A_GPU = (1_000, 10_000, 100_000), 3, 100
CASES = UNDISTURBED, TROUBLED = "undisturbed", "troubled"
GOAL_S, GOAL_SHARE = 60.0, 0.95
HEAD = (
    "case", "stages", "GPUs", "wall s", "CPU s", "plan, ms a stage", "schedule, ms a stage", "us a hand-out",
    "us a look", "plan, KiB a stage", "schedule, KiB", "reports, KiB", "collector %", "hand-outs", "committed once",
    "wrong", "retried", "bound / time",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one simulated launch cost the driver, and how well it used its GPUs.

    Attributes:
        plan_s: CPU seconds of protocols, keys and merging.
        schedule_s: CPU seconds of estimates and of the schedule's tree.
        handing_us: CPU microseconds a hand-out: asking for a stage, and telling its end.
        watching_us: CPU microseconds of the watch's every look at all that runs; it grows with the GPUs.
        wall_s: Wall seconds of all that, and of the made-up cluster; `cpu_s` the same in CPU seconds.
        plan_kib: Resident memory a stage that the plan takes, KiB; `schedule_kib` the schedule, `reports_kib` the rest.
        gc_share: Share of the CPU seconds that went into Python's garbage collector.
        handouts: How many times stages were handed out.
        once: Stages that were committed exactly once.
        wrong: Stages that were handed out too early, or again after their commit.
        retried: Failures that were tried again.
        hours: Made-up hours of the launch.
        bound_hours: See `bound`.
    """

    stages: int
    gpus: int
    plan_s: float
    schedule_s: float
    handing_us: float
    watching_us: float
    wall_s: float
    cpu_s: float
    plan_kib: float
    schedule_kib: float
    reports_kib: float
    gc_share: float
    handouts: int
    once: int
    wrong: int
    retried: int
    hours: float
    bound_hours: float

    @property
    def share(self) -> float:
        """Of the least possible time to the time that it took; 1 is perfect."""
        return self.bound_hours / self.hours


class Collector:
    """Counts the CPU seconds of Python's garbage collector."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        """Called by the collector when it begins and when it ends."""
        if phase == "start":
            self._began = time.process_time()
        else:
            self.seconds += time.process_time() - self._began


def resident_kib() -> float:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def measure(size: int, case: str) -> Result:
    """Plan and run about `size` stages in this process, which should have done nothing before."""
    logging.getLogger("warmgrid").setLevel(logging.ERROR)  # a line for each retry is for people
    collector, gpus, memory = Collector(), max(NODE_GPUS, size // STAGES_A_GPU), [resident_kib()]
    wall, clock = time.perf_counter(), [time.process_time()]
    planned = plan(trials_of(max(1, round(size / A_SEED))))
    clock.append(time.process_time())
    memory.append(resident_kib())
    expected = expected_seconds(planned, 0)
    schedule = Schedule(planned.to_run, lambda stage: expected[stage.key], planned.follows)
    clock.append(time.process_time())
    memory.append(resident_kib())
    troubles = troubles_of(size) if case == TROUBLED else NO_TROUBLES
    cluster = Cluster(planned, drawn_seconds(expected, 0), gpus, troubles)
    hand_out(cluster, schedule)
    memory.append(resident_kib())
    stages = len(planned.to_run)
    plan_kib, schedule_kib, reports_kib = ((b - a) / stages for a, b in itertools.pairwise(memory))
    plan_s, schedule_s = (b - a for a, b in itertools.pairwise(clock))
    return Result(
        stages=stages,
        gpus=gpus,
        plan_s=plan_s,
        schedule_s=schedule_s,
        handing_us=1e6 * cluster.handing_s / len(cluster.order),
        watching_us=1e6 * cluster.watching_s / cluster.steps,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - clock[0],
        plan_kib=plan_kib,
        schedule_kib=schedule_kib,
        reports_kib=reports_kib,
        gc_share=collector.seconds / (time.process_time() - clock[0]),
        handouts=len(cluster.order),
        once=sum(count == 1 for count in cluster.store.commits.values()),
        wrong=len(cluster.early) + len(cluster.repeated),
        retried=cluster.store.events["retried"],
        hours=cluster.ended / 3600,
        bound_hours=bound(cluster) / 3600,
    )


def measured_apart(size: int, case: str) -> Result:
    """`measure` in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.simulation", "--inside", case, "--sizes", str(size)]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return Result(**json.loads(printed.splitlines()[-1]))


def table(results: Mapping[tuple[str, int], Sequence[Result]]) -> str:
    """Medians over the rounds, in Markdown; of hand-outs and of wall seconds the range too."""
    rows = []
    for (case, _), found in results.items():
        one = found[0]

        def middle(name: str, found: Sequence[Result] = found) -> float:
            return statistics.median(getattr(result, name) for result in found)

        def ranged(name: str, digits: int, found: Sequence[Result] = found) -> str:
            values = [getattr(result, name) for result in found]
            low, high = min(values), max(values)
            return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"

        cells = [case, f"{one.stages:,}", f"{one.gpus:,}", ranged("wall_s", 1)]
        cells += [ranged("cpu_s", 1)]
        cells += [f"{1000 * middle(name) / one.stages:.3f}" for name in ("plan_s", "schedule_s")]
        cells += [ranged("handing_us", 0), ranged("watching_us", 0)]
        cells += [f"{middle(name):.1f}" for name in ("plan_kib", "schedule_kib", "reports_kib")]
        cells += [f"{100 * middle('gc_share'):.0f}", f"{one.handouts:,}", f"{one.once:,}", str(one.wrong)]
        rows.append([*cells, str(one.retried), f"{one.share:.3f}"])
    return markdown(HEAD, rows)


def is_good(result: Result) -> bool:
    """Whether nothing was lost, doubled or early, in under a minute, within 5 % of the bound."""
    whole = result.once == result.stages and not result.wrong
    return whole and result.wall_s <= GOAL_S and result.share >= GOAL_SHARE


def main(words: Sequence[str] | None = None) -> bool:
    """Print the table and a line of JSON; tell whether the largest size keeps all promises."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="about how many stages")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in which the sizes take turns")
    parser.add_argument("--inside", choices=CASES, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.inside:
        print(json.dumps(asdict(measure(asked.sizes[0], asked.inside))))
        return True
    results: dict[tuple[str, int], list[Result]] = {}
    for round_ in range(asked.rounds):
        for case in CASES if not round_ else (TROUBLED,):  # the other one is there for its bound
            for size in asked.sizes:
                results.setdefault((case, size), []).append(measured_apart(size, case))
    machine = f"load {os.getloadavg()[0]:.1f} at the end on {os.cpu_count()} cores"
    print(f"{asked.rounds} rounds in turns; CPU times; {machine}")
    print(table(results))
    print(json.dumps({f"{case}, {size}": [asdict(r) for r in found] for (case, size), found in results.items()}))
    return all(is_good(result) for (_, size), found in results.items() if size == max(asked.sizes) for result in found)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
