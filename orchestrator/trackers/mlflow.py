"""MLflow: runs in a database file, an experiment a sweep; no server is asked."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.trackers.runs import BY_EPOCH, Run, Tracker, missing

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"
ID = "warmgrid.id"  # the tag by which a run is found again
MOST_METRICS = 1000  # that MLflow takes at once
PAGE = 1000  # runs that are looked at, at once
LONGEST_PARAM = 6000  # characters of a setting that MLflow keeps


class MLflow(Tracker):
    """``<folder>/mlflow.db``, as ``mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db`` shows it."""

    def __init__(self, client: MlflowClient, folder: Path) -> None:
        """Use the database of this client."""
        self.client, self.folder = client, folder
        self.experiment = cache(self._experiment)

    @classmethod
    def opened(cls, folder: Path) -> MLflow:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # looked at when it is imported
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
            from sqlalchemy.exc import SQLAlchemyError  # MLflow's own message without it speaks of something else
        except ImportError:
            raise missing("mlflow", "mlflow") from None
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # it tells each of fifty steps of making a database
        folder.mkdir(exist_ok=True)
        try:
            return cls(MlflowClient(tracking_uri=f"sqlite:///{(folder / DATABASE).absolute()}"), folder)
        except (MlflowException, SQLAlchemyError) as error:  # another version's, or none at all
            told = str(error).splitlines()[0].rstrip(" .")
            raise ConfigError(f"{folder / DATABASE}: MLflow cannot use it: {told}. Name another folder.") from None

    def held(self) -> set[str]:
        found, token = set[str](), None
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        while experiments:
            page = self.client.search_runs(experiments, f"tags.`{ID}` != ''", max_results=PAGE, page_token=token)
            for run in page:
                if run.info.status == "FINISHED":
                    found.add(run.data.tags[ID])
                else:
                    self.client.delete_run(run.info.run_id)
            token = page.token
            if not token:
                break
        return found

    def add(self, run: Run) -> None:
        started, finished = (int(at.timestamp() * 1000) for at in (run.started, run.finished))
        tags = {ID: run.id, **{f"warmgrid.{name}": text for name, text in run.facts.items()}}
        made = self.client.create_run(self.experiment(run.sweep), started, tags, run.name)
        for batch in batches(run):
            self.client.log_batch(made.info.run_id, **batch)
        self.client.set_terminated(made.info.run_id, "FINISHED", finished)

    def _experiment(self, sweep: str) -> str:
        """The experiment of a sweep."""
        found = self.client.get_experiment_by_name(sweep)
        if found is not None and found.lifecycle_stage == "deleted":  # MLflow keeps its name
            where = f"{self.folder / DATABASE}: the experiment {sweep!r} was deleted there"
            raise ConfigError(f"{where}. Restore it in MLflow, or name another folder.")
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(sweep, (self.folder / "artifacts" / sweep).absolute().as_uri()))


def batches(run: Run) -> list[dict[str, Any]]:
    """What is told of a run, in pieces that MLflow takes: its settings, then numbers by epoch, then those at the end.

    The numbers at the end are called `final_...`: MLflow shows the newest value of a name, by step and time.
    """
    from mlflow.entities import Metric, Param

    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in run.settings.items()]
    metrics = [
        Metric(name, value, int(run.time_of(epoch) * 1000), int(epoch["epoch"] or 0))
        for epoch in run.epochs
        for name in BY_EPOCH
        if (value := epoch[name]) is not None
    ]
    ended = int(run.finished.timestamp() * 1000)
    metrics += [Metric(f"final_{name}", value, ended, 0) for name, value in run.numbers.items()]
    pieces = [metrics[start : start + MOST_METRICS] for start in range(0, len(metrics), MOST_METRICS)]
    return [{"params": params}, *({"metrics": piece} for piece in pieces)]
