"""Images in memory are the ones that their digest names, and a file that holds none is told why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import DataError
from trainers import arrays
from trainers.arrays import DIGITS_SHA256, npz_facts, read_digits, read_npz

GREY = np.arange(8 * 3 * 2, dtype=np.uint8).reshape(8, 3, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def written(path: Path, **named: Any) -> str:
    """An npz file of GREY and LABELS, with what is given in their place; None leaves one out."""
    chosen = {"x": GREY, "y": LABELS, **named}
    np.savez(path, **{name: array for name, array in chosen.items() if array is not None})
    return str(path)


def test_the_digits_are_scikit_learns_stretched_to_a_byte() -> None:
    """Other pixels than the published digits would make every quickstart number unexplainable."""
    from sklearn.datasets import load_digits

    images, published = read_digits(), load_digits()

    assert np.array_equal(images.pixels[:, 0], np.floor(published.images * 255 / 16 + 0.5))
    assert np.array_equal(images.labels, published.target)


def test_digits_of_a_release_that_moved_the_file_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer scikit-learn would otherwise end the embedded default set."""
    monkeypatch.setattr(Path, "is_file", lambda _: False)

    images = read_digits.__wrapped__()

    assert images.facts().digest == DIGITS_SHA256


def test_other_digits_than_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of two different sets would stand under one key."""
    table = arrays._digits_table().copy()
    table[0, 0] += 1
    monkeypatch.setattr(arrays, "_digits_table", lambda: table)

    with pytest.raises(DataError, match="Install the scikit-learn that constraints"):
        read_digits.__wrapped__()


def test_grey_images_get_one_channel(tmp_path: Path) -> None:
    """[N, H, W] is how most people store grey images; a network needs the channel axis."""
    images = read_npz(written(tmp_path / "a.npz"))

    assert images.pixels.shape == (8, 1, 3, 2)
    assert np.array_equal(images.pixels[:, 0], GREY)


def test_channels_of_colour_images_move_to_the_front(cifar_root: Path) -> None:
    """Axes in the wrong order train, silently and badly; these are real SVHN images."""
    path = cifar_root / "svhn-first-1083.npz"
    with np.load(path) as file:
        x, y = file["x"], file["y"]

    images = read_npz(str(path))

    assert np.array_equal(images.pixels[5, 2], x[5, :, :, 2])
    assert np.array_equal(images.labels, y)


def test_facts_of_a_file_come_from_its_content(tmp_path: Path) -> None:
    """Classes and shape decide the network that is built."""
    facts = npz_facts(written(tmp_path / "a.npz", y=LABELS * 2))

    assert (facts.classes, facts.shape, facts.images) == (5, (1, 3, 2), 8)


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"x": None}, "has no array x; it holds y"),
        ({"y": None}, "has no array y; it holds x"),
        ({"x": GREY / 255}, "x is float64, not uint8"),
        ({"x": GREY.astype(np.int64)}, "x is int64, not uint8"),
        ({"x": GREY.reshape(8, 6)}, r"x has shape \[8, 6\], not \[N, H, W\]"),
        ({"x": np.zeros((8, 3, 32, 32), np.uint8)}, "so 32 channels: they come last"),
        ({"x": GREY[:, :0]}, "so no pixels"),
        ({"x": GREY[..., None][..., :0]}, "so no pixels"),
        ({"x": GREY[:5], "y": LABELS[:5]}, "x holds 5 images, fewer than 6"),
        ({"x": GREY[:7]}, "x holds 7 images and y 8 labels"),
        ({"y": LABELS / 2}, "y is float64"),
        ({"y": LABELS[:, None]}, r"of shape \[8, 1\], not integers of shape \[N\]"),
        ({"y": LABELS - 1}, "y has negative labels, the lowest -1"),
        ({"y": LABELS * 0 + 3}, "y has only one class, 3"),
        ({"y": np.array([None] * 8)}, "cannot be read"),
    ],
)
def test_each_fault_of_a_file_is_named(tmp_path: Path, named: dict[str, Any], text: str) -> None:
    """A user's own images are the commonest mistake; a shape error deep in torch would not help."""
    with pytest.raises(DataError, match=text):
        read_npz(written(tmp_path / "a.npz", **named))


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Mending a file of gigabytes once is enough."""
    with pytest.raises(DataError, match=r"not uint8.*; y has negative labels.*; x holds 7 images and y 8 labels"):
        read_npz(written(tmp_path / "a.npz", x=GREY[:7] / 255, y=LABELS - 1))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A mistyped path must not look like a broken file."""
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.npz"):
        npz_facts(str(tmp_path / "nowhere.npz"))


def test_a_single_array_is_not_an_npz_file(tmp_path: Path) -> None:
    """np.save and np.savez are easily mixed up."""
    np.save(tmp_path / "a.npy", GREY)

    with pytest.raises(DataError, match="is not an npz file"):
        read_npz(str(tmp_path / "a.npy"))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """A bad disk or an interrupted copy would otherwise change the pixels or end in a traceback."""
    path = Path(written(tmp_path / "a.npz"))
    blob = bytearray(path.read_bytes())
    blob[blob.index(GREY.tobytes())] ^= 1
    path.write_bytes(blob)

    with pytest.raises(DataError, match="cannot be read: Bad CRC"):
        read_npz(str(path))


@pytest.mark.parametrize("same", [{"y": LABELS.astype(np.uint8)}, {"x": GREY[..., None]}, {"extra": LABELS}])
def test_how_the_same_images_are_stored_does_not_matter(tmp_path: Path, same: dict[str, Any]) -> None:
    """The same images under another key would be trained again."""
    digest = npz_facts(written(tmp_path / "a.npz")).digest

    assert npz_facts(written(tmp_path / "b.npz", **same)).digest == digest


@pytest.mark.parametrize(
    "other",
    [{"x": GREY ^ 1}, {"x": GREY.reshape(8, 2, 3)}, {"x": GREY[::-1]}, {"y": LABELS[::-1]}],
    ids=["pixels", "shape", "order of images", "order of labels"],
)
def test_other_images_have_another_digest(tmp_path: Path, other: dict[str, Any]) -> None:
    """Results of two sets under one key would be mixed up for ever."""
    digest = npz_facts(written(tmp_path / "a.npz")).digest

    assert npz_facts(written(tmp_path / "b.npz", **other)).digest != digest


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    """A worker that lives on would train on the images of yesterday."""
    path = written(tmp_path / "a.npz")
    before = npz_facts(path)
    written(tmp_path / "a.npz", y=LABELS + 1)
    os.utime(path, ns=(0, 0))

    assert npz_facts(path).classes == before.classes + 1


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path) -> None:
    """Every key of a grid asks for the digest; decoding each time would make planning slow."""
    path = written(tmp_path / "a.npz")

    assert read_npz(path) is read_npz(path)


def test_images_cannot_be_written_to() -> None:
    """They are shared by all stages of a worker: one in-place step would spoil every later stage."""
    with pytest.raises(ValueError, match="read-only"):
        read_digits().first(10).pixels[0] = 0
