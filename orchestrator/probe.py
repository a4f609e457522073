"""Probe: the parts of `orchestrator.doctor` that load torch, start Ray or read data sets; a process each.

``python -m orchestrator.probe torch|ray|data [ADDRESS] [DATA_ROOT]`` prints its findings as JSON in its last line.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.doctor import GIB, Finding, Level
from orchestrator.errors import ConfigError, DataError


def torch_findings(_address: str, _data_root: str) -> Iterator[Finding]:
    """Whether torch computes, and on which GPUs."""
    import torch

    torch.ones(8, 8).matmul(torch.ones(8, 8))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        yield no_gpu(torch.__version__)
    for index in range(count):
        about = torch.cuda.get_device_properties(index)
        answer = torch.ones(8, 8, device=f"cuda:{index}").matmul(torch.ones(8, 8, device=f"cuda:{index}"))[0, 0].item()
        level = Level.GOOD if answer == 8.0 else Level.BAD
        says = f"torch {torch.__version__} on GPU {index}, {about.name}, {about.total_memory / GIB:.0f} GiB"
        yield Finding("torch", level, says, "" if level is Level.GOOD else f"It computes 8 as {answer}: replace it.")


def no_gpu(version: str) -> Finding:
    """What to say where torch sees no GPU; a driver without one is worth a word."""
    if shutil.which("nvidia-smi") is None:
        return Finding("torch", Level.GOOD, f"torch {version}, no GPU: stages train on the CPU")
    says = f"torch {version} sees no GPU, although NVIDIA's driver is installed: stages train on the CPU"
    return Finding("torch", Level.NOTE, says, "See what nvidia-smi says, and whether torch was built for its CUDA.")


def ray_findings(address: str, _data_root: str) -> Iterator[Finding]:
    """Whether Ray starts here, or answers at `address`, and runs a task."""
    from orchestrator.ray_api import ray
    from orchestrator.ray_cluster import cluster, knock, live_nodes

    began = time.monotonic()
    try:
        if address:
            knock(address)
        with cluster(address or None, 1):
            ray.get(ray.remote(num_cpus=0)(lambda: None).remote())
            nodes = sorted(map(str, live_nodes().values()))
    except ConfigError as error:
        yield Finding("Ray", Level.BAD, str(error), "Or train without it: --backend inprocess")
        return
    took = f"{time.monotonic() - began:.1f} s"
    where = f"the cluster at {address} answers: {', '.join(nodes)}" if address else "starts here"
    yield Finding("Ray", Level.GOOD, f"{ray.__version__} {where} ({took})")


def data_findings(_address: str, data_root: str) -> Iterator[Finding]:
    """Which of the data sets of our sweeps are here, as they were published."""
    for data in data_sets():
        name = type(data).__name__
        try:
            place = data.place(data_root or None)
        except DataError as error:
            yield Finding(f"data {name}", Level.BAD, str(error), "Put a sound copy there, or delete it.")
            continue
        if place is None:
            todo = "A launch that needs it downloads it; or name a folder that has it: --data-root or WARMGRID_DATA"
            yield Finding(f"data {name}", Level.NOTE, "not on this machine", todo)
        else:
            yield Finding(f"data {name}", Level.GOOD, f"as published, in {place}")


def data_sets() -> list[Any]:
    """One of each kind of data set in the axes of our sweeps, by name."""
    from orchestrator.catalogue import find, names

    sweeps = [find(name).sweep for name in names()]
    values = [value for sweep in sweeps for axes in (sweep.axes, sweep.small) for value in axes.get("data", ())]
    return [one for _, one in sorted({type(value).__name__: value for value in values}.items())]


PARTS: dict[str, Callable[[str, str], Iterator[Finding]]] = {
    "torch": torch_findings,
    "ray": ray_findings,
    "data": data_findings,
}


def main(part: str, address: str = "", data_root: str = "") -> None:
    """Print what one part finds."""
    print(json.dumps([asdict(finding) for finding in PARTS[part](address, data_root)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
