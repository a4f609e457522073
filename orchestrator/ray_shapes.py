"""Shapes: what stages ask of machines, and how many of them the nodes of a cluster hold; knows no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

MOST = 1_000  # stages at a cluster at the same time, waiting ones included, if nothing else is asked for
AHEAD = 2  # places that wait at a cluster of fixed size, so that a free slot is filled at once
GROWTH = 32  # places that wait, at least, at one that grows for them
Resources = Mapping[str, float]


@dataclass(frozen=True)
class Shape:
    """What one stage asks for.

    Attributes:
        cpus: Cores.
        gpus: GPUs, a fraction of one or a whole number.
    """

    cpus: float
    gpus: float = 0.0

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray is asked for it."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}

    @property
    def doubled(self) -> Shape:
        """With twice the share of a GPU, and no more than a whole one."""
        return replace(self, gpus=min(1.0, 2 * self.gpus)) if self.gpus < 1 else self

    def slots(self, node: Resources) -> int:
        """How many of it a node with these resources holds at once."""
        by_cpu = node.get("CPU", 0.0) / self.cpus if self.cpus else float("inf")
        return int(min(by_cpu, self._by_gpu(node.get("GPU", 0.0))) + 1e-9)

    def _by_gpu(self, gpus: float) -> float:
        """A share lies on one GPU: two of 0.4 fit on each, not five on two."""
        if not self.gpus:
            return float("inf")
        return int(gpus) * int(1 / self.gpus + 1e-9) if self.gpus < 1 else gpus // self.gpus


@dataclass(frozen=True)
class Limits:
    """How many places at workers may be asked for at once, waiting ones included.

    Attributes:
        gpu: Of those with some GPU.
        cpu: Of the others.
        total: Of both.
        gpu_room: For how many of the first there is room now.
        cpu_room: The same of the others.
    """

    gpu: int = MOST
    cpu: int = MOST
    total: int = MOST
    gpu_room: int = MOST
    cpu_room: int = MOST


def room(nodes: Sequence[Resources], shape: Shape) -> int:
    """How many stages of one shape all nodes hold at once, each node for itself."""
    return sum(shape.slots(node) for node in nodes)


def room_beside(nodes: Sequence[Resources], shape: Shape, gpu_shape: Shape) -> int:
    """How many stages of a shape without GPU fit where as many as can of `gpu_shape` run too."""
    left = ({**node, "CPU": node.get("CPU", 0.0) - gpu_shape.slots(node) * gpu_shape.cpus} for node in nodes)
    return sum(shape.slots(node) for node in left)


def limits(
    nodes: Sequence[Resources], gpu_shape: Shape, cpu_shape: Shape, *, mixed: bool, grows: bool, most: int | None
) -> Limits:
    """How much to ask of a cluster that has these nodes now.

    A cluster that grows sees what waits: as much again as it has room for now, and some more where that is little. So
    it at most doubles from one look to the next, and what becomes ready later waits behind few. One that does not
    grow is given little more than it has room for, for the same reason.

    Args:
        gpu_shape: Of stages that may have a GPU; without GPUs in it, all stages are of `cpu_shape`.
        mixed: Whether both kinds are left. Then those without leave the others' cores alone.
        grows: Whether the cluster starts nodes for what waits.
        most: At once, waiting ones included; None for `MOST`.
    """

    def asked(has: int, ahead: int) -> int:
        return has + (max(GROWTH, has) if grows else ahead)

    most = MOST if most is None else most
    gpu_room = room(nodes, gpu_shape) if gpu_shape.gpus else 0
    cpu_room = room_beside(nodes, cpu_shape, gpu_shape) if mixed else room(nodes, cpu_shape)
    by_gpu = asked(gpu_room, AHEAD) if gpu_shape.gpus else 0
    by_cpu = asked(cpu_room, 1 if mixed else AHEAD)
    return Limits(min(most, by_gpu), min(most, by_cpu), most, min(most, gpu_room), min(most, cpu_room))
