"""Whatever happens to a file of a store: it is named, set aside, never executed and never believed; resume mends it."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError, SweepError
from orchestrator.schema import read_bytes
from orchestrator.store import Store
from orchestrator.table import load
from orchestrator.tensors import open_checkpoint
from tests.orchestrator.fake_trainer import MEASURED, Lab, made_sweep
from tests.orchestrator.launches import go

SWEEP = made_sweep("made", lr=[0.1])
STAGES = sorted({stage.key for trial in SWEEP.trials() for one in trial.stages for stage in one.lineage()})
HALTED = next(stage for trial in SWEEP.trials() for stage in trial.stages if stage.config.seed and not stage.parent)
PASSING = (*MEASURED, "continued_from")  # what may differ after a repair: HALTED may go on from its point
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


class Bomb:
    """A pickle of it makes a file wherever it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def parquet(**columns: Any) -> bytes:
    """A Parquet file of these columns, as any program writes it."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def rewritten(data: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """The rows of a Parquet file with changed columns; other bytes as they are."""
    if not data.endswith(b"PAR1"):
        return data[::-1]
    sink = pa.BufferOutputStream()
    pq.write_table(change(pq.read_table(pa.BufferReader(data))), sink)
    return sink.getvalue().to_pybytes()


def wrong_type(table: pa.Table) -> pa.Table:
    """The first column as numbers."""
    return table.set_column(0, table.column_names[0], pa.array([0.5] * table.num_rows))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "zero-length": lambda _: b"",
    "torn after 1 byte": lambda data: data[:1],
    "torn after 8 bytes": lambda data: data[:8],
    "torn in the middle": lambda data: data[: len(data) // 2],
    "torn before its last byte": lambda data: data[:-1],
    "longer by a byte": lambda data: data + b"\0",
    "one bit flipped early": lambda data: data[:5] + bytes([data[5] ^ 2]) + data[6:],
    "one bit flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 8]) + data[len(data) // 2 + 1 :]
    ),
    "all zeros": lambda data: bytes(len(data)),
    "a picture": lambda _: PNG,
    "another program's table": lambda _: parquet(price=[1.0, 2.0], name=["a", "b"]),
    "without its first column": lambda data: rewritten(data, lambda table: table.drop_columns(table.column_names[:1])),
    "with a column of another type": lambda data: rewritten(data, wrong_type),
}
KINDS = {  # of files: where one is, in the store that `damaged` copies
    "a row": "stages/*",
    "epochs": "epochs/*",
    "cells": "cells/*",
    "weights": "weights/*",
    "a failure": "failures/*",
    "a traceback": "tracebacks/*",
    "a launch": "launches/made/*",
    "the newest checkpoint": "checkpoints/*/00000002",
    "all checkpoints": "checkpoints/*/*",
    "points": "points/*/*",
    "a note": "running/*",
    "an event": "events/*",
    "a claim": "leases/*",
    "merged rows": "merged/stages-*",
    "merged epochs": "merged/epochs-*",
    "merged cells": "merged/cells-*",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a file of every kind: half compacted, one stage failed at its third epoch, one not begun."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "lab").mkdir()
    lab, store = Lab(folder / "lab"), Store(str(folder / "store"))
    lab.spoil("raise", 3, seed=1, round=1, start="fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        assert go(store, lab, made_sweep("made", lr=[0.1], start=["fresh"]), options=fast(lab)).exit_code == 1
        store.compact()
        assert go(store, lab, SWEEP, options=fast(lab)).exit_code == 1
    way, point = HALTED.trajectory[0], store.load_checkpoint(HALTED.key)
    store.save_point(way, 2, point)
    store.note_event("made", launch="made")
    store.files.write(f"leases/{HALTED.key}.00000001-0123abcd", b'{"machine": "gone", "pid": 1, "seconds": 0.0}')
    assert [kind for kind, pattern in KINDS.items() if not list(Path(store.root).glob(pattern))] == []
    return Path(store.root)


def fast(lab: Lab) -> dict[str, Any]:
    """Options of a launch that saves every epoch, and does not try again."""
    return {"data_root": str(lab.folder), "checkpoint_every_s": 0.0, "retries": 0}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the sweep gives when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = Store(str(folder / "store"))
    assert go(store, Lab(folder), SWEEP).exit_code == 0
    return outcome(store)


def outcome(store: Store) -> Any:
    """Rows, epochs and weights of the sweep, without what no two attempts have in common; its cells, each once."""
    stages = load(store.files, "stages")
    rows = [{name: value for name, value in row.items() if name not in PASSING} for row in stages.to_pylist()]
    weights = {key: store.files.read(f"weights/{key}.safetensors") for key in STAGES if store.is_startable(key)}
    cells = {tuple(sorted(row.items())) for row in load(store.files, "cells", stages).to_pylist()}
    return rows, load(store.files, "epochs", stages).to_pylist(), weights, cells


def look_at(store: Store) -> None:
    """Everything that reads a store; only what is asked for by its name may be refused."""
    for name in ("stages", "epochs", "cells"):
        load(store.files, name)
    assert len(store.sql_all(["SELECT count(*) FROM results", "SELECT count(*) FROM epochs"])) == 2
    store.committed(), store.launches("made"), store.events(), store.held(), store.noted()
    for key in STAGES:
        store.running(key), store.is_committed(key), store.find_row(key), store.load_checkpoint(key)
        with contextlib.suppress(StoreError):
            store.load_state(key)


def mended(store: Store, folder: Path) -> Any:
    """The outcome after a launch into a damaged store."""
    folder.mkdir(exist_ok=True)
    look_at(store)  # a launch reads no epochs, cells or weights that it does not need
    for claim in Path(store.root).glob("leases/*"):
        if claim.is_file():
            os.utime(claim, (0, 0))  # of one that cannot be read nothing is known but its age: it is waited for
    summary = go(store, Lab(folder), SWEEP)
    assert (summary.exit_code, store.committed()) == (0, set(STAGES))
    return outcome(store)


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("change", CHANGES)
def test_damage_of_one_file_of_each_kind_is_mended(
    original: Path, undisturbed: Any, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad disk damages many files at once; the science must come out the same."""
    root = Path(shutil.copytree(original, tmp_path / "store"))
    for pattern in KINDS.values():
        path = sorted(root.glob(pattern))[0]
        path.write_bytes(CHANGES[change](path.read_bytes()))
    store = Store(str(root))

    look_at(store)

    assert caplog.text.count("It does not count") >= 9
    assert mended(store, tmp_path / "lab") == undisturbed


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_all_files_of_one_kind_is_mended(original: Path, undisturbed: Any, tmp_path: Path, kind: str) -> None:
    """Somebody's script has gone over one folder."""
    for number, name in enumerate(("zero-length", "one bit flipped", "another program's table")):
        root = Path(shutil.copytree(original, tmp_path / str(number)))
        for path in root.glob(KINDS[kind]):
            path.write_bytes(CHANGES[name](path.read_bytes()))

        rows, epochs, weights, cells = mended(Store(str(root)), tmp_path / "lab")
        assert (rows, epochs, weights, cells) == undisturbed, name


