"""Images in memory, and the two sets that need no published release: scikit-learn's digits and a user's npz file.

Loads neither torch nor scikit-learn. Published sets are in sources.py, what a sweep may say in data.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 6  # images: two thirds to fit, and halves of them, are then not empty
MOST_CHANNELS = 4
DIGITS_SHA256 = "sha256:4762797d5258adf159cb47b90648706ca1fdc489e3ad64710e18636c2f2db4db"


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without its images.

    Attributes:
        classes: Number of labels, 0..classes-1.
        shape: Channels, height and width of one image.
        images: Size of the official training set.
        digest: Names the content, e.g. ``sha256:...`` or a published checksum.
    """

    classes: int
    shape: tuple[int, int, int]
    images: int
    digest: str


@dataclass(frozen=True, eq=False)
class Images:
    """One official split in its official order. Takes the arrays over and makes them read-only.

    Attributes:
        pixels: uint8 [N, C, H, W], 0..255.
        labels: int64 [N], from 0.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)
        self.labels.setflags(write=False)

    def first(self, count: int) -> Images:
        """The first `count` of these images, without a copy."""
        return Images(self.pixels[:count], self.labels[:count])

    def facts(self) -> Facts:
        """What these images say of themselves; the digest covers every byte and the shapes."""
        digest = hashlib.sha256()
        for array in (self.pixels, self.labels.astype("<i8")):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        _, channels, height, width = self.pixels.shape
        classes = int(self.labels.max()) + 1
        return Facts(classes, (channels, height, width), len(self.labels), f"sha256:{digest.hexdigest()}")


@lru_cache(maxsize=1)
def read_digits() -> Images:
    """scikit-learn's 1,797 digits as uint8 [1797, 1, 8, 8], brightness 0..16 stretched to 0..255.

    Raises:
        DataError: the installed scikit-learn holds other digits than the ones that keys stand for.
    """
    import numpy as np

    table = _digits_table()
    bright = (table[:, :64].astype(np.int64) * 255 + 8) // 16  # rounded to the nearest
    images = Images(bright.astype(np.uint8).reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64))
    found = images.facts().digest
    if found != DIGITS_SHA256:
        raise DataError(
            f"Digits: the installed scikit-learn holds other digits ({found}) than the ones that this project's keys "
            f"stand for ({DIGITS_SHA256}). Install the scikit-learn that constraints.txt names."
        )
    return images


def _digits_table() -> NDArray[np.generic]:
    """64 brightnesses and the label of each digit, one digit a row.

    Read from scikit-learn's own file, because importing scikit-learn takes seconds in every worker;
    a release that keeps the file elsewhere is asked for the digits themselves.
    """
    import numpy as np

    package = importlib.util.find_spec("sklearn")
    places = package.submodule_search_locations if package else None
    if not places:
        raise DataError("Digits: scikit-learn, which holds the images, is not installed: pip install scikit-learn.")
    path = Path(places[0]) / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",", dtype=np.int64)
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))


def npz_facts(path: str) -> Facts:
    """Facts of the npz file at `path`; read once, and again after the file has changed."""
    return _npz_facts(path, *_version(path))


def read_npz(path: str) -> Images:
    """Images of an npz file: x uint8 [N, H, W] or [N, H, W, C], y integers [N]. Never unpickles.

    Raises:
        DataError: no such file, not npz, or arrays that are no images with labels; says all that is wrong.
    """
    return _npz_images(path, *_version(path))


@lru_cache(maxsize=64)
def _npz_facts(path: str, mtime_ns: int, size: int) -> Facts:
    return _npz_images(path, mtime_ns, size).facts()


@lru_cache(maxsize=4)
def _npz_images(path: str, mtime_ns: int, size: int) -> Images:  # noqa: ARG001 - they name the file's version
    x, y = _load_npz(path)
    faults = [*_faults_of_x(x), *_faults_of_y(y)]
    if x.ndim and y.ndim and len(x) != len(y):
        faults.append(f"x holds {len(x)} images and y {len(y)} labels")
    if faults:
        raise DataError(f"ArrayFile: {path}: {'; '.join(faults)}. Write it with np.savez_compressed(path, x=x, y=y).")
    return _as_images(x, y)


def _version(path: str) -> tuple[int, int]:
    """Modification time and size of the file, which tell whether it is still the one that was read."""
    if not Path(path).is_file():
        raise DataError(f"ArrayFile: there is no file {path}. Give the path of an npz file with arrays x and y.")
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


def _load_npz(path: str) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    if not zipfile.is_zipfile(path):
        raise DataError(f"ArrayFile: {path} is not an npz file. Write it with np.savez_compressed(path, x=x, y=y).")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("x", "y") if name not in file.files]
            if missing:
                has = ", ".join(file.files) or "nothing"
                raise DataError(f"ArrayFile: {path} has no array {' and no array '.join(missing)}; it holds {has}.")
            return file["x"], file["y"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"ArrayFile: {path} cannot be read: {error}. Write plain numbers, and a fresh copy.") from error


def _faults_of_x(x: NDArray[Any]) -> list[str]:
    faults = []
    if x.dtype != "uint8":
        faults.append(f"x is {x.dtype}, not uint8 (brightness 0..255)")
    if x.ndim not in (3, 4):
        faults.append(f"x has shape {list(x.shape)}, not [N, H, W] or [N, H, W, C]")
    elif x.ndim == 4 and x.shape[3] > MOST_CHANNELS:
        faults.append(f"x has shape {list(x.shape)}, so {x.shape[3]} channels: they come last and are 1 to 4")
    elif 0 in x.shape[1:]:
        faults.append(f"x has shape {list(x.shape)}, so no pixels")
    if x.ndim and len(x) < FEWEST:
        faults.append(f"x holds {len(x)} images, fewer than {FEWEST}")
    return faults


def _faults_of_y(y: NDArray[Any]) -> list[str]:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        return [f"y is {y.dtype} of shape {list(y.shape)}, not integers of shape [N]"]
    if y.size and y.min() < 0:
        return [f"y has negative labels, the lowest {y.min()}: they count from 0"]
    if y.size and y.min() == y.max():
        return [f"y has only one class, {y.min()}: at least 2 are needed"]
    return []


def _as_images(x: NDArray[np.uint8], y: NDArray[np.integer[Any]]) -> Images:
    import numpy as np

    x_NHWC = x[..., None] if x.ndim == 3 else x
    return Images(np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2)), y.astype(np.int64))
