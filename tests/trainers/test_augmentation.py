"""Augmented images are what torchvision and plain loops make of the same numbers; neutral settings change no bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.augmentation import Augmentation, CropFlipJitter, NoAugmentation
from trainers.device import prepare_device
from trainers.seeds import stream

MEMBERS = [
    member
    for member in Spec.members.values()
    if issubclass(member, Augmentation) and member.__module__ == Augmentation.__module__
]
every_augmentation = pytest.mark.parametrize("augmentation", [member() for member in MEMBERS], ids=str)
every_shape = pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 5, 7), (4, 6, 6)], ids=str)

NEUTRAL = CropFlipJitter(pad=0, flip=False, jitter=0, rotation=0)
CROP = CropFlipJitter(pad=4, flip=True, jitter=0, rotation=0)
JITTER = CropFlipJitter(pad=0, flip=False, jitter=0.5, rotation=0)
TURN = CropFlipJitter(pad=0, flip=False, jitter=0, rotation=30)
B = 40


def images(shape: tuple[int, int, int] = (3, 8, 8), examples: int = B) -> Tensor:
    """Images of all colours, from black to white."""
    return torch.rand(examples, *shape, generator=stream(7, "x")) * 2.4 % 2 - 1


def numbers(augmentation: Augmentation, epoch: int = 1, examples: int = B) -> Tensor:
    """One epoch's draws."""
    return augmentation.numbers(examples, stream(7, "augmentation", 0, epoch))


def cut_by_hand(image: np.ndarray, numbers: list[float], pad: int) -> np.ndarray:
    """One image padded with black, cut at a drawn place, and mirrored where the third number says so."""
    channels, height, width = image.shape
    padded = np.full((channels, height + 2 * pad, width + 2 * pad), -1, dtype=image.dtype)
    padded[:, pad : pad + height, pad : pad + width] = image
    top, left = (int(number * (2 * pad + 1)) for number in numbers[:2])
    cut = padded[:, top : top + height, left : left + width]
    return cut[:, :, ::-1] if numbers[2] < 0.5 else cut


def test_all_augmentations_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"no_augmentation", "crop_flip_jitter"} <= {member.kind for member in MEMBERS}


@every_augmentation
@every_shape
def test_shape_type_and_range_stay(augmentation: Augmentation, shape: tuple[int, int, int]) -> None:
    """Pixels outside [-1, 1] are images that no test split holds."""
    x = images(shape)

    varied = augmentation.augmented(x, numbers(augmentation))

    assert (varied.shape, varied.dtype) == (x.shape, x.dtype)
    assert -1 <= varied.min() <= varied.max() <= 1
    assert augmentation.changes == (not torch.equal(varied, x))


@every_augmentation
def test_images_are_only_read(augmentation: Augmentation) -> None:
    """The batch may be a view of the whole data set, which would drift away."""
    x = images()

    augmentation.augmented(x, numbers(augmentation))

    assert torch.equal(x, images())


@every_augmentation
def test_each_row_of_numbers_is_for_its_own_image(augmentation: Augmentation) -> None:
    """Otherwise an image comes out under another one's label, or depends on its batch."""
    drawn = numbers(augmentation)
    whole = augmentation.augmented(images(), drawn)

    for i in (0, 17, B - 1):
        torch.testing.assert_close(augmentation.augmented(images()[i : i + 1], drawn[i : i + 1]), whole[i : i + 1])


@every_augmentation
def test_the_same_stream_gives_the_same_images(augmentation: Augmentation) -> None:
    """A resumed epoch must see what it would have seen."""
    one, other = (augmentation.augmented(images(), numbers(augmentation)) for _ in range(2))

    assert torch.equal(one, other)


@every_augmentation
def test_an_augmentation_is_written_as_it_is_read(augmentation: Augmentation) -> None:
    """The text in the tables must make the same augmentation on the command line."""
    assert parse_values("augmentation", str(augmentation)) == [augmentation]


