"""A trainer in milliseconds, behind the real seam: a vector walks at random. No test; what goes wrong, a test decides.

Whatever may fail in a real stage is asked for through a file in the folder that workers get as their data_root, so
that it reaches other threads and processes, and changes no key.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from orchestrator import Stage, Sweep
from orchestrator.errors import DataError
from orchestrator.seam import Checkpoint, Outcome, StageIO, Status, Turns
from orchestrator.spec import Spec, setting
from orchestrator.store import Store
from orchestrator.worker import LEAVING, Handout, Options, Report, run_stage

SWEEP_FILE = """
from orchestrator import Sweep
from tests.orchestrator.fake_trainer import two_rounds

sweep = Sweep(
    source="made up",
    axes={"lr": [0.1, 0.2], "start": ["fresh", "parent"]},
    protocol=two_rounds,
    seeds=[0, 1],
)
"""
ROOT = Path(__file__).parents[2]
MEASURED = ("wall_seconds", "started_at", "finished_at", "attempts")  # what no two attempts have in common


class Killed(BaseException):
    """Stands for the death of a process: nothing of ours catches it."""


@setting
class Numbers(Spec, kind="made_numbers"):
    size: int = 5

    def check(self, data_root: str | None) -> None:
        """Complain if the lab says that the data are missing."""
        if Lab(data_root).is_empty:
            raise DataError("the made numbers are missing")


@setting
class Walk(Spec, kind="made_walk"):
    lr: float = 0.1
    start: Literal["fresh", "parent"] = "fresh"
    seed: int = 0
    round: int = 0
    epochs: int = 3
    data: Numbers = Numbers()

    trainer: ClassVar[str] = "tests.orchestrator.fake_trainer:train"
    version: ClassVar[int] = 1

    def stage_columns(self) -> dict[str, Any]:
        """Every column that the orchestrator's estimates look at."""
        texts = {f"{name}_text": "made" for name in ("data", "model", "optimizer", "regularizer")}
        numbers = {"seed": self.seed, "round": self.round, "lr": self.lr, "batch_size": 1, "examples": 10}
        return {**texts, **numbers, "init_text": self.start, "stop": f"Epochs({self.epochs})"}

    def work(self) -> float:
        return float(self.epochs)

    def trajectory(self) -> tuple[Walk, int]:
        """Walks that differ in their length alone go the same way."""
        return replace(self, epochs=1), self.epochs


def two_rounds(lr: float, start: Literal["fresh", "parent"], seed: int, epochs: int = 3) -> list[Stage]:
    """A walk, from where another one ended if `start` says so; of that, all values of `lr` share one."""
    return two_rounds_of(Numbers(), lr, start, seed, epochs)


def two_rounds_of(
    data: Numbers, lr: float, start: Literal["fresh", "parent"], seed: int, epochs: int = 3
) -> list[Stage]:
    """The same with the data set as an axis."""
    last = Walk(lr=lr, start=start, seed=seed, round=1, epochs=epochs, data=data)
    first = Stage(Walk(lr=0.5, seed=seed, epochs=epochs, data=data))
    return [Stage(last, first if start == "parent" else None)]


class Lab:
    """A folder that says what goes wrong in which stage, and keeps a list of the stages that were trained."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    @property
    def is_empty(self) -> bool:
        """Whether the data are missing."""
        return self.folder is not None and (self.folder / "empty").exists()

    def lose_data(self) -> None:
        """Let the data be missing."""
        (self.folder / "empty").touch()

    def spoil(self, does: str, epoch: int, times: int | None = None, **where: Any) -> None:
        """In stages whose config says `where`, at the end of `epoch`: raise, exit, diverge, or get a signal.

        With `times`, only so often of each stage.
        """
        with (self.folder / "spoilt").open("a") as file:
            file.write(json.dumps({"does": does, "epoch": epoch, "times": times, "where": where}) + "\n")

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        (self.folder / "spoilt").unlink()

    def note(self, config: Walk) -> None:
        """Keep that `config` is trained."""
        if self.folder is not None:
            with (self.folder / "trained").open("a") as file:
                file.write(f"{config}\n")

    @property
    def trained(self) -> list[str]:
        """Configs that were trained, one for each call of the trainer."""
        path = self.folder / "trained"
        return path.read_text().splitlines() if path.exists() else []

    def trouble(self, config: Walk, epoch: int) -> list[str]:
        """What goes wrong at the end of this epoch."""
        if self.folder is None or not (self.folder / "spoilt").exists():
            return []
        rules = [json.loads(line) for line in (self.folder / "spoilt").read_text().splitlines()]
        hits = [r for r in rules if all(getattr(config, name) == value for name, value in r["where"].items())]
        tries = self.trained.count(str(config))
        return [r["does"] for r in hits if r["epoch"] == epoch and (r["times"] is None or tries <= r["times"])]


def train(config: Walk, io: StageIO) -> Outcome:
    """Walk to the end."""
    return all_at_once(turns(config, io))


def all_at_once(turns: Turns) -> Outcome:
    """Take all turns of a walk."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def turns(config: Walk, io: StageIO, after_epoch: Callable[[Walk, int], None] = lambda *_: None) -> Turns:
    """Walk, an epoch a turn; every step depends on all steps before it, so that a resume from a wrong place shows."""
    lab = Lab(io.data_root)
    lab.note(config)
    parent = io.parent_state()
    x = np.zeros(config.data.size, np.float32) if parent is None else parent["x"]
    speed, rows = np.zeros_like(x), []
    if (checkpoint := io.load_checkpoint()) is not None:
        x, speed, rows = checkpoint.tensors["x"], checkpoint.tensors["speed"], list(checkpoint.facts["rows"])
    diverged = False
    while len(rows) < config.epochs and not diverged:
        epoch = len(rows) + 1
        draw = np.random.default_rng([config.seed, config.round, epoch]).normal(size=x.shape)
        speed = (0.9 * speed + draw).astype(np.float32)
        x = x - np.float32(config.lr) * speed
        trouble = lab.trouble(config, epoch)
        diverged = "diverge" in trouble
        rows.append(epoch_row(epoch, None if diverged else float(abs(x).mean())))
        make_trouble(trouble)
        checkpoint = Checkpoint({"x": x, "speed": speed}, {"rows": rows})
        after_epoch(config, epoch)
        io.end_epoch(rows[-1], lambda checkpoint=checkpoint: checkpoint)
        yield True
    end = Checkpoint({"x": x, "speed": speed}, {"rows": rows})
    return replace(outcome_of(rows, {"x": x, "steps": np.int64(len(rows) * 10)}, diverged), resume_point=lambda: end)


