"""The rows of a made store as others keep them: as Ray Tune writes an experiment, and as one CSV a trial.

Lines are what Tune's own loggers write of a report, byte for byte (a test compares), and trials and the experiment's
state come from Tune's own classes; only the training in between is left out. Checkpoints and TensorBoard's files, which
Tune would write too, are left out as well: nothing that is compared reads them.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.made_store import INITS, NOON, MadeStage

if TYPE_CHECKING:
    import pandas as pd
    from ray.train._internal.storage import StorageContext
    from ray.tune import ResultGrid
    from ray.tune.experiment import Trial

NAME = "made"


def config_of(stage: MadeStage) -> dict[str, Any]:
    """What Tune would call the trial's config."""
    init = str(INITS[stage.place - 1]) if stage.place else "first round"
    return {"init": init, **stage.settings, "key": stage.key}


def reports(stage: MadeStage) -> Iterator[dict[str, Any]]:
    """What a trial that trains this stage reports each epoch, with all that Tune adds."""
    columns = {name: values.tolist() for name, values in stage.columns().items()}
    began, config = NOON.timestamp(), config_of(stage)
    for place in range(stage.epochs):
        row = {name: values[place] for name, values in columns.items()}
        spent = row["train_seconds"]
        yield {
            **row,
            "timestamp": int(began + spent),
            "checkpoint_dir_name": None,
            "should_checkpoint": False,
            "done": False,
            "training_iteration": place + 1,
            "trial_id": f"{stage.number:05d}_{stage.key[:5]}",
            "date": f"{NOON:%Y-%m-%d_%H-%M-%S}",
            "time_this_iter_s": spent / (place + 1),
            "time_total_s": spent,
            "pid": 899,
            "hostname": "made",
            "node_ip": "192.0.2.2",
            "config": config,
            "time_since_restore": spent,
            "iterations_since_restore": place + 1,
        }


def write_tune(folder: Path, stages: Sequence[MadeStage]) -> None:
    """Write an experiment of one trial a stage into `folder`, as ``Tuner.fit`` leaves it."""
    from ray.train._internal.storage import StorageContext

    trials, storage = [], StorageContext(storage_path=str(folder), experiment_dir_name=NAME)
    for stage in stages:
        found = list(reports(stage))
        trial = made_trial(storage, stage, found[-1])
        write_trial(folder / NAME / trial.relative_logdir, config_of(stage), found)
        trials.append(trial.get_json_state())
    state = {"trial_data": trials, "runner_data": {}, "stats": {"start_time": NOON.timestamp()}}
    (folder / NAME / f"experiment_state-{NOON:%Y-%m-%d_%H-%M-%S}.json").write_text(json.dumps(state))


def made_trial(storage: StorageContext, stage: MadeStage, last: Mapping[str, Any]) -> Trial:
    """Tune's trial of a stage that has ended."""
    from ray.tune.experiment import Trial

    named = {"trial_id": last["trial_id"], "experiment_tag": f"{stage.number}_{stage.key}"}
    trial = Trial("train", config=config_of(stage), storage=copy.copy(storage), stub=True, **named)
    trial.create_placement_group_factory()
    trial.relative_logdir = trial.storage.trial_dir_name = f"train_{last['trial_id']}_{stage.key}"
    trial.run_metadata.last_result = dict(last)
    trial.status = Trial.TERMINATED
    return trial


def write_trial(folder: Path, config: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
    """Write a trial's files as Tune's loggers do."""
    from ray import cloudpickle
    from ray.tune.utils.util import SafeFallbackEncoder

    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(config, indent=2, sort_keys=True, cls=SafeFallbackEncoder))
    (folder / "params.pkl").write_bytes(cloudpickle.dumps(config))
    lines = (json.dumps(report, cls=SafeFallbackEncoder) + "\n" for report in found)
    (folder / "result.json").write_text("".join(lines))
    (folder / "progress.csv").write_text(csv_of([{n: v for n, v in one.items() if n != "config"} for one in found]))


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as one CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_tune(folder: Path) -> ResultGrid:
    """The experiment as Tune gives it back: what ``Tuner.restore(...).get_results()`` does."""
    from ray.tune import ExperimentAnalysis, ResultGrid

    return ResultGrid(ExperimentAnalysis(str(folder / NAME)))


def write_csvs(folder: Path, stages: Sequence[MadeStage]) -> None:
    """Write one CSV a stage: its settings in every row, beside what was measured in that epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        columns = {name: values.tolist() for name, values in stage.columns().items()}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        settings = config_of(stage)
        (folder / f"{stage.key}.csv").write_text(csv_of([{**settings, **row} for row in rows]))


def read_csvs(folder: Path) -> list[pd.DataFrame]:
    """One frame a trial."""
    import pandas as pd

    return [pd.read_csv(path) for path in sorted(folder.glob("*.csv"))]
