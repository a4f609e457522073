"""Published image sets: where a release's files may lie, whether they are the official ones, how they are fetched.

What a set is called in a sweep and how much of it is used is in data.py. torchvision, and torch with
it, is imported only to read torchvision's own layouts and to download.
"""

from __future__ import annotations

import abc
import gzip
import hashlib
import io
import os
import shutil
import socket
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import DataError
from trainers.arrays import Images
from trainers.mapped import find_mapped, share

SplitName = Literal["train", "test"]
SILENCE_S = 60.0  # a server that says nothing for so long has failed


class Layout(abc.ABC):
    """One way in which a set may lie in a folder.

    Attributes:
        title: How messages name its files.
    """

    title: str

    @abc.abstractmethod
    def files(self, split: SplitName) -> Mapping[str, str]:
        """Every file that `split` needs, by path below the folder: ``"sha1:..."`` of its content.

        Of a ``.gz`` it is the checksum of what is packed in it. Empty if the layout has no file of
        this split that could be checked.
        """

    @abc.abstractmethod
    def decode(self, folder: Path, split: SplitName) -> Images:
        """Read checked files."""


@dataclass(frozen=True)
class CifarBinary(Layout):
    """CIFAR's official binary layout: a row is its label bytes, then 3072 bytes of R, G and B planes.

    The test files have no SHA-1 here to check them by, so this layout has the training set only.

    Attributes:
        train: SHA-1 of the training files, by path, in their official order.
        label_bytes: 1, or 2 where a coarse label precedes the fine one, which is the last.
    """

    title: str
    train: Mapping[str, str]
    label_bytes: int

    def files(self, split: SplitName) -> Mapping[str, str]:
        return self.train if split == "train" else {}

    def decode(self, folder: Path, split: SplitName) -> Images:
        import numpy as np

        width = self.label_bytes + 3072
        rows = [np.fromfile(folder / name, np.uint8).reshape(-1, width) for name in self.files(split)]
        pixels = np.concatenate([part[:, self.label_bytes :] for part in rows]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([part[:, self.label_bytes - 1] for part in rows])
        return Images(pixels, labels.astype(np.int64))


@dataclass(frozen=True)
class CifarPython(Layout):
    """CIFAR as torchvision downloads it; pickles, read by torchvision after its checksums held.

    torchvision reads either split only if the files of both are there.

    Attributes:
        name: torchvision's class.
    """

    title: str
    name: str

    def files(self, split: SplitName) -> Mapping[str, str]:
        cls = torchvision_class(self.name)
        meta = [cls.meta["filename"], cls.meta["md5"]]
        return {f"{cls.base_folder}/{name}": f"md5:{md5}" for name, md5 in [*cls.train_list, *cls.test_list, meta]}

    def decode(self, folder: Path, split: SplitName) -> Images:
        import numpy as np

        read = torchvision_class(self.name)(folder, train=split == "train")
        return Images(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)), np.asarray(read.targets, np.int64))


@dataclass(frozen=True)
class MatFile(Layout):
    """SVHN's MATLAB files, one a split, read by torchvision after its checksum held."""

    title: str

    def files(self, split: SplitName) -> Mapping[str, str]:
        _, name, md5 = torchvision_class("SVHN").split_list[split]
        return {name: f"md5:{md5}"}

    def decode(self, folder: Path, split: SplitName) -> Images:
        import numpy as np

        read = torchvision_class("SVHN")(folder, split=split)
        return Images(np.ascontiguousarray(read.data), np.asarray(read.labels, np.int64))


