"""Splits: what one seed fits and what it is tested on, as tensors on a device (a torch module)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from orchestrator.errors import ConfigError
from trainers.seeds import stream

if TYPE_CHECKING:
    from trainers.arrays import Images
    from trainers.data import Data

MIDDLE = 127.5  # of the brightness 0..255
PIECE = 256  # images at a time


@dataclass(frozen=True, eq=False)
class Splits:
    """Both splits of one stage, whole, on one device.

    Attributes:
        train_x: float32 [n, C, H, W] in [-1, 1], in the order in which examples arrive.
        train_y: int64 [n].
        test_x: float32 [m, C, H, W] in [-1, 1].
        test_y: int64 [m].
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor


def load_splits(data: Data, *, seed: int, examples: int, root: str | None, device: torch.device) -> Splits:
    """Draw the splits of `seed` and put them on `device`.

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
    images = data.read(root, "train")
    order = torch.randperm(data.total, generator=stream(seed, "split"))
    train_x, train_y = picked(images, order[:examples], device)
    if data.test == "official":
        official = data.read(root, "test")
        return Splits(train_x, train_y, *picked(official, torch.arange(len(official.labels)), device))
    return Splits(train_x, train_y, *picked(images, order[data.fit_size :], device))


def picked(images: Images, order: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of the images at the positions `order`, on `device`, normalised.

    Goes piece by piece, so that what is copied and converted stays in the processor's cache.
    """
    x = torch.empty((len(order), *images.pixels.shape[1:]), device=device)
    for start in range(0, len(order), PIECE):
        rows = order[start : start + PIECE].numpy()  # indexing by them copies: the cached images stay as they are
        normalise(x[start : start + PIECE], torch.from_numpy(images.pixels[rows]))
    return x, torch.from_numpy(images.labels[order.numpy()]).to(device)


def normalise(x: torch.Tensor, pixels: torch.Tensor) -> None:
    """Fill `x`, float32, with ToTensor and then (x - 0.5) / 0.5 of `pixels`: 0..255 becomes [-1, 1].

    Written as an exact difference and one product, which round the same on a CPU and on a GPU.
    """
    x.copy_(pixels).sub_(MIDDLE).mul_(1 / MIDDLE)
