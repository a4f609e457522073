"""The grid of `benchmarks.faults_sweep` on Ray Tune alone, written the way Tune's documentation shows; nothing of ours.

A function trainable that reports every epoch with a checkpoint, a grid search, `Tuner.restore` where
`Tuner.can_restore` says so. Every trial trains its own two rounds: nothing is shared between trials.
``python -m benchmarks.raw_tune FOLDER DATA_ROOT LRS SEEDS EPOCHS`` starts it or goes on with it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NAME = "grid"
SETTINGS = ("lr", "init", "seed")


class TuneIO:
    """A trainer's io over ``tune.report``: the stages of one trial, one after the other."""

    def __init__(self, data_root: str) -> None:
        """Take up what the trial's last checkpoint holds, if it has one."""
        self.data_root, self.device, self.cuda_graphs = data_root, "cpu", False
        self.stage, self.parent, self._checkpoint = 0, None, None
        from ray import tune

        if (found := tune.get_checkpoint()) is not None:
            with found.as_directory() as folder:
                self._load(Path(folder))

    def _load(self, folder: Path) -> None:
        from orchestrator.tensors import decode_state, open_checkpoint

        self.stage = json.loads((folder / "stage").read_text())
        self._checkpoint = open_checkpoint((folder / "checkpoint").read_bytes())
        if (folder / "parent").exists():
            self.parent = decode_state((folder / "parent").read_bytes())

    def parent_state(self) -> Any:
        """Final state of the stage before."""
        return self.parent

    def load_checkpoint(self) -> Any:
        """What the trial was restored from, for the stage that it was saved in."""
        return self._checkpoint

    def end_stage(self, state: Any) -> None:
        """Go on with the next stage."""
        self.stage, self.parent, self._checkpoint = self.stage + 1, state, None

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Any]) -> None:
        """Report the epoch, with a checkpoint."""
        from ray import tune

        from orchestrator.tensors import encode_state, seal_checkpoint

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "stage").write_text(json.dumps(self.stage))
            (folder / "checkpoint").write_bytes(seal_checkpoint(checkpoint()))
            if self.parent is not None:
                (folder / "parent").write_bytes(encode_state(self.parent))
            loss = {"stage": self.stage, "epoch": row["epoch"], "train_loss": row["train_loss"]}
            tune.report(loss, checkpoint=tune.Checkpoint.from_directory(name))


def trial(config: dict[str, Any]) -> None:
    """Train one cell under one seed."""
    from benchmarks.counted import counted_half_then_all, train
    from orchestrator.expressions import parse_values
    from trainers.data import Digits
    from trainers.models import MLP
    from trainers.optimizers import Adam
    from trainers.stopping import Epochs

    (init,) = parse_values("init", config["init"])
    (last,) = counted_half_then_all(
        data=Digits(), model=MLP(), init=init, lr=config["lr"], batch_size=4, stop=Epochs(config["epochs"]),
        seed=config["seed"], optimizer=Adam(),
    )  # fmt: skip
    io = TuneIO(config["data_root"])
    for stage in last.lineage()[io.stage :]:
        outcome = train(stage.config, io)  # type: ignore[arg-type]
        io.end_stage(outcome.state)


def main(folder: str, data_root: str, lrs: str, seeds: str, epochs: str) -> None:
    """Run the grid, or go on with it; write what Tune says of it into ``results.json``."""
    import ray
    from ray import tune

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    if tune.Tuner.can_restore(f"{folder}/{NAME}"):
        tuner = tune.Tuner.restore(f"{folder}/{NAME}", trainable=trial, resume_errored=True)
    else:
        space = {
            "lr": tune.grid_search([float(lr) for lr in lrs.split(",")]),
            "init": tune.grid_search(["RandomInit()", "WarmStart()", "ShrinkPerturb(shrink=0.4, perturb=0.1)"]),
            "seed": tune.grid_search(list(range(int(seeds)))),
            "epochs": int(epochs),
            "data_root": data_root,
        }
        tuner = tune.Tuner(
            trial, param_space=space, run_config=tune.RunConfig(name=NAME, storage_path=folder, verbose=0)
        )
    results = tuner.fit()
    said = [
        {"config": [result.config[name] for name in SETTINGS], "error": str(result.error or "")} for result in results
    ]
    Path(folder, "results.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
