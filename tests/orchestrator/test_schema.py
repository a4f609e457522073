"""A table's file says what it holds, takes nothing else, and can be read without us."""

from __future__ import annotations

import datetime
import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import schema as schemas
from orchestrator.columns import SETTINGS, TABLES, names
from orchestrator.errors import ConfigError, StoreError
from orchestrator.schema import cells_table, read_bytes, schema, to_bytes, to_table
from orchestrator.seam import Status

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
GIVEN = {"key": "ab", "trainer": "t:f", "version": 1, "round": 0, "seed": 0, "status": "done", "attempts": 1}
EPOCH = {"key": "ab", "epoch": 1, "train_seconds": 0.5, "steps": 3, "examples": 96}
STAGES_OF_THE_CONTRACT = """
    key parent round seed data fraction examples model init shrink perturb optimizer lr batch_size weight_decay
    regularizer regularizer_size status stop_reason epochs steps examples_seen train_seconds wall_seconds
    train_accuracy train_loss test_accuracy test_loss device host pack_size attempts started_at finished_at
    torch_version warmgrid_version error
"""
EPOCHS_OF_THE_CONTRACT = "key epoch train_loss train_accuracy test_loss test_accuracy train_seconds steps examples"
CELL = {"sweep": "s", "seed": 0, "round": 0, "key": "ab"}


def stage(**values: Any) -> dict[str, Any]:
    """A row of the table stages in which only what must be given is given."""
    return {**dict.fromkeys(names("stages")), **GIVEN, "warmgrid_version": "0", **values}


def parquet(table: pa.Table) -> bytes:
    """Parquet as another program would write it."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["stages", "epochs", "cells"])
def test_every_column_tells_type_unit_and_meaning(name: schemas.TableName) -> None:
    """A number whose unit nobody knows is compared with one of another unit."""
    fields = list(schema(name))

    assert [field.name for field in fields] == list(names(name))
    assert all(field.metadata[b"sentence"].endswith(b".") and b"unit" in field.metadata for field in fields)
    assert schema(name).metadata == {b"warmgrid_table": name.encode(), b"warmgrid_schema": b"1"}


def test_the_columns_of_the_contract_are_there() -> None:
    """Other people's SQL names these columns."""
    stages = set(STAGES_OF_THE_CONTRACT.split())

    assert stages <= set(names("stages"))
    assert " ".join(names("epochs")).startswith(EPOCHS_OF_THE_CONTRACT)


def test_units_are_seconds_fractions_and_utc() -> None:
    """Percent beside fractions, or local times beside UTC, cannot be told apart afterwards."""
    stages = schema("stages")

    assert stages.field("train_seconds").metadata[b"unit"] == b"s"
    assert stages.field("test_accuracy").metadata[b"unit"] == b"fraction"
    assert stages.field("finished_at").type == pa.timestamp("us", tz="UTC")


def test_bare_pandas_reads_what_was_written() -> None:
    """Results must outlive this program."""
    row = stage(lr=0.1, epochs=3, finished_at=NOON, test_accuracy=0.75)

    frame = pd.read_parquet(io.BytesIO(to_bytes(to_table("stages", [row]))))

    assert frame.loc[0, ["lr", "epochs", "test_accuracy"]].to_list() == [0.1, 3, 0.75]
    assert frame.loc[0, "finished_at"] == pd.Timestamp(NOON)


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_a_table_comes_back_as_it_was(count: int) -> None:
    """Rows that change between writing and reading are wrong results; 3000 rows are compressed, 1 is not."""
    table = to_table("epochs", [{**dict.fromkeys(names("epochs")), **EPOCH, "epoch": i + 1} for i in range(count)])

    again = read_bytes("epochs", to_bytes(table))

    assert again.equals(table)
    assert again.schema.equals(schema("epochs"), check_metadata=True)


