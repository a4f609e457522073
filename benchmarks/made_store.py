"""A made store: any number of stages that nobody trained, with as many epochs each, written as warmgrid writes them.

Five stages share a learning rate, a batch size and a seed: a first round, and four second rounds that start from it or
from a random init; ten seeds, ten batch sizes, and as many learning rates as it takes. Settings and configs are those
of real stages, accuracies and losses are drawn. Weights are left out: no query reads them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.columns import names
from orchestrator.key import canonical_text
from orchestrator.plan import plan
from orchestrator.schema import schema, to_bytes, to_table
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.sweep import Sweep
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import ResNet18
from trainers.optimizers import SGD
from trainers.stopping import Epochs

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SWEEP = "made"
INITS = (RandomInit(), WarmStart(), ShrinkPerturb(shrink=0.4, perturb=0.1), ShrinkPerturb(shrink=0.6, perturb=0.1))
FAMILY = 1 + len(INITS)  # stages that share all settings but the init
SEEDS, BATCH_SIZES = 10, tuple(range(16, 176, 16))
EXAMPLES, HELD_OUT, EPOCH_S = 33_333, 16_667, 21.5
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
WRITERS = 4  # of small files


@dataclass(frozen=True)
class MadeStage:
    """One of the stages, by its number from 0.

    Attributes:
        epochs: How many it was trained.
    """

    number: int
    epochs: int

    @property
    def key(self) -> str:
        """Its key."""
        return hashlib.sha256(f"made {self.number}".encode()).hexdigest()[:16]

    @property
    def place(self) -> int:
        """0 of a first round, else 1 and the number of its init."""
        return self.number % FAMILY

    @property
    def parent(self) -> MadeStage | None:
        """The first round that it starts from."""
        return MadeStage(self.number - self.place, self.epochs) if self.place > 1 else None

    @property
    def settings(self) -> dict[str, Any]:
        """What tells it from the other stages of its place."""
        family = self.number // FAMILY
        rate, inside = divmod(family, SEEDS * len(BATCH_SIZES))
        batch_size, seed = BATCH_SIZES[inside // SEEDS], inside % SEEDS
        return {"lr": 0.001 * (1 + rate), "batch_size": batch_size, "seed": seed}

    @property
    def cell(self) -> dict[str, Any]:
        """Its row of the table `cells`, where it is reported."""
        init = INITS[self.place - 1].columns("init")
        return {"sweep": SWEEP, **init, **self.settings, "round": 1, "key": self.key}

    def columns(self) -> dict[str, np.ndarray]:
        """What was measured by epoch, by column of the table `epochs`."""
        import numpy as np

        draw, number = np.random.default_rng(self.number), np.arange(1, self.epochs + 1)
        best = 0.5 + 0.3 * draw.random()
        rising = 1 - np.exp(-number / (20 + 60 * draw.random()))
        right = np.rint(EXAMPLES * np.clip(rising + draw.normal(0, 0.003, self.epochs), 0, 1))
        held = np.rint(HELD_OUT * np.clip(best * rising + draw.normal(0, 0.005, self.epochs), 0, 1))
        steps = math.ceil(EXAMPLES / self.settings["batch_size"])
        return {
            "epoch": number,
            "train_loss": 2.3 * np.exp(-number / 40) + 0.01 * draw.random(self.epochs),
            "train_accuracy": right / EXAMPLES,
            "test_loss": 2.3 - rising + 0.05 * draw.random(self.epochs),
            "test_accuracy": held / HELD_OUT,
            "train_seconds": np.cumsum(EPOCH_S + draw.random(self.epochs)),
            "steps": steps * number,
            "examples": EXAMPLES * number,
        }

    def row(self, measured: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Its row of the table `stages`; `measured` are its `columns`."""
        last = {name: values[-1].item() for name, values in measured.items()}
        ended = {name: last[name] for name in ("train_accuracy", "train_loss", "test_accuracy", "test_loss", "steps")}
        ended |= {"train_seconds": last["train_seconds"], "wall_seconds": 1.1 * last["train_seconds"]}
        ended |= {"examples_seen": last["examples"], "epochs": self.epochs}
        parent = self.parent.key if self.parent else None
        return {**template(self.place), **self.settings, **ended, "key": self.key, "parent": parent}

    def table(self, measured: Mapping[str, np.ndarray]) -> pa.Table:
        """Its rows of the table `epochs`."""
        import pyarrow as pa

        given: dict[str, Any] = {"key": pa.array([self.key] * self.epochs), **measured}
        columns = schema("epochs")
        arrays = [
            pa.array(given[field.name], field.type) if field.name in given else pa.nulls(self.epochs, field.type)
            for field in columns
        ]
        return pa.Table.from_arrays(arrays, schema=columns)