def places(tmp_path: Path) -> dict[str, Callable[[Path], object]]:
    """What may be in a file's place."""
    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    return {
        "a pickle bomb": lambda path: shutil.copy(tmp_path / "bomb", path),
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to nothing": lambda path: path.symlink_to(tmp_path / "nothing"),
        "a link to a bomb": lambda path: path.symlink_to(tmp_path / "bomb"),
    }


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("name", ["a pickle bomb", "a folder", "a pipe", "a link to nothing", "a link to a bomb"])
def test_what_is_no_file_of_ours_does_no_harm(original: Path, undisturbed: Any, tmp_path: Path, name: str) -> None:
    """Opening a store must never run code from it, nor wait for ever."""
    root, put = Path(shutil.copytree(original, tmp_path / "store")), places(tmp_path)[name]
    for path in {path for pattern in KINDS.values() for path in root.glob(pattern)}:
        path.unlink()
        put(path)
    store = Store(str(root))

    look_at(store)

    assert mended(store, tmp_path / "lab") == undisturbed
    assert not (tmp_path / "exploded").exists()
    pickle.loads((tmp_path / "bomb").read_bytes())
    assert (tmp_path / "exploded").exists(), "the bomb is one"


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("data", [b"", b"{", PNG, b'{"format": 9}'])
def test_a_damaged_mark_is_named_and_nothing_is_touched(original: Path, tmp_path: Path, data: bytes) -> None:
    """What the folder is cannot be known then, and a guess would set aside a later version's results."""
    root = Path(shutil.copytree(original, tmp_path / "store"))
    (root / "warmgrid.json").write_bytes(data)
    before = sorted(root.rglob("*"))

    for act in (Store.committed, Store.stages, Store.compact, lambda store: store.sql("FROM stages")):
        with pytest.raises(StoreError, match=r"not what warmgrid writes\. Give another --store, or remove|format 9"):
            act(Store(str(root)))
    assert sorted(root.rglob("*")) == before

    (root / "warmgrid.json").unlink()
    Store(str(root)).check_format()
    assert (root / "warmgrid.json").read_bytes() == b'{"format": 2}'