def test_numpy_numbers_and_the_status_enum_are_taken() -> None:
    """Trainers measure in numpy."""
    table = to_table("stages", [stage(lr=np.float32(0.5), epochs=np.int64(3), status=Status.DONE)])

    assert table.select(["lr", "epochs", "status"]).to_pylist() == [{"lr": 0.5, "epochs": 3, "status": "done"}]


def test_a_loss_that_is_not_a_number_is_kept() -> None:
    """That a loss became NaN is what a diverged stage found out."""
    table = to_table("stages", [stage(status="diverged", train_loss=float("nan"))])

    assert str(read_bytes("stages", to_bytes(table))["train_loss"][0].as_py()) == "nan"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tes_accuracy": 0.5}, r"no column 'tes_accuracy' \(nearest: test_accuracy\)"),
        ({"lr": "0.1"}, "lr='0.1' is not a number"),
        ({"epochs": 2.5}, "epochs=2.5 is not a whole number"),
        ({"steps": True}, "steps=True is not a whole number"),
        ({"data": 3}, "data=3 is not text"),
        ({"started_at": NOON.replace(tzinfo=None)}, "is not a datetime with a time zone"),
        ({"seed": None}, "seed is None and must be given"),
        ({"test_accuracy": 71.5}, r"test_accuracy=71.5 is not a fraction in \[0, 1\]"),
        ({"status": "finished"}, "status='finished' is none of done, diverged, failed"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], message: str) -> None:
    """A wrong value that is stored is found by the reader of the paper."""
    with pytest.raises(StoreError, match=message):
        to_table("stages", [stage(**change)])


def test_all_faults_are_named_at_once() -> None:
    """One fault an attempt costs one training an attempt."""
    row = stage(lr="x")
    del row["parent"], row["host"]

    with pytest.raises(StoreError, match=r"parent is missing; host is missing; lr='x'"):
        to_table("stages", [row])


def test_axes_are_columns_in_their_own_order() -> None:
    """Columns in a random order make two files of one sweep look different."""
    table = cells_table([{**CELL, "init": "warm_start", "first_lr": 0.1}, {**CELL, "first_lr": 1, "init": None}])

    assert table.column_names == ["sweep", "init", "first_lr", "seed", "round", "key"]
    assert table["first_lr"].to_pylist() == [0.1, 1.0]


