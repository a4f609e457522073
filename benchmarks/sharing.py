"""Sharing: what figures 3 and 4, shortened, cost with stages shared between trials and without; for real, on Ray.

Without: every stage has its trial's number in its key, so no two trials have one in common, and none goes on from
another one's end. Both ways train the same networks, which is checked. ``python -m benchmarks.sharing``: some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchmarks.overhead import fresh_folder, measured
from benchmarks.tables import machine, machine_text, markdown, ratio, say, shown, written
from orchestrator import Stage, catalogue
from orchestrator.spec import setting
from sweeps.protocols import half_then_all
from trainers.data import Digits
from trainers.models import MLP
from trainers.optimizers import Adam
from trainers.stage_config import Supervised
from trainers.stopping import TrainAccuracy

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.sweep import Sweep

SHORT: dict[str, tuple[dict[str, list[Any]], int]] = {  # axes in place of the figure's own, and how many seeds
    "figure3": ({"data": [Digits()], "model": [MLP()], "epochs": [10]}, 1),
    "figure4": (
        {
            "data": [Digits()],
            "model": [MLP()],
            "optimizer": [Adam()],
            "batch_size": [32],
            "first_epochs": list(range(2, 41, 2)),
            "stop": [TrainAccuracy(0.99, cap=20, window=0)],
        },
        2,
    ),
}
FEW: dict[str, dict[str, list[Any]]] = {
    "figure3": {"epochs": [2], "first_batch_size": [64], "batch_size": [64], "lr": [0.01, 0.1]},
    "figure4": {"epochs": [2], "first_epochs": [1, 2]},
}
TINY = {name: ({**axes, **FEW[name]}, 1) for name, (axes, _) in SHORT.items()}
WAYS = ("shared", "apart")
SWEEP_FILE = """
from benchmarks.sharing import short

sweep = short({name!r}, {way!r}, is_tiny={is_tiny})
"""
TOTALS = """
SELECT count(*) AS stages, sum(wall_seconds) AS worker_s, epoch(max(finished_at) - min(started_at)) AS span_s
FROM stages WHERE status IN ('done', 'diverged')
"""


@setting
class Apart(Supervised, kind="benchmark_apart"):
    """`Supervised` of one trial alone.

    Attributes:
        trial: Names the trial; decides nothing but the key.
    """

    trial: str = ""

    trainer: ClassVar[str] = Supervised.trainer


@functools.wraps(half_then_all)
def apart(**settings: Any) -> list[Stage]:
    """The stages of `half_then_all`, each this trial's own."""
    reported = half_then_all(**settings)
    return [own(stage, reported[-1].key) for stage in reported]


def own(stage: Stage, trial: str) -> Stage:
    """`stage` and its ancestors with the trial in their keys; none keeps its end for another one to go on from."""
    config: Any = stage.config
    given = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
    return Stage(Apart(**given, trial=trial), own(stage.parent, trial) if stage.parent else None)


def short(name: str, way: str, *, is_tiny: bool = False) -> Sweep:
    """A figure's sweep, shortened; with stages shared or apart."""
    axes, seeds = (TINY if is_tiny else SHORT)[name]
    sweep = catalogue.find(name).sweep.replace(axes, range(seeds))
    return sweep if way == "shared" else dataclasses.replace(sweep, protocol=apart)


@dataclass(frozen=True)
class Run:
    """One launch.

    Attributes:
        stages: That were trained.
        wall_s: Of the whole process.
        span_s: From the first stage's start to the last one's end.
        worker_s: Of workers, all stages.
        saved_s: What ``warmgrid status`` says that sharing saved, in seconds of workers.
        cpu_s: Of all processes.
    """

    stages: int
    wall_s: float
    span_s: float
    worker_s: float
    saved_s: float
    cpu_s: float


def launched(name: str, way: str, *, is_tiny: bool, backend: str = "ray") -> tuple[Run, dict[str, float]]:
    """Launch it into a new store; and the accuracy of every model by its cell and seed."""
    from orchestrator.overview import overview
    from orchestrator.store import Store

    with fresh_folder() as folder:
        sweep, path = folder / f"{name}_{way}.py", folder / "store"
        sweep.write_text(SWEEP_FILE.format(name=name, way=way, is_tiny=is_tiny))
        command = ["-m", "orchestrator.cli", "launch", str(sweep), "--store", str(path), "--backend", backend]
        run = measured(name, 1, command, path)
        store = Store(str(path))
        (row,) = store.sql(TOTALS).to_pylist()
        saved = overview(store, f"{name}_{way}", {}, None)["seconds_saved"]
        accuracies = accuracies_of(store)
    return Run(row["stages"], run.wall_s, row["span_s"], row["worker_s"], saved, sum(run.cpu_s.values())), accuracies


def accuracies_of(store: Store) -> dict[str, float]:
    """Test accuracy of every reported model, by its cell and seed in words."""
    found = {}
    for row in store.sql("SELECT * FROM cells JOIN (SELECT key, test_accuracy FROM stages) USING (key)").to_pylist():
        accuracy = row.pop("test_accuracy")
        cell = {name: value for name, value in row.items() if name not in ("sweep", "key")}
        found[str(sorted(cell.items()))] = accuracy
    return found


def table(runs: dict[str, dict[str, list[Run]]]) -> str:
    """Two rows for each figure."""
    head = ["figure, shortened", "stages", "rounds", "wall s", "seconds of workers", "said to be saved, s"]
    head += ["wall: without to with", "seconds of workers: without to with"]
    rows = []
    for name, ways in runs.items():
        for way, found in ways.items():
            cells = [f"{name}, {'with' if way == 'shared' else 'without'} sharing", str(found[0].stages)]
            cells += [str(len(found)), shown([run.span_s for run in found], 1)]
            cells += [shown([run.worker_s for run in found], 1), shown([run.saved_s for run in found], 1)]
            ratios = [
                shown(ratio(*[[getattr(run, of) for run in ways[one]] for one in ("apart", "shared")]).values, 2)
                for of in ("span_s", "worker_s")
            ]
            rows.append([*cells, *(ratios if way == "shared" else ["", ""])])
    return markdown(head, rows) + "\n\nWall seconds from the first stage's start to the last one's end."


def main(words: Sequence[str] | None = None) -> int:
    """Launch each figure both ways in turn; 1 if a network depends on the way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two cells of each figure, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("bench"), help="folder for sharing.json and sharing.md")
    asked = parser.parse_args(words)
    runs: dict[str, dict[str, list[Run]]] = {name: {way: [] for way in WAYS} for name in SHORT}
    differing: list[str] = []
    for _ in range(1 if asked.quick else asked.rounds):
        for name in SHORT:
            accuracies = []
            for way in WAYS:
                run, found = launched(name, way, is_tiny=asked.quick)
                runs[name][way].append(run)
                accuracies.append(found)
                say(f"{name}, {way}: {run.stages} stages in {run.wall_s:.1f} s")
            if accuracies[0] != accuracies[1]:
                differing.append(name)
    facts = {name: {way: [asdict(run) for run in found] for way, found in ways.items()} for name, ways in runs.items()}
    text = f"On {machine_text(machine())}.\n\n{table(runs)}"
    written(asked.output, "sharing", {"machine": machine(), **facts}, [], text)
    print(text)
    for name in differing:
        print(f"{name}: the networks differ with and without sharing. This is a fault of warmgrid.", file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
