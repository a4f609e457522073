"""What is lost when processes are killed: drivers, workers and whole nodes under one grid, and raw Ray Tune beside.

``python -m benchmarks.faults`` trains a grid of digits undisturbed, then once more for each fault while SIGKILLs fall
at moments drawn from a seed, goes on with ``resume`` each time, and compares every row but its times, and every byte of
the weights. Beside it the same cells on Ray Tune alone, gone on with by ``Tuner.restore``. About 25 minutes on 2 cores;
``--drivers``, ``--workers``, ``--nodes`` and ``--tune`` say how many kills of each, 0 for none.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compared import Difference, rows_of_store, rows_of_tune, trials_of_tune
from benchmarks.counted import epochs_trained
from benchmarks.killing import Marked, kill, wait_until

SWEEP = str(Path(__file__).with_name("faults_sweep.py"))
NAME = "faults_sweep"
EARLY_SHARE, EARLY_S = 0.25, 3.0  # so many of the drivers die in their first seconds, before they train anything
LATER_S = 2.0  # the others at most so long after the first epoch that ended under them
BETWEEN_S = (0.2, 2.0)  # from an epoch's end to the death of a worker or node


@dataclass(frozen=True)
class Grid:
    """How much there is to train.

    Attributes:
        lrs: As text, parted by commas.
        seeds: How many.
        epochs: Of each stage.
    """

    lrs: str
    seeds: int
    epochs: int

    def launch(self) -> list[str]:
        """Words of ``warmgrid launch``."""
        axes = ["--axis", f"lr={self.lrs}", "--axis", f"stop=Epochs({self.epochs})"]
        return ["launch", SWEEP, *axes, "--seeds", ",".join(map(str, range(self.seeds)))]


@dataclass
class Result:
    """What one kind of fault did.

    Attributes:
        fault: In words.
        kills: How many there were.
        grids: How many grids it took until so many had been killed.
        found: Sum over the grids.
        epochs: Needed, and trained more than once or for nothing.
        failed: Runs that nobody killed and that ended with an error; each was followed by another one.
    """

    fault: str
    kills: int = 0
    grids: int = 0
    found: Difference = field(default_factory=lambda: Difference(0, 0, 0, 0))
    epochs: int = 0
    repeated: int = 0
    failed: int = 0
    seconds: float = 0.0
    remarks: list[str] = field(default_factory=list)

    def add(self, found: Difference) -> None:
        """Count one grid's difference."""
        both = zip(dataclasses.astuple(self.found), dataclasses.astuple(found), strict=True)
        self.found = Difference(*(a + b for a, b in both))
        self.grids += 1

    @property
    def row(self) -> str:
        """One line of the table."""
        f = self.found
        told = "; ".join(self.remarks) or "-"
        return (
            f"| {self.fault} | {self.kills} | {self.grids} | {f.rows:,} | {f.lost} | {f.doubled} | {f.differing} "
            f"| {self.repeated} of {self.epochs:,} | {self.failed} | {self.seconds:.0f} | {told} |"
        )


HEAD = (
    "| fault | kills | grids | rows | lost | doubled | differing | epochs repeated | failed runs | seconds "
    "| remarks |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
)


