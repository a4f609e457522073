"""Do the options for speed leave the accuracy as it was? Paired over seeds, against fp32; how fast they are it ignores.

``python -m benchmarks.accuracy --store FOLDER --data-root FOLDER`` trains `accuracy_sweep` on CIFAR-10 through a real
store, so that it goes on where it was stopped, and prints the mean difference in held-out accuracy of every option with
its 95 % interval. The exit code is 1 where an interval leaves +-0.5 points. About 35 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.store import Store, open_store
from orchestrator.verdict import Interval, interval

SWEEP = Path(__file__).with_name("accuracy_sweep.py")
AGAINST = "fp32"
LAST = 2  # epochs whose measurements of the test split are averaged
MOST_POINTS = 0.5
FEWEST_SEEDS = 5
ACCURACIES = f"""
    SELECT network, arm, cells.seed AS seed, 100 * avg(epochs.test_accuracy) AS accuracy
    FROM cells JOIN stages USING (key) JOIN epochs USING (key)
    WHERE sweep = '{SWEEP.stem}' AND stages.status = 'done' AND epochs.epoch > stages.epochs - {LAST}
    GROUP BY ALL ORDER BY ALL
"""
Accuracies = Mapping[tuple[str, str], Mapping[int, float]]  # points, by network and arm, then by seed


@dataclass(frozen=True)
class Compared:
    """One option of one network against fp32.

    Attributes:
        accuracy: Of fp32, the mean over the seeds that both have, in points.
        difference: Option less fp32 under the same seed, in points.
    """

    network: str
    arm: str
    accuracy: float
    difference: Interval

    @property
    def is_same(self) -> bool:
        """Whether the whole interval lies within the bound, over enough seeds."""
        ends = (-self.difference.low, self.difference.high)
        return self.difference.seeds >= FEWEST_SEEDS and max(ends) <= MOST_POINTS


def main(words: Sequence[str] | None = None) -> int:
    """Train what is missing, compare what there is, write both; 0 if every option is the same."""
    asked = parser().parse_args(words)
    code = subprocess.run(command(asked), check=False).returncode
    if code:
        return code
    found = compared(accuracies(open_store(str(asked.store))))
    print(table(found))
    if asked.output:
        asked.output.write_text(json.dumps([{**asdict(one), "is_same": one.is_same} for one in found], indent=1) + "\n")
    return 0 if found and all(one.is_same for one in found) else 1


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").split("\n")[0])
    words.add_argument("--store", type=Path, required=True, help="folder that runs are kept in")
    words.add_argument("--data-root", type=Path, help="where CIFAR-10 is looked for first")
    words.add_argument("--axis", action="append", default=[], metavar="NAME=V1,V2", help="as of warmgrid launch")
    words.add_argument("--seeds", help="as of warmgrid launch")
    words.add_argument(
        "--workers", type=int, help="stages at once, by Ray; without it one after the other, without Ray"
    )
    words.add_argument("--output", type=Path, help="a JSON file for the numbers")
    return words


def command(asked: argparse.Namespace) -> list[str]:
    """The launch that trains what the store lacks."""
    backend = ["--workers", str(asked.workers)] if asked.workers else ["--backend", "inprocess"]
    rest = [word for axis in asked.axis for word in ("--axis", axis)]
    rest += ["--seeds", asked.seeds] if asked.seeds else []
    rest += ["--data-root", str(asked.data_root)] if asked.data_root else []
    place = ["--store", str(asked.store), "--device", "cpu"]
    return [sys.executable, "-m", "orchestrator.cli", "launch", str(SWEEP), *place, *backend, *rest]


def accuracies(store: Store) -> Accuracies:
    """Held-out accuracy of every run that is committed and did not diverge."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in store.sql(ACCURACIES).to_pylist():
        found.setdefault((row["network"], row["arm"]), {})[row["seed"]] = row["accuracy"]
    return found


def compared(of: Accuracies) -> list[Compared]:
    """Every option against fp32 of the same network, over the seeds that both have."""
    found = []
    for (network, arm), numbers in sorted(of.items()):
        base = of.get((network, AGAINST), {})
        if arm != AGAINST and (seeds := sorted(base.keys() & numbers.keys())):
            mean = sum(base[seed] for seed in seeds) / len(seeds)
            found.append(Compared(network, arm, mean, interval([numbers[seed] - base[seed] for seed in seeds])))
    return found


def table(of: Sequence[Compared]) -> str:
    """Markdown."""
    lines = [
        "| network | option | fp32, % | option - fp32, points (95 %) | seeds | within 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    for one in of:
        d = one.difference
        said = f"{d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f})"
        verdict = "yes" if one.is_same else "no"
        lines.append(f"| {one.network} | {one.arm} | {one.accuracy:.1f} | {said} | {d.seeds} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
