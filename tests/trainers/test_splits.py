"""One seed has one order of examples, on every device, and nothing that is fitted is tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.spec import setting
from trainers.arrays import Facts, Images
from trainers.data import CIFAR10, Data, Digits
from trainers.sources import Split
from trainers.splits import Splits, load_splits, normalise

CPU = torch.device("cpu")


@setting
class Numbered(Data):
    """30 official training images whose brightness is their position, and 5 test images from 200."""

    def facts(self) -> Facts:
        return Facts(2, (1, 1, 1), 30, "none")

    def official(self, root: str | None, split: Split) -> Images:
        x = np.arange(30, dtype=np.uint8) if split == "train" else np.arange(200, 205, dtype=np.uint8)
        return Images(x.reshape(-1, 1, 1, 1), x % 2 + np.int64(0))


def load(data: Data, seed: int = 0, examples: int | None = None) -> Splits:
    """Splits on the CPU, of everything there is to fit unless told otherwise."""
    return load_splits(data, seed=seed, examples=examples or data.fit_size, root=None, device=CPU)


def positions(x: torch.Tensor) -> list[int]:
    """Which of the numbered images these are."""
    return [round(float(value)) for value in (x.flatten() + 1) * 127.5]


def test_two_thirds_are_fitted_and_the_rest_is_held_out() -> None:
    """An image in both splits would make the test accuracy a lie."""
    splits = load(Numbered())

    assert len(splits.train_x) == 20
    assert sorted(positions(splits.train_x) + positions(splits.test_x)) == list(range(30))


def test_labels_stay_with_their_images() -> None:
    """Images permuted apart from their labels train to chance."""
    splits = load(Numbered())

    assert splits.train_y.tolist() == [p % 2 for p in positions(splits.train_x)]
    assert splits.test_y.tolist() == [p % 2 for p in positions(splits.test_x)]


def test_fewer_examples_are_the_first_of_more() -> None:
    """A warm-started stage must see its parent's examples again, and new ones after them."""
    half, whole = load(Numbered(), examples=10), load(Numbered())

    assert torch.equal(half.train_x, whole.train_x[:10])
    assert torch.equal(half.train_y, whole.train_y[:10])


def test_the_test_split_does_not_depend_on_the_examples() -> None:
    """Rounds of one trial are compared on one test split."""
    assert torch.equal(load(Numbered(), examples=1).test_x, load(Numbered()).test_x)


def test_each_seed_has_its_own_split() -> None:
    """Intervals over seeds are to cover the choice of the held-out third, as in the paper."""
    assert positions(load(Numbered(), seed=1).test_x) != positions(load(Numbered(), seed=0).test_x)


def test_the_order_of_a_seed_never_changes() -> None:
    """If this fails, stages run from now on do not fit those in the stores: raise the trainer's version."""
    assert positions(load(Numbered()).train_x)[:6] == [6, 25, 19, 5, 1, 9]


def test_an_official_test_fits_every_training_image() -> None:
    """The reproductions train on the whole training set and report the official test set."""
    splits = load(Numbered(test="official"))

    assert sorted(positions(splits.train_x)) == list(range(30))
    assert positions(splits.test_x) == list(range(200, 205))


def test_a_limit_splits_the_first_images_only() -> None:
    """A quick run that drew from the whole set would not be quick, nor repeatable on less data."""
    splits = load(Numbered(limit=9))

    assert sorted(positions(splits.train_x) + positions(splits.test_x)) == list(range(9))


@pytest.mark.parametrize("examples", [-1, 0, 1199])
def test_more_or_fewer_examples_than_there_are_is_refused(examples: int) -> None:
    """A slice would quietly be shorter, and the round would not be the size it says."""
    with pytest.raises(ConfigError, match=rf"examples={examples}: of Digits\(\) at least 1 and at most 1,198"):
        load_splits(Digits(), seed=0, examples=examples, root=None, device=CPU)


def test_pixels_are_normalised_as_the_authors_do() -> None:
    """ToTensor, then (x - 0.5) / 0.5; other inputs are another experiment."""
    pixels = torch.arange(256, dtype=torch.uint8)
    x = torch.empty(256)

    normalise(x, pixels)

    assert torch.allclose(x, (pixels / 255 - 0.5) / 0.5, rtol=0, atol=1e-7)
    assert (x[0], x[255]) == (-1, 1)
    assert torch.equal(x, -x.flip(0))


def test_real_images_pass_through_whole(cifar_root: Path) -> None:
    """More images than one piece: none may be skipped or left unfilled."""
    data = CIFAR10(limit=1500)
    splits = load_splits(data, seed=3, examples=1000, root=str(cifar_root), device=CPU)
    expected = data.read(str(cifar_root), "train").pixels.astype(np.float64) / 127.5 - 1

    found = torch.cat([splits.train_x, splits.test_x])

    assert found.shape == (1500, 3, 32, 32)
    assert found.dtype == torch.float32
    assert abs(np.sort(expected.sum((1, 2, 3))) - np.sort(found.double().sum((1, 2, 3)).numpy())).max() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_bits() -> None:
    """A seed must mean the same examples wherever it runs."""
    here = load(Digits())
    there = load_splits(Digits(), seed=0, examples=1198, root=None, device=torch.device("cuda"))

    assert torch.equal(here.train_x, there.train_x.cpu())
    assert torch.equal(here.test_y, there.test_y.cpu())
