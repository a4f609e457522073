"""Where a published set lies is found by its checksums, without a download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.errors import DataError
from trainers import sources
from trainers.data import CIFAR100, Digits
from trainers.sources import CifarBinary

CONTENT = bytes(3074)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder; the release is one image, and nothing is anywhere else."""
    layout = CifarBinary("made", {"train.bin": f"sha1:{hashlib.sha1(CONTENT).hexdigest()}"}, label_bytes=2)
    monkeypatch.setattr(sources, "RELEASES", {"CIFAR100": (layout,)})
    monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_set_is_found_where_it_lies(root: Path) -> None:
    """In the given folder first, else in the user's cache."""
    (root / "train.bin").write_bytes(CONTENT)
    assert CIFAR100().place(str(root)) == str(root)

    cache = sources.cache_folder()
    cache.mkdir(parents=True)
    (root / "train.bin").rename(cache / "train.bin")
    assert CIFAR100().place(str(root)) == CIFAR100().place(None) == str(cache)


def test_a_set_that_is_nowhere_is_not_downloaded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever only asks does not want to wait for a gigabyte."""
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("downloaded"))

    assert CIFAR100().place(str(root)) is None


def test_another_file_in_its_place_is_named(root: Path) -> None:
    """A torn download would be trained on."""
    (root / "train.bin").write_bytes(b"torn")

    with pytest.raises(DataError, match=r"train\.bin .* is not the published file"):
        CIFAR100().place(str(root))


def test_what_comes_with_the_installation_is_always_there() -> None:
    """The digits of scikit-learn."""
    assert Digits().place(None) == "the installation"
