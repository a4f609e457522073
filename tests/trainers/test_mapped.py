"""A machine decodes a published set once; its processes share the arrays, and notice when a file is another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import DataError
from trainers import mapped, sources
from trainers.arrays import Images
from trainers.mapped import find_mapped, share


class Source:
    """A set of 20 images in a file of yesterday, which counts how often it is decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.decoded = folder, folder / "images.bin", 0
        folder.mkdir()
        self.write(0)

    def write(self, brightness: int, age_s: float = 1e5) -> None:
        """Put other images there, in the same number of bytes."""
        self.file.write_bytes(bytes(range(brightness, brightness + 20)))
        then = self.file.stat().st_mtime - age_s
        os.utime(self.file, (then, then))

    def decode(self) -> Images:
        """What a layout does."""
        self.decoded += 1
        pixels = np.fromfile(self.file, np.uint8)
        return Images(pixels.reshape(-1, 1, 1, 1), pixels % 2 + np.int64(0))

    def shared(self, beside: Path) -> Images:
        """The images, as a worker asks for them."""
        return find_mapped("Some-train", self.folder, beside) or share(
            "Some-train", self.folder, [self.file], beside, self.decode
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A published set in a folder of its own."""
    return Source(tmp_path / "data")


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Where the arrays come to lie; nothing is there yet."""
    return tmp_path / "arrays"


def is_mapped(array: np.ndarray) -> bool:
    """Whether its memory is that of a file."""
    return isinstance(array.base, np.memmap)


def test_a_set_is_decoded_once(source: Source, beside: Path) -> None:
    """Every worker of a node would check and unpack 160 MB before its first stage."""
    first, second = source.shared(beside), source.shared(beside)

    assert source.decoded == 1
    assert second.pixels.flatten().tolist() == first.pixels.flatten().tolist() == list(range(20))
    assert second.labels.tolist() == [p % 2 for p in range(20)]
    assert (second.pixels.dtype, second.labels.dtype) == (np.uint8, np.int64)


def test_its_memory_is_that_of_all_processes(source: Source, beside: Path) -> None:
    """The one that decoded it too: 64 workers with a copy each would take 10 GB."""
    assert all(is_mapped(source.shared(beside).pixels) for _ in range(2))


def test_workers_that_begin_together_wait_for_one(source: Source, beside: Path) -> None:
    """All workers of a node ask in the same second."""
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: source.shared(beside), range(4)))

    assert source.decoded == 1
    assert {each.pixels.tobytes() for each in images} == {bytes(range(20))}


def test_another_file_is_decoded_again(source: Source, beside: Path) -> None:
    """Its checksum is looked at then: a file that was damaged must not hide behind the arrays of the sound one."""
    source.shared(beside)
    source.write(100, age_s=5e4)

    assert source.shared(beside).pixels[0, 0, 0, 0] == 100
    assert source.decoded == 2


def test_a_file_that_is_still_being_written_is_not_remembered(source: Source, beside: Path) -> None:
    """A second write within the same tick of the clock would leave it the same time."""
    source.write(0, age_s=0)

    assert not is_mapped(source.shared(beside).pixels)
    assert not list(beside.glob("*.json"))


def overwrite_the_end(path: Path) -> None:
    """Leave a file its size, and other bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\x07" * 4)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 130), overwrite_the_end])
@pytest.mark.parametrize("which", ["*.npy", "*.json"])
def test_arrays_that_were_deleted_or_damaged_are_made_again(
    source: Source, beside: Path, which: str, damage: Callable[[Path], object]
) -> None:
    """A cache is deleted at will, and a full disk cuts files."""
    source.shared(beside)
    for path in beside.glob(which):
        damage(path)

    assert source.shared(beside).pixels.flatten().tolist() == list(range(20))
    assert is_mapped(source.shared(beside).pixels)


@pytest.mark.parametrize("record", ["{}", "[]", '{"files": [], "arrays": []}'])
def test_a_record_of_another_form_is_written_again(source: Source, beside: Path, record: str) -> None:
    """An older or a newer warmgrid that uses the same cache must not fail every stage of a launch."""
    source.shared(beside)
    for path in beside.glob("*.json"):
        path.write_text(record)

    assert source.shared(beside).pixels.flatten().tolist() == list(range(20))
    assert is_mapped(source.shared(beside).pixels)


def test_the_same_images_in_two_folders_are_kept_once(source: Source, beside: Path, tmp_path: Path) -> None:
    """Two data folders of one set would fill the disk twice."""
    other = Source(tmp_path / "other")

    source.shared(beside), other.shared(beside)

    assert (len(list(beside.glob("*.json"))), len(list(beside.glob("*.npy")))) == (2, 2)
    assert (source.decoded, other.decoded) == (1, 1)


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_disk_that_is_full_costs_time_alone(
    source: Source, beside: Path, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache must not end a launch; and what it costs is said."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped.os, fails, full)

    assert source.shared(beside).pixels.flatten().tolist() == list(range(20))
    assert "Some-train is decoded again by every worker: [Errno 28] No space left on device" in caplog.text
    assert not [path for path in beside.iterdir() if path.suffix != ".lock"]


def test_a_cache_that_nobody_may_write_costs_time_alone(
    source: Source, beside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On some clusters a node's home is read-only; here a file is in the way."""
    beside.write_text("")

    assert source.shared(beside).pixels.flatten().tolist() == list(range(20))
    assert "Some-train is decoded again by every worker" in caplog.text


def test_a_damaged_release_is_refused_although_its_arrays_are_kept(
    cifar_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of a data folder must not depend on what was once decoded from it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "cifar-100-binary" / "train.bin"
    file.parent.mkdir()
    file.write_bytes((cifar_root / "cifar-100-binary" / "train.bin").read_bytes())
    os.utime(file, (1e9, 1e9))
    kept = [sources.find("CIFAR100", tmp_path, "train") for _ in range(2)]
    assert all(images is not None and is_mapped(images.pixels) for images in kept)
    with file.open("r+b") as opened:
        opened.write(b"\xff")

    with pytest.raises(DataError, match="is not the published file"):
        sources.find("CIFAR100", tmp_path, "train")
