"""Store: everything that outlives a launch, in one folder of plain Parquet and safetensors.

    warmgrid.json               what this folder is
    stages/<key>.parquet        one row; its appearance commits the stage, all else was written before
    epochs/<key>.parquet        one row per epoch
    cells/<sweep>-<digest>.parquet  which cell, seed and round of a sweep is which stage
    merged/                     rows of the three, a thousand stages a file, once the store was compacted
    weights/<key>.safetensors   final state, what children start from
    failures/<key>.parquet      one row, as in stages, of a stage that raised; tracebacks/<key>.txt beside
    launches/<sweep>/<digest>.json  what was asked for: what `resume` goes on with
    checkpoints/<key>/<epoch>   resume points of a running stage, two kept, gone when it is committed
    points/<trajectory>/<epoch>  ends of extendable stages, from where longer ones go on
    running/<key>.json          who runs it since when; leases/, locks/, stop/, events/, set_aside/
    logs/<key>.txt              the last lines that were logged while it ran; no result, and no two are alike

Nothing of a committed stage is ever changed. Any number of processes may read while others write.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, DamageError, StoreError
from orchestrator.files import SET_ASIDE, log, open_files
from orchestrator.lease import Lease, hold, is_live, live
from orchestrator.lease import tidy as forget_dead
from orchestrator.ledger import Ledger
from orchestrator.notes import Notes
from orchestrator.resume_points import ResumePoints
from orchestrator.tensors import decode_state, digest, encode_state

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from orchestrator.compaction import Compacted
    from orchestrator.seam import State

FORMATS = (1, 2)  # that this version reads: without merged files, and with them
DEFAULT = "warmgrid-store"
SPOILT = re.compile(r"weights-(?P<key>[^.]+)\.safetensors\.[0-9a-f]{8}")  # what was set aside
RECIPE = ("sweep", "source", "axes", "overrides", "seeds", "stages")  # what a remembered launch says of itself
FROM_A_STORE = "the sweep's file lies in the store itself, and nothing that comes with a store is run"


def open_store(root: str | None = None) -> Store:
    """The store in the folder `root`, else in WARMGRID_STORE, else in ./warmgrid-store."""
    return Store(root or os.environ.get("WARMGRID_STORE") or DEFAULT)


class Store(Notes, ResumePoints):
    """One store. Opening it reads nothing and creates nothing."""

    def __init__(self, root: str) -> None:
        """Use the folder `root`, which need not exist yet."""
        self.files = open_files(root)
        self._ledger = Ledger(self.files)

    @property
    def root(self) -> str:
        """Absolute path of the folder."""
        return self.files.root

    # What is asked and read.

    def sql(self, query: str) -> pa.Table:
        """Rows of one SELECT over the tables stages, epochs, cells and results.

        Raises:
            StoreError: there is no store, or one that this version cannot read.
            ConfigError: `query` means nothing, or would do more than read.
        """
        (rows,) = self.sql_all([query])
        return rows

    def sql_all(self, queries: Sequence[str]) -> list[pa.Table]:
        """Rows of several queries, as `sql` gives them, for one reading of the store's files.

        Raises:
            StoreError: as for `sql`.
            ConfigError: as for `sql`.
        """
        from orchestrator.query import run_all

        if not self.files.there():
            raise StoreError(f"{self.root}: no store here. Launch a sweep into it, or give another --store.")
        self.check_readable()
        return run_all(self.files, queries, self._ledger.shelf)

    def to_arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole of one table, or some columns of it, in Arrow: "stages", "epochs", "cells" or "results".

        Raises:
            StoreError: as for `sql`.
            ConfigError: there is no such table or column.
        """
        from orchestrator.quoting import quoted

        if isinstance(columns, str):  # a sequence of letters
            raise ConfigError(f"columns={columns!r}: give a list of names, such as [{columns!r}].")
        chosen = "*" if columns is None else ", ".join(map(quoted, columns))
        return self.sql(f"SELECT {chosen} FROM {quoted(table)}")

    def to_pandas(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The same as a DataFrame; empty cells are NaN, None or NaT there."""
        return self.to_arrow(table, columns).to_pandas()

    def stages(self) -> pa.Table:
        """The table `stages`: committed stages, and those whose last attempt failed."""
        from orchestrator.table import load

        self.check_readable()
        return load(self.files, "stages", shelf=self._ledger.shelf)

    def check_readable(self) -> bool:
        """Make sure that this version can read what is in the folder; whether it is a store already.

        Done before anything is read: what an older version cannot make sense of, it would set aside.

        Raises:
            StoreError: it was written by a later version, or is another program's folder.
        """
        try:
            found = json.loads(self.files.read("warmgrid.json"))["format"]
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{self.root}/warmgrid.json: not what warmgrid writes. Give another --store, or remove the file if the "
                f"rest of the folder is a store."
            ) from None
        if found not in FORMATS:
            known = " and ".join(map(str, FORMATS))
            raise StoreError(f"{self.root}: a store of format {found}; this version reads {known}. Update warmgrid.")
        return True

    def check_format(self) -> None:
        """Make the folder a store, or make sure that it is one that this version can use.

        Raises:
            StoreError: as in `check_readable`, or the folder cannot be written.
        """
        if self.check_readable():
            return
        if self.files.list():
            log.warning("%s holds other files too; warmgrid only adds its own folders.", self.root)
        number = FORMATS[bool(self.files.list("merged"))]  # where somebody removed a warmgrid.json that was damaged
        self.files.write_once("warmgrid.json", json.dumps({"format": number}).encode())

    def committed(self, among: Collection[str] | None = None) -> set[str]:
        """Keys of the stages, by default all, whose result is here; a damaged row is set aside first."""
        self.check_readable()
        return self._ledger.committed(among)

    def startable(self) -> set[str]:
        """Keys of stages whose final state is here, for children to start from."""
        return {name.removesuffix(".safetensors") for name in self.files.list("weights")}

    def is_startable(self, key: str) -> bool:
        """Whether the stage's final state is here (its bytes are not looked at)."""
        return self.files.exists(f"weights/{key}.safetensors")

    def spoilt(self) -> set[str]:
        """Keys of stages whose final state was set aside as damaged, and was not made again."""
        found = (SPOILT.fullmatch(name) for name in self.files.list(SET_ASIDE))
        return {parts["key"] for parts in found if parts is not None} - self.startable()

    def is_committed(self, key: str) -> bool:
        """Whether the stage's result is here, whole (its bytes are not looked at)."""
        return self._ledger.is_committed(key)

    def has_results(self) -> bool:
        """Whether any stage's row is here."""
        return self._ledger.has_rows()

    def stage_row(self, key: str) -> dict[str, Any]:
        """The stage's row of the table `stages`.

        Raises:
            FileNotFoundError: it is not committed.
            DamageError: its row is damaged, and was set aside.
        """
        return self._ledger.row(key)

    def find_row(self, key: str) -> dict[str, Any] | None:
        """The stage's row, or None if it is missing or was damaged and is now set aside."""
        try:
            return self.stage_row(key)
        except (FileNotFoundError, DamageError):
            return None

    def compact(self) -> Compacted:
        """Put the rows of many small files into a few merged ones; other processes may read and write meanwhile.

        The store's format becomes 2, which versions before 0.2 refuse to open.

        Raises:
            StoreError: there is no store, another process compacts it, or it cannot be written.
        """
        from orchestrator.compaction import compact

        if not self.check_readable():
            raise StoreError(f"{self.root}: no store here. Launch a sweep into it, or give another --store.")
        return compact(self.files)

    # A stage's life, in the order in which it happens.

    def lock(self, key: str) -> AbstractContextManager[Lease | None]:
        """The lease of one stage: no two workers train it at the same time, wherever they are.

        As a context it gives the lease, or None, at once, if another worker holds it.
        """
        return hold(self.files, key)

    def is_held(self, key: str) -> bool:
        """Whether a living worker holds the stage's lease."""
        return is_live(self.files, key)

    def held(self) -> set[str]:
        """Keys of all stages that living workers hold the lease of."""
        return live(self.files)

    def load_state(self, key: str) -> State:
        """Final state of a committed stage.

        Raises:
            StoreError: it is missing or not what was committed; it was set aside, and `resume`
                trains the stage again.
        """
        name = f"weights/{key}.safetensors"
        try:
            data, committed = self.files.read(name), self.stage_row(key)["weights_digest"]
        except FileNotFoundError as error:
            raise StoreError(
                f"stage {key}: {error.filename} is missing. Resume: it is trained again. (Not if somebody deleted it, "
                f"and no stage starts from it: its results are all here.)"
            ) from None
        if digest(data) != committed:
            self.files.set_aside(name, "other bytes than were committed", data)
            raise DamageError(f"weights of stage {key}: other bytes than were committed. Resume: it is trained again.")
        return decode_state(data)

    def commit(
        self, key: str, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], state: State
    ) -> dict[str, Any]:
        """Make a stage's result visible: weights, epochs, then its row, which is the commit.

        A stage that was committed before and ran again because its weights or epochs were lost
        gets back what is missing; its row stays. Only if it came out with other bits, as on
        another kind of machine, the old row is set aside, so that row and weights always agree.

        Returns:
            The committed row.

        Raises:
            StoreError: a value does not fit its column, or the folder cannot be written; nothing is committed.
        """
        from orchestrator import compaction
        from orchestrator.schema import to_bytes, to_table

        weights = encode_state(state)
        full = {**row, "key": key, "weights_digest": digest(weights)}
        stage_table = to_table("stages", [full])
        stage_bytes = to_bytes(stage_table)
        epoch_bytes = to_bytes(to_table("epochs", [{**epoch, "key": key} for epoch in epochs]))
        stage_name, epochs_name = f"stages/{key}.parquet", f"epochs/{key}.parquet"
        before = self.find_row(key)
        is_other = before is not None and before["weights_digest"] != full["weights_digest"]
        with compaction.exclusive(self.files) if is_other else nullcontext():
            if is_other:
                why = "its weights were lost, and the stage ended with other bits this time"
                compaction.unmerge(self.files, key)
                self.files.set_aside(stage_name, why)  # before its epochs: without its row a stage is not committed
                self.files.set_aside(epochs_name, why)
            self.files.write(f"weights/{key}.safetensors", weights)
            if not self.is_committed(key):
                self.files.write(epochs_name, epoch_bytes)
            is_ours = (before is None or is_other) and self.files.write_once(stage_name, stage_bytes)
        self.forget_running(key)
        written: list[dict[str, Any]] = stage_table.to_pylist() if is_ours else [self.stage_row(key)]
        return written[0]

    def record_failure(self, key: str, row: Mapping[str, Any], traceback_text: str) -> None:
        """Keep settings and error of an attempt that raised; the checkpoints stay for the next one."""
        from orchestrator.schema import to_bytes, to_table

        self.files.write(f"tracebacks/{key}.txt", traceback_text.encode(errors="replace"))
        self.files.write(f"failures/{key}.parquet", to_bytes(to_table("stages", [{**row, "key": key}])))

    def forget_running(self, key: str) -> None:
        """Remove what only a running stage needs; its note last, so that `tidy` finds what a crash leaves here."""
        self.files.delete_folder(f"checkpoints/{key}")
        for name in (f"failures/{key}.parquet", f"tracebacks/{key}.txt", f"running/{key}.json"):
            self.files.delete(name)

    def tidy(self, committed: Collection[str]) -> None:
        """Forget the running of those of the `committed` stages whose worker died just after the commit.

        What dead writers left half-written anywhere in the store goes too, and the claims of dead workers.
        """
        failed = {name.removesuffix(".parquet") for name in self.files.list("failures")}
        begun = self.noted().union(failed, self.files.folders("checkpoints"))  # a power cut may take the note alone
        for key in sorted(begun.intersection(committed)):
            with self.lock(key) as lease:
                if lease is not None and self.is_startable(key):  # else another launch may be making its weights again
                    self.forget_running(key)
        forget_dead(self.files)
        self.files.tidy()

    # What was asked for.

    def record_launch(self, sweep: str, recipe: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> None:
        """Remember the recipe of a launch and its cells; the same launch again changes nothing."""
        from orchestrator.schema import cells_table, to_bytes

        if self._holds(recipe["source"]):
            raise StoreError(f"{recipe['source']}: {FROM_A_STORE}. Move it out, or give another --store.")
        named = file_name(sweep)
        identity = json.dumps(sorted(sorted(map(str, row.items())) for row in cells)).encode()
        cells_name = f"cells/{named}-{digest(identity)[:16]}.parquet"
        if not self._ledger.has_cells(cells_name):
            self.files.write_once(cells_name, to_bytes(cells_table(cells)))
        text = json.dumps(recipe, sort_keys=True, indent=1).encode()
        self.files.write(f"launches/{named}/{digest(text)[:16]}.json", text)

    def launches(self, sweep: str) -> list[dict[str, Any]]:
        """Recipes of all launches of a sweep; what cannot be read is set aside."""
        self.check_readable()
        folder = f"launches/{file_name(sweep)}"
        recipes = []
        for name in self.files.list(folder):
            try:
                data = self.files.read(f"{folder}/{name}")
                recipe = json.loads(data)
                if self._holds(recipe["source"]):
                    self.files.set_aside(f"{folder}/{name}", f"{recipe['source']}: {FROM_A_STORE}")
                elif digest(data)[:16] != name.removesuffix(".json"):
                    raise ValueError("other bytes than were written")
                else:
                    recipes.append({part: recipe[part] for part in RECIPE})
            except FileNotFoundError:  # another process has just set it aside
                continue
            except (ValueError, KeyError, TypeError):
                self.files.set_aside(f"{folder}/{name}", "not what warmgrid remembers of a launch")
        return recipes

    def _holds(self, source: str) -> bool:
        """Whether a sweep's file lies in the store's own folder: then whoever made the store wrote it."""
        return Path(source).resolve().is_relative_to(Path(self.root).resolve())


def file_name(sweep: str) -> str:
    """`sweep` as part of a file name; refuses what could leave the folder or hide."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}", sweep):
        raise StoreError(f"{sweep!r} cannot name a sweep in a store: use letters, digits, '_', '-' and '.'.")
    return sweep
