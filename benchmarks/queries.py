"""Queries: how soon a large store answers, beside the same rows as Ray Tune writes them and as one CSV a trial.

A made store (`benchmarks.made_store`) of small files, the same compacted, and others' files of the same rows
(`benchmarks.raw_results`); each question of ours is asked in a process of its own, whose imports are told apart. All
answers are compared. ``python -m benchmarks.queries --stages 10000``; with ``--merged`` the store is written as it is
after compaction, which is how 100,000 stages fit into minutes. Files are in the file cache, as written a moment ago.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.made_store import SWEEP, MadeStage, made_stages, write_merged, write_small
from orchestrator.store import Store

if TYPE_CHECKING:
    import pandas as pd

SMALL, MERGED, TUNE, CSV = "small files", "merged files", "Ray Tune", "CSVs"
STAGES, EPOCHS, ROUNDS = 10_000, 350, 5
T_9 = 2.262  # Student's t of a 95 % interval over ten seeds
ASKS = ("scatter", "mean", "curve", "column", "everything")
SETTINGS = ["init", "lr", "batch_size"]
SCATTER = f"SELECT train_seconds, test_accuracy, init, lr FROM results WHERE sweep = '{SWEEP}'"
MEAN = f"""SELECT init_text, lr, batch_size, avg(test_accuracy) AS mean,
{T_9} * stddev_samp(test_accuracy) / sqrt(count(*)) AS half_width
FROM results WHERE sweep = '{SWEEP}' GROUP BY ALL"""
CURVE = "SELECT epoch, train_accuracy, test_accuracy FROM epochs WHERE key = '{key}' ORDER BY epoch"
COLUMN = "SELECT epoch, avg(test_accuracy) AS mean FROM epochs GROUP BY epoch"
# What a first answer loads: duckdb looks for pyarrow.dataset among what it is given, and that loads pandas.
IMPORTED = ("duckdb", "pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset", "pandas", "orchestrator.query")
Answer = tuple[int, float]  # how many rows, and the sum of their accuracies or means


@dataclass(frozen=True)
class Asked:
    """One question to one kind of files.

    Attributes:
        kind: Of the files.
        ask: Of `ASKS`.
        imports_s: Seconds that its process spent on imports.
        load_s: Seconds until the files of others were frames; 0 of ours, which keeps none.
        first_s: Seconds of the first answer, after that.
        best_s: The best of some more: of ours, each with a newly opened store.
        again_s: The best of some more with what is open already.
        cpu_s: CPU seconds of all threads for what `whole_s` is the wall seconds of, as few as in any of the tries; on a
            machine that does other work too they say more.
        peak_mib: Most resident memory of the process.
        begun_mib: The same before the question, after the imports.
        answer: Rows and sum, which all kinds must agree on.
        load: Of the machine, over the last minute.
    """

    kind: str
    ask: str
    imports_s: float
    load_s: float
    first_s: float
    best_s: float
    again_s: float
    cpu_s: float
    peak_mib: float
    begun_mib: float
    answer: Answer
    load: float

    @property
    def whole_s(self) -> float:
        """Seconds that somebody waits who asks for the first time, imports left out."""
        return self.load_s + min(self.first_s, self.best_s)


@dataclass(frozen=True)
class Built:
    """Files of one kind: how long they took to write, how many they are, and how large."""

    kind: str
    seconds: float
    files: int
    bytes: int


def peak_mib() -> float:
    """Most resident memory of this process until now; getrusage would tell that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@dataclass(frozen=True)
class Timed:
    """What a question, or anything else, took in wall seconds and in CPU seconds of all threads, and what it gave."""

    wall_s: float
    cpu_s: float
    gave: Any

    @classmethod
    def of(cls, do: Callable[[], Any]) -> Timed:
        """Do it."""
        wall, cpu = time.perf_counter(), time.process_time()
        gave = do()
        return cls(time.perf_counter() - wall, time.process_time() - cpu, gave)


# What is asked of each kind.


def of_store(store: Store, ask: str, stage: MadeStage) -> Answer:
    """Ask a store of ours."""
    import pyarrow.compute as pc

    if ask == "everything":
        epochs, results = store.to_pandas("epochs"), store.to_pandas("results")
        return len(epochs), float(epochs["test_accuracy"].sum() + 0 * len(results))
    sql = {"scatter": SCATTER, "mean": MEAN, "curve": CURVE.format(key=stage.key), "column": COLUMN}[ask]
    table = store.sql(sql)
    return table.num_rows, pc.sum(table["mean" if "mean" in table.column_names else "test_accuracy"]).as_py()


