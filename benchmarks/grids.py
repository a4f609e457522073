"""Grids: stages an hour of a grid of short stages, by warmgrid and by raw Ray Tune with the authors' loop.

Figure 3's tree on scikit-learn's digits: first rounds at several batch sizes and learning rates, second rounds from
each of them and from random inits. warmgrid launches the sweep; Tune runs its trials (`benchmarks.tune_loop`), the same
cells and seeds, each with its own first round. Where all trials would take too long, every so-many-th of them is run,
and the row says how many.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import tune_loop
from benchmarks.overhead import QUIET, Failed, fresh_folder, measured

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.sweep import Trial

OURS = "warmgrid"
TUNE = {tune_loop.DEFAULTS: "raw Ray Tune, defaults", tune_loop.REUSED: "raw Ray Tune, actors reused, no loggers"}
EPOCHS = 5  # the most of a round
COUNTERS = Path("/sys/class/powercap")  # Linux's, of energy


@dataclass(frozen=True)
class Grid:
    """Values of figure 3's axes.

    Attributes:
        batch_sizes: Of first and second rounds.
        lrs: The same.
        seeds: How many.
    """

    batch_sizes: Sequence[int]
    lrs: Sequence[float]
    seeds: int
    epochs: int = EPOCHS

    def axes(self) -> dict[str, str]:
        """What ``--axis`` is given."""
        sizes, lrs = ", ".join(map(str, self.batch_sizes)), ", ".join(map(str, self.lrs))
        axes = {"data": "Digits()", "model": "MLP()", "epochs": str(self.epochs)}
        return axes | {"first_batch_size": sizes, "batch_size": sizes, "first_lr": lrs, "lr": lrs}

    def words(self) -> list[str]:
        """What a launch is given after the sweep's name."""
        words = [word for name, text in self.axes().items() for word in ("--axis", f"{name}={text}")]
        return [*words, "--seeds", f"0-{self.seeds - 1}" if self.seeds > 1 else "0"]

    def planned(self) -> Plan:
        """Its trials and stages."""
        from orchestrator import catalogue
        from orchestrator.expressions import parse_values
        from orchestrator.plan import plan

        sweep = catalogue.find("figure3").sweep  # first: it loads what the axes name
        axes = {name: parse_values(name, text) for name, text in self.axes().items()}
        return plan(sweep.replace(axes, range(self.seeds)).trials())


SMALL = Grid([16, 64], [0.01, 0.1], 1)
LARGE = Grid([16, 32, 64, 128], [0.001, 0.01, 0.1], 3)
TINY = Grid([64], [0.1], 1, epochs=1)


@dataclass(frozen=True)
class GridRun:
    """One run of a grid, or of a part of its trials.

    Attributes:
        who: Of `OURS` and `TUNE`.
        stages: Distinct ones of the whole grid.
        trials: Of the whole grid.
        trials_run: How many of them.
        trained: Stages that were trained, for Tune those too that another trial trained already.
        wall_s: Of the whole process.
        work_s: Of warmgrid from the first stage's start to the last one's end, of Tune from ``Tuner.fit`` to its end.
        stage_s: Seconds of all workers within stages or trials: reading, training, evaluation, of ours the commit too.
        train_s: Of them, those of warmgrid's training epochs; None for Tune.
        first_s: From the start of warmgrid's process to its first stage's; None for Tune.
        cpu_s: Of all processes.
        peak_mib: Of the driver.
        joules: Of the processors, all that runs on them; None where the system does not tell.
    """

    who: str
    stages: int
    trials: int
    trials_run: int
    trained: int
    wall_s: float
    work_s: float
    stage_s: float
    train_s: float | None
    first_s: float | None
    cpu_s: float
    peak_mib: float
    joules: float | None = None

    @property
    def seconds(self) -> float:
        """What rates are taken of: the whole process; of a part of Tune's trials without Ray's start, in its favour."""
        return self.wall_s if self.trials_run == self.trials else self.work_s

    @property
    def trained_an_hour(self) -> float:
        """Stages trained, be it again, in an hour."""
        return 3600 * self.trained / self.seconds

    @property
    def stages_an_hour(self) -> float:
        """Stages of the grid done in an hour: of Tune, by the trials that were run."""
        return 3600 * self.stages * self.trials_run / self.trials / self.seconds


