"""Preparing a device makes equal work give equal bits, and no step slower than it need be."""

from __future__ import annotations

import ctypes
import platform
import resource

import pytest
import torch

from orchestrator.errors import ConfigError
from trainers.device import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, prepare_device

ARRAY = 2**21  # floats, 8 MiB: an activation of ResNet18 at batch size 128
FRESH = 128 * 1024  # both thresholds in a process that has just begun


def faults() -> int:
    """Pages that the system had to hand to this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def take_a_step(times: int) -> None:
    """Hold eight large arrays at once, and let go of them."""
    for _ in range(times):
        [torch.ones(ARRAY) for _ in range(8)]


def test_without_a_name_cuda_is_taken_where_there_is_one() -> None:
    """A grid that runs on the CPU beside an idle card takes a month."""
    assert prepare_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_cpu_has_one_thread_and_full_precision() -> None:
    """Both change the order or the digits of sums, so a notebook's settings must not reach a stage."""
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")

    assert prepare_device("cpu") == torch.device("cpu")

    assert torch.get_num_threads() == 1
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_card_is_named() -> None:
    """Torch's own message speaks of drivers and compilation, after the data were loaded."""
    with pytest.raises(ConfigError, match=r"device cuda: torch .* finds no CUDA device here"):
        prepare_device("cuda")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is told so in glibc's way")
def test_memory_of_one_step_serves_the_next() -> None:
    """Fetched again from the system at every step, it takes a fifth of a ResNet18's time."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, FRESH)
    libc.mallopt(M_MMAP_THRESHOLD, FRESH)

    prepare_device("cpu")
    take_a_step(times=10)
    before = faults()

    take_a_step(times=10)

    assert faults() - before < 80_000  # of 163,840 pages
