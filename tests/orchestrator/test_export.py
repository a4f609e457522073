"""What is exported reads back in the other program's own reader as the store tells it, once, however often."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from orchestrator.ask import Kind
from orchestrator.columns import EPOCHS
from orchestrator.errors import ConfigError, StoreError
from orchestrator.export import Target, export, parts_of
from orchestrator.schema import cells_table, to_bytes
from orchestrator.store import Store
from orchestrator.trackers import runs
from orchestrator.trackers.mlflow import MLflow
from orchestrator.trackers.tensorboard import TensorBoard
from orchestrator.trackers.wandb import WandB
from tests.orchestrator.asked import FIGURE3, made, sweep
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.made_store import EPOCHS as EPOCHS_MADE
from tests.orchestrator.made_store import fill

COMMITTED = 15  # of 16 results one failed


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a made-up figure3, one of 16 results failed."""
    return made(tmp_path_factory.mktemp("exported") / "warmgrid-store")


# Files.


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_a_file_holds_every_result(asked: Store, tmp_path: Path, name: str) -> None:
    """Failed ones too, or a mean over the file is a selected mean."""
    path = tmp_path / name

    facts = export(asked, "figure3", path, Target(path.suffix[1:]))

    frame = pd.read_parquet(path) if name.endswith("parquet") else pd.read_csv(path)
    expected = asked.to_pandas("results")
    assert facts == {"export": str(path), "rows": 16}
    assert frame["key"].to_list() == expected["key"].to_list()
    pd.testing.assert_series_equal(frame["test_accuracy"], expected["test_accuracy"])
    assert list(frame.columns) == list(expected.columns)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_epochs_come_in_parts_and_read_as_one(
    asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Ten thousand curves must not be in memory at once, and none be lost between two parts."""
    monkeypatch.setattr("orchestrator.export.MOST_KEYS", 4)
    path = tmp_path / name

    export(asked, "figure3", path, Target(path.suffix[1:]), Kind.EPOCHS)

    frame = pd.read_parquet(path) if name.endswith("parquet") else pd.read_csv(path)
    reported = "SELECT key, epoch, test_accuracy FROM epochs WHERE key IN (SELECT key FROM results) ORDER BY key, epoch"
    expected = asked.sql(reported).to_pandas()
    found = frame[expected.columns].sort_values(["key", "epoch"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert frame["lr"].notna().all()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_parquet_file_tells_its_units(asked: Store, tmp_path: Path) -> None:
    """It is sent to somebody who has neither the store nor this program."""
    export(asked, None, tmp_path / "out.parquet", Target.PARQUET)

    field = pq.read_schema(tmp_path / "out.parquet").field("train_seconds")
    assert field.metadata[b"unit"] == b"s"
    assert field.metadata[b"sentence"].startswith(b"Time spent on training")


def test_units_of_epochs_are_those_of_epochs(asked: Store, tmp_path: Path) -> None:
    """A number of the third epoch that is said to be from the end would mislead."""
    export(asked, None, tmp_path / "out.parquet", Target.PARQUET, Kind.EPOCHS)

    told = {c.name: c.sentence for c in EPOCHS}
    field = pq.read_schema(tmp_path / "out.parquet").field("test_accuracy")
    assert field.metadata[b"sentence"].decode() == told["test_accuracy"]


def test_an_export_that_fails_leaves_the_file_as_it_was(
    asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file reads like a whole one."""
    (tmp_path / "out.csv").write_text("yesterday")
    monkeypatch.setattr("orchestrator.export.MOST_KEYS", 4)
    parts = iter([True, False])
    monkeypatch.setattr("orchestrator.export.shutil.copyfileobj", lambda *_: next(parts) or 1 / 0)

    with pytest.raises(ZeroDivisionError):
        export(asked, "figure3", tmp_path / "out.csv", Target.CSV, Kind.EPOCHS)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.csv": "yesterday"}


# Programs. Each gives, by name of the run: its settings, numbers at the end, and test accuracy by epoch.


def in_tensorboard(folder: Path) -> dict[str, Any]:
    """What TensorBoard's own reader finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = {}
    for run in folder.glob("*/*"):
        events = EventAccumulator(str(run)).Reload()
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info.hparams
        settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.items()}
        curve = {event.step: event.value for event in events.Scalars("test_accuracy")}
        found[run.name] = (settings["init"], settings["lr"], curve)
    return found


def in_mlflow(folder: Path) -> dict[str, Any]:
    """What MLflow's own client finds."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == "figure3")
    found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=100):
        curve = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "test_accuracy")}
        params = run.data.params
        assert (run.info.status, run.data.tags["warmgrid.status"] in ("done", "diverged")) == ("FINISHED", True)
        found[run.info.run_id] = (params["init"], float(params["lr"]), curve)
    return found


