"""Overhead: what a stage costs beside its training, for real: 10,000 stages that train nothing, beside raw Ray Tune.

Stages go through ``warmgrid launch`` on the Ray backend with a real store and real commits; afterwards ``plan`` and
``resume`` find all done. Raw Ray Tune runs as many trials of a function that reports once: with its defaults, of which
few are run because each takes a second or more, and with reuse_actors and without loggers. Nothing is extrapolated:
every row says how many it ran. ``python -m benchmarks.overhead``.

CPU seconds are those of all processes of a run, found by a mark in their environment: the driver's, its workers',
and Ray's daemons'. On a machine that does other work too they say more than wall seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.noop import SWEEP_FILE
from benchmarks.tables import markdown
from orchestrator.store import Store

STAGES, SMALL, DEFAULTS, ROUNDS = 10_000, 256, 24, 3
LOOK_S = 0.5
MARK = "WARMGRID_OVERHEAD"
ROLES = ("driver", "workers", "daemons")
OURS, TUNED, PLAIN = "warmgrid", "Ray Tune, reuse_actors, no loggers", "Ray Tune, defaults"
QUIET = {"OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
BARE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class Failed(Exception):  # noqa: N818 - a run, not a program
    """A run did not come to its end."""


@dataclass(frozen=True)
class Run:
    """What one command took.

    Attributes:
        n: Stages or trials.
        wall_s: From the start of the process to its end, Ray's start and end included.
        cpu_s: CPU seconds by role, see `ROLES`.
        peak_mib: Most resident memory of the driver.
        files: Left when it ended.
        bytes: In these files.
        span_s: From the moment that the first stage began to the moment that the last one was trained, start-up and the
            merging of files left out; None where nothing was trained.
        load: Of the machine, over the last minute, when it ended.
    """

    what: str
    n: int
    wall_s: float
    cpu_s: Mapping[str, float]
    peak_mib: float
    files: int
    bytes: int
    load: float
    span_s: float | None = None

    @property
    def wall_ms(self) -> float:
        """Wall milliseconds a stage, all that happens once included."""
        return 1000 * self.wall_s / self.n

    @property
    def span_ms(self) -> float:
        """The same without what happens before and after the stages; 0 where none was trained."""
        return 1000 * (self.span_s or 0.0) / self.n

    def cpu_ms(self, role: str | None = None) -> float:
        """CPU milliseconds a stage, of one role or of all."""
        return 1000 * (sum(self.cpu_s.values()) if role is None else self.cpu_s[role]) / self.n


class Meter:
    """CPU seconds and memory of all processes that carry a mark in their environment."""

    def __init__(self, driver: int, mark: str) -> None:
        """`driver` is the id of the process that is measured as such; `mark` as it stands in the environment."""
        self.peak_mib = 0.0
        self._driver, self._mark = driver, mark.encode()
        self._roles: dict[int, str | None] = {}
        self._cpu: dict[int, float] = {}

    def look(self) -> None:
        """Note what every marked process has used until now; what it uses after the last look is not seen."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                self._look_at(int(folder.name), folder)

    def _look_at(self, pid: int, folder: Path) -> None:
        if pid not in self._roles:
            ours = self._mark in (folder / "environ").read_bytes().split(b"\0")
            self._roles[pid] = self._role(pid, (folder / "cmdline").read_bytes()) if ours else None
        elif self._roles[pid] == "daemons":  # a worker gets its name after its birth
            self._roles[pid] = self._role(pid, (folder / "cmdline").read_bytes())
        if self._roles[pid] is None:
            return
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        self._cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if pid == self._driver:
            mib = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
            self.peak_mib = max(self.peak_mib, mib)

    def _role(self, pid: int, command: bytes) -> str:
        if pid == self._driver:
            return "driver"
        return "workers" if command.startswith(b"ray::") or b"default_worker.py" in command else "daemons"

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by role, of ended processes too."""
        return {role: sum(s for pid, s in self._cpu.items() if self._roles[pid] == role) for role in ROLES}


def measured(what: str, n: int, words: Sequence[str], folder: Path, env: Mapping[str, str] = QUIET) -> Run:
    """Run a command of this Python to its end, and count the files in `folder` then."""
    mark, value = MARK, uuid.uuid4().hex
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=output, stderr=output, env={**os.environ, **QUIET, **env, mark: value}
        )
        meter = Meter(process.pid, f"{mark}={value}")
        while process.poll() is None:
            meter.look()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
        wall_s = time.perf_counter() - began
        if process.returncode:
            output.seek(0)
            raise Failed(f"{' '.join(words)}: exit {process.returncode}\n{output.read().decode()[-2000:]}")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Run(what, n, wall_s, meter.cpu_s(), meter.peak_mib, len(sizes), sum(sizes), os.getloadavg()[0])


def launched_once(n: int, folder: Path) -> Run:
    """`n` stages through ``launch``, into a store in `folder`."""
    sweep, store = folder / "overhead.py", folder / "store"
    sweep.write_text(SWEEP_FILE.format(n=n))
    launch = measured(OURS, n, ["-m", "orchestrator.cli", "launch", str(sweep), "--store", str(store)], store)
    done = Store(str(store)).to_pandas("stages", ["started_at", "finished_at"])
    if len(done) != n:
        raise Failed(f"{len(done)} of {n} stages are committed")
    return replace(launch, span_s=(done["finished_at"].max() - done["started_at"].min()).total_seconds())


def launched(n: int, folder: Path) -> list[Run]:
    """`n` stages through ``launch``, then ``plan`` and ``resume`` of what is all done."""
    launch = launched_once(n, folder)
    store, command = folder / "store", ["-m", "orchestrator.cli"]
    given = [str(folder / "overhead.py"), "--store", str(store)]
    plan = measured("warmgrid plan, all done", n, [*command, "plan", *given], store)
    return [launch, plan, measured("warmgrid resume, all done", n, [*command, "resume", *given], store)]


def tune_alone(what: str, n: int, folder: Path) -> None:
    """Run `n` trials of a function that reports once, in this process, as Ray's documentation writes it."""
    import ray
    from ray import tune

    def train(config: dict[str, int]) -> None:
        tune.report({"loss": float(config["number"])})

    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    is_tuned = what == TUNED
    tune.Tuner(
        train,
        param_space={"number": tune.grid_search(list(range(n)))},
        tune_config=tune.TuneConfig(reuse_actors=is_tuned),
        run_config=tune.RunConfig(name="overhead", storage_path=str(folder), verbose=0 if is_tuned else 1),
    ).fit()
    ray.shutdown()


