"""Networks and optimizers as named numpy arrays and back, bit for bit; not where they are kept (a torch module)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from orchestrator.seam import State


def to_arrays(tensors: Mapping[str, torch.Tensor], prefix: str = "") -> State:
    """Return copies of `tensors` in main memory, contiguous, each name behind `prefix`."""
    return {prefix + name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def to_tensors(arrays: State, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return copies of the arrays whose names begin with `prefix`, without it, as tensors on the CPU."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array.copy())
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def tensors_of(net: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return copies of everything that a step changes: the network's state and what the optimizer remembers.

    An optimizer may remember tensors only, as torch's SGD and Adam do: other numbers lose digits on their way.
    """
    arrays = to_arrays(net.state_dict(), "net/")
    for index, memory in optimizer.state_dict()["state"].items():
        arrays |= to_arrays(memory, f"optimizer/{index}/")
    return arrays


def put_tensors(arrays: State, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put what `tensors_of` took into `net` and `optimizer`, on their device.

    Settings such as the learning rate stay the optimizer's own. `arrays` is copied. What is remembered of a weight
    comes to lie in memory in the weight's order: a fused optimizer walks through both side by side.
    """
    net.load_state_dict(to_tensors(arrays, "net/"))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    memory: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in to_tensors(arrays, "optimizer/").items():
        index, _, what = name.partition("/")
        memory.setdefault(int(index), {})[what] = laid_out(tensor, weights[int(index)])
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})


def laid_out(memory: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `memory` in the order of `weight` in memory, where it has a number for each of its; else as it is."""
    if memory.shape != weight.shape:
        return memory
    return torch.empty_like(weight, dtype=memory.dtype, device="cpu").copy_(memory)