def in_wandb(folder: Path) -> dict[str, Any]:
    """What the records of Weights & Biases' own files tell."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        config, curve = {}, {}
        for record in map(Record.FromString, wandb_records(file.read_bytes())):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            row = {"".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            if row:
                curve[json.loads(row["epoch"])] = json.loads(row["test_accuracy"])
        found[file.name] = (config["init"], config["lr"], curve)
    return found


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records in a file of theirs, a LevelDB log after 7 bytes: checksum, length, kind, part of a record."""
    at, whole = 7, b""
    while at < len(data):
        if 2**15 - at % 2**15 < 7:  # the rest of a block is too short for the head of a part
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


PROGRAMS = {
    Target.TENSORBOARD: (in_tensorboard, "tensorboard"),
    Target.MLFLOW: (in_mlflow, "sqlalchemy"),
    Target.WANDB: (in_wandb, "wandb"),
}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts that this process looks up; it finds none of them."""
    names: list[str] = []

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        names.append(host)
        raise socket.gaierror(f"{host} is not to be called")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


@pytest.mark.parametrize("target", PROGRAMS)
@pytest.mark.filterwarnings("default")  # theirs
def test_a_program_reads_back_every_run_once(asked: Store, tmp_path: Path, called: list[str], target: Target) -> None:
    """Settings that slip by one run make the wrong model look best; a run exported twice counts double.

    And no other host is looked up for it.
    """
    read, package = PROGRAMS[target]
    pytest.importorskip(package)

    first, again = (export(asked, "figure3", tmp_path / "runs", target) for _ in range(2))

    assert (first["written"], again["written"], again["there_before"]) == (COMMITTED, 0, COMMITTED)
    found = sorted(read(tmp_path / "runs").values(), key=repr)
    expected = sorted(expected_runs(asked), key=repr)
    assert [(init, pytest.approx(lr), pytest.approx(curve)) for init, lr, curve in expected] == found
    assert len(found) == COMMITTED
    assert set(called) <= {"localhost"}


def expected_runs(store: Store) -> list[Any]:
    """Init, learning rate and curve of each committed result."""
    rows = store.sql("SELECT key, init, lr FROM results WHERE status <> 'failed'").to_pylist()
    epochs = store.sql("FROM epochs").to_pylist()
    curves = {row["key"]: {e["epoch"]: e["test_accuracy"] for e in epochs if e["key"] == row["key"]} for row in rows}
    return [(row["init"], row["lr"], curves[row["key"]]) for row in rows]


@pytest.mark.filterwarnings("default")
def test_mlflow_is_asked_not_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends its makers what is used and how, unless it is asked not to, or sees that it is tested."""
    pytest.importorskip("sqlalchemy")
    from mlflow.telemetry import utils

    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(utils, "_IS_IN_CI_ENV_OR_TESTING", False)

    MLflow.opened(tmp_path / "runs")

    assert utils.is_telemetry_disabled()