@cache
def template(place: int) -> Mapping[str, Any]:
    """A row of the table `stages` as a real stage of this place has it."""
    fixed = {"data": [CIFAR10()], "model": [ResNet18()], "optimizer": [SGD()], "lr": [0.001], "batch_size": [128]}
    sweep = Sweep(SWEEP, {**fixed, "init": list(INITS), "stop": [Epochs(350)]}, half_then_all, [0])
    found: list[Stage] = list(plan(sweep.trials()).stages)
    first = next(stage for stage in found if stage.config.round == 0)
    kinds = {stage.config.stage_columns()["init_text"]: stage for stage in found if stage is not first}
    stage = first if place == 0 else next(one for text, one in kinds.items() if text == str(INITS[place - 1]))
    told = {"trainer": stage.config.trainer, "version": stage.config.version, "round": stage.config.round}
    ended = {"status": "done", "stop_reason": "epochs", "attempts": 1, "pack_size": 1}
    by = {"torch_version": "2.15.0", "warmgrid_version": "0.4.0", "device": "cuda", "host": "made"}
    by |= {"started_at": NOON, "finished_at": NOON, "weights_digest": "0" * 64}
    text = {"config": canonical_text(stage.config)}
    return {**dict.fromkeys(names("stages")), **stage.config.stage_columns(), **told, **ended, **by, **text}


def made_stages(count: int, epochs: int) -> list[MadeStage]:
    """The first so many stages."""
    return [MadeStage(number, epochs) for number in range(count)]


def begin(store: Store, stages: Sequence[MadeStage]) -> None:
    """Make the folder a store, and remember a launch of all of `stages`."""
    store.check_format()
    cells = [stage.cell for stage in stages if stage.place]
    recipe = {"sweep": SWEEP, "source": SWEEP, "axes": {}, "overrides": [], "seeds": [], "stages": str(len(stages))}
    store.record_launch(SWEEP, recipe, cells)


def write_small(store: Store, stages: Sequence[MadeStage]) -> None:
    """Write two small files a stage, as workers do, but without weights and without waiting for the disk."""

    def write(stage: MadeStage) -> None:
        measured = stage.columns()
        row = to_table("stages", [stage.row(measured)])
        store.files.write(f"epochs/{stage.key}.parquet", to_bytes(stage.table(measured)), durable=False)
        store.files.write(f"stages/{stage.key}.parquet", to_bytes(row), durable=False)

    begin(store, stages)
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, stages))


def write_merged(store: Store, stages: Sequence[MadeStage]) -> None:
    """Write merged files straight away, by the writer that compaction uses, and compact the cells."""
    from orchestrator.merged import Merging

    begin(store, stages)
    store.files.write("warmgrid.json", json.dumps({"format": 2}).encode())
    for part in in_files(sorted(stages, key=lambda stage: stage.key)):
        rows, epochs = Merging("stages", schema("stages")), Merging("epochs", schema("epochs"))
        for group in part:
            measured = {stage: stage.columns() for stage in group}
            epochs.add({stage.key: stage.table(measured[stage]) for stage in group})
            table = to_table("stages", [stage.row(measured[stage]) for stage in group])
            rows.add({stage.key: table.slice(place, 1) for place, stage in enumerate(group)})
        is_full = rows.is_full or epochs.is_full
        epochs_name, data = epochs.end(1, is_full=is_full)
        store.files.write(epochs_name.path, data, durable=False)
        rows_name, data = rows.end(1, pair=epochs_name.digest, is_full=is_full)
        store.files.write(rows_name.path, data, durable=False)
    store.compact()


def in_files(stages: Sequence[MadeStage]) -> Iterator[list[Sequence[MadeStage]]]:
    """Stages of one merged file after the other, each as its row groups, as compaction parts them."""
    from orchestrator.merged import GROUP_NAMES, MOST_BYTES, MOST_NAMES

    if not stages:
        return
    a_stage = stages[0].table(stages[0].columns()).nbytes
    groups = max(1, min(MOST_NAMES, math.ceil(MOST_BYTES / a_stage)) // GROUP_NAMES)
    size = groups * GROUP_NAMES
    for first in range(0, len(stages), size):
        part = stages[first : first + size]
        yield [part[begin : begin + GROUP_NAMES] for begin in range(0, len(part), GROUP_NAMES)]
