"""Throughput: images that a model is trained on in a second, by ours and by the authors' loop; one measuring process.

A `Meter` is a process of its own with one thread, as a worker is. Ours is `trainers.supervised.train` itself, all that
an epoch takes included; it is left as soon as its time is over. What is measured together starts together.
Images are random, of CIFAR-10's shape: no data set is needed, and no number depends on what they show.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.spec import setting
from trainers.arrays import Facts, Images
from trainers.data import Data
from trainers.inits import RandomInit
from trainers.models import MLP, Logistic, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stage_config import Supervised
from trainers.stopping import Epochs

if TYPE_CHECKING:
    from orchestrator.seam import Checkpoint

# The authors' networks at the optimizers of SPEED.md; wide is the common form of a ResNet18.
MODELS = {
    "logistic": (Logistic(), SGD()),
    "MLP": (MLP(), Adam()),
    "ResNet18 narrow": (ResNet18(), Adam()),
    "ResNet18 wide": (ResNet18(width=64), Adam()),
}
MOST_IMAGES = 20_000  # to fit: more than a processor's cache holds
TINY_LR = 1e-9  # random images are never fitted: gradients of nearly 0 are slow on a CPU, and no stage has them
MATRIX = 1024  # rows of the square matrices whose product is the ceiling
LEAST_S = 0.05  # of a window


@setting
class MadeImages(Data, kind="benchmark_images"):
    """Random images of CIFAR-10's shape."""

    def facts(self) -> Facts:
        return Facts(10, (3, 32, 32), MOST_IMAGES * 3 // 2, "made for benchmarks")

    def official(self, root: str | None, split: str) -> Images:
        return made_images()


@lru_cache(maxsize=1)
def made_images() -> Images:
    """The same in every process."""
    import numpy as np

    draw, n = np.random.default_rng(0), MOST_IMAGES * 3 // 2
    return Images(draw.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), draw.integers(0, 10, n))


@dataclass(frozen=True)
class Ask:
    """One measurement of one process.

    Attributes:
        loop: Whose.
        model: Of `MODELS`.
        images: Of an epoch of ours; a window has whole epochs. The authors' loop has no epochs here.
        seconds: Of the window; it ends with the first epoch or step after them.
        loaders: Loader processes of the authors' loop.
        precision: Of ours.
        warm_up: Whether an epoch of ours, or two steps of theirs, come before the window.
    """

    loop: Literal["ours", "authors"]
    model: str
    batch_size: int
    images: int
    seconds: float
    loaders: int = 0
    precision: str = "fp32"
    warm_up: bool = True

    def config(self) -> Supervised:
        """The stage that is trained; it would not end within any window."""
        model, optimizer = MODELS[self.model]
        given = {} if self.precision == "fp32" else {"precision": self.precision}
        common: dict[str, Any] = {"seed": 0, "round": 0, "lr": TINY_LR, "evaluate_every": 0, **given}
        return Supervised(
            data=MadeImages(), model=model, init=RandomInit(), stop=Epochs(10**6), examples=self.images,
            batch_size=self.batch_size, optimizer=optimizer, **common,
        )  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """What one process made of it.

    Attributes:
        images: Trained on in the window.
        seconds: Of the window.
        peak_mib: Most memory of the process while it measured, its libraries included; None where it cannot be read.
    """

    images: int
    seconds: float
    peak_mib: float | None = None

    @property
    def images_per_s(self) -> float:
        """Their quotient."""
        return self.images / self.seconds


class Enough(Exception):  # noqa: N818 - nothing went wrong
    """The window is over."""


class Window:
    """A `StageIO` that opens the window after the first epoch and ends the stage when it is over."""

    data_root: str | None = None
    device: str | None = "cpu"
    cuda_graphs = False

    def __init__(self, ask: Ask, open_: Callable[[], None]) -> None:
        self._ask, self._open = ask, open_
        self.began: float | None = None
        self.images, self.seconds = 0, 0.0
        if not ask.warm_up:
            self.begin()

    def begin(self) -> None:
        """Wait for the others, then start the clock."""
        self._open()
        self.began = time.perf_counter()

    def parent_state(self) -> None:
        """There is no parent."""

    def load_checkpoint(self) -> None:
        """There is none."""

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """Count an epoch.

        Raises:
            Enough: the window is over.
        """
        if self.began is None:
            self.begin()
            return
        self.images += self._ask.images
        self.seconds = time.perf_counter() - self.began
        if self.seconds >= max(self._ask.seconds, LEAST_S):
            raise Enough


def measured(ask: Ask, open_: Callable[[], None]) -> Rate:
    """Train as `ask` says in this process; calls `open_` when all is ready for the window."""
    forget_peak()
    images, seconds = (ours if ask.loop == "ours" else theirs)(ask, open_)
    return Rate(images, seconds, peak_mib())


