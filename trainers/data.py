"""Data sets: which images a stage sees. Facts without reading a file; reading is in arrays.py and sources.py.

To add a set, add one final subclass of `Data` here. How images are split and normalised is in splits.py.
"""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, setting
from trainers.arrays import DIGITS_SHA256, FEWEST, Facts, Images, npz_facts, read_digits, read_npz
from trainers.sources import RELEASES, SplitName, place_of, read_release


@setting
class Data(Spec, abc.ABC):
    """A data set, how much of it is used, and what is tested on.

    Attributes:
        limit: Use at most the first so many images of the official training set, at least 6; for
            quick runs. None for all.
        test: ``held_out``: a random two thirds of the training set are fitted and the rest is the
            test split, as in the paper; ``official``: all of it is fitted and the
            official test set is the test split, as in the reproductions.
    """

    limit: Annotated[int, Field(ge=FEWEST)] | None = dataclasses.field(default=None, kw_only=True)
    test: Literal["held_out", "official"] = dataclasses.field(default="held_out", kw_only=True)

    has_official_test: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.test == "official" and not self.has_official_test:
            raise ConfigError(f"{self}: {type(self).__name__} has no official test set. Leave test at 'held_out'.")

    @abc.abstractmethod
    def facts(self) -> Facts:
        """What is known of the whole set without its images."""

    @abc.abstractmethod
    def official(self, root: str | None, split: SplitName) -> Images:
        """The whole official split, cached per process.

        Args:
            root: Folder that published sets are looked for in first.
            split: ``train``, or ``test`` where the set has one.

        Raises:
            DataError: it is missing, or not the published one.
        """

    @property
    def classes(self) -> int:
        """Number of labels, 0..classes-1."""
        return self.facts().classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.facts().shape

    @property
    def digest(self) -> str:
        """Names the content of the whole set; part of every key."""
        return self.facts().digest

    @property
    def total(self) -> int:
        """Training images in use, after the limit."""
        whole = self.facts().images
        return whole if self.limit is None else min(self.limit, whole)

    @property
    def fit_size(self) -> int:
        """Images that may be fitted: int(total*2/3) as in the authors' run.py, or all before an official test."""
        return self.total if self.test == "official" else self.total * 2 // 3

    def identity(self) -> dict[str, Any]:
        """The settings and the content; a limit that cuts nothing off is none."""
        cuts = self.total < self.facts().images
        return {**super().identity(), "limit": self.limit if cuts else None, "digest": self.digest}

    def read(self, root: str | None, split: SplitName) -> Images:
        """The official images in use: of the training set after the limit, of the test set all.

        Raises:
            ConfigError: the set has no official test images.
            DataError: it is missing, or not the published one.
        """
        if split == "test" and not self.has_official_test:
            raise ConfigError(f"{self}: {type(self).__name__} has no official test set to read.")
        images = self.official(root, split)
        return images.first(self.total) if split == "train" else images

    def check(self, root: str | None) -> None:
        """Make sure, before any worker starts, that `read` will work; downloads what is missing.

        Raises:
            DataError: as `read`.
        """
        self.read(root, "train")
        if self.test == "official":
            self.read(root, "test")

    def place(self, root: str | None) -> str | None:
        """Where its training images lie, after a look at their checksums; None if `check` would download them.

        Raises:
            DataError: what lies there is not the published set.
        """
        name = type(self).__name__
        if name in RELEASES:
            folder = place_of(name, root, "train")
            return None if folder is None else str(folder)
        self.official(root, "train")
        return "the installation"


@setting
class Digits(Data, kind="digits"):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey. Comes with the installation."""

    has_official_test = False

    def facts(self) -> Facts:
        return Facts(10, (1, 8, 8), 1_797, DIGITS_SHA256)

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_digits()


@setting
class FashionMNIST(Data, kind="fashion_mnist"):
    """Zalando's 60,000 + 10,000 pieces of clothing, 28x28 grey."""

    def facts(self) -> Facts:
        md5 = (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d,25c81989df183df01b3e8a0aad5dffbe,"
            "bef4ecab320f06d8554ea6380940ec79,bb300cfdad3c16e7a12a480ee83cd310"
        )
        return Facts(10, (1, 28, 28), 60_000, f"md5:{md5}")

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_release("FashionMNIST", root, split)


@setting
class CIFAR10(Data, kind="cifar10"):
    """CIFAR-10: 50,000 + 10,000 colour images of 10 classes, 32x32."""

    def facts(self) -> Facts:
        return Facts(10, (3, 32, 32), 50_000, "md5:c58f30108f718f92721af3b95e74349a")

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_release("CIFAR10", root, split)


@setting
class CIFAR100(Data, kind="cifar100"):
    """CIFAR-100 with its 100 fine labels: 50,000 + 10,000 colour images, 32x32."""

    def facts(self) -> Facts:
        return Facts(100, (3, 32, 32), 50_000, "md5:eb9058c3a382ffc7106e4002c42a8d85")

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_release("CIFAR100", root, split)


@setting
class SVHN(Data, kind="svhn"):
    """Street View House Numbers, cropped: 73,257 + 26,032 colour digits, 32x32; not the split `extra`."""

    def facts(self) -> Facts:
        md5 = "e26dedcc434d2e4c54c9b2d4a06d8373,eb5a983be6a315427106f1b164d9cef3"
        return Facts(10, (3, 32, 32), 73_257, f"md5:{md5}")

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_release("SVHN", root, split)


@setting
class ArrayFile(Data, kind="array_file"):
    """A user's own images in an npz file: x uint8 [N, H, W] or [N, H, W, C], y integers [N] from 0.

    The images and labels are what enters the key, the path is not: two copies are one data set.
    Its classes are the highest label and one.

    Attributes:
        path: The file, also ``~/...`` or relative to the current folder; kept as an absolute path,
            because workers start elsewhere. Every machine that trains must find it there.
    """

    path: str

    has_official_test = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "path", str(Path(self.path).expanduser().absolute()))

    def facts(self) -> Facts:
        return npz_facts(self.path)

    def official(self, root: str | None, split: SplitName) -> Images:
        return read_npz(self.path)

    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in super().identity().items() if name != "path"}
