"""Export: a sweep's results, or all, as one flat file, or for TensorBoard, MLflow and Weights & Biases; reads only."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.ask import Kind, Question, ask
from orchestrator.columns import EPOCHS, STAGES
from orchestrator.errors import ConfigError
from orchestrator.quoting import literal
from orchestrator.writing import check_output, render, replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.store import Store
    from orchestrator.trackers.runs import Tracker

MOST_KEYS = 1000  # stages whose epochs are in memory at once


class Target(enum.StrEnum):
    """What can be written."""

    PARQUET = "parquet"
    CSV = "csv"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


FILES = {f".{target}": target for target in (Target.PARQUET, Target.CSV)}


def target_of(given: Target | None, place: Path) -> Target:
    """What to write: as `given`, else as the suffix of `place` says.

    Raises:
        ConfigError: neither says it, or both say another thing.
    """
    told = FILES.get(place.suffix.lower())
    if given is None and told is None:
        raise ConfigError(f"--to {place}: this does not say what to write. End it in .parquet or .csv, or --format.")
    if given is not None and told not in (None, given):
        raise ConfigError(f"--to {place}: the name says {told}, and --format {given}. Change one of them.")
    return given or told or Target.PARQUET


def export(store: Store, sweep: str | None, place: Path, target: Target, kind: Kind = Kind.RESULTS) -> dict[str, Any]:
    """Write results to `place`; what was written.

    Exporting again replaces a file; into a folder it adds the runs that are not there yet. Results that failed are
    rows of a file, and no runs.

    Raises:
        StoreError: there is no store, or one that this version cannot read.
        ConfigError: the store has no such sweep, `place` cannot be written, or a package is not installed.
    """
    if target in FILES.values():
        check_output(place)
        return {"export": str(place), "rows": to_file(store, Question(sweep, kind, columns=["all"]), place, target)}
    if kind is not Kind.RESULTS:
        raise ConfigError(f"--table {kind}: for files alone; a run of {target} has its results and its epochs.")
    check_folder(place)
    return {"export": str(place), **to_tracker(store, sweep, place, target)}


def check_folder(folder: Path) -> None:
    """Make sure that runs can be put into `folder`, before anything is read.

    Raises:
        ConfigError: it is a file, or the folder it is to lie in is missing.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--to {folder}: is a file, and runs go into a folder. Name another.")
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"--to {folder}: there is no folder {folder.parent}. Make it first, or name another.")


def to_file(store: Store, question: Question, path: Path, target: Target) -> int:
    """Write the rows of a question into one file, whole or not at all; how many they are."""
    write, count = (parquet_file if target is Target.PARQUET else csv_file), 0

    def counted() -> Iterator[pa.Table]:
        nonlocal count
        for part in parts_of(store, question):
            count += part.num_rows
            yield part

    with replacing(path) as hidden:
        write(counted(), hidden)
    return count


def parts_of(store: Store, question: Question) -> Iterator[pa.Table]:
    """The rows of a question, those of epochs a thousand stages at a time; always one table or more.

    All have the columns of the first: a launch that brings an axis meanwhile must not shift those of the rest.
    """
    if question.table is Kind.RESULTS:
        yield ask(store, question)
        return
    keys = ask(store, Question(question.sweep, columns=["key"]))["key"].unique().to_pylist()
    schema = None
    for start in range(0, max(len(keys), 1), MOST_KEYS):
        chosen = ", ".join(map(literal, keys[start : start + MOST_KEYS])) or "''"
        columns = question.columns if schema is None else schema.names
        part = ask(store, Question(question.sweep, Kind.EPOCHS, f"key IN ({chosen})", columns))
        schema = schema or part.schema
        yield part.cast(schema)


def parquet_file(parts: Iterator[pa.Table], path: Path) -> None:
    """Write tables of the same columns into one Parquet file that tells units and meanings."""
    import pyarrow.parquet as pq

    first = next(parts)
    with pq.ParquetWriter(path, told(first).schema, compression="zstd") as writer:
        writer.write_table(told(first))
        for part in parts:
            writer.write_table(told(part))


def told(table: pa.Table) -> pa.Table:
    """`table` with units and sentences in its fields' metadata, where they are known."""
    import pyarrow as pa

    known = {column.name: column for column in (*STAGES, *EPOCHS)}
    if "epoch" not in table.column_names:
        known |= {column.name: column for column in STAGES}
    notes = [{"unit": c.unit, "sentence": c.sentence} if (c := known.get(f.name)) else None for f in table.schema]
    fields = [field.with_metadata(note) for field, note in zip(table.schema, notes, strict=True)]
    return table.cast(pa.schema(fields))


def csv_file(parts: Iterator[pa.Table], path: Path) -> None:
    """Write tables of the same columns into one CSV file."""
    piece = path.with_name(f"{path.name}.part")
    try:
        with path.open("wb") as whole:
            for number, part in enumerate(parts):
                render(part, "csv", piece, header=number == 0)
                with piece.open("rb") as written:
                    shutil.copyfileobj(written, whole)
    finally:
        piece.unlink(missing_ok=True)


def to_tracker(store: Store, sweep: str | None, folder: Path, target: Target) -> dict[str, int]:
    """Put runs into `folder` that are not there yet; how many were written, and were there before."""
    from orchestrator.trackers.runs import rows_of, runs_of

    found = rows_of(store, sweep)
    tracker = opener(target)(folder)
    held, written = tracker.held(), 0
    for run in runs_of(store, found, held):
        tracker.add(run)
        written += 1
    return {"written": written, "there_before": len(found.rows) - written}


def opener(target: Target) -> Callable[[Path], Tracker]:
    """What opens the folder of a program."""
    if target is Target.TENSORBOARD:
        from orchestrator.trackers.tensorboard import TensorBoard

        return TensorBoard.opened
    if target is Target.MLFLOW:
        from orchestrator.trackers.mlflow import MLflow

        return MLflow.opened
    from orchestrator.trackers.wandb import WandB

    return WandB.opened
