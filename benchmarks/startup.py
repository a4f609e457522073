"""What a user waits for before anything is trained: --help, plan, a launch with nothing to do, Ray and torch.

Whole processes, one warm-up, then rounds in which the commands take turns, so that a drift of the
machine's speed touches all alike. ``python -m benchmarks.startup``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.first_step import first_step_seconds

ROUNDS = 7
FIRST_STEP = "launch, to the first training step on Ray"
GOALS_S = {
    "--help": 0.5,
    "plan figure3": 3.0,
    "plan figure3, 48 stages in the store": 3.0,
    "launch, all done": 5.0,
    FIRST_STEP: 6.0,
}


def seconds(words: list[str]) -> float:
    """Wall seconds of one ``warmgrid`` process that must succeed."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "orchestrator.cli", *words], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> bool:
    """Measure and print medians with their range, beside the goals; tell whether all goals are met."""
    with tempfile.TemporaryDirectory(prefix="warmgrid-bench-") as folder:
        empty, full = f"{folder}/empty", f"{folder}/full"
        launch = ["launch", "quickstart", "--store", full, "--axis", "epochs=1", "--backend", "inprocess"]
        subprocess.run([sys.executable, "-m", "orchestrator.cli", *launch], check=True, capture_output=True)
        commands = {
            "--help": ["--help"],
            "plan figure3": ["plan", "figure3", "--store", empty, "--json"],
            "plan figure3, 48 stages in the store": ["plan", "figure3", "--store", full, "--json"],
            "launch, all done": launch,
        }
        measured: dict[str, list[float]] = {name: [] for name in GOALS_S}
        for round_ in range(ROUNDS + 1):
            for name, words in commands.items():
                spent = seconds(words)
                if round_:  # the first round warms the file cache
                    measured[name].append(spent)
            if round_:
                measured[FIRST_STEP].append(first_step_seconds())
    print(f"| command | median s | range | goal s |  ({ROUNDS} rounds, interleaved)")
    print("|---|--:|---|--:|")
    for name, values in measured.items():
        shown = f"{min(values):.2f}-{max(values):.2f}"
        print(f"| {name} | {statistics.median(values):.2f} | {shown} | {GOALS_S[name]} |")
    return all(statistics.median(values) <= GOALS_S[name] for name, values in measured.items())


if __name__ == "__main__":
    main()