def warmgrid(grid: Grid, backend: str = "ray") -> GridRun:
    """Launch it into a new store.

    Raises:
        Failed: not every stage was committed.
    """
    from orchestrator.store import Store

    planned = grid.planned()
    with fresh_folder() as folder:
        store = folder / "store"
        command = ["-m", "orchestrator.cli", "launch", "figure3", *grid.words(), "--store", str(store)]
        command += ["--backend", backend]
        began, energy = time.time(), joules()
        run = measured(OURS, len(planned.stages), command, store)
        spent = None if energy is None else joules(energy)
        (row,) = Store(str(store)).sql(STEADY).to_pylist()
    if row["stages"] != len(planned.stages):
        raise Failed(f"{row['stages']} of {len(planned.stages)} stages are committed")
    return GridRun(
        OURS, len(planned.stages), len(planned.trials), len(planned.trials), len(planned.stages), run.wall_s,
        work_s=row["work"], stage_s=row["stage"], train_s=row["train"], first_s=row["first"] - began,
        cpu_s=sum(run.cpu_s.values()), peak_mib=run.peak_mib, joules=spent,
    )  # fmt: skip


STEADY = """
SELECT count(*) AS stages, epoch(max(finished_at) - min(started_at)) AS work, epoch(min(started_at)) AS first,
  sum(wall_seconds) AS stage, sum(train_seconds) AS train
FROM stages WHERE status IN ('done', 'diverged')
"""


def tune(mode: str, grid: Grid, most: int | None = None) -> GridRun:
    """Run its trials, or `most` of them, under Ray Tune in one of the two modes of `benchmarks.tune_loop`."""
    planned = grid.planned()
    chosen = spread(planned.trials, most)
    with fresh_folder() as folder:
        listed, results = folder / "trials.json", folder / "ray"
        listed.write_text(json.dumps([asdict(settings_of(trial, grid.epochs)) for trial in chosen]))
        results.mkdir()
        printed = folder / "printed.json"
        words = ["-m", "benchmarks.tune_loop", mode, str(listed), str(results), "--output", str(printed)]
        env = {**QUIET, **(tune_loop.NO_LOGGERS if mode == tune_loop.REUSED else {})}
        energy = joules()
        run = measured(TUNE[mode], len(chosen), words, results, env)
        spent = None if energy is None else joules(energy)
        said: Mapping[str, Any] = json.loads(printed.read_text())
    sizes = len(planned.stages), len(planned.trials), said["trials"], said["rounds"]
    return GridRun(
        TUNE[mode], *sizes, run.wall_s,
        work_s=said["seconds"], stage_s=said["trainer_seconds"], train_s=None, first_s=None,
        cpu_s=sum(run.cpu_s.values()), peak_mib=run.peak_mib, joules=spent,
    )  # fmt: skip


def joules(since: float | None = None) -> float | None:
    """What the processors' counters have, or gained; None where they cannot be read, or began again."""
    found = 0.0
    for counter in COUNTERS.glob("intel-rapl:*/energy_uj"):
        if counter.parent.name.count(":") == 1:  # a whole processor, not a part of it
            try:
                found += float(counter.read_text()) / 1e6
            except OSError:  # root's alone
                return None
    gained = found - (since or 0.0)
    return gained if gained > 0 else None


def spread(trials: Sequence[Trial], most: int | None) -> list[Trial]:
    """At most so many of them, evenly over the whole grid."""
    if most is None or most >= len(trials):
        return list(trials)
    return [trials[place * len(trials) // most] for place in range(most)]


def settings_of(trial: Trial, epochs: int) -> tune_loop.Settings:
    """A trial of ours as Tune's function has it."""
    (stage,) = trial.stages
    config: Any = stage.config
    first: Any = stage.parent.config if stage.parent else None
    return tune_loop.Settings(
        seed=trial.seed,
        batch_size=config.batch_size,
        lr=config.lr,
        epochs=epochs,
        first_batch_size=first.batch_size if first else None,
        first_lr=first.lr if first else None,
    )
