"""Weights & Biases: offline runs, a project a sweep, that ``wandb sync`` can send later; nothing is sent here."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.trackers.runs import BY_EPOCH, Run, Tracker, missing

QUIET: dict[str, Any] = {"mode": "offline", "console": "off", "silent": True, "save_code": False}
QUIET |= {"disable_git": True, "disable_code": True, "x_disable_stats": True, "x_disable_meta": True}
UNFINISHED = ".unfinished-"
FOLDER = "wandb"  # that wandb itself makes in the folder it is given


class WandB(Tracker):
    """``<folder>/wandb/offline-run-<time>-<id>/``."""

    def __init__(self, folder: Path) -> None:
        """Use this folder, which need not exist yet."""
        self.folder = folder

    @classmethod
    def opened(cls, folder: Path) -> WandB:
        if find_spec("wandb") is None:
            raise missing("wandb", "wandb")
        return cls(folder)

    def held(self) -> set[str]:
        for left in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        return {run.name.rpartition("-")[2] for run in self.folder.glob(f"{FOLDER}/offline-run-*") if run.is_dir()}

    def add(self, run: Run) -> None:
        target = self.folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.folder) as hidden:
            write_run(run, hidden)
            (made,) = Path(hidden).glob(f"{FOLDER}/offline-run-*")
            made.rename(target / made.name)


def write_run(run: Run, folder: str) -> None:
    """Write a run below `folder`."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # looked at when it is imported
    import wandb

    told: dict[str, Any] = {"project": run.sweep, "id": run.id, "name": run.name, "config": dict(run.settings)}
    with wandb.init(dir=folder, settings=wandb.Settings(**QUIET), reinit="finish_previous", **told) as live:
        for epoch in run.epochs:
            numbers = {name: epoch[name] for name in BY_EPOCH if epoch[name] is not None}
            live.log({**numbers, "epoch": epoch["epoch"]}, step=int(epoch["epoch"] or 0))
        live.summary.update({**run.numbers, **run.facts})
