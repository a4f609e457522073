"""The authors' loop under raw Ray Tune, as Tune's documentation shows it: a function, a grid, a `Tuner`; none of ours.

A trial is a cell of the grid under one seed and trains its own rounds by `benchmarks.authors_loop`; nothing is shared
between trials, because Tune knows no stages. ``python -m benchmarks.tune_loop MODE TRIALS FOLDER`` with TRIALS a JSON
file, a list of the settings of each trial (see `Settings`). GPUs by ``--gpus 0.25``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from trainers.arrays import Images

DEFAULTS, REUSED = "defaults", "reused"  # as it comes, or with actors reused and without loggers
NO_LOGGERS = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "1000000000"}
TARGET = 0.99  # of training accuracy


@dataclass(frozen=True)
class Settings:
    """What one trial trains: half of the images to fit and then all, or from a random init only all.

    Attributes:
        first_batch_size: Of the first round; None for a random init, as `first_lr`.
        epochs: The most of a round.
        data: ``digits``, or ``made`` for random images of CIFAR-10's shape.
        model: An expression, such as ``MLP()``; `optimizer` too.
    """

    seed: int
    batch_size: int
    lr: float
    epochs: int
    first_batch_size: int | None = None
    first_lr: float | None = None
    data: str = "digits"
    model: str = "MLP()"
    optimizer: str = "SGD()"

    @property
    def rounds(self) -> list[tuple[float, int, float]]:
        """Share of the images, batch size and learning rate of each round."""
        last = (1.0, self.batch_size, self.lr)
        if self.first_batch_size is None or self.first_lr is None:
            return [last]
        return [(0.5, self.first_batch_size, self.first_lr), last]


@lru_cache(maxsize=1)
def images_of(data: str) -> Images:
    """The images, read once a process: a reused actor has them already."""
    if data == "made":
        from benchmarks.throughput import made_images

        return made_images()
    from trainers.arrays import read_digits

    return read_digits()


def trained(settings: Settings, device: torch.device) -> dict[str, float]:
    """Train one trial's rounds; its held-out accuracy, and how many rounds and epochs that took."""
    import torch

    from benchmarks.authors_loop import Items, accuracy_of, default_optimizer, loader, network, train_to
    from orchestrator.expressions import parse_values
    from trainers import models, optimizers  # noqa: F401 - what expressions may name

    (model,) = parse_values("model", settings.model)
    (rule,) = parse_values("optimizer", settings.optimizer)
    images = images_of(settings.data)
    items, total = Items(images), len(images.labels)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(settings.seed)).tolist()
    fit, held_out = order[: total * 2 // 3], order[total * 2 // 3 :]
    shape = images.pixels.shape[1], images.pixels.shape[2], images.pixels.shape[3]
    net = network(model, shape, int(images.labels.max()) + 1, device, settings.seed)
    epochs = 0
    for share, batch_size, lr in settings.rounds:  # a warm start is the same network with a new optimizer
        batches = loader(items, batch_size, 0, fit[: int(len(fit) * share)])
        epochs += train_to(TARGET, settings.epochs, net, batches, default_optimizer(rule, net, lr))
    accuracy = accuracy_of(net, loader(items, 256, 0, held_out))
    return {"test_accuracy": accuracy, "rounds": len(settings.rounds), "epochs": epochs}


def trial(config: Mapping[str, Any]) -> None:
    """What Tune calls: train, and report once."""
    import torch
    from ray import tune

    began = time.perf_counter()
    found = trained(Settings(**config["settings"]), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    tune.report({**found, "trainer_seconds": time.perf_counter() - began})


def run(mode: str, trials: Sequence[Settings], folder: Path, gpus: float = 0.0) -> dict[str, Any]:
    """Run the trials on a Ray of this process; how many ended, their rounds, and seconds from `Tuner.fit` to its end.

    Args:
        gpus: Share of a GPU that a trial holds.
    """
    import ray
    from ray import tune

    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    trainable: Any = tune.with_resources(trial, {"cpu": 1, "gpu": gpus}) if gpus else trial
    tuner = tune.Tuner(
        trainable,
        param_space={"settings": tune.grid_search([dict(vars(one)) for one in trials])},
        tune_config=tune.TuneConfig(reuse_actors=mode == REUSED),
        run_config=tune.RunConfig(name="grid", storage_path=str(folder), verbose=0 if mode == REUSED else 1),
    )
    began = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - began
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(trials)} trials failed: {results.errors[0]}")
    ended: list[Any] = [results[place].metrics for place in range(len(results))]
    ray.shutdown()
    return {
        "trials": len(ended),
        "rounds": sum(int(one["rounds"]) for one in ended),
        "accuracy": sum(one["test_accuracy"] for one in ended) / len(ended),
        "seconds": seconds,
        "trainer_seconds": sum(one["trainer_seconds"] for one in ended),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run the trials that a file lists; print what came of them as the last line, in JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune_loop", description=__doc__)
    parser.add_argument("mode", choices=(DEFAULTS, REUSED))
    parser.add_argument("trials", type=Path, help="JSON: a list of the settings of each trial")
    parser.add_argument("folder", type=Path, help="where Tune writes")
    parser.add_argument("--gpus", type=float, default=0.0, help="share of a GPU that a trial holds")
    parser.add_argument("--output", type=Path, help="a file for what is printed")
    asked = parser.parse_args(words)
    trials = [Settings(**one) for one in json.loads(asked.trials.read_text())]
    told = json.dumps(run(asked.mode, trials, asked.folder, asked.gpus))
    print(told)
    if asked.output:
        asked.output.write_text(told)
    return 0


if __name__ == "__main__":  # by its name, so that workers find the functions there
    sys.exit(importlib.import_module("benchmarks.tune_loop").main())
