"""Mapped: decoded images as plain arrays on this machine's disk, which all its processes map into their memory.

One process of a machine checks and decodes a published set; the others, and later ones, have its images at once, and
all have them once in memory. The arrays are named by their content and may be deleted at any time. What they were
decoded from is in a record beside them: once one of those files is another one, it is checked and decoded again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.arrays import Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("warmgrid")
SETTLED_S = 2.0  # since a file was written: before, another write might leave it the same time


def find_mapped(what: str, folder: Path, beside: Path) -> Images | None:
    """The images `what` as they were decoded from the files in `folder`; None if they were not, or these have changed.

    Args:
        what: Names set and split.
        beside: The folder with the arrays; need not exist.
    """
    try:
        record = json.loads(record_of(what, folder, beside).read_text())
        stamps = {**record["files"], **record["arrays"]}
        if any(stamp(Path(path)) != before for path, before in stamps.items()):
            return None
        pixels, labels = (loaded(Path(path)) for path in record["arrays"])
        return Images(pixels, labels)
    except (OSError, ValueError, KeyError, TypeError):  # nobody kept them, or somebody deleted or damaged them
        return None


def share(what: str, folder: Path, files: Iterable[Path], beside: Path, decode: Callable[[], Images]) -> Images:
    """The images `what`, which one process of this machine decodes from the files in `folder`, the others waiting.

    Where they cannot be kept, on a full disk say, this process has them alone, and a warning tells.

    Raises:
        DataError: as `decode`.
    """
    from filelock import FileLock

    with ExitStack() as stack:
        try:
            beside.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(record_of(what, folder, beside).with_suffix(".lock")))
        except OSError as error:
            log.warning("%s is decoded again by every worker: %s", what, error)
            return decode()
        if images := find_mapped(what, folder, beside):
            return images  # decoded by another process, while this one waited
        stamps = {str(path): stamp(path) for path in files}
        images = decode()
        try:
            keep(images, record_of(what, folder, beside), stamps)
        except OSError as error:
            log.warning("%s is decoded again by every worker: %s", what, error)
        return find_mapped(what, folder, beside) or images


def keep(images: Images, record: Path, stamps: dict[str, list[int]]) -> None:
    """Write the arrays of `images` beside `record`, and then the record; each is there whole or not at all.

    Raises:
        OSError: they cannot be written.
    """
    import numpy as np

    if any(time.time_ns() - mtime_ns < SETTLED_S * 1e9 for _, mtime_ns, _ in stamps.values()):
        return
    paths = [keep_array(np.ascontiguousarray(array), record.parent) for array in (images.pixels, images.labels)]
    text = json.dumps({"files": stamps, "arrays": {str(path): stamp(path) for path in paths}}, indent=1)
    replace(record, lambda path: path.write_text(text))


def keep_array(array: NDArray[Any], beside: Path) -> Path:
    """Write `array` into the folder, unless it is there; its file, whose name is its content's checksum."""
    import numpy as np

    path = beside / f"{hashlib.sha256(array.data).hexdigest()}.npy"
    try:
        is_there = np.array_equal(loaded(path), array)  # whole, and not changed since
    except (OSError, ValueError):
        is_there = False
    if not is_there:
        replace(path, lambda new: np.save(new, array))
    return path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a file beside `path`, and put it there once it is on the disk."""
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def record_of(what: str, folder: Path, beside: Path) -> Path:
    """The file that says which arrays were decoded from `folder`."""
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return beside / f"{what}-{place}.json"


def stamp(path: Path) -> list[int]:
    """Size, time of the last write and number of a file: what changes if it becomes another one."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def loaded(path: Path) -> NDArray[Any]:
    """The array in a file, mapped: read as it is needed, once for all processes, and for none to write into."""
    import numpy as np

    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