def tuned(what: str, n: int, folder: Path) -> list[Run]:
    """`tune_alone` in a process of its own."""
    words = ["-m", "benchmarks.overhead", "--inside", what, "--stages", str(n), "--folder", str(folder)]
    return [measured(what, n, words, folder, BARE if what == TUNED else QUIET)]


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="warmgrid-overhead-") as name:
        yield Path(name)


def ranged(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def table(runs: Sequence[Run]) -> str:
    """One row for each kind of run and number of stages, in Markdown."""
    head = ["run", "n", "rounds", "wall s", "wall ms a stage", "first to last, ms a stage"]
    head += [*(f"{role}, CPU ms" for role in ROLES), "CPU ms a stage", "files", "KiB a stage"]
    head += ["driver's memory, MiB", "load"]
    rows = []
    kinds: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        kinds.setdefault((run.what, run.n), []).append(run)
    for (what, n), found in kinds.items():
        cells = [what, f"{n:,}", str(len(found)), ranged([run.wall_s for run in found], 1)]
        cells += [ranged([run.wall_ms for run in found], 1)]
        cells += [ranged([run.span_ms for run in found], 1) if found[0].span_s is not None else ""]
        cells += [ranged([run.cpu_ms(role) for run in found], 1) for role in ROLES]
        cells += [ranged([run.cpu_ms() for run in found], 1), f"{found[-1].files:,}"]
        cells += [f"{found[-1].bytes / n / 1024:.1f}", ranged([run.peak_mib for run in found], 0)]
        rows.append([*cells, ranged([run.load for run in found], 1)])
    return markdown(head, rows)


def main(words: Sequence[str] | None = None) -> bool:
    """Print the table, and all runs as a line of JSON; tell whether all of them came to their end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--stages", type=int, default=STAGES, help="of the one long launch; 0 for none")
    parser.add_argument("--small", type=int, default=SMALL, help="stages of the runs that take turns")
    parser.add_argument("--defaults", type=int, default=DEFAULTS, help="trials of Ray Tune with its defaults")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in which the runs take turns")
    parser.add_argument("--inside", choices=(TUNED, PLAIN), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.inside:
        tune_alone(asked.inside, asked.stages, asked.folder)
        return True
    runs: list[Run] = []
    failed: list[str] = []

    def take(run: Callable[[Path], list[Run]]) -> None:
        try:
            with fresh_folder() as folder:
                found = run(folder)
        except Failed as error:  # a machine that is too busy to start Ray within its 30 s; the others still count
            failed.append(str(error))
            print(f"FAILED: {error}", file=sys.stderr)
            return
        runs.extend(found)
        for one in found:
            print(f"{one.what}, {one.n:,}: {one.wall_s:.1f} s", file=sys.stderr)

    for _ in range(asked.rounds):
        take(lambda folder: launched(asked.small, folder))
        take(lambda folder: tuned(TUNED, asked.small, folder))
        take(lambda folder: tuned(PLAIN, asked.defaults, folder))
    if asked.stages:
        take(lambda folder: launched(asked.stages, folder))
    print(table(runs))
    print(json.dumps([asdict(run) for run in runs]))
    return not failed


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