@dataclass
class Bench:
    """One grid, its undisturbed results, and a source of chance.

    Attributes:
        home: Folder for stores, data roots and logs.
        draw: Decides when and whom.
    """

    grid: Grid
    home: Path
    draw: random.Random

    def folder(self, name: str) -> Path:
        """A new folder."""
        folder = self.home / name
        folder.mkdir(parents=True)
        return folder

    def words(self, verb: list[str], home: Path) -> list[str]:
        """A ``warmgrid`` command on the store in `home`."""
        return ["orchestrator.cli", *verb, "--store", str(home / "store"), "--data-root", str(home), *CHECKPOINTS]

    def undisturbed(self) -> Path:
        """Train the grid, one stage after the other; the folder with its store."""
        home = self.folder("undisturbed")
        words = self.words([*self.grid.launch(), "--backend", "inprocess"], home)
        must_end(Marked(home / "log"), words, home)
        return home

    def kill_drivers(self, rounds: int, reference: Path) -> Result:
        """SIGKILL the driver of a Ray cluster on this machine, then `resume`."""
        result = Result("SIGKILL of the driver, then resume")
        for home in self.grids(result, rounds, reference, "drivers"):
            processes = Marked(home / "log")
            code = None
            while result.kills < rounds and (code := self.start_and_kill(processes, self.goes_on(home), home)) is None:
                result.kills += 1
            result.failed += bool(code) + must_end(processes, self.goes_on(home), home)
        return result

    def start_and_kill(self, processes: Marked, words: list[str], home: Path) -> int | None:
        """Start a driver and kill it at some moment; its exit code if it ended before."""
        before, driver = epochs_trained(home), processes.start(words)
        if self.draw.random() > EARLY_SHARE:
            wait_until(lambda: epochs_trained(home) > before or driver.poll() is not None)
            wait_s = self.draw.uniform(0, LATER_S)
        else:
            wait_s = self.draw.uniform(0, EARLY_S)
        try:
            return driver.wait(wait_s)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
            return None

    def goes_on(self, home: Path) -> list[str]:
        """``resume``, or ``launch`` as long as the store remembers none."""
        remembered = list((home / "store" / "launches" / NAME).glob("*.json"))
        return self.words(["resume", NAME] if remembered else self.grid.launch(), home)

    def kill_workers(self, rounds: int, reference: Path) -> Result:
        """SIGKILL one of the processes that train; the driver lives."""
        result = Result("SIGKILL of a worker, the driver lives")
        for home in self.grids(result, rounds, reference, "workers"):
            processes = Marked(home / "log")
            driver = processes.start(self.words(self.grid.launch(), home))
            while result.kills < rounds and self.something_ends(driver, home):
                workers = processes.find("ray::")
                victims = [pid for pid in workers if "StageTrial" in command_of(pid)]
                result.kills += bool(victims) and kill(self.draw.choice(victims))
            result.failed += bool(driver.wait()) + must_end(processes, self.goes_on(home), home)
        return result

    def something_ends(self, driver: subprocess.Popen[bytes], home: Path) -> bool:
        """Wait for the next epoch's end, and a moment more; False if the driver ended."""
        before = epochs_trained(home)
        wait_until(lambda: epochs_trained(home) > before or driver.poll() is not None)
        try:
            driver.wait(self.draw.uniform(*BETWEEN_S))
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill_nodes(self, rounds: int, reference: Path) -> Result:
        """SIGKILL everything on one of two nodes, and add a new one; the driver, on the head, lives."""
        from tests.cluster.machines import Cluster, cluster_of

        result = Result("SIGKILL of all of a node, a new one joins")
        for home in self.grids(result, rounds, reference, "nodes"):
            with cluster_of(Cluster) as cluster, (home / "log").open("ab") as log:
                cluster.start_head()
                nodes = [cluster.add(1), cluster.add(1)]
                words = [sys.executable, "-m", *self.words(self.grid.launch(), home), "--address", cluster.address]
                driver = subprocess.Popen(words, stdout=log, stderr=log, env=cluster.head.env)
                while result.kills < rounds and self.something_ends(driver, home):
                    nodes.pop(self.draw.randrange(len(nodes))).lose()
                    result.kills += 1
                    nodes.append(cluster.add(1))
                result.failed += bool(driver.wait())
            result.failed += must_end(Marked(home / "log"), self.goes_on(home), home)
        return result

    def grids(self, result: Result, rounds: int, reference: Path, name: str) -> Iterator[Path]:
        """New folders to disturb a grid in, until `rounds` kills have fallen; each is compared afterwards."""
        began, needed = time.monotonic(), epochs_trained(reference)
        undisturbed = rows_of_store(reference / "store")
        while result.kills < rounds:
            home = self.folder(f"{name}-{result.grids}")
            yield home
            result.add(Difference.between(undisturbed, rows_of_store(home / "store")))
            result.epochs += needed
            result.repeated += epochs_trained(home) - needed
            result.seconds = time.monotonic() - began

    def kill_tune(self, rounds: int) -> Result:
        """SIGKILL the driver of raw Ray Tune, then restore."""
        result, began = Result("raw Ray Tune: SIGKILL of the driver, then Tuner.restore"), time.monotonic()
        calm = self.folder("tune-undisturbed")
        result.failed += must_end(Marked(calm / "log"), self.tune_words(calm), calm)
        undisturbed, needed = rows_of_tune(calm), epochs_trained(calm)
        while result.kills < rounds:
            home = self.folder(f"tune-{result.grids}")
            processes = Marked(home / "log")
            code = None
            while (
                result.kills < rounds and (code := self.start_and_kill(processes, self.tune_words(home), home)) is None
            ):
                result.kills += 1
                wait_until(
                    lambda processes=processes: not processes.find("ray::"), 20
                )  # else two drivers share the files
            result.failed += bool(code)
            code, failed = ended(processes, self.tune_words(home))
            result.failed += failed
            result.add(Difference.between(undisturbed, rows_of_tune(home)))
            result.epochs += needed
            result.repeated += epochs_trained(home) - needed
            result.remarks.append(tune_says(home, code, self.grid))
        result.seconds = time.monotonic() - began
        return result

    def tune_words(self, home: Path) -> list[str]:
        """The command that starts or restores raw Tune."""
        return ["benchmarks.raw_tune", str(home), str(home), self.grid.lrs, str(self.grid.seeds), str(self.grid.epochs)]


