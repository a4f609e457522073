"""On CUDA a stage has the CPU's start and order, and the same bits alone, packed, captured, resumed; nobody waits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from orchestrator.seam import Outcome, Status
from tests.trainers.made import FIRST, MemoryIO, run, same_bits, second, watched, without_times
from tests.trainers.test_resume import check_every_interruption, check_same, variants
from tests.trainers.test_turns import MIXED, together
from trainers.augmentation import CropFlipJitter
from trainers.inits import ShrinkPerturb
from trainers.models import LinearSVM, ResNet18
from trainers.optimizers import Adam
from trainers.shares import SKIPPED, SOLO_STEPS
from trainers.stage_config import Supervised
from trainers.stopping import Epochs
from trainers.supervised import train, turns

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SMALL_RESNET = replace(FIRST, model=ResNet18(width=2))


@pytest.fixture(autouse=True)
def other_tests_may_use_any_algorithm() -> Iterator[None]:
    """Take back what the page sets for the whole process."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")


def test_a_stage_starts_as_on_a_cpu() -> None:
    """A grid may be finished on another kind of machine: same images, same weights, same order."""
    config = second(SMALL_RESNET, init=ShrinkPerturb(shrink=0.4, perturb=0.1, noise="gaussian"))
    parent = run(SMALL_RESNET).state

    cpu, cuda = (watched(config, parent, device=device) for device in ("cpu", "cuda"))

    assert same_bits(cuda.start, cpu.start)
    assert cuda.orders == cpu.orders
    names = ("train_x", "train_y", "test_x", "test_y")
    assert all(torch.equal(getattr(cuda.splits, name).cpu(), getattr(cpu.splits, name)) for name in names)


@pytest.mark.parametrize("config", variants(), ids=str)
def test_an_interrupted_stage_ends_with_the_same_bits(config: Supervised) -> None:
    """Otherwise a preempted node would change the science."""
    assert len(check_every_interruption(config, device="cuda").epochs) == 3


@pytest.mark.parametrize("config", [SMALL_RESNET, replace(FIRST, model=LinearSVM())], ids=str)
def test_a_stage_repeats_its_bits(config: Supervised) -> None:
    """Sums in the order in which threads happen to end would make every run another one."""
    config = replace(config, data=replace(FIRST.data, limit=None), examples=1000, batch_size=128)
    one, other = run(config, device="cuda"), run(config, device="cuda")

    assert same_bits(one.state, other.state)
    assert without_times(one) == without_times(other)


def test_the_first_epoch_is_the_cpus_but_for_rounding() -> None:
    """TF32 or bfloat16 in a product would show in the third digit."""
    config = replace(FIRST, stop=Epochs(1))
    cpu, cuda = (run(config, device=device).epochs[0] for device in ("cpu", "cuda"))

    assert cuda["train_loss"] == pytest.approx(cpu["train_loss"], rel=1e-5)
    assert cuda["test_loss"] == pytest.approx(cpu["test_loss"], rel=1e-5)


def test_the_host_does_not_wait_within_an_epoch() -> None:
    """Each wait leaves the GPU idle."""
    run(SMALL_RESNET, device="cuda")
    counts = []
    for batch_size in (30, 5, 2):
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            run(replace(SMALL_RESNET, batch_size=batch_size), device="cuda")
        counts.append(sum("synchroniz" in str(each.message) for each in waits))

    assert counts[0] > 0
    assert len(set(counts)) == 1


def test_a_learning_rate_that_explodes_is_a_result() -> None:
    """NaN on a GPU raises nothing either."""
    assert run(replace(FIRST, lr=1e30), device="cuda").status == Status.DIVERGED


CAPTURED = [
    *variants(),
    replace(SMALL_RESNET, optimizer=Adam(), augmentation=CropFlipJitter(), stop=Epochs(5)),
    replace(SMALL_RESNET, precision="bf16", stop=Epochs(5)),
    replace(SMALL_RESNET, precision="tf32", stop=Epochs(5)),
]


def with_graphs() -> MemoryIO:
    """A world on CUDA in which steps are captured."""
    io = MemoryIO(device="cuda")
    io.cuda_graphs = True
    return io


@pytest.mark.parametrize("config", CAPTURED, ids=str)
def test_a_captured_stage_has_the_bits_of_an_eager_one(config: Supervised) -> None:
    """How steps are launched is an option, in no key: a graph that misses an input would train on the first batch."""
    check_same(train(config, with_graphs()), run(config, device="cuda"))


@pytest.mark.parametrize("graphs", [False, True])
def test_stages_of_a_pack_have_the_bits_that_they_have_alone(graphs: bool) -> None:
    """Each has its own stream: a kernel that reads what another stream has not written yet shows here."""
    worlds = [with_graphs() if graphs else MemoryIO(device="cuda") for _ in MIXED]

    packed = together([turns(config, io) for config, io in zip(MIXED, worlds, strict=True)])

    for config, outcome in zip(MIXED, packed, strict=True):
        assert isinstance(outcome, Outcome)
        check_same(outcome, run(config, device="cuda"))


def test_a_captured_stage_resumes_with_the_same_bits() -> None:
    """Its first steps after an interruption are eager, in the middle of its way."""
    config = CAPTURED[-3]
    io = with_graphs()
    straight = train(config, io)
    resumed = with_graphs()
    resumed.saved = io.saved[:2]

    check_same(train(config, resumed), straight)


def test_a_step_alone_is_timed_where_there_are_enough() -> None:
    """It is the axis of figures whose models were trained in packs."""
    batch_size = 30 // (SKIPPED + SOLO_STEPS)
    long = run(replace(FIRST, batch_size=batch_size), device="cuda").metrics["solo_step_seconds"]

    assert long is not None
    assert 0 < long < 1
    assert run(FIRST, device="cuda").metrics["solo_step_seconds"] is None


def test_the_card_is_named() -> None:
    """Seconds of two kinds of card are not compared."""
    assert run(FIRST, device="cuda").device == torch.cuda.get_device_name()
