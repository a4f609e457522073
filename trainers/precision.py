"""Precision: to how many digits a step's products are rounded; weights and what is stored are float32 (no torch).

``fp32`` rounds nothing. ``tf32`` gives the factors of a product 10 bits behind the point, on an NVIDIA card's tensor
cores. ``bf16`` gives factors, and what passes between layers, 7 bits (torch's autocast). Weights, gradients of weights,
the optimizer's memory, sums, losses and checkpoints are float32 in all of them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16"]
FLOAT32 = 4  # bytes
NOTHING: AbstractContextManager[None] = contextlib.nullcontext()  # entered in every step, so made once

logger = logging.getLogger(__name__)


def rounding(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return what is entered around forward pass and loss, of a step and of an evaluation; not around `backward`.

    Enter what it returns once: ask again for the next step. What was rounded in the forward pass is differentiated as
    it was, so that torch wants autocast to end before the backward pass.
    """
    if precision != "bf16":
        return NOTHING
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16)


def products(precision: Precision) -> AbstractContextManager[None]:
    """Return what is entered around a whole step, or evaluation: forward and backward; for tf32 alone it does anything.

    The switches are the process's, which may train stages of other precisions in turns, so they are put back.
    """
    return tensor_cores() if precision == "tf32" else NOTHING


@contextlib.contextmanager
def tensor_cores() -> Iterator[None]:
    """Let CUDA's float32 products be TF32 ones meanwhile."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = True, True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def widened(logits: Tensor) -> Tensor:
    """Return `logits` in float32 at least: a loss is not computed in the 7 bits that a product was rounded to."""
    return logits.float() if logits.itemsize < FLOAT32 else logits


def check_precision(precision: Precision, device: torch.device) -> None:
    """Make sure, before anything is trained, that `device` has this precision.

    Where a CPU has no matrix unit for bf16, so that fp32 is faster, the log is told, once a process.

    Raises:
        ConfigError: tf32 on a device other than CUDA.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"precision='tf32' on device {device.type}: only NVIDIA's cards have it. Take 'fp32' or 'bf16'."
        )
    if precision == "bf16" and device.type == "cpu":
        warn_of_a_slow_cpu()


@functools.cache
def warn_of_a_slow_cpu() -> None:
    """Tell the log where bf16 costs time."""
    import torch

    if not torch.cpu._is_amx_tile_supported():  # with AVX512_BF16 alone it is 0.6 to 0.9 times as fast as fp32
        logger.warning("precision='bf16': this processor has no AMX; steps take longer here than in fp32.")