@dataclass(frozen=True)
class IdxFiles(Layout):
    """FashionMNIST's four files, packed or not: 16 or 8 bytes of header, then pixels or labels.

    The content is what is checked, because distributions pack the same files anew.

    Attributes:
        below: Folder they lie in, ending in a slash, or empty.
        suffix: ``".gz"`` or empty.
    """

    title: str
    below: str
    suffix: str

    def files(self, split: SplitName) -> Mapping[str, str]:
        return {f"{self.below}{name}{self.suffix}": sha256 for name, sha256 in IDX_SHA256[split].items()}

    def decode(self, folder: Path, split: SplitName) -> Images:
        import numpy as np

        images, labels = (_unpacked(folder / name) for name in self.files(split))
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
        return Images(pixels, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


# What is packed in the published .gz files; those with torchvision's MD5 and Debian's, packed anew, hold the same.
IDX_SHA256: Mapping[SplitName, Mapping[str, str]] = {
    "train": {
        "train-images-idx3-ubyte": "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
    "test": {
        "t10k-images-idx3-ubyte": "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
IDX_TITLE = "the *-ubyte.gz files (or unpacked) in the folder itself, in fashion-mnist/ or in FashionMNIST/raw/"
CIFAR10_SHA1 = {
    "cifar-10-batches-bin/data_batch_1.bin": "sha1:aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "cifar-10-batches-bin/data_batch_2.bin": "sha1:c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "cifar-10-batches-bin/data_batch_3.bin": "sha1:1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "cifar-10-batches-bin/data_batch_4.bin": "sha1:aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "cifar-10-batches-bin/data_batch_5.bin": "sha1:26e2849e66a845b7f1e4614ae70f4889ae604628",
}
CIFAR100_SHA1 = {"cifar-100-binary/train.bin": "sha1:e207cd2e05b73b1393c74c7f5e7bea451d63e08e"}

SYSTEM_FOLDER = Path("/usr/share/datasets")  # where Debian's dataset-fashion-mnist puts its files

# By torchvision's class. Those that need no torchvision come first; a download is in the last one's layout.
RELEASES: Mapping[str, tuple[Layout, ...]] = {
    "FashionMNIST": tuple(
        IdxFiles(IDX_TITLE, below, suffix)
        for below in ("", "fashion-mnist/", "FashionMNIST/raw/")
        for suffix in (".gz", "")
    ),
    "CIFAR10": (
        CifarBinary("cifar-10-batches-bin/data_batch_1.bin to _5.bin", CIFAR10_SHA1, label_bytes=1),
        CifarPython("cifar-10-batches-py/ (torchvision's layout)", "CIFAR10"),
    ),
    "CIFAR100": (
        CifarBinary("cifar-100-binary/train.bin", CIFAR100_SHA1, label_bytes=2),
        CifarPython("cifar-100-python/ (torchvision's layout)", "CIFAR100"),
    ),
    "SVHN": (MatFile("train_32x32.mat and, for test='official', test_32x32.mat"),),
}


def torchvision_class(name: str) -> Any:
    """The data set class of that name in torchvision: its checksums, its reader, its download."""
    import torchvision

    return getattr(torchvision.datasets, name)


@lru_cache(maxsize=4)  # a worker looks for a set once; an entry that could not be mapped holds up to 225 MB
def read_release(name: str, root: str | None, split: SplitName) -> Images:
    """Read a published set from `root`, this user's cache folder or the system's data sets, else download it.

    Args:
        name: A name in RELEASES.
        root: Folder to look in first, and to download into if it can be written to.
        split: The official training or test images.

    Raises:
        DataError: `root` is no folder, a file is not the published one, or there is none and the
            download failed.
    """
    given = None if root is None else Path(root).expanduser()
    if given is not None and not given.is_dir():
        raise DataError(f"{name}: the data folder {given} does not exist. Correct --data-root or WARMGRID_DATA.")
    folders = [cache_folder()] if given is None else [given, cache_folder()]
    for folder in (*folders, SYSTEM_FOLDER):
        if images := find(name, folder, split):
            return images
    can_write = given is not None and os.access(given, os.W_OK | os.X_OK)
    return download(name, folders[0] if can_write else cache_folder(), folders, split)


def cache_folder() -> Path:
    """This user's folder for downloads; need not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "warmgrid" / "data"


def find(name: str, folder: Path, split: SplitName) -> Images | None:
    """Read `split` from the first complete layout in `folder`; None if there is none. Decoded once a machine.

    Raises:
        DataError: a complete layout holds a file that is not the published one.
    """
    what, beside = f"{name}-{split}", cache_folder().with_name("arrays")
    if images := find_mapped(what, folder, beside):
        return images
    layout = present(name, folder, split)
    if layout is None:
        return None

    def decode() -> Images:
        check_all(name, folder, layout.files(split))
        return layout.decode(folder, split)

    return share(what, folder, [folder / path for path in layout.files(split)], beside, decode)


def present(name: str, folder: Path, split: SplitName) -> Layout | None:
    """The first layout in `folder` of which every file is there, unchecked; None if there is none."""
    for layout in RELEASES[name]:
        files = layout.files(split)
        if files and all((folder / path).is_file() for path in files):
            return layout
    return None


def check_all(name: str, folder: Path, files: Mapping[str, str]) -> None:
    """Raise a DataError unless every file below `folder` has its published checksum."""
    for path, published in files.items():
        check(name, folder / path, published)


def place_of(name: str, root: str | None, split: SplitName) -> Path | None:
    """The folder that `read_release` would read from, its files checked; None if it would download.

    Raises:
        DataError: a file there is not the published one.
    """
    folders = [] if root is None else [Path(root).expanduser()]
    for folder in (*folders, cache_folder(), SYSTEM_FOLDER):
        layout = present(name, folder, split)
        if layout is not None:
            check_all(name, folder, layout.files(split))
            return folder
    return None


def check(name: str, path: Path, published: str) -> None:
    """Raise a DataError unless the content of the file at `path` has the checksum `published`."""
    method = published.partition(":")[0]
    try:
        with _opened(path) as file:
            found = f"{method}:{hashlib.file_digest(file, method).hexdigest()}"
    except (OSError, EOFError, zlib.error) as error:
        found = f"unreadable ({error})"
    if found != published:
        raise DataError(
            f"{name}: {path} ({path.stat().st_size:,} bytes) is not the published file: its checksum is {found}, "
            f"not {published}. Put a sound copy there, or delete it to have another copy or a download used."
        )


def _opened(path: Path) -> io.BufferedIOBase:
    """The content of a file, unpacked if it is packed, open for reading."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _unpacked(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def download(name: str, into: Path, searched: list[Path], split: SplitName) -> Images:
    """Have torchvision fetch the set into `into`, once however many processes ask, and read it.

    Raises:
        DataError: it cannot be fetched; says what was searched and what would be accepted.
    """
    from filelock import FileLock

    try:
        into.mkdir(parents=True, exist_ok=True)
        with FileLock(into / f".{name}.lock"):
            images = find(name, into, split)  # by another process, while this one waited
            if images is None:
                fetch(name, into, split)
                images = find(name, into, split)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(missing_text(name, into, searched, split, error)) from error
    if images is None:
        raise DataError(missing_text(name, into, searched, split, "torchvision wrote other files than expected"))
    return images


def fetch(name: str, into: Path, split: SplitName) -> None:
    """Download beside, have torchvision check it, then move each whole file into place."""
    beside = into / f".{name}.download"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    sys.stderr.write(f"{name}: downloading into {into}\n")
    which = {"split": split} if name == "SVHN" else {"train": split == "train"}
    try:
        with patience(SILENCE_S):
            torchvision_class(name)(beside, download=True, **which)
        for path in sorted(beside.rglob("*")):
            if path.is_file() and not path.name.endswith(".tar.gz"):
                target = into / path.relative_to(beside)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let network reads fail after `seconds` of silence; torchvision would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def missing_text(name: str, into: Path, searched: list[Path], split: SplitName, why: object) -> str:
    """The message of a set that is not there: what was looked for, where, and what to do."""
    usable = dict.fromkeys(layout.title for layout in RELEASES[name] if layout.files(split))
    unusable = dict.fromkeys(layout.title for layout in RELEASES[name] if not layout.files(split))
    sentences = [
        f"{name}: its {split} images are not in {' or '.join(map(str, searched))}",
        *(part for folder in searched for part in _incomplete(name, folder, split)),
        f"Downloading them into {into} failed: {' '.join(str(why).split())}",
        f"Name a folder with --data-root or WARMGRID_DATA that holds {' or '.join(usable)}",
        *(f"{title} cannot serve: there is no published checksum of its test images" for title in unusable),
    ]
    return ". ".join(sentence.rstrip(".") for sentence in sentences) + "."


def _incomplete(name: str, folder: Path, split: SplitName) -> list[str]:
    """One sentence for each layout that is there in part."""
    sentences = []
    for layout in RELEASES[name]:
        files = layout.files(split)
        absent = [path for path in files if not (folder / path).is_file()]
        if 0 < len(absent) < len(files):
            sentences.append(f"In {folder} only {', '.join(absent)} is missing")
    return sentences