def ours(ask: Ask, open_: Callable[[], None]) -> tuple[int, float]:
    """Images and seconds of the window, by the trainer."""
    from trainers.supervised import train

    window = Window(ask, open_)
    with contextlib.suppress(Enough):
        train(ask.config(), window)
    return window.images, window.seconds


def theirs(ask: Ask, open_: Callable[[], None]) -> tuple[int, float]:
    """The same by the authors' loop."""
    import torch

    from benchmarks.authors_loop import endless_steps

    steps = endless_steps(ask.config(), made_images(), workers=ask.loaders, device=torch.device("cpu"))
    for _ in range(2 if ask.warm_up else 0):
        next(steps)
    open_()
    began, images = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < max(ask.seconds, LEAST_S) or not images:
        images += next(steps)
    return images, seconds


def ceiling(precision: str, open_: Callable[[], None], seconds: float) -> float:
    """GFLOP/s of a product of two square matrices in this process."""
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(MATRIX, MATRIX).to(kind) for _ in range(2))
    out = left @ right
    open_()
    began, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        torch.mm(left, right, out=out)
        products += 1
    return 2 * MATRIX**3 * products / spent / 1e9


def flops_of(name: str) -> float:
    """Floating-point operations of training on one image: products of layers forward, and for both gradients.

    The first layer needs no gradient of its input, so for a linear model this is two thirds of three times forward.
    """
    import torch
    from torch import nn

    net = MODELS[name][0].build((3, 32, 32), 10, torch.Generator())
    products: list[int] = []

    def note(layer: nn.Module, _given: object, out: torch.Tensor) -> None:
        weight: Any = layer.weight
        products.append(weight.numel() * (out.shape[2] * out.shape[3] if out.dim() == 4 else 1))

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return 2.0 * (3 * sum(products) - products[0])


def forget_peak() -> None:
    """Give unused memory back, and let the most memory of this process be what it has now; Linux with glibc alone."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float | None:
    """Most memory since `forget_peak`; None where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return None


class Meter:
    """A process that measures what it is asked, one thing at a time."""

    def __init__(self, module: str = "benchmarks.throughput", **variables: str) -> None:
        """Start it; it loads torch when it is first asked. `module` answers, with `variables` in its environment."""
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **variables}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env,
        )  # fmt: skip

    def ask(self, what: str, **given: Any) -> None:
        """Begin to make ready; see `answers`."""
        self._write({"what": what, **given})

    def wait_until_ready(self) -> None:
        """Until nothing but `go` is missing."""
        if (said := self._read()) != {"ready": True}:
            raise RuntimeError(f"the measuring process said {said}")

    def go(self) -> None:
        """Open the window."""
        self._write({"go": True})

    def answer(self) -> Any:
        """What was measured."""
        return self._read()["answer"]

    def _write(self, said: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measuring process ended: exit {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def together(meters: Sequence[Meter], what: str, **given: Any) -> list[Any]:
    """What each of `meters` measured, all windows opened at once."""
    for meter in meters:
        meter.ask(what, **given)
    for meter in meters:
        meter.wait_until_ready()
    for meter in meters:
        meter.go()
    return [meter.answer() for meter in meters]


@contextlib.contextmanager
def meters(count: int) -> Iterator[list[Meter]]:
    """So many measuring processes."""
    made = [Meter() for _ in range(count)]
    try:
        yield made
    finally:
        for meter in made:
            meter.close()


def answering(answers: Mapping[str, Callable[[dict[str, Any], Callable[[], None]], Any]]) -> None:
    """Be such a process: answer what is asked on standard input, one JSON a line, until it ends.

    Args:
        answers: By what is asked: makes the answer to the rest of the question; calls what it is given when it is
            ready, and begins when that returns.

    Raises:
        KeyError: nothing of that name can be asked.
    """
    import torch

    torch.set_num_threads(1)

    def open_() -> None:
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()

    for line in iter(sys.stdin.readline, ""):
        said = json.loads(line)
        answer = answers[said.pop("what")](said, open_)
        print(json.dumps({"answer": answer}), flush=True)


def serve() -> None:
    """What a `Meter` of this module answers."""

    def flops(_: dict[str, Any], open_: Callable[[], None]) -> dict[str, float]:
        open_()
        return {name: flops_of(name) for name in MODELS}

    answering(
        {
            "rate": lambda said, open_: asdict(measured(Ask(**said), open_)),
            "ceiling": lambda said, open_: ceiling(said["precision"], open_, said["seconds"]),
            "flops": flops,
        }
    )


if __name__ == "__main__":
    serve()
