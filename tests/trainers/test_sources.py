"""Published images are read only if they are the published ones, wherever they lie, and fetched once if they do not."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from orchestrator.errors import DataError
from trainers import sources
from trainers.sources import cache_folder, read_release

BATCHES = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)]
PER_BATCH = 20  # images that a test's small CIFAR-10 takes from each real batch


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, not the user's, and no data sets of the system's."""
    monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmgrid" / "data"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches no server."""
    monkeypatch.setattr(urllib.request, "urlopen", Mock(side_effect=urllib.error.URLError("no route to host")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder for --data-root."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def md5(blob: bytes) -> str:
    """Hex MD5, as torchvision lists it."""
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


@pytest.fixture
def small_cifar(cifar_root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files of a small CIFAR-10 in torchvision's layout, by name; torchvision's checksums are set to theirs.

    Made of the first real images of each batch, the test batch of those of batch 1.
    """
    from torchvision import datasets

    files = {"batches.meta": pickle.dumps({"label_names": list("abcdefghij")})}
    for i, name in enumerate([*BATCHES, BATCHES[0]]):
        rows = np.fromfile(cifar_root / name, np.uint8, PER_BATCH * 3073).reshape(PER_BATCH, 3073)
        batch = {"data": rows[:, 1:], "labels": rows[:, 0].tolist()}
        files[f"data_batch_{i + 1}" if i < 5 else "test_batch"] = pickle.dumps(batch)
    sums = {name: md5(blob) for name, blob in files.items()}
    monkeypatch.setattr(
        datasets.CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    )
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": sums["batches.meta"]})
    return files


def lay(files: dict[str, bytes], folder: Path) -> Path:
    """Write the files into a new folder."""
    folder.mkdir(parents=True)
    for name, blob in files.items():
        (folder / name).write_bytes(blob)
    return folder


class Server(ThreadingHTTPServer):
    """A server on this machine that gives `blob` whatever it is asked for."""

    blob = b""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        blob = self.server.blob  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(blob)))
        self.end_headers()
        self.wfile.write(blob)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(small_cifar: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the small CIFAR-10 where torchvision looks for the real one."""
    from torchvision import datasets

    lay(small_cifar, tmp_path / "release" / "cifar-10-batches-py")
    archive = shutil.make_archive(str(tmp_path / "cifar-10-python"), "gztar", tmp_path / "release")
    with Server(("127.0.0.1", 0), Answer) as server:
        server.blob = Path(archive).read_bytes()
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(server.blob))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_cifar10_is_whole_and_in_its_published_order(cifar_root: Path) -> None:
    """Splits are drawn over this order; the first labels are those of the python layout, frog, truck, truck, deer."""
    images = read_release("CIFAR10", str(cifar_root), "train")

    assert np.bincount(images.labels).tolist() == [5000] * 10
    assert images.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert images.pixels[0, :, 0, 0].tolist() == [59, 62, 63]


def test_cifar100_gives_the_fine_labels(cifar_root: Path) -> None:
    """The 20 coarse labels stand first in each row and would make another, easier problem."""
    images = read_release("CIFAR100", str(cifar_root), "train")

    assert np.bincount(images.labels).tolist() == [500] * 100
    assert images.labels[:10].tolist() == [19, 29, 0, 11, 1, 86, 90, 28, 23, 31]


def test_a_set_is_decoded_once_per_process(cifar_root: Path) -> None:
    """A worker trains hundreds of stages on one set."""
    assert read_release("CIFAR10", str(cifar_root), "train") is read_release("CIFAR10", str(cifar_root), "train")


def test_a_changed_byte_is_found(cifar_root: Path, root: Path) -> None:
    """Results on damaged images would stand under the key of the published ones."""
    (root / "cifar-10-batches-bin").mkdir()
    for name in BATCHES:
        (root / name).symlink_to(cifar_root / name)
    blob = bytearray((cifar_root / BATCHES[2]).read_bytes())
    blob[12345] ^= 1
    (root / BATCHES[2]).unlink()
    (root / BATCHES[2]).write_bytes(blob)

    with pytest.raises(DataError, match=r"data_batch_3\.bin \(30,730,000 bytes\) is not the published file"):
        read_release("CIFAR10", str(root), "train")


def test_a_file_that_is_missing_is_named(cifar_root: Path, root: Path, offline: None) -> None:
    """An interrupted copy of a folder looks complete at a glance."""
    (root / "cifar-10-batches-bin").mkdir()
    for name in BATCHES[:4]:
        (root / name).symlink_to(cifar_root / name)

    with pytest.raises(DataError, match=f"In {root} only {BATCHES[4]} is missing"):
        read_release("CIFAR10", str(root), "train")


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("CIFAR10", r"cifar-10-batches-bin/data_batch_1\.bin to _5\.bin or cifar-10-batches-py/"),
        ("CIFAR100", r"cifar-100-binary/train\.bin or cifar-100-python/"),
        ("SVHN", r"train_32x32\.mat"),
        ("FashionMNIST", r"the \*-ubyte\.gz files .* in fashion-mnist/ or in FashionMNIST/raw/"),
    ],
)
def test_a_missing_set_says_what_to_do(name: str, accepted: str, root: Path, own_cache: Path, offline: None) -> None:
    """Cluster nodes are often offline; the user must learn which files to bring, and where to."""
    with pytest.raises(DataError) as told:
        read_release(name, str(root), "train")

    told.match(f"{name}: its train images are not in {root} or {own_cache}")
    told.match(rf"Downloading them into {root} failed: .*no route to host.*--data-root or WARMGRID_DATA.*{accepted}")


