"""What large stores are measured with: rows as warmgrid, Ray Tune and a CSV a trial have them, and one answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import queries
from benchmarks.made_store import FAMILY, SWEEP, MadeStage, in_files, made_stages, write_merged, write_small
from benchmarks.queries import (
    ASKS,
    CSV,
    MERGED,
    SMALL,
    TUNE,
    Asked,
    disagreements,
    frames_of,
    of_frames,
    of_store,
    tables,
)
from benchmarks.raw_results import config_of, reports, write_csvs, write_trial, write_tune
from orchestrator.store import Store

STAGES = made_stages(4 * FAMILY, 3)
CURVE = STAGES[7]


def asked(kind: str, ask: str, seconds: float, answer: tuple[int, float] = (1, 1.0)) -> Asked:
    """A measurement of so many seconds."""
    return Asked(kind, ask, 0.5, 0.0, seconds, seconds, seconds, seconds / 2, 90.0, 80.0, answer, 0.1)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A made store of merged files."""
    store = Store(str(tmp_path_factory.mktemp("merged")))
    write_merged(store, STAGES)
    return store


def test_merged_files_are_what_compaction_makes_of_small_ones(merged: Store, tmp_path: Path) -> None:
    """What is measured at 100,000 stages must be what a compacted store is."""
    store = Store(str(tmp_path))
    write_small(store, STAGES)

    store.compact()

    made, compacted = (
        sorted(store.files.read(f"merged/{name}") for name in store.files.list("merged")) for store in (merged, store)
    )
    assert len(made) == 3
    assert made == compacted


def test_a_made_stage_is_a_row_as_workers_write_it(merged: Store) -> None:
    """A store of short rows answers sooner than anybody's."""
    (row,) = merged.sql(f"SELECT * FROM stages WHERE key = '{CURVE.key}'").to_pylist()

    assert (row["init_text"], row["round"], row["parent"]) == ("WarmStart()", 1, STAGES[5].key)
    assert json.loads(row["config"])["kind"] == "supervised"
    assert row["test_accuracy"] == CURVE.columns()["test_accuracy"][-1]


def test_every_cell_has_ten_seeds() -> None:
    """The mean over seeds that is measured is over as many as are told."""
    cells: dict[str, set[int]] = {}
    for stage in made_stages(1000 * FAMILY, 3):
        row = {**stage.cell, "key": ""} if stage.place else {}
        cells.setdefault(json.dumps({**row, "seed": 0}), set()).add(row.get("seed", 0))

    assert {len(seeds) for cell, seeds in cells.items() if SWEEP in cell} == {10}


def test_merged_files_hold_as_much_as_compaction_puts_into_them() -> None:
    """Fewer, larger files would make the store look faster than it is."""
    files = list(in_files(made_stages(2500, 3)))

    assert [sum(map(len, groups)) for groups in files] == [1000, 1000, 500]
    assert {len(group) for groups in files for group in groups} == {100}


def test_tunes_files_are_what_its_own_loggers_write(tmp_path: Path) -> None:
    """Ours is compared with Ray Tune, and not with what we make of it."""
    tune_json, tune_csv = pytest.importorskip("ray.tune.logger.json"), pytest.importorskip("ray.tune.logger.csv")
    found, config = list(reports(CURVE)), config_of(CURVE)
    write_trial(tmp_path / "ours", config, found)
    trial = SimpleNamespace(config=config, init_local_path=lambda: None, local_path=str(tmp_path / "theirs"))
    Path(trial.local_path).mkdir()
    trial.storage = SimpleNamespace(storage_filesystem=None, trial_fs_path=trial.local_path)

    class Hashed(SimpleNamespace):
        __hash__ = object.__hash__  # type: ignore[assignment]

    for logger in (tune_json.JsonLoggerCallback(), tune_csv.CSVLoggerCallback()):
        logger._restore_from_remote = lambda *_: None
        hashed = Hashed(**vars(trial))
        logger.log_trial_start(hashed)
        for number, report in enumerate(found):
            logger.log_trial_result(number, hashed, report)
        logger.log_trial_end(hashed)

    for name in ("result.json", "progress.csv", "params.json", "params.pkl"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name


@pytest.mark.parametrize("ask", ASKS)
def test_all_kinds_of_files_give_one_answer(ask: str, merged: Store, others: dict[str, Any]) -> None:
    """A wrong answer is soon given."""
    answers = [asked(MERGED, ask, 1.0, of_store(merged, ask, CURVE))]
    answers += [asked(kind, ask, 1.0, of_frames(*frames, ask, CURVE)) for kind, frames in others.items()]

    assert disagreements(answers) == []


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Last rows and all rows as frames, read from the files of others."""
    pytest.importorskip("ray.tune")
    folder = tmp_path_factory.mktemp("others")
    write_tune(folder / "tune", STAGES)
    write_csvs(folder / "csv", STAGES)
    return {kind: frames_of(kind, folder / name) for kind, name in ((TUNE, "tune"), (CSV, "csv"))}


def test_another_answer_is_told() -> None:
    """The faster of two that disagree is not faster at the same."""
    found = [asked(MERGED, "mean", 1.0), asked(TUNE, "mean", 1.0, (1, 1.1)), asked(CSV, "scatter", 1.0)]

    assert [text.partition(":")[0] for text in disagreements(found)] == ["mean"]


def test_the_table_says_how_many_times_slower_others_are() -> None:
    """Of the time that somebody waits who asks for the first time."""
    ours, others = tables([], [asked(MERGED, "mean", 0.1), asked(SMALL, "mean", 2.0)]).splitlines()[-2:]

    assert ours == "| mean | merged files | 0.500 | 0.100 | 0.100 | 0.100 |  | 0.05 |  | 80 to 90 | 0.1 |"
    assert others == "| mean | small files | 0.500 | 2.000 | 2.000 | 2.000 | 20 | 1.00 | 20 | 80 to 90 | 0.1 |"


def test_reading_the_files_of_others_counts_as_waiting() -> None:
    """Frames that are there already answer in milliseconds; nobody starts with them."""
    read = replace(asked(TUNE, "mean", 0.01), load_s=100.0)

    assert read.whole_s == 100.01
    assert tables([], [asked(MERGED, "mean", 0.1), read]).splitlines()[-1].split(" | ")[6] == "1,000"


def test_a_question_is_asked_in_a_process_of_its_own(merged: Store) -> None:
    """Memory and imports of one question must not count for another."""
    options: Any = SimpleNamespace(stages=len(STAGES), epochs=3, rounds=1)

    (found,) = queries.apart(MERGED, "scatter", Path(merged.root), options)

    assert found.answer == of_store(merged, "scatter", MadeStage(0, 3))
    assert 30 < found.begun_mib <= found.peak_mib < 1000  # resident; what is mapped is several times as much
