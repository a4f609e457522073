"""GPU process: one measuring process of the GPU benchmark; trains on a device as it is asked and says how fast.

Ours is `trainers.supervised.turns` itself, of as many stages as are asked for, one turn each after the other, as a pack
takes them. The authors' loop is the one of `benchmarks.authors_loop`. Processes never do both: what ours sets for
its whole process (deterministic kernels, no TF32 unasked) would slow theirs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.throughput import Ask, answering, flops_of, forget_peak, made_images, peak_mib

if TYPE_CHECKING:
    from orchestrator.seam import Outcome
    from trainers.stage_config import Supervised

WARM_STEPS = 24  # of each stage before the window: past its capture and the measurement of its solo step
Loop = Literal["ours", "authors", "fused"]
Counted = tuple[int, float]  # images, seconds


@dataclass(frozen=True)
class GpuAsk:
    """One measurement of one process.

    Attributes:
        loop: Whose; `fused` is one network of grouped layers for all members, which only this benchmark has.
        model: Of `benchmarks.throughput.MODELS`.
        images: Of an epoch of ours; whole batches, as every step is counted as one.
        seconds: Of the window.
        members: Models that are trained at once in this process.
        graphs: Whether steps are captured as CUDA graphs.
        precision: Of ours.
        loaders: Loader processes of the authors' loop.
    """

    loop: Loop
    model: str
    batch_size: int
    images: int
    seconds: float
    device: str
    members: int = 1
    graphs: bool = False
    precision: str = "fp32"
    loaders: int = 0

    def config(self) -> Supervised:
        """The stage that is trained; it would not end within any window."""
        return Ask("ours", self.model, self.batch_size, self.images, self.seconds, precision=self.precision).config()


@dataclass(frozen=True)
class GpuRate:
    """What one process made of it.

    Attributes:
        images: Trained on in the window, by all members.
        seconds: Of the window.
        set_up: Seconds before it: data, networks, captures, first steps.
        peak_mib: Most memory of the device that torch held in the process, without CUDA's own; on a CPU, its own.
    """

    images: int
    seconds: float
    set_up: float
    peak_mib: float | None

    @property
    def images_per_s(self) -> float:
        """Their quotient."""
        return self.images / self.seconds


class World:
    """A `StageIO` for a stage that is never saved."""

    data_root = None

    def __init__(self, ask: GpuAsk) -> None:
        self.device, self.cuda_graphs = ask.device, ask.graphs

    def parent_state(self) -> None:
        """There is no parent."""

    def load_checkpoint(self) -> None:
        """There is none."""

    def end_epoch(self, row: Any, checkpoint: Any) -> None:
        """Nothing is due."""


def measured(ask: GpuAsk, open_: Callable[[], None]) -> GpuRate:
    """Train as `ask` says in this process; calls `open_` when all is ready for the window."""
    import torch

    is_cuda = ask.device != "cpu"
    forget_peak()
    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began, opened = time.perf_counter(), 0.0

    def ready() -> None:
        nonlocal opened
        opened = time.perf_counter()
        open_()

    images, seconds = {"ours": ours, "authors": theirs, "fused": fused}[ask.loop](ask, ready)
    peak = torch.cuda.max_memory_reserved() / 2**20 if is_cuda else peak_mib()
    return GpuRate(images, seconds, opened - began, peak)


def ours(ask: GpuAsk, open_: Callable[[], None]) -> Counted:
    """Images and seconds of stages that take turns; every turn with work is a step, as nothing is evaluated."""
    from trainers.supervised import turns

    pack = [turns(replace(ask.config(), seed=seed), World(ask)) for seed in range(ask.members)]
    for stage in pack:
        take(stage, WARM_STEPS)
    steps, seconds = window(ask, open_, lambda: sum(next(stage) for stage in pack))
    for stage in pack:
        stage.close()
    return steps * ask.batch_size, seconds


def take(stage: Generator[bool, None, Outcome], steps: int) -> None:
    """Take turns of one stage until it has worked in so many of them."""
    done = 0
    while done < steps:
        done += next(stage)


def theirs(ask: GpuAsk, open_: Callable[[], None]) -> Counted:
    """The same by the authors' loop, which has one model in a process."""
    import torch

    from benchmarks.authors_loop import endless_steps

    device = torch.device(ask.device)
    steps = endless_steps(ask.config(), made_images(), workers=ask.loaders, device=device)
    for _ in range(2):
        next(steps)
    return window(ask, open_, lambda: next(steps))


def fused(ask: GpuAsk, open_: Callable[[], None]) -> Counted:
    """The same by one network of grouped layers for all members, each with batches of its own."""
    import torch

    from benchmarks.gpu_fused import fused_step
    from trainers.waiting import Ahead

    ahead = Ahead(torch.device(ask.device))
    own_stream: Any = contextlib.nullcontext()
    if ask.device != "cpu":  # CUDA captures nothing on its default stream
        own_stream = torch.cuda.stream(torch.cuda.Stream())
    with own_stream:
        step = fused_step(ask)

        def work() -> int:
            for _ in ahead.room():
                pass  # the window would end long after its time
            step()
            return ask.members * ask.batch_size

        for _ in range(WARM_STEPS):
            step()
        return window(ask, open_, work)


def window(ask: GpuAsk, open_: Callable[[], None], work: Callable[[], int]) -> Counted:
    """What `work` returns, added up until the time is over and the device has done with it, and the seconds."""
    synchronize = waiter(ask.device)
    synchronize()
    open_()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < ask.seconds or not count:
        count += work()
    synchronize()
    return count, time.perf_counter() - began


def waiter(device: str) -> Callable[[], None]:
    """What waits for all work of a device."""
    import torch

    return torch.cuda.synchronize if device != "cpu" else lambda: None


def ceiling(device: str, precision: str, size: int, seconds: float, open_: Callable[[], None]) -> float:
    """TFLOP/s of products of two square matrices of `size` rows, of random numbers, in this process."""
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    out = left @ right
    ask = GpuAsk("ours", "", 1, 1, seconds, device)

    synchronize = waiter(device)

    def ten() -> int:
        for _ in range(10):
            torch.mm(left, right, out=out)
        synchronize()  # a thousand would wait in the queue when the time is over, for 20 s
        return 10

    products, spent = window(ask, open_, ten)
    return 2 * size**3 * products / spent / 1e12


def card(device: str) -> dict[str, Any]:
    """What is measured on."""
    import torch

    if device == "cpu":
        return {"card": "cpu", "memory_gib": None, "cuda": None}
    facts: Any = torch.cuda.get_device_properties(0)
    return {"card": facts.name, "memory_gib": facts.total_memory / 2**30, "cuda": torch.version.cuda}


def serve() -> None:
    """What a `benchmarks.throughput.Meter` of this module answers."""

    def facts(said: dict[str, Any], open_: Callable[[], None]) -> dict[str, Any]:
        open_()
        return {**card(said["device"]), "flops": {name: flops_of(name) for name in said["models"]}}

    answering(
        {
            "rate": lambda said, open_: asdict(measured(GpuAsk(**said), open_)),
            "ceiling": lambda said, open_: ceiling(**said, open_=open_),
            "facts": facts,
        }
    )


if __name__ == "__main__":
    serve()