@pytest.mark.filterwarnings("default")
def test_a_database_that_mlflow_cannot_use_is_named(asked: Store, tmp_path: Path) -> None:
    """Fifty lines of SQL say nothing of the folder that is the wrong one."""
    pytest.importorskip("sqlalchemy")
    (tmp_path / "mlflow.db").write_text("no database")

    with pytest.raises(ConfigError, match=r"mlflow\.db: MLflow cannot use it: .*not a database. Name another"):
        export(asked, "figure3", tmp_path, Target.MLFLOW)


@pytest.mark.filterwarnings("default")
def test_an_experiment_that_was_deleted_is_told(tmp_path: Path) -> None:
    """MLflow keeps the name of what it no longer shows, and takes no runs there."""
    pytest.importorskip("sqlalchemy")
    tracker = MLflow.opened(tmp_path)
    tracker.client.delete_experiment(tracker.experiment("figure3"))

    with pytest.raises(ConfigError, match=r"'figure3' was deleted there\. Restore"):
        MLflow.opened(tmp_path).experiment("figure3")


def test_what_a_killed_export_left_for_wandb_is_removed(tmp_path: Path) -> None:
    """Hidden folders of half runs would fill the disk."""
    (tmp_path / ".unfinished-x").mkdir()
    (tmp_path / "wandb" / "offline-run-1-abc").mkdir(parents=True)

    assert WandB(tmp_path).held() == {"abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["wandb"]


def test_a_diverged_model_is_no_flood_of_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each NaN of each epoch hides what matters; that it diverged is in the results."""
    nothing = dict.fromkeys(runs.BY_EPOCH)
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    run = runs.Run("a", "s", "name", {}, {}, {}, noon, noon, [{**nothing, "epoch": 1, "train_loss": float("nan")}])

    TensorBoard.opened(tmp_path).add(run)

    assert caplog.records == []


def test_a_run_whose_export_was_interrupted_is_written_again(
    asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a curve looks like a model that was stopped early."""
    folder = tmp_path / "runs"

    def die(_: runs.Run, hidden: Path) -> None:
        hidden.mkdir(parents=True)
        (hidden / "events.out.tfevents.half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.trackers.tensorboard.write_events", die)
    with pytest.raises(KeyboardInterrupt):
        export(asked, "figure3", folder, Target.TENSORBOARD)
    written = []
    monkeypatch.setattr(
        "orchestrator.trackers.tensorboard.write_events", lambda run, hidden: (hidden.mkdir(), written.append(run.id))
    )
    facts = export(asked, "figure3", folder, Target.TENSORBOARD)

    assert facts["written"] == len(set(written)) == COMMITTED
    assert list(folder.rglob("*half*")) == []
    assert list(folder.rglob(".unfinished*")) == []


def test_only_what_is_new_is_read(asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting every hour while a sweep runs must not cost an hour."""
    place = tmp_path / "store"
    shutil.copytree(asked.root, place)
    store, written = Store(str(place)), []
    monkeypatch.setattr(
        "orchestrator.trackers.tensorboard.write_events",
        lambda run, hidden: (hidden.mkdir(parents=True), written.append(run)),
    )
    export(store, None, tmp_path / "runs", Target.TENSORBOARD)
    fill(store, sweep("augmentation"))

    facts = export(store, None, tmp_path / "runs", Target.TENSORBOARD)

    assert facts["there_before"] == COMMITTED
    assert {run.sweep for run in written[COMMITTED:]} == {"augmentation"}
    assert all(len(run.epochs) == EPOCHS_MADE for run in written)


@pytest.fixture
def own(asked: Store, tmp_path: Path) -> Store:
    """A copy of the store that a test may write to."""
    shutil.copytree(asked.root, tmp_path / "store")
    return Store(str(tmp_path / "store"))


def ids(store: Store) -> set[str]:
    """Of all runs of figure3."""
    found = runs.rows_of(store, "figure3")
    return {run.id for run in runs.runs_of(store, found, ())}


@pytest.mark.parametrize("axis", ["epochs=3", "regularizer=L2(0.1)"])
def test_a_launch_with_another_axis_doubles_no_run(own: Store, axis: str) -> None:
    """Rows that were there before show it as null, or as their stage has it, and are the results that they were."""
    before = ids(own)

    fill(own, sweep("figure3", *FIGURE3, axis))

    assert before < ids(own)


def test_an_axis_of_another_type_elsewhere_doubles_no_run(own: Store) -> None:
    """Where another sweep has a batch size of a half, all of the store's batch sizes are floats."""
    before = ids(own)

    cells = [{"sweep": "other", "batch_size": 0.5, "seed": 0, "round": 0, "key": "a"}]
    own.files.write("cells/a.parquet", to_bytes(cells_table(cells)))

    assert before == ids(own)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_an_axis_that_comes_meanwhile_shifts_no_column(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Half a file with one column more is read as numbers of other names."""
    monkeypatch.setattr("orchestrator.export.MOST_KEYS", 4)
    kept, path = parts_of, tmp_path / name

    def meanwhile(*args: Any) -> Iterator[Any]:
        for number, part in enumerate(kept(*args)):
            if number == 0:
                fill(own, sweep("figure3", *FIGURE3, "epochs=3"))
            yield part

    monkeypatch.setattr("orchestrator.export.parts_of", meanwhile)
    export(own, "figure3", path, Target(path.suffix[1:]), Kind.EPOCHS)

    frame = pd.read_parquet(path) if name.endswith("parquet") else pd.read_csv(path)
    assert "axis_epochs" not in frame
    assert set(frame["sweep"]) == {"figure3"}
    assert set(frame["epoch"]) == set(range(1, EPOCHS_MADE + 1))


def test_a_stage_that_two_cells_share_is_a_run_of_each(store: Store) -> None:
    """A first round belongs to the curve of every init that goes on from it."""
    fill(store, sweep("figure2"))
    found = runs.rows_of(store, "figure2")

    made_runs = list(runs.runs_of(store, found, ()))

    assert len({run.id for run in made_runs}) == len(made_runs) == store.sql("FROM results").num_rows
    assert len({run.facts["key"] for run in made_runs}) < len(made_runs)
    assert len({run.name for run in made_runs}) == len(made_runs)


def test_a_sweep_of_a_stranger_cannot_name_a_folder_elsewhere(store: Store, tmp_path: Path) -> None:
    """A store may come from anybody, and its texts must not say where files are written."""
    store.check_format()
    cells = [{"sweep": "../../elsewhere", "seed": 0, "round": 0, "key": "a"}]
    store.files.write("cells/a.parquet", to_bytes(cells_table(cells)))

    with pytest.raises(StoreError, match="cannot name a sweep"):
        export(store, None, tmp_path / "runs", Target.TENSORBOARD)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--to: say where"),
        ("--to runs", "--to runs: this does not say what to write"),
        ("--to x.csv --format mlflow", "--to x.csv: the name says csv, and --format mlflow"),
        ("--to nowhere/x.csv", "nowhere/x.csv: there is no folder nowhere"),
        ("--to nowhere/runs --format tensorboard", "there is no folder nowhere"),
        ("--to made.py --format tensorboard", "--to made.py: is a file"),
        ("--to runs --format tensorboard --table epochs", "--table epochs: for files alone"),
        ("figur3 --to x.csv", "no sweep 'figur3'; nearest: figure3"),
        ("figur3 --to runs --format tensorboard", "no sweep 'figur3'; nearest: figure3"),
        ("--to x.csv --store nothing", "no store here"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    warmgrid: Warmgrid, asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    """A folder full of wrong runs is laborious to sort out."""
    monkeypatch.setenv("WARMGRID_STORE", asked.root)
    before = set(tmp_path.iterdir())

    ended = warmgrid("export", *words.split())

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("target", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow"), ("wandb", "wandb")]
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    asked: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, package: str
) -> None:
    """An ImportError says neither."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    told = rf"needs {package}, which is not installed: pip install 'warmgrid\[{target}\]'"
    with pytest.raises(ConfigError, match=told):
        export(asked, "figure3", tmp_path / "runs", Target(target))

    assert not (tmp_path / "runs").exists()