def of_frames(last: pd.DataFrame, frames: Sequence[pd.DataFrame], ask: str, stage: MadeStage) -> Answer:
    """Ask frames: `last` rows of all trials, and all rows of each, with settings under their own names."""
    import pandas as pd

    if ask == "curve":
        found = next(frame for frame in frames if frame["key"].iloc[0] == stage.key)
        return len(found), float(found["test_accuracy"].sum())
    if ask == "column":
        means = pd.concat([frame[["epoch", "test_accuracy"]] for frame in frames]).groupby("epoch").mean()
        return len(means), float(means["test_accuracy"].sum())
    if ask == "everything":
        whole = pd.concat(frames, ignore_index=True)
        return len(whole), float(whole["test_accuracy"].sum())
    reported = last[last["init"] != "first round"]
    if ask == "scatter":
        dots = reported[["train_seconds", "test_accuracy", "init", "lr"]]
        return len(dots), float(dots["test_accuracy"].sum())
    cells = reported.groupby(SETTINGS)["test_accuracy"].agg(["mean", "sem"])
    return len(cells), float(cells["mean"].sum())


def bare(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of Tune's with its settings under their own names."""
    return frame.rename(columns=lambda name: name.removeprefix("config/"))


def ask_store(kind: str, ask: str, folder: Path, stage: MadeStage, rounds: int) -> Asked:
    """Ask a store of ours one question, in this process."""
    imports, begun = Timed.of(lambda: [importlib.import_module(name) for name in IMPORTED]), peak_mib()
    tries = [Timed.of(lambda: of_store(Store(str(folder)), ask, stage)) for _ in range(rounds)]
    store = Store(str(folder))
    again = [Timed.of(lambda: of_store(store, ask, stage)) for _ in range(1 + min(rounds, 3))]
    best_s, again_s = min(one.wall_s for one in tries), min(one.wall_s for one in again[1:])
    times = (imports.wall_s, 0.0, tries[0].wall_s, best_s, again_s, min(one.cpu_s for one in tries))
    return Asked(kind, ask, *times, peak_mib(), begun, tries[0].gave, os.getloadavg()[0])


def ask_others(kind: str, folder: Path, stage: MadeStage) -> list[Asked]:
    """Ask frames all questions, in this process: making the frames is what takes the time."""
    imports, begun = Timed.of(lambda: import_frames(kind)), peak_mib()
    loaded = Timed.of(lambda: frames_of(kind, folder))
    last, frames = loaded.gave
    found = []
    for ask in ASKS:
        first, again = (Timed.of(lambda ask=ask: of_frames(last, frames, ask, stage)) for _ in range(2))
        times = (imports.wall_s, loaded.wall_s, first.wall_s, first.wall_s, again.wall_s, loaded.cpu_s + first.cpu_s)
        found.append(Asked(kind, ask, *times, peak_mib(), begun, first.gave, os.getloadavg()[0]))
    return found


def import_frames(kind: str) -> None:
    """Import what reading these files takes."""
    for name in ("pandas", *(["ray.tune"] if kind == TUNE else []), "benchmarks.raw_results"):
        importlib.import_module(name)


def frames_of(kind: str, folder: Path) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """The last rows of all trials, and all rows of each, from the files of others."""
    import pandas as pd

    from benchmarks.raw_results import read_csvs, read_tune

    if kind == TUNE:
        grid = read_tune(folder)
        return bare(grid.get_dataframe()), [bare(grid[number].metrics_dataframe) for number in range(len(grid))]
    frames = read_csvs(folder)
    return pd.concat([frame.tail(1) for frame in frames], ignore_index=True), frames


# Files, processes and tables.


@contextlib.contextmanager
def built(kind: str, write: Callable[[], object], folder: Path) -> Iterator[Built]:
    """Write files, count them, and remove them in the end."""
    began = time.perf_counter()
    try:
        write()
        yield counted(kind, time.perf_counter() - began, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def counted(kind: str, seconds: float, folder: Path) -> Built:
    """The files that are in a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Built(kind, seconds, len(sizes), sum(sizes))


def apart(kind: str, ask: str, folder: Path, options: argparse.Namespace) -> list[Asked]:
    """Ask in a process of its own."""
    words = ["-m", "benchmarks.queries", "--inside", kind, "--ask", ask, "--folder", str(folder)]
    rounds = 1 if kind == SMALL else options.rounds  # thousands of files take as long each time
    words += ["--stages", str(options.stages), "--epochs", str(options.epochs), "--rounds", str(rounds)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{kind}, {ask}: exit {done.returncode}\n{done.stderr[-2000:]}")
    found = [Asked(**{**one, "answer": tuple(one["answer"])}) for one in json.loads(done.stdout.splitlines()[-1])]
    for one in found:
        print(f"{kind}, {one.ask}: {one.whole_s:.3f} s, again {one.again_s:.3f} s", file=sys.stderr)
    return found


def inside(options: argparse.Namespace) -> None:
    """What `apart` starts."""
    stage = MadeStage(min(options.stages, STAGES) // 2, options.epochs)
    if options.inside in (TUNE, CSV):
        found = ask_others(options.inside, options.folder, stage)
    else:
        found = [ask_store(options.inside, options.ask, options.folder, stage, options.rounds)]
    print(json.dumps([asdict(one) for one in found]))


def ours(folder: Path, options: argparse.Namespace) -> tuple[list[Built], list[Asked]]:
    """Write and ask a store: its small files, then what they are merged into; or merged files straight away."""
    stages, store = made_stages(options.stages, options.epochs), Store(str(folder))
    write = (lambda: write_merged(store, stages)) if options.merged else (lambda: write_small(store, stages))
    with built(MERGED if options.merged else SMALL, write, folder) as first:
        files, asked = [first], list[Asked]()
        if not options.merged:
            for ask in ASKS:
                asked += apart(SMALL, ask, folder, options)
            files.append(counted(MERGED, Timed.of(store.compact).wall_s, folder))
        for ask in ASKS:
            asked += apart(MERGED, ask, folder, options)
    return files, asked


def others(folder: Path, options: argparse.Namespace) -> tuple[list[Built], list[Asked]]:
    """Write and ask the same rows as others keep them."""
    from benchmarks.raw_results import write_csvs, write_tune

    stages, files, asked = made_stages(options.stages, options.epochs), list[Built](), list[Asked]()
    for kind, write in ((TUNE, write_tune), (CSV, write_csvs)):
        with built(kind, lambda write=write: write(folder, stages), folder) as found:
            files.append(found)
            asked += apart(kind, "", folder, options)
    return files, asked


def disagreements(asked: Sequence[Asked]) -> list[str]:
    """Questions to which not all kinds give the same answer."""
    by_ask: dict[str, list[Asked]] = {}
    for one in asked:
        by_ask.setdefault(one.ask, []).append(one)
    return [
        f"{ask}: {[(one.kind, one.answer) for one in same]}"
        for ask, same in by_ask.items()
        if len({one.answer[0] for one in same}) > 1
        or any(not math.isclose(one.answer[1], same[0].answer[1], rel_tol=1e-6) for one in same)
    ]


def tables(files: Sequence[Built], asked: Sequence[Asked]) -> str:
    """What was written, and what was asked with how many times ours is faster, in Markdown."""
    lines = ["| files | written in s | files | MB |", "|---|--:|--:|--:|"]
    lines += [f"| {f.kind} | {f.seconds:.1f} | {f.files:,} | {f.bytes / 1e6:,.1f} |" for f in files]
    lines += ["", "| question | files | imports s | first s | best s | again s | times | CPU s | times | MiB | load |"]
    lines += [f"|---|---{'|--:' * 9}|"]
    for ask in ASKS:
        same = [one for one in asked if one.ask == ask]
        base = next((one for one in same if one.kind == MERGED), None)
        for one in same:
            lines.append(f"| {ask} | {one.kind} | {' | '.join(cells_of(one, base))} |")
    return "\n".join(lines)


def cells_of(one: Asked, base: Asked | None) -> list[str]:
    """What the table says of one question; `base` is what its times are compared with, in wall and in CPU seconds."""
    cells = [f"{seconds:.3f}" for seconds in (one.imports_s, one.load_s + one.first_s, one.whole_s, one.again_s)]
    times = ["", ""]
    if base is not None and base is not one:
        times = [f"{one.whole_s / base.whole_s:,.0f}", f"{one.cpu_s / base.cpu_s:,.0f}"]
    memory = f"{one.begun_mib:,.0f} to {one.peak_mib:,.0f}"
    return [*cells, times[0], f"{one.cpu_s:.2f}", times[1], memory, f"{one.load:.1f}"]


def main(words: Sequence[str] | None = None) -> bool:
    """Print the tables, and all numbers as a line of JSON; tell whether all answers agree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__)
    parser.add_argument("--stages", type=int, default=STAGES, help="of the made store")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each stage")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often a question is asked")
    parser.add_argument("--merged", action="store_true", help="write merged files straight away")
    parser.add_argument("--alone", action="store_true", help="leave out Ray Tune's files and the CSVs")
    parser.add_argument("--at", type=Path, help="folder in which all files are made and removed")
    parser.add_argument("--inside", choices=(SMALL, MERGED, TUNE, CSV), help=argparse.SUPPRESS)
    parser.add_argument("--ask", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.inside:
        inside(options)
        return True
    with tempfile.TemporaryDirectory(prefix="warmgrid-queries-", dir=options.at) as folder:
        files, asked = ours(Path(folder, "ours"), options)
        if not options.alone:
            more_files, more_asked = others(Path(folder, "others"), options)
            files, asked = [*files, *more_files], [*asked, *more_asked]
    print(tables(files, asked))
    facts: Mapping[str, Any] = {"files": [asdict(one) for one in files], "asked": [asdict(one) for one in asked]}
    print(json.dumps(facts))
    wrong = disagreements(asked)
    print("\n".join(wrong), file=sys.stderr)
    return not wrong


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