def test_official_test_images_need_the_python_layout(cifar_root: Path, offline: None) -> None:
    """The binary test files cannot be told from damaged ones; a user who has them must learn why they do not serve."""
    with pytest.raises(DataError, match=r"holds cifar-10-batches-py/ .*data_batch_1.* cannot serve: .*checksum"):
        read_release("CIFAR10", str(cifar_root), "test")


def test_a_data_folder_that_does_not_exist_is_an_error(root: Path) -> None:
    """A mistyped folder would otherwise be made, and 170 MB downloaded into it."""
    with pytest.raises(DataError, match=r"the data folder .*rot does not exist. Correct --data-root or WARMGRID_DATA"):
        read_release("CIFAR10", str(root.with_name("rot")), "train")


def test_a_failed_download_leaves_nothing_that_counts(root: Path, server: Server) -> None:
    """A half-written file that counted as good would fail, or train, every later stage."""
    whole, server.blob = server.blob, server.blob[:-1]

    with pytest.raises(DataError, match="File not found or corrupted"):
        read_release("CIFAR10", str(root), "train")
    assert sorted(path.name for path in root.iterdir()) == [".CIFAR10.lock"]

    server.blob = whole
    assert len(read_release("CIFAR10", str(root), "train").labels) == 5 * PER_BATCH


def test_the_python_layout_holds_the_same_images(small_cifar: dict[str, bytes], cifar_root: Path, root: Path) -> None:
    """Both layouts stand under one key, so they must give the same images in the same order."""
    lay(small_cifar, root / "cifar-10-batches-py")
    whole = read_release("CIFAR10", str(cifar_root), "train")
    rows = [batch * 10_000 + i for batch in range(5) for i in range(PER_BATCH)]

    images = read_release("CIFAR10", str(root), "train")

    assert np.array_equal(images.pixels, whole.pixels[rows])
    assert np.array_equal(images.labels, whole.labels[rows])


def test_official_test_images_are_the_test_batch(small_cifar: dict[str, bytes], cifar_root: Path, root: Path) -> None:
    """Training images reported as an official test would be a false result."""
    lay(small_cifar, root / "cifar-10-batches-py")

    images = read_release("CIFAR10", str(root), "test")

    assert np.array_equal(images.pixels, read_release("CIFAR10", str(cifar_root), "train").pixels[:PER_BATCH])


