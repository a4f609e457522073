"""Small: the files that hold one stage's row, its epochs, or a launch's cells; one that is unsound is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.columns import TableName
from orchestrator.errors import DamageError
from orchestrator.files import Files
from orchestrator.schema import read_bytes

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
READERS = 4  # threads; they hide the latency of a network folder, and more of them only wait for each other


def small_name(table: str, name: str) -> str:
    """Name in the store of a small file."""
    return f"{table}/{name}{SUFFIX}"


def small_names(files: Files, folder: str) -> set[str]:
    """Names, without suffix, of the small files in `folder`."""
    return {name.removesuffix(SUFFIX) for name in files.list(folder) if name.endswith(SUFFIX)}


def sound(files: Files, name: TableName, folder: str, keys: Sequence[str]) -> set[str]:
    """Those of `keys` whose small file is sound; keeps no rows, of which each small file costs 60 KiB of memory."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda key: read_file(files, name, small_name(folder, key), key) is not None, keys)
        return {key for key, is_sound in zip(keys, found, strict=True) if is_sound}


def read_file(files: Files, name: TableName, path: str, key: str) -> tuple[pa.Table, bytes] | None:
    """The table in one small file, and its bytes; None if it cannot count or another process has just moved it."""
    data = b""
    try:
        data = files.read(path)
        return read_own(name, data, key), data
    except FileNotFoundError:
        return None
    except DamageError as error:
        files.set_aside(path, str(error), data)
        return None


def read_own(name: TableName, data: bytes, key: str) -> pa.Table:
    """The table in the small file of `key`.

    Raises:
        DamageError: it is damaged or foreign, or holds rows of another stage.
    """
    table = read_bytes(name, data)
    if name == "stages" and table["key"].to_pylist() != [key]:
        raise DamageError("not the row of this stage")
    if name == "epochs" and set(table["key"].to_pylist()) - {key}:
        raise DamageError("not the epochs of this stage")
    return table
