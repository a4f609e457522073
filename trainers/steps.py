"""Steps: how the step of the trainer page is launched as a CUDA graph; what a step is, the page says (a torch module).

A captured step has no arguments: it reads and writes what lies at the same places on the device every time. Which
examples it trains on it therefore looks up itself, in the epoch's order behind a position that it moves on. So an epoch
is one launch after another, and the host does nothing in between.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import torch

from trainers.stage_config import Supervised

EAGER = 3  # steps of one size before it is captured: libraries choose their algorithms and take their memory in them
Launch = Callable[[torch.Tensor], None]
Run = Callable[[], None]

logger = logging.getLogger(__name__)


def can_capture(config: Supervised, device: torch.device) -> bool:
    """Whether the steps of `config` can be captured on `device`; if not, the log says why they run one by one."""
    why = None
    if device.type != "cuda":
        why = f"there are no CUDA graphs on a {device.type}"
    elif config.after_step.changes:
        why = f"{config.after_step} draws on the CPU in every step"
    elif config.gradient_norms_every:
        why = "gradient norms are measured between steps"
    if why is not None:
        logger.info("steps are not captured as CUDA graphs, but launched one by one: %s.", why)
    return why is None


class Captured:
    """Launches a step for the batches of an epoch, in their order: the first ones of each size eagerly, then as graphs.

    The first steps are steps like all others, with the same bits, so nothing has to be put back after them.
    """

    def __init__(self, step: Launch, order: torch.Tensor, capture: Callable[[Run], Run] | None = None) -> None:
        """Launch nothing yet.

        Args:
            step: Trains on the examples at the positions that it is given. The host waits for nothing in it.
            order: int64 [n]. Every batch is a piece of it, and the first piece begins an epoch.
            capture: Makes of a function without arguments one that does the same; as a CUDA graph by default.
        """
        self._step, self._order = step, order
        self._capture = capture or Graphs()
        self._position = torch.zeros((), dtype=torch.int64, device=order.device)
        self._done: Counter[int] = Counter()
        self._captured: list[Run] = []  # kept: a graph knows addresses, and keeps no tensor alive
        self._replays: dict[int, Run] = {}

    def __call__(self, batch: torch.Tensor) -> None:
        """Train on `batch`, the piece of the order after the last one, or its first one."""
        size = len(batch)
        if batch.storage_offset() == self._order.storage_offset():
            self._position.zero_()
        if size not in self._replays:
            if self._done[size] < EAGER:
                self._done[size] += 1
                self._step(batch)
                self._position.add_(size)
                return
            self._captured.append(self._next(size))
            self._replays[size] = self._capture(self._captured[-1])
        self._replays[size]()

    def _next(self, size: int) -> Run:
        """The step over the next `size` examples of the order, as a function of nothing."""
        offsets = torch.arange(size, device=self._order.device)

        def run() -> None:
            self._step(self._order.index_select(0, self._position + offsets))
            self._position.add_(size)

        return run


class Graphs:
    """Captures functions as CUDA graphs, on the stream of the moment; all of a stage's share their memory.

    They may, because one ends before the next one begins, and what they leave for later lies outside of it.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        """Capture `run`, which is not executed by it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=torch.cuda.current_stream()):
            run()
        replay: Run = graph.replay
        return replay