def test_a_pickle_that_is_not_the_published_one_is_never_opened(small_cifar: dict[str, bytes], root: Path) -> None:
    """Unpickling runs what the file says."""
    folder = lay(small_cifar, root / "cifar-10-batches-py")
    (folder / "data_batch_4").write_bytes(pickle.dumps(0))

    with pytest.raises(DataError, match=r"data_batch_4 \(\d+ bytes\) is not the published file: its checksum is md5:"):
        read_release("CIFAR10", str(root), "train")


def test_a_set_that_is_nowhere_is_downloaded_into_the_data_folder(root: Path, server: Server) -> None:
    """A fresh machine needs no other command than launch."""
    images = read_release("CIFAR10", str(root), "train")

    assert len(images.labels) == 5 * PER_BATCH
    assert sorted(path.name for path in root.iterdir()) == [".CIFAR10.lock", "cifar-10-batches-py"]


@pytest.mark.parametrize("given", [True, False])
def test_without_a_folder_to_write_to_the_cache_is_used(
    given: bool, root: Path, own_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared data folders are often read-only."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    read_release.cache_clear()

    read_release("CIFAR10", str(root) if given else None, "train")

    read_release.cache_clear()  # the next test without a folder has another cache folder
    assert (own_cache / "cifar-10-batches-py" / "test_batch").exists()
    assert list(root.iterdir()) == []


def test_what_was_downloaded_is_found_again(root: Path, own_cache: Path, server: Server) -> None:
    """A second download is minutes lost, and impossible on a node that is offline."""
    lay({}, own_cache)
    sources.fetch("CIFAR10", own_cache, "train")
    server.blob = b"gone"

    assert len(read_release("CIFAR10", str(root), "train").labels) == 5 * PER_BATCH


def test_two_workers_download_once(root: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Two that write one file at once leave a broken one."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: read_release.__wrapped__("CIFAR10", str(root), "train"), range(2)))

    assert [len(images.labels) for images in both] == [5 * PER_BATCH] * 2
    assert capsys.readouterr().err.count("CIFAR10: downloading into") == 1


def test_what_a_killed_download_left_is_no_obstacle(root: Path, server: Server) -> None:
    """SIGKILL leaves its files; the next launch must go on."""
    lay({"cifar-10-python.tar.gz": b"half"}, root / ".CIFAR10.download")

    assert len(read_release("CIFAR10", str(root), "train").labels) == 5 * PER_BATCH


def test_a_download_fills_in_what_a_folder_lacks(small_cifar: dict[str, bytes], root: Path, server: Server) -> None:
    """The move of several files into place may be cut short too."""
    folder = lay(small_cifar, root / "cifar-10-batches-py")
    (folder / "batches.meta").unlink()

    assert len(read_release("CIFAR10", str(root), "train").labels) == 5 * PER_BATCH


def test_patience_is_given_back() -> None:
    """The limit on silent servers must not reach sockets of Ray or of the store."""
    with sources.patience(3.0):
        during = socket.getdefaulttimeout()

    assert (during, socket.getdefaulttimeout()) == (3.0, None)


@pytest.mark.parametrize("split", ["train", "test"])
def test_svhn_is_read_from_its_mat_files(split: sources.SplitName, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files number images last and call the digit 0 a 10."""
    from scipy.io import savemat
    from torchvision import datasets

    pixels = np.arange(4 * 32 * 32 * 3).astype(np.uint8).reshape(4, 32, 32, 3)
    path = root / f"{split}_32x32.mat"
    savemat(path, {"X": pixels.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9], [10]], np.uint8)})
    listed = {**datasets.SVHN.split_list, split: ["", path.name, md5(path.read_bytes())]}
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)

    images = read_release("SVHN", str(root), split)

    assert images.labels.tolist() == [0, 1, 9, 0]
    assert np.array_equal(images.pixels, pixels.transpose(0, 3, 1, 2))


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Contents of a FashionMNIST of three images a split; its checksums are set to theirs."""
    pixels = np.arange(3 * 784).astype(np.uint8).tobytes()
    files, sums = {}, {}
    for split, name in (("train", "train"), ("test", "t10k")):
        of_split = {f"{name}-images-idx3-ubyte": bytes(16) + pixels, f"{name}-labels-idx1-ubyte": bytes(8) + b"\3\1\2"}
        sums[split] = {name: f"sha256:{hashlib.sha256(blob).hexdigest()}" for name, blob in of_split.items()}
        files |= of_split
    monkeypatch.setattr(sources, "IDX_SHA256", sums)
    return files


def test_what_the_system_has_installed_is_found(small_fashion: dict[str, bytes], tmp_path: Path) -> None:
    """Debian's dataset-fashion-mnist needs no option and no network."""
    lay({f"{name}.gz": gzip.compress(blob) for name, blob in small_fashion.items()}, tmp_path / "system/fashion-mnist")

    assert len(read_release("FashionMNIST", None, "train").labels) == 3


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")], ids=["packed", "unpacked"])
@pytest.mark.parametrize("below", ["here", "here/fashion-mnist", "here/FashionMNIST/raw"])
def test_fashion_mnist_is_read_where_it_usually_lies(
    below: str,
    pack: Callable[[bytes], bytes],
    suffix: str,
    split: sources.SplitName,
    small_fashion: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """A folder of torchvision, one of Debian, and a bare download hold the same files."""
    lay({f"{name}{suffix}": pack(blob) for name, blob in small_fashion.items()}, tmp_path / below)

    images = read_release("FashionMNIST", str(tmp_path / "here"), split)

    assert images.labels.tolist() == [3, 1, 2]
    assert images.pixels.shape == (3, 1, 28, 28)
    assert images.pixels[1, 0, 0, :3].tolist() == [784 % 256, 785 % 256, 786 % 256]


@pytest.mark.parametrize(
    "damage",
    [lambda blob: blob[:-9], lambda _: b"", lambda blob: blob[:10] + b"\xff" * 9, lambda _: gzip.compress(b"other")],
)
def test_a_damaged_gz_file_is_told(
    damage: Callable[[bytes], bytes], small_fashion: dict[str, bytes], tmp_path: Path
) -> None:
    """A broken archive must not end in a traceback of gzip."""
    folder = lay({f"{name}.gz": gzip.compress(blob) for name, blob in small_fashion.items()}, tmp_path / "here")
    broken = folder / "train-labels-idx1-ubyte.gz"
    broken.write_bytes(damage(broken.read_bytes()))

    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz \(\d+ bytes\) is not the published file"):
        read_release("FashionMNIST", str(folder), "train")


def test_the_real_fashion_mnist_is_the_published_one() -> None:
    """Debian packs the files anew, so only their content can be compared."""
    images = read_release("FashionMNIST", installed_fashion_mnist(), "train")

    assert np.bincount(images.labels).tolist() == [6000] * 10
    assert images.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert len(read_release("FashionMNIST", installed_fashion_mnist(), "test").labels) == 10_000


def installed_fashion_mnist() -> str:
    """Folder of Debian's package; skips the test where it is not installed."""
    asked = ["dpkg-query", "-L", "dataset-fashion-mnist"]
    if shutil.which(asked[0]):
        listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
        for path in filter(re.compile("train-images-idx3-ubyte.gz$").search, listed):
            return str(Path(path).parent)
    pytest.skip("no real FashionMNIST: apt-get install dataset-fashion-mnist")


def test_the_cache_folder_follows_the_desktop_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes on clusters are small; XDG_CACHE_HOME is how users move caches elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache_folder() == Path("/scratch/warmgrid/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "warmgrid" / "data"
