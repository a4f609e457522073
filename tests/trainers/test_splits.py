"""One seed has one order of examples, on every device, and nothing that is fitted is tested on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError
from orchestrator.spec import setting
from trainers import splits
from trainers.arrays import Facts, Images
from trainers.data import CIFAR10, Data, Digits
from trainers.sources import SplitName
from trainers.splits import Split, Splits, load_splits, normalise

CPU = torch.device("cpu")


@setting
class Numbered(Data):
    """30 official training images whose brightness is their position, and 5 test images from 200."""

    def facts(self) -> Facts:
        return Facts(2, (1, 1, 1), 30, "none")

    def official(self, root: str | None, split: SplitName) -> Images:
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


def bytes_and_floats() -> tuple[Split, Split]:
    """One split of 20 in two forms: bytes of a whole set, as on a GPU, and normalised images, as on a CPU."""
    pixels, labels = torch.arange(30 * 12).remainder(256).to(torch.uint8).reshape(30, 3, 2, 2), torch.arange(30)
    rows = torch.randperm(30, generator=torch.Generator().manual_seed(1))[:20]
    x = torch.empty(20, 3, 2, 2)
    normalise(x, pixels[rows])
    return Split(pixels, labels[rows], rows), Split(x, labels[rows])


@pytest.mark.parametrize(
    "part",
    [
        lambda split: split.batch(torch.tensor([3, 19, 0, 3])),
        lambda split: split.part(slice(7)).batch(torch.tensor([6, 0])),
        lambda split: split.part(slice(15, None)).batch(torch.tensor([4, 1])),
        lambda split: split.chosen(torch.tensor([19, 2, 5])).batch(torch.tensor([2, 0])),
        lambda split: [each for piece in split.pieces(8) for each in piece],
        lambda split: [split.x, split.y, torch.tensor(len(split))],
    ],
)
def test_bytes_on_a_device_are_the_same_images(part: Callable[[Split], Iterable[torch.Tensor]]) -> None:
    """A GPU normalises batch by batch; other bits, or another order, would make its grid another experiment."""
    as_bytes, as_floats = bytes_and_floats()

    found, expected = list(part(as_bytes)), list(part(as_floats))

    assert [len(each) for each in found if each.ndim] == [len(each) for each in expected if each.ndim]
    assert all(map(torch.equal, found, expected))


def test_a_split_comes_in_pieces_whole_and_in_order() -> None:
    """An evaluation that skipped the last piece would be of other images."""
    _, split = bytes_and_floats()

    assert [len(y) for _, y in split.pieces(8)] == [8, 8, 4]
    assert torch.equal(torch.cat([x for x, _ in split.pieces(8)]), split.x)


def test_a_batch_may_be_changed_and_the_images_stay() -> None:
    """Augmentation works in place; the next stage trains on the same tensor."""
    split = load(Digits()).train
    before = split.x.clone()

    split.batch(torch.arange(5))[0].zero_()

    assert torch.equal(split.x, before)


def test_the_next_stage_of_a_seed_finds_its_images_in_place() -> None:
    """Normalising all of CIFAR-10 anew takes half a second of every short stage."""
    first, second = load(Digits(), examples=600).train, load(Digits()).train

    assert second.stored.data_ptr() == first.stored.data_ptr()


@pytest.mark.parametrize("other", [(Digits(limit=30), 1), (Digits(limit=90), 0), (Numbered(), 0)], ids=str)
def test_another_seed_or_set_is_never_taken_for_it(other: tuple[Data, int]) -> None:
    """A worker goes from trial to trial: one that kept the wrong images would be wrong in every number."""
    load(Digits(limit=30))

    data, seed = other
    kept = load(data, seed=seed)
    splits.KEPT.clear()

    assert torch.equal(load(data, seed=seed).train_x, kept.train_x)
    assert torch.equal(load(data, seed=seed).test_x, kept.test_x)


def test_a_seed_is_let_go_before_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sees dozens of seeds, and CIFAR-10 takes 600 MB: two of them would be too many for some machines."""
    load(Digits(), seed=5)
    images, gone = weakref.ref(splits.KEPT["train"].split.stored), list[bool]()
    make = splits.in_order
    monkeypatch.setattr(splits, "in_order", lambda *args: (gone.append(images() is None), make(*args))[1])

    load(Digits(), seed=6)

    assert gone == [True]


def test_images_that_a_stage_wrote_into_are_not_used_again() -> None:
    """A network that changes its input in place would spoil the stages after it in this worker alone."""
    load(Digits(), seed=7).test.stored.zero_()

    with pytest.raises(RuntimeError, match="A stage that this process trained before wrote into its images"):
        load(Digits(), seed=7)
    assert load(Digits(), seed=7).train_x.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_a_set_once() -> None:
    """A pack of 32 stages with a copy each would not fit."""
    device = torch.device("cuda")
    one, other = (load_splits(Digits(), seed=seed, examples=600, root=None, device=device) for seed in (0, 1))

    assert one.train.stored.dtype == torch.uint8
    assert {split.stored.data_ptr() for each in (one, other) for split in (each.train, each.test)} == {
        one.train.stored.data_ptr()
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_bits() -> None:
    """A seed must mean the same examples wherever it runs."""
    here = load(Digits())
    there = load_splits(Digits(), seed=0, examples=1198, root=None, device=torch.device("cuda"))

    assert torch.equal(here.train_x, there.train_x.cpu())
    assert torch.equal(here.test_y, there.test_y.cpu())
