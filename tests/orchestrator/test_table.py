"""Many files are one table: each stage once, and no file, however broken, stops a query."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from orchestrator.columns import names
from orchestrator.errors import ConfigError
from orchestrator.files import Files, open_files
from orchestrator.schema import cells_table, read_bytes, schema, to_bytes, to_table
from orchestrator.table import load

STAGE = {
    "trainer": "t:f",
    "version": 1,
    "round": 0,
    "seed": 0,
    "status": "done",
    "attempts": 1,
    "warmgrid_version": "0",
}
CELL = {"sweep": "s", "seed": 0, "round": 0, "key": "a"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty store."""
    return open_files(str(tmp_path))


def put_stage(files: Files, key: str, folder: str = "stages", **values: Any) -> None:
    """Commit a made stage with two epochs, or record its failure."""
    row = {**dict.fromkeys(names("stages")), **STAGE, "key": key, **values}
    epochs = [{**dict.fromkeys(names("epochs")), "key": key, "epoch": i} for i in (1, 2)]
    epochs = [{**row, "train_seconds": 1.0, "steps": 1, "examples": 1} for row in epochs]
    files.write(f"epochs/{key}.parquet", to_bytes(to_table("epochs", epochs)))
    files.write(f"{folder}/{key}.parquet", to_bytes(to_table("stages", [row])))


def put_cells(files: Files, name: str, *rows: dict[str, Any]) -> None:
    """Write one file of cells."""
    files.write(f"cells/{name}.parquet", to_bytes(cells_table([{**CELL, **row} for row in rows])))


@pytest.mark.parametrize("name", ["stages", "epochs", "cells"])
def test_an_empty_store_has_empty_tables_with_their_columns(files: Files, name: Any) -> None:
    """A query written before the first stage ends must not fail."""
    table = load(files, name)

    assert (table.num_rows, sorted(table.column_names)) == (0, sorted(names(name)))


def test_failed_stages_are_listed_until_they_are_committed(files: Files) -> None:
    """A failure that stays listed after the retry looks like a hole in the grid, and a hidden one is never mended."""
    put_stage(files, "a", "failures", status="failed")
    put_stage(files, "b", "failures", status="failed")
    put_stage(files, "b", status="done")

    table = load(files, "stages")

    assert dict(zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)) == {"a": "failed", "b": "done"}


def test_a_stage_in_two_files_counts_once(files: Files) -> None:
    """After merging files a stage may lie in an old and a new one for a while; counted twice it shifts every mean."""
    put_stage(files, "a")
    files.write("stages/merged.parquet", files.read("stages/a.parquet"))

    assert load(files, "stages")["key"].to_pylist() == ["a"]


def test_epochs_are_those_of_committed_stages(files: Files) -> None:
    """Epochs of a stage that was killed in mid-commit, or failed, are no result."""
    put_stage(files, "a")
    put_stage(files, "b", "failures", status="failed")
    put_stage(files, "c")
    files.delete("stages/c.parquet")

    assert load(files, "epochs")["key"].to_pylist() == ["a", "a"]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all" * 9, None])
def test_a_broken_file_is_set_aside_and_named(
    files: Files, data: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """One torn file must cost one stage, and never the view on all others."""
    put_stage(files, "a")
    put_stage(files, "b")
    files.write("stages/b.parquet", files.read("stages/b.parquet")[:-9] if data is None else data)

    with caplog.at_level(logging.WARNING):
        table = load(files, "stages")

    assert table["key"].to_pylist() == ["a"]
    assert files.list("stages") == ["a.parquet"]
    assert "b.parquet" in caplog.text


def test_a_file_of_a_newer_program_is_not_set_aside(files: Files) -> None:
    """An old program that moves new results away makes somebody train them again."""
    table = to_table("epochs", []).replace_schema_metadata({"warmgrid_table": "stages", "warmgrid_schema": "9"})
    files.write("stages/a.parquet", to_bytes(table))

    with pytest.raises(ConfigError, match="schema 9"):
        load(files, "stages")
    assert files.list("stages") == ["a.parquet"]


def test_a_file_that_vanishes_while_it_is_read_is_left_out(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process sets a file aside at the same moment."""
    put_stage(files, "a")
    monkeypatch.setattr(files, "list", lambda folder: ["a.parquet", "gone.parquet"] if folder == "stages" else [])

    assert load(files, "stages")["key"].to_pylist() == ["a"]


def test_other_files_in_a_folder_are_left_alone(files: Files) -> None:
    """A user's notes beside the results are no torn result."""
    files.write("stages/notes.txt", b"lr 0.1 looks odd")

    assert load(files, "stages").num_rows == 0
    assert files.list("stages") == ["notes.txt"]


def test_cells_of_all_sweeps_share_one_table(files: Files) -> None:
    """Axes that only one sweep has are null for the others."""
    put_cells(files, "s-1", {"lr": 0.1})
    put_cells(files, "t-1", {"sweep": "t", "width": 64})

    table = load(files, "cells").to_pylist()

    assert [(row["sweep"], row["lr"], row["width"]) for row in table] == [("s", 0.1, None), ("t", None, 64)]


def test_a_cell_of_two_launches_is_there_once(files: Files) -> None:
    """A grid that grew lists its old cells again; doubled rows would shrink every error bar."""
    put_cells(files, "s-1", {"width": 1})
    put_cells(files, "s-2", {"width": 1}, {"width": 2, "key": "b"})

    assert load(files, "cells")["width"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("one", "other", "stored"),
    [(1, 0.5, [1.0, 0.5]), (0.5, "none", ["0.5", "none"]), (2, "two", ["2", "two"]), (None, 3, [None, 3])],
)
def test_axis_types_widen_until_all_sweeps_fit(files: Files, one: Any, other: Any, stored: list[Any]) -> None:
    """Two sweeps may use one name for unlike values; neither may stop the other's query."""
    put_cells(files, "s-1", {"width": one})
    put_cells(files, "s-2", {"width": other, "key": "b"})

    assert load(files, "cells")["width"].to_pylist() == stored


def test_bare_pandas_and_pyarrow_read_the_folders(files: Files) -> None:
    """Results must be readable where warmgrid is not installed."""
    for key in ("a", "b"):
        put_stage(files, key, lr=0.1)
    put_cells(files, "s-1", {"lr": 0.1}, {"lr": 1, "key": "b"})

    stages = pd.read_parquet(Path(files.root, "stages"))
    epochs = pa.dataset.dataset(Path(files.root, "epochs")).to_table()
    joined = pd.read_parquet(Path(files.root, "cells")).merge(stages, on="key")

    assert stages["key"].to_list() == ["a", "b"]
    assert (epochs.num_rows, epochs.schema) == (4, schema("epochs"))
    assert joined["lr_x"].to_list() == [0.1, 1.0]


def test_a_table_is_what_its_files_say(files: Files) -> None:
    """Loading must not change a value on the way."""
    for key in ("a", "b", "c"):
        put_stage(files, key, lr=0.1, train_loss=float("inf"))

    parts = [read_bytes("stages", files.read(f"stages/{key}.parquet")) for key in ("a", "b", "c")]

    assert load(files, "stages").equals(pa.concat_tables(parts))