CHECKPOINTS = ("--checkpoint-every", "0")
TRIES = 3


def tune_says(home: Path, code: int, grid: Grid) -> str:
    """How raw Tune's last run ended in its own eyes."""
    if not (home / "results.json").exists():
        return f"exit {code}, no results"
    counts = trials_of_tune(home)
    errors, expected = counts.pop("error"), 3 * grid.seeds * len(grid.lrs.split(","))
    return f"exit {code}, {len(counts)} of {expected} trials, {counts.total() - len(counts)} twice, {errors} errors"


def command_of(pid: int) -> str:
    """Command line of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def ended(processes: Marked, words: list[str]) -> tuple[int, int]:
    """Run a command to its end, and end what it left; again if it fails, as where Ray cannot be started in time.

    Returns:
        The last run's exit code, and how many failed.
    """
    code = failed = 0
    for failed in range(TRIES):
        code = processes.start(words).wait()
        processes.end()
        if not code:
            return code, failed
        print(f"exit code {code}: {' '.join(words)}", file=sys.stderr)
    return code, failed + 1


def must_end(processes: Marked, words: list[str], home: Path) -> int:
    """The same; how many runs failed before one did not.

    Raises:
        SystemExit: all failed.
    """
    code, failed = ended(processes, words)
    if not code:
        return failed
    raise SystemExit(f"{' '.join(words)}: exit code {code}\n{(home / 'log').read_text()[-3000:]}")


def main() -> int:
    """Print the table as it grows; 1 if warmgrid lost, doubled or changed anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, rounds in {"drivers": 50, "workers": 20, "nodes": 10, "tune": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=rounds, help=f"kills, default {rounds}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--lrs", default="0.001,0.003")
    parser.add_argument("--seeds", type=int, default=4, help="of the grid: so many seeds of 8 stages")
    parser.add_argument("--epochs", type=int, default=12, help="of each stage")
    parser.add_argument("--output", type=Path, default=Path("faults.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmgrid-faults-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Grid(asked.lrs, asked.seeds, asked.epochs), Path(folder), random.Random(asked.seed))
        results = run(bench, asked)
    ours = [result.found for result in results if not result.fault.startswith("raw")]
    return int(any(found.lost or found.doubled or found.differing for found in ours))


def run(bench: Bench, asked: argparse.Namespace) -> list[Result]:
    """All faults that were asked for."""
    calm = bench.undisturbed() if asked.drivers or asked.workers or asked.nodes else bench.home
    faults: list[Callable[[], Result]] = []
    faults += [lambda: bench.kill_drivers(asked.drivers, calm)] if asked.drivers else []
    faults += [lambda: bench.kill_workers(asked.workers, calm)] if asked.workers else []
    faults += [lambda: bench.kill_nodes(asked.nodes, calm)] if asked.nodes else []
    faults += [lambda: bench.kill_tune(asked.tune)] if asked.tune else []
    results: list[Result] = []
    print(HEAD, flush=True)
    for fault in faults:
        results.append(fault())
        print(results[-1].row, flush=True)
        asked.output.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=1))
    return results


if __name__ == "__main__":
    sys.exit(main())