def test_stray_temporary_files_count_for_nothing(original: Path, undisturbed: Any, tmp_path: Path) -> None:
    """A power cut leaves them."""
    root = Path(shutil.copytree(original, tmp_path / "store"))
    for pattern in KINDS.values():
        path = sorted(root.glob(pattern))[0]
        path.with_name(f".{path.name}.made.1.0123abcd").write_bytes(path.read_bytes()[:50])
    store = Store(str(root))

    look_at(store)

    assert store.files.list("set_aside") == []
    assert mended(store, tmp_path / "lab") == undisturbed


# Every bit.


@pytest.mark.parametrize("pattern", ["stages/*", "epochs/*", "cells/*", "failures/*"])
def test_no_flipped_bit_of_a_table_is_believed(original: Path, pattern: str) -> None:
    """An accuracy that changed by one bit looks like any other; Parquet's own checksums leave the footer out."""
    path = sorted(original.glob(pattern))[0]
    name, data = "stages" if pattern == "failures/*" else pattern.removesuffix("/*"), path.read_bytes()
    sound, believed = read_bytes(name, data), 0
    for at in range(len(data)):
        try:
            again = read_bytes(name, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        except SweepError:
            continue
        believed += 1
        assert again.equals(sound), at
    assert believed < 20, "only in the name of the digest itself"


def test_no_flipped_bit_of_weights_is_believed(original: Path, tmp_path: Path) -> None:
    """A child would start from weights that its parent never had."""
    store = Store(str(shutil.copytree(original, tmp_path / "store")))
    key = min(store.committed())
    data = store.files.read(f"weights/{key}.safetensors")
    for at in range(len(data)):
        store.files.write(f"weights/{key}.safetensors", data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises(StoreError, match="other bytes than were committed"):
            store.load_state(key)


def test_no_flipped_bit_of_a_checkpoint_is_believed(original: Path) -> None:
    """A stage would go on from where it never was."""
    data = sorted(original.glob("checkpoints/*/*"))[-1].read_bytes()
    for at in range(len(data)):
        with pytest.raises(StoreError):
            open_checkpoint(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])


def test_no_flipped_bit_of_a_launch_is_believed(original: Path, tmp_path: Path) -> None:
    """`resume` would go on with a grid that nobody asked for."""
    store = Store(str(shutil.copytree(original, tmp_path / "store")))
    (name, *others) = store.files.list("launches/made")
    data = store.files.read(f"launches/made/{name}")
    for at in range(len(data)):
        store.files.write(f"launches/made/{name}", data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        assert len(store.launches("made")) == len(others)


@pytest.mark.usefixtures("unsynced")
def test_damaged_weights_of_a_last_stage_are_made_again_and_deleted_ones_are_not(
    store: Store, lab: Lab, tmp_path: Path
) -> None:
    """The message says that `resume` trains it again; who deleted weights to save space did not ask for that."""
    go(store, lab, SWEEP)
    one, two = sorted(stage.key for trial in SWEEP.trials() for stage in trial.stages)[:2]
    sound = store.files.read(f"weights/{one}.safetensors")
    store.files.write(f"weights/{one}.safetensors", sound[:-1])
    store.files.delete(f"weights/{two}.safetensors")
    with pytest.raises(StoreError, match="Resume: it is trained again"):
        store.load_state(one)
    row = store.stage_row(one)

    assert [stage.key for stage in go(store, lab, SWEEP).plan.to_run] == [one]

    assert store.files.read(f"weights/{one}.safetensors") == sound
    assert store.stage_row(one) == row
    assert go(store, lab, SWEEP).plan.to_run == []