def test_another_epoch_gives_other_images() -> None:
    """One variation for good would be a data set of the old size."""
    one, other = (CropFlipJitter().augmented(images(), numbers(CropFlipJitter(), epoch)) for epoch in (1, 2))

    assert all(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_numbers_do_not_depend_on_the_settings() -> None:
    """Two settings are compared on the same crops."""
    assert torch.equal(numbers(CropFlipJitter(jitter=0.1)), numbers(NEUTRAL))
    assert numbers(NEUTRAL).shape == (B, 7)


def test_no_augmentation_draws_nothing() -> None:
    """Its stages are those from before there were augmentations."""
    draw = stream(7, "augmentation", 0, 1)
    NoAugmentation().numbers(B, draw)

    assert torch.equal(draw.get_state(), stream(7, "augmentation", 0, 1).get_state())


@every_shape
def test_neutral_settings_change_no_bit(shape: tuple[int, int, int]) -> None:
    """The end of an axis must meet the runs without augmentation."""
    x = images(shape) / 3  # through pixels in [0, 1] and back, many would not be the same

    assert torch.equal(NEUTRAL.augmented(x, numbers(NEUTRAL)), x)


def test_neutral_numbers_change_nothing_but_roundings() -> None:
    """The middle of every range is the image as it is; an offset there would shift every epoch."""
    middle = torch.full((B, 7), 0.5)  # not mirrored: half of all numbers are below

    torch.testing.assert_close(CropFlipJitter().augmented(images(), middle), images())


@every_shape
def test_crops_and_mirrors_are_those_of_plain_loops(shape: tuple[int, int, int]) -> None:
    """An image that is cut at another place, or filled with grey, is another augmentation."""
    drawn = numbers(CROP)

    varied = CROP.augmented(images(shape), drawn).numpy()

    for image, row, result in zip(images(shape).numpy(), drawn.tolist(), varied, strict=True):
        np.testing.assert_array_equal(result, cut_by_hand(image, row, pad=4))


@pytest.mark.parametrize("pad", [1, 4])
def test_every_crop_has_the_same_chance(pad: int) -> None:
    """From one side of the padded image to the other, both ends included."""
    cuts, tiny = 2 * pad + 1, 2.0**-24
    middle = torch.full((2 * cuts, 7), 0.5)
    middle[:, 0] = torch.tensor([u for i in range(cuts) for u in (i / cuts + tiny, (i + 1) / cuts - tiny)])
    column = torch.zeros(2 * cuts, 1, 9, 1)
    column[:, :, 4] = 1

    varied = CropFlipJitter(pad=pad, jitter=0, rotation=0).augmented(column, middle)

    assert varied[:, 0, :, 0].argmax(dim=1).tolist() == [4 + pad - i for i in range(cuts) for _ in range(2)]


def test_half_of_the_images_are_mirrored_and_only_if_asked() -> None:
    """A mirrored 2 is no 2."""
    middle = torch.full((1000, 7), 0.5)
    middle[:, 2] = numbers(CROP, examples=1000)[:, 2]
    x = images((1, 2, 3), 1).expand(1000, -1, -1, -1)

    is_mirrored = (CROP.augmented(x, middle) == x.flip(3)).flatten(1).all(dim=1)

    assert 450 < is_mirrored.sum() < 550
    assert torch.equal(CropFlipJitter(flip=False, jitter=0, rotation=0).augmented(x, middle), x)


@every_shape
def test_colours_are_torchvisions(shape: tuple[int, int, int]) -> None:
    """Jitter of normalised pixels, or by other factors, is another augmentation."""
    drawn = numbers(JITTER)
    x = images(shape) if shape[0] in (1, 3) else images((1, *shape[1:]))

    varied = JITTER.augmented(x, drawn)

    for image, row, result in zip((x + 1) / 2, drawn.tolist(), varied, strict=True):
        brightness, contrast, saturation = (0.5 + u for u in row[3:6])
        expected = torchvision.adjust_brightness(image, brightness)
        expected = torchvision.adjust_contrast(expected, contrast)
        expected = torchvision.adjust_saturation(expected, saturation)
        torch.testing.assert_close(result, expected * 2 - 1, atol=2e-6, rtol=0)


@every_shape
def test_turns_are_torchvisions(shape: tuple[int, int, int]) -> None:
    """Degrees taken for radians, or the other way round the clock for mirrored images, would go unseen at 2 degrees."""
    drawn = numbers(TURN)

    varied = TURN.augmented(images(shape), drawn)

    for image, row, result in zip(images(shape), drawn.tolist(), varied, strict=True):
        angle = 30 * (2 * row[6] - 1)
        expected = torchvision.rotate(image, angle, InterpolationMode.NEAREST, fill=[-1.0])
        assert torch.equal(result, expected)


def test_the_parts_follow_each_other() -> None:
    """Colours after the turn would lighten the black around it, through the mean of the image."""
    drawn = numbers(CropFlipJitter())
    parts = [CropFlipJitter(jitter=0, rotation=0), CropFlipJitter(0, False, 0.25, 0), CropFlipJitter(0, False, 0)]

    expected = images()
    for part in parts:
        expected = part.augmented(expected, drawn)

    assert torch.equal(CropFlipJitter().augmented(images(), drawn), expected)


@pytest.mark.parametrize("wrong", [{"pad": -1}, {"jitter": 1.1}, {"jitter": -0.1}, {"rotation": 181.0}], ids=str)
def test_what_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    """A factor below 0 would turn colours into their opposites."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"CropFlipJitter: {name}="):
        CropFlipJitter(**wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_it_is_the_cpus_with_deterministic_algorithms_and_the_host_does_not_wait() -> None:
    """Each wait leaves the GPU idle, and torch refuses what would not repeat its bits."""
    x, drawn = images((3, 32, 32)), numbers(CropFlipJitter())
    there, drawn_there = x.cuda(), drawn.cuda()
    prepare_device("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        varied = CropFlipJitter().augmented(there, drawn_there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)

    expected = CropFlipJitter().augmented(x, drawn)
    assert ((varied.cpu() - expected).abs() > 1e-5).float().mean() < 1e-3  # a pixel between two may go either way
