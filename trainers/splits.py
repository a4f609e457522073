"""Splits: what one seed fits and what it is tested on, resident on a device (a torch module).

On a CPU the images lie there as normalised float32, on a GPU as the bytes they were published as, normalised batch by
batch: by measurement (DECISIONS.md) each is the faster one there. The numbers are the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from orchestrator.errors import ConfigError
from trainers.seeds import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.arrays import Images
    from trainers.data import Data

MIDDLE = 127.5  # of the brightness 0..255
PIECE = 256  # images at a time


@dataclass(frozen=True, eq=False)
class Split:
    """One split on one device. Its tensors are shared with other stages of the process: never write into them.

    Attributes:
        stored: Images [N, C, H, W]: float32, normalised to [-1, 1], or uint8, as published.
        y: int64 [n], the labels of the split in its order.
        rows: int64 [n], where in `stored` the images of the split lie, in its order; None: they are `stored`.
    """

    stored: torch.Tensor
    y: torch.Tensor
    rows: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def device(self) -> torch.device:
        """Where it lies, and where batches are made."""
        return self.y.device

    @property
    def x(self) -> torch.Tensor:
        """All inputs, float32 [n, C, H, W] in [-1, 1]; on a GPU four times the memory of the split, at every call."""
        return self.inputs(slice(None))

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs, float32 [B, C, H, W] in [-1, 1], and labels [B] of the examples at the positions `index`.

        New tensors, made without the host waiting for the device, so that a CUDA graph can hold them.

        Args:
            index: int64 [B] on the device of the split, each in 0..n-1.
        """
        at = index if self.rows is None else self.rows.index_select(0, index)
        return normalised(self.stored.index_select(0, at)), self.y.index_select(0, index)

    def pieces(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and labels of the whole split in its order, `size` examples at a time; not to be written into."""
        for start in range(0, len(self), size):
            here = slice(start, start + size)
            yield self.inputs(here), self.y[here]

    def inputs(self, here: slice) -> torch.Tensor:
        """Inputs of consecutive examples; not to be written into."""
        stored = self.stored[here] if self.rows is None else self.stored.index_select(0, self.rows[here])
        return normalised(stored)

    def part(self, here: slice) -> Split:
        """Consecutive examples, without a copy."""
        if self.rows is None:
            return Split(self.stored[here], self.y[here])
        return Split(self.stored, self.y[here], self.rows[here])

    def chosen(self, index: torch.Tensor) -> Split:
        """The examples at the positions `index`, int64 on the device of the split, in that order."""
        y = self.y.index_select(0, index)
        if self.rows is None:
            return Split(self.stored.index_select(0, index), y)
        return Split(self.stored, y, self.rows.index_select(0, index))


@dataclass(frozen=True, eq=False)
class Splits:
    """Both splits of one stage, whole, on one device.

    Attributes:
        train: The examples to fit, in the order in which they arrive.
        test: The examples to test on.
    """

    train: Split
    test: Split

    @property
    def train_x(self) -> torch.Tensor:
        """float32 [n, C, H, W] in [-1, 1]; see `Split.x`."""
        return self.train.x

    @property
    def train_y(self) -> torch.Tensor:
        """int64 [n]."""
        return self.train.y

    @property
    def test_x(self) -> torch.Tensor:
        """float32 [m, C, H, W] in [-1, 1]; see `Split.x`."""
        return self.test.x

    @property
    def test_y(self) -> torch.Tensor:
        """int64 [m]."""
        return self.test.y


@dataclass(frozen=True, eq=False)
class Kept:
    """Images that this process keeps on the CPU for its next stage.

    Attributes:
        images: What they were made of.
        order: Their positions there.
        split: All of them, normalised.
        version: Of their tensor when it was made: torch counts what is written into a tensor and its views.
    """

    images: Images
    order: torch.Tensor
    split: Split
    version: int


KEPT: dict[str, Kept] = {}  # by "train" and "test"


def load_splits(data: Data, *, seed: int, examples: int, root: str | None, device: torch.device) -> Splits:
    """Draw the splits of `seed` on `device`; what a stage before had there is used again.

    A random permutation of the training images in use orders them: its first two thirds are the
    images to fit, the rest is held out. The training split is the first `examples` of the images to
    fit, so that the increments of an online sweep, and a half and its whole, are prefixes of one
    order. With ``test="official"`` all training images may be fitted and the official test set, in
    its own order, is the test split.

    Args:
        seed: The trial's seed; every round of a trial has the same order.
        examples: Size of the training split, in 1..data.fit_size.
        root: Folder that published sets are looked for in first.

    Raises:
        ConfigError: more or fewer examples than there are to fit.
        DataError: the images are missing, or not the published ones.

    Source:
        run.py of the authors' code, which draws a new permutation a run.
    """
    if not 1 <= examples <= data.fit_size:
        raise ConfigError(
            f"examples={examples}: of {data} at least 1 and at most {data.fit_size:,} can be fitted, out of "
            f"{data.total:,} training images with test={data.test!r}."
        )
    order = torch.randperm(data.total, generator=stream(seed, "split"))
    whole = resident("train", data.official(root, "train"), order, device)
    if data.test == "held_out":
        return Splits(whole.part(slice(examples)), whole.part(slice(data.fit_size, None)))
    official = data.official(root, "test")
    test = resident("test", official, torch.arange(len(official.labels)), device)
    return Splits(whole.part(slice(examples)), test)


def resident(name: str, images: Images, order: torch.Tensor, device: torch.device) -> Split:
    """The images at the positions `order`, in that order, on `device`.

    On a GPU the images lie once for all stages of the process. On a CPU those of the last `order` stay for the next
    stage; they are let go before others are made.

    Args:
        name: Of the official split; one is kept of each.

    Raises:
        RuntimeError: a stage of this process wrote into what was kept.
    """
    if device.type != "cpu":
        pixels, labels = copy_on(images, device)
        rows = order.to(device)
        return Split(pixels, labels.index_select(0, rows), rows)
    kept = KEPT.pop(name, None)
    if kept is None or kept.images is not images or not torch.equal(kept.order, order):
        del kept
        x, y = in_order(images, order)
        kept = Kept(images, order, Split(x, y), x._version)
    if kept.split.stored._version != kept.version:
        raise RuntimeError("A stage that this process trained before wrote into its images. Correct its network.")
    KEPT[name] = kept
    return kept.split


@lru_cache(maxsize=4)
def copy_on(images: Images, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """All images as uint8, and their labels, on a GPU: one copy a process and data set.

    Complete when it is returned: stages on other streams read it without waiting for the one that copied it.
    """
    pixels, labels = as_tensor(images.pixels).to(device), as_tensor(images.labels).to(device)
    torch.cuda.synchronize(device)
    return pixels, labels


def in_order(images: Images, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised inputs and labels of the images at the positions `order`, on the CPU.

    Goes piece by piece, so that what is copied and converted stays in the processor's cache.
    """
    pixels, labels = as_tensor(images.pixels), as_tensor(images.labels)
    x = torch.empty((len(order), *pixels.shape[1:]))
    for start in range(0, len(order), PIECE):
        here = slice(start, start + PIECE)
        normalise(x[here], pixels.index_select(0, order[here]))
    return x, labels.index_select(0, order)


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """The memory of a read-only array as a tensor, which must not be written into: of a mapped file nobody could."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def normalise(x: torch.Tensor, pixels: torch.Tensor) -> None:
    """Fill `x`, float32, with ToTensor and then (x - 0.5) / 0.5 of `pixels`: 0..255 becomes [-1, 1].

    Written as an exact difference and one product, which round the same on a CPU and on a GPU.
    """
    x.copy_(pixels).sub_(MIDDLE).mul_(1 / MIDDLE)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """float32 images as they are; of uint8 ones what `normalise` makes, in two launches on a GPU."""
    return torch.sub(images, MIDDLE).mul_(1 / MIDDLE) if images.dtype == torch.uint8 else images
