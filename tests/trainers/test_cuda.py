"""On CUDA a stage has the CPU's start and order, resumes with the same bits, and never waits within an epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from orchestrator.seam import Status
from tests.trainers.made import FIRST, run, same_bits, second, watched, without_times
from tests.trainers.test_resume import check_every_interruption, variants
from trainers.inits import ShrinkPerturb
from trainers.models import LinearSVM, ResNet18
from trainers.stage_config import Supervised
from trainers.stopping import Epochs

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
    assert all(torch.equal(getattr(cuda.splits, name).cpu(), x) for name, x in vars(cpu.splits).items())


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


def test_the_card_is_named() -> None:
    """Seconds of two kinds of card are not compared."""
    assert run(FIRST, device="cuda").device == torch.cuda.get_device_name()
