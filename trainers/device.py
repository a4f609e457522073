"""Device: where a stage is trained, and how this process is set up for it; no network and no data."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from trainers.eager import leave_out_compiler

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
GIB, MIB = 2**30, 2**20


def prepare_device(name: str | None) -> torch.device:
    """Return the device `name`, or CUDA where there is one; set torch so that equal work gives equal bits on it.

    The settings hold for the whole process and stay. Products of float32 are never rounded to less.
    On a CPU one thread: the number of threads changes the order of sums, and one worker a core with
    one thread each is faster than two threads in one worker. On CUDA deterministic algorithms
    alone: torch refuses a network that has none.

    Raises:
        ConfigError: there is no CUDA device that torch can use.
    """
    import torch

    leave_out_compiler()
    has_cuda = torch.cuda.is_available()
    device = torch.device(name or ("cuda" if has_cuda else "cpu"))
    torch.set_float32_matmul_precision("highest")
    if device.type == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
        return device
    if not has_cuda:
        raise ConfigError(f"device {name}: torch {torch.__version__} finds no CUDA device here. Take cpu, or none.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # one of the two that repeat their bits
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # it would cost time
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    return device


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step; elsewhere do nothing. No number depends on it.

    A step asks for the same large arrays as the one before. Given back to the system in between,
    every page of them is fetched and cleared again: 0.7 MiB an image for a ResNet18, a fifth of its time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 2 * GIB - 1)
    if not libc.mallopt(M_MMAP_THRESHOLD, GIB):  # old releases take no more than 32 MiB
        libc.mallopt(M_MMAP_THRESHOLD, 32 * MIB)