def make_trouble(trouble: Sequence[str]) -> None:
    """Raise, exit, or send this process signals."""
    for name in trouble:
        if name == "raise":
            raise ValueError("made to fail\nat this place")
        if name == "exit":
            sys.exit("made to exit")
        if name == "SIGTERM":  # as a node that is taken away sends it: to the process, whose main thread takes note
            os.kill(os.getpid(), signal.SIGTERM)
            LEAVING.wait(5.0)
        elif name.startswith("SIG"):
            signal.raise_signal(signal.Signals[name])


def epoch_row(epoch: int, loss: float | None) -> dict[str, Any]:
    """One row of the table `epochs`; the training times are made up too, and so always the same."""
    measured = {"train_loss": loss, "train_accuracy": 0.5, "test_loss": loss, "test_accuracy": 0.25}
    return {"epoch": epoch, **measured, "train_seconds": epoch / 4, "steps": 10 * epoch, "examples": 10 * epoch}


def outcome_of(rows: list[dict[str, Any]], state: dict[str, Any], diverged: bool) -> Outcome:
    """What a stage with these epochs gives back."""
    last = rows[-1]
    counts = {"epochs": len(rows), "steps": last["steps"], "examples_seen": last["examples"]}
    metrics = {**counts, **{name: last[name] for name in ("train_seconds", "train_loss", "test_loss", "test_accuracy")}}
    status, why = (Status.DIVERGED, "diverged") if diverged else (Status.DONE, "epochs")
    return Outcome(status, why, rows, metrics, state, "cpu", {"torch_version": "0"})


def made_sweep(name: str = "made", **axes: Sequence[Any]) -> Sweep:
    """The sweep of SWEEP_FILE, 10 stages where 12 would run without sharing, with other `axes`."""
    given: dict[str, Sequence[Any]] = {"lr": [0.1, 0.2], "start": ["fresh", "parent"]}
    return Sweep("made up", {**given, **axes}, two_rounds, [0, 1], name)


def run(stage: Stage, store: Store, lab: Lab | None = None, **options: Any) -> Report:
    """Run one stage as a backend does; by default it saves a checkpoint after every epoch."""
    root = str(lab.folder) if lab else None
    return run_stage(
        Handout.of(stage), store, Options(**{"launch": "t", "data_root": root, "checkpoint_every_s": 0.0, **options})
    )


def run_until_over(stage: Stage, store: Store, lab: Lab | None = None, **options: Any) -> Report:
    """Run one stage as a backend does that has nothing else to do: again as long as another worker holds it."""
    while (report := run(stage, store, lab, **options)).again_s is not None:
        time.sleep(0.01)
    return report


def result(store: Store, key: str) -> tuple[bytes, bytes, dict[str, Any]]:
    """All of a committed stage that must not depend on how often it was interrupted."""
    row = {name: value for name, value in store.stage_row(key).items() if name not in MEASURED}
    return store.files.read(f"weights/{key}.safetensors"), store.files.read(f"epochs/{key}.parquet"), row


def names_of(store: Store) -> list[str]:
    """Every file in the store, hidden ones too, locks, logs and what was set aside left out; sorted."""
    root = Path(store.root)
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in names if not name.startswith(("locks/", "logs/", "set_aside/")))
