"""TensorBoard: a folder a run, with scalars by epoch and the settings for its table of hyperparameters."""

from __future__ import annotations

import logging
import shutil
import uuid
from importlib.util import find_spec
from pathlib import Path

from orchestrator.trackers.runs import BY_EPOCH, Run, Tracker, missing

SHOWN = ("test_accuracy", "train_accuracy", "train_seconds", "epochs")  # beside the settings, in TensorBoard's table
UNFINISHED = ".unfinished-"


class TensorBoard(Tracker):
    """``<folder>/<sweep>/<run>/``, as ``tensorboard --logdir <folder>`` shows it."""

    def __init__(self, folder: Path) -> None:
        """Use this folder, which need not exist yet."""
        self.folder = folder

    @classmethod
    def opened(cls, folder: Path) -> TensorBoard:
        if find_spec("tensorboardX") is None:  # it takes seconds to load
            raise missing("tensorboardX", "tensorboard")
        logging.getLogger("tensorboardX").setLevel(logging.ERROR)  # it tells of each NaN, as if it were a mistake
        return cls(folder)

    def held(self) -> set[str]:
        for left in self.folder.glob(f"*/{UNFINISHED}*"):
            shutil.rmtree(left)
        return {run.name.rpartition("-")[2] for run in self.folder.glob("*/*-*") if run.is_dir()}

    def add(self, run: Run) -> None:
        place = self.folder / run.sweep / run.file_name
        hidden = place.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
        write_events(run, hidden)
        hidden.rename(place)


def write_events(run: Run, folder: Path) -> None:
    """Write a run's events into a new folder."""
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    with SummaryWriter(str(folder), write_to_disk=True) as writer:
        shown = {name: run.numbers[name] for name in SHOWN if name in run.numbers}
        settings = {name: value for name, value in run.settings.items() if name != "key"}
        for summary in hparams(hparam_dict=settings, metric_dict=shown):
            writer.file_writer.add_summary(summary, walltime=run.started.timestamp())
        for epoch in run.epochs:
            for name in BY_EPOCH:
                if epoch[name] is not None:
                    writer.add_scalar(name, epoch[name], epoch["epoch"], walltime=run.time_of(epoch))
