"""A data set says what it is without reading images, and its content, not its place, is in the key."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.key import content_key
from trainers.data import CIFAR10, CIFAR100, SVHN, ArrayFile, Data, Digits, FashionMNIST

PUBLISHED = [FashionMNIST, CIFAR10, CIFAR100, SVHN]


@pytest.fixture
def array_file(cifar_root: Path) -> ArrayFile:
    """The first 1,083 SVHN images."""
    return ArrayFile(str(cifar_root / "svhn-first-1083.npz"))


@pytest.mark.parametrize(
    ("data", "classes", "shape", "total", "fit_size"),
    [
        (Digits(), 10, (1, 8, 8), 1_797, 1_198),
        (FashionMNIST(), 10, (1, 28, 28), 60_000, 40_000),
        (CIFAR10(), 10, (3, 32, 32), 50_000, 33_333),
        (CIFAR100(), 100, (3, 32, 32), 50_000, 33_333),
        (SVHN(), 10, (3, 32, 32), 73_257, 48_838),
        (CIFAR10(limit=1000), 10, (3, 32, 32), 1000, 666),
        (CIFAR10(test="official"), 10, (3, 32, 32), 50_000, 50_000),
        (CIFAR10(limit=1000, test="official"), 10, (3, 32, 32), 1000, 1000),
        (Digits(limit=5000), 10, (1, 8, 8), 1_797, 1_198),
    ],
    ids=str,
)
def test_facts_are_those_of_the_paper(data: Data, classes: int, shape: object, total: int, fit_size: int) -> None:
    """Sizes decide the rounds of every protocol; these are the authors' sizes."""
    assert (data.classes, data.shape, data.total, data.fit_size) == (classes, shape, total, fit_size)


def test_facts_need_neither_torch_nor_scikit_learn(array_file: ArrayFile) -> None:
    """Planning must feel instant; torch takes seconds to import."""
    code = (
        "import sys; from trainers.data import *\n"
        f"for data in (Digits(), CIFAR10(), SVHN(), FashionMNIST(), ArrayFile({array_file.path!r})): data.identity()\n"
        "Digits().check(None)\n"
        "print({'torch', 'torchvision', 'sklearn'} & set(sys.modules))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout

    assert loaded == "set()\n"


def test_published_digests_are_torchvisions() -> None:
    """The digest stands for the release in every key; a mistyped one would name nothing."""
    from torchvision import datasets

    fashion = ",".join(md5 for _, md5 in datasets.FashionMNIST.resources)
    svhn = ",".join(datasets.SVHN.split_list[split][2] for split in ("train", "test"))
    md5s = [fashion, datasets.CIFAR10.tgz_md5, datasets.CIFAR100.tgz_md5, svhn]

    assert [data().digest for data in PUBLISHED] == [f"md5:{md5}" for md5 in md5s]


@pytest.mark.parametrize("data", [Digits(), CIFAR10(), CIFAR100(), CIFAR10(limit=20)], ids=str)
def test_images_are_as_the_facts_say(data: Data, cifar_root: Path) -> None:
    """A network is built from the facts before any image is read."""
    images = data.read(str(cifar_root), "train")

    assert images.pixels.shape == (data.total, *data.shape)
    assert images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert set(images.labels) <= set(range(data.classes))


def test_a_limit_uses_the_first_images(array_file: ArrayFile) -> None:
    """Quick runs must be the beginning of the real one, the same in every process."""
    few = ArrayFile(array_file.path, limit=10).read(None, "train")

    assert np.array_equal(few.pixels, array_file.read(None, "train").pixels[:10])
    assert len(few.labels) == 10


@pytest.mark.parametrize("limit", [5, 0, -1, 2.5])
def test_a_limit_below_six_is_refused(limit: float) -> None:
    """A third of two thirds of five images is nothing to train on."""
    with pytest.raises(ConfigError, match=f"limit={limit}"):
        CIFAR10(limit=limit)


def test_a_limit_that_cuts_nothing_off_is_the_whole_set() -> None:
    """The same images under another key would be trained again."""
    assert content_key(Digits(limit=1797)) == content_key(Digits(limit=2000)) == content_key(Digits())


@pytest.mark.parametrize("other", [CIFAR10(limit=1000), CIFAR10(test="official"), CIFAR100()], ids=str)
def test_what_changes_the_images_changes_the_key(other: Data) -> None:
    """Stages on other images under one key would be taken for done."""
    assert content_key(other) != content_key(CIFAR10())


def test_the_digest_is_in_the_identity() -> None:
    """A key must tell by itself which images it stands for."""
    assert all(data.identity()["digest"] == data.digest for data in (Digits(), CIFAR10(), SVHN()))


def test_two_copies_of_a_file_are_one_key(array_file: ArrayFile, tmp_path: Path) -> None:
    """Moving the images must not throw away what was trained on them."""
    copy = ArrayFile(str(shutil.copy(array_file.path, tmp_path / "copy.npz")))

    assert content_key(copy) == content_key(array_file)


def test_a_relative_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts in another folder and would not find the file."""
    monkeypatch.chdir(tmp_path)

    assert ArrayFile("images.npz").path == str(tmp_path / "images.npz")


@pytest.mark.parametrize("make", [Digits, lambda test: ArrayFile("a.npz", test=test)], ids=["Digits", "ArrayFile"])
def test_a_set_without_official_test_images_says_so(make: type[Digits]) -> None:
    """The held-out third would otherwise be reported as an official result."""
    with pytest.raises(ConfigError, match=r"no official test set\. Leave test at 'held_out'"):
        make(test="official")


def test_official_test_images_that_do_not_exist_are_not_read() -> None:
    """The training images must never be handed out as test images."""
    with pytest.raises(ConfigError, match="no official test set to read"):
        Digits().read(None, "test")


def test_checking_an_official_set_reads_its_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the missing test file is found by every worker, after the launch."""
    asked = []
    monkeypatch.setattr(Data, "read", lambda _, root, split: asked.append((root, split)))

    CIFAR10(test="official").check("/data")
    CIFAR10().check("/data")

    assert asked == [("/data", "train"), ("/data", "test"), ("/data", "train")]
