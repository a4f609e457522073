"""A program that kills ``warmgrid`` at drawn steps, over and over, over one grid; no test.

``python -m tests.crash.driven KILLS SEED FOLDER`` prints one line of JSON. Every attempt is a child of its own, runs
``launch`` or ``resume`` as a user does, and is ended by SIGKILL at one of its changes of the store.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orchestrator.overview
import orchestrator.progress  # noqa: F401 - once, for all children
from orchestrator import cli, folder
from orchestrator.store import Store
from tests.crash.dying import in_child
from tests.crash.scenes import content, left_over
from tests.orchestrator import fake_trainer

CELLS, LONG = 10, 12  # so long that hardly any stage ends in the attempt that began it
SWEEP_FILE = f"""
from orchestrator import Sweep
from tests.crash.scenes import chain

sweep = Sweep(
    source="made up",
    axes={{"lr": [n / 100 for n in range(1, {CELLS + 1})], "epochs": [{LONG}]}},
    protocol=chain,
    seeds=[0],
)
"""
STAGES, EPOCHS = 2 * CELLS, (LONG + LONG // 3) * CELLS
STEPS = (1, 150)  # of an attempt, before it dies; to find what is done and to remember the launch takes about 30


def command(home: Path, *words: str) -> int:
    """Run ``warmgrid`` in this process on the store in `home`, and count the epochs that it trains; its exit code."""
    trouble = fake_trainer.make_trouble

    def count(names: Sequence[str]) -> None:
        with (home / "epochs").open("a") as file:
            file.write("1\n")
        trouble(names)

    fake_trainer.make_trouble = count
    log = os.open(home / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["warmgrid", *words, "--store", str(home / "store"), "--backend", "inprocess", "--checkpoint-every", "0"]
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def attempt(home: Path, steps: int) -> int:
    """Launch, or resume what the store remembers, and die at the step of this number."""

    def die(what: str, path: Path) -> None:
        nonlocal steps
        steps -= 1
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)

    folder.on_step = die
    remembered = list((home / "store" / "launches" / "made").glob("*.json"))
    return command(home, *(["resume", "made"] if remembered else ["launch", str(home / "made.py")]))


def prepared(home: Path) -> Path:
    """`home` with the sweep's file in it."""
    home.mkdir()
    (home / "made.py").write_text(SWEEP_FILE)
    return home


def looked(home: Path) -> dict[str, Any]:
    """What there is in the end."""
    store = Store(str(home / "store"))
    return {"content": content(store), "epochs": (home / "epochs").stat().st_size // 2, "left": left_over(store)}


def main(kills: int, seed: int, where: Path) -> None:
    """Kill so often, let the last one end, and compare with a grid that nobody disturbed."""
    os.fsync = lambda _: None  # a killed process loses nothing that it wrote
    calm, disturbed, draw, killed = prepared(where / "calm"), prepared(where / "disturbed"), random.Random(seed), 0
    in_child(lambda: attempt(calm, 0))
    for _ in range(kills):
        steps = draw.randint(*STEPS)
        ended_by, _ = in_child(lambda steps=steps: attempt(disturbed, steps))
        killed += ended_by == signal.SIGKILL
    _, code = in_child(lambda: attempt(disturbed, 0))
    (_, expected), (_, found) = in_child(lambda: looked(calm)), in_child(lambda: looked(disturbed))
    differing = [name for name, value in expected["content"].items() if found["content"].get(name) != value]
    rows = len(found["content"]["stages"])
    print(json.dumps({"killed": killed, "code": code, "rows": rows, "differing": differing, **counts(expected, found)}))


def counts(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What was done more than once, and what is left over."""
    return {"epochs": expected["epochs"], "repeated": found["epochs"] - expected["epochs"], "left": found["left"]}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