@pytest.mark.parametrize(
    ("values", "type_", "stored"),
    [
        ([1, 2, None], pa.int64(), [1, 2, None]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([True, False], pa.bool_(), [True, False]),
        (["a", 1, 2.0, True], pa.string(), ["a", "1", "2", "true"]),
        ([None], pa.null(), [None]),
    ],
)
def test_an_axis_has_the_narrowest_type_for_its_values(
    values: list[Any], type_: pa.DataType, stored: list[Any]
) -> None:
    """Numbers kept as text sort 10 before 9."""
    column = cells_table([{**CELL, "width": value} for value in values])["width"]

    assert (column.type, column.to_pylist()) == (type_, stored)


def test_whole_learning_rates_are_numbers_in_every_file() -> None:
    """A folder whose files disagree on a type cannot be read at once by pandas."""
    table = cells_table([{**CELL, "lr": 1, "shrink": None}])

    assert (table.schema.field("lr").type, table.schema.field("shrink").type) == (pa.float64(), pa.float64())


@pytest.mark.parametrize("value", [float("nan"), [1], object()])
def test_an_axis_value_that_is_no_value_is_named(value: object) -> None:
    """A NaN would make equal cells differ."""
    with pytest.raises(StoreError, match=r"width=.* is neither a finite number, text nor a boolean"):
        cells_table([{**CELL, "width": value}])


def test_an_axis_that_sql_would_take_for_another_column_is_refused() -> None:
    """SQL knows no case: LR would be read as lr."""
    with pytest.raises(StoreError, match="the axis LR is lr to SQL"):
        cells_table([{**CELL, "LR": 1}])


def test_an_older_file_without_a_later_column_reads_as_null() -> None:
    """Results already paid for must stay readable when a column is added."""
    table = to_table("stages", [stage(lr=0.1)]).drop_columns(["weights_digest"])

    again = read_bytes("stages", parquet(table))

    assert again.schema == schema("stages")
    assert again["weights_digest"].to_pylist() == [None]


def test_a_file_with_more_columns_loses_them_and_nothing_else() -> None:
    """A colleague's newer program must not hide its results from this one."""
    table = to_table("stages", [stage(lr=0.1)])

    assert read_bytes("stages", parquet(table.append_column("later", pa.array([1])))).equals(table)


def test_a_file_that_went_through_pandas_still_counts() -> None:
    """People compact folders with the tools they know."""
    table = to_table("stages", [stage(lr=0.1, parent=None, finished_at=NOON)])
    sink = io.BytesIO()
    table.to_pandas().to_parquet(sink)

    assert read_bytes("stages", sink.getvalue()).equals(table)


def test_a_file_of_a_schema_to_come_is_not_misread() -> None:
    """Setting it aside would hide good results; misreading it would be worse."""
    table = to_table("stages", [stage()]).drop_columns(["error"])
    table = table.replace_schema_metadata({"warmgrid_table": "stages", "warmgrid_schema": "2"})

    with pytest.raises(ConfigError, match="has schema 2, and this warmgrid knows schemas up to 1"):
        read_bytes("stages", parquet(table))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"x": [1]}), "0 columns 'key'"),
        (to_table("epochs", []), "holds the table 'epochs', not 'stages'"),
        (to_table("stages", [stage()]).cast(pa.schema([f.with_nullable(True) for f in schema("stages")])), None),
        (pa.table({**to_table("stages", [stage()]).to_pydict(), "seed": pa.array(["x"])}), "seed holds string"),
        (pa.table({**to_table("stages", [stage()]).to_pydict(), "seed": pa.nulls(1)}), "seed has 1 empty rows"),
    ],
)
def test_another_programs_file_is_told_from_ours(table: pa.Table, message: str | None) -> None:
    """A foreign file that counts as a stage hides that the stage was never trained."""
    if message is None:
        assert read_bytes("stages", parquet(table)).num_rows == 1
        return
    with pytest.raises(StoreError, match=message):
        read_bytes("stages", parquet(table))


@given(st.integers(0, len(to_bytes(to_table("epochs", [{**dict.fromkeys(names("epochs")), **EPOCH}]))) - 1))
def test_a_torn_file_never_counts(length: int) -> None:
    """A machine that lost power leaves such files."""
    data = to_bytes(to_table("epochs", [{**dict.fromkeys(names("epochs")), **EPOCH}]))

    with pytest.raises(StoreError):
        read_bytes("epochs", data[:length])


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda middle: b"PAR1" + middle + b"PAR1"))
def test_foreign_bytes_never_count(data: bytes) -> None:
    """Whatever lies in the folder, a query goes on."""
    with pytest.raises(StoreError):
        read_bytes("stages", data)


def test_a_flipped_bit_in_the_numbers_is_noticed() -> None:
    """Disks flip bits, and an accuracy that changed by one bit looks like any other."""
    table = to_table("epochs", [{**dict.fromkeys(names("epochs")), **EPOCH, "test_accuracy": 0.123456789}])
    data = bytearray(to_bytes(table))
    data[bytes(data).index(np.float64(0.123456789).tobytes())] ^= 1

    with pytest.raises(StoreError, match="not a sound Parquet file"):
        read_bytes("epochs", bytes(data))


def test_every_table_has_each_column_once() -> None:
    """Two declarations of one name would let the second hide the first."""
    assert all(len(names(name)) == len(set(names(name))) for name in ("stages", "epochs", "cells"))
    assert set(SETTINGS) <= {column.name for column in TABLES["stages"]}
