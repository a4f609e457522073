"""The seam between orchestrator and trainers: ``train(config, io) -> Outcome``, all at once or by turns.

The orchestrator knows no network, a trainer knows no Ray and no storage. Tensors cross the seam as
numpy arrays, so that planning, storing and querying never import torch.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    State = dict[str, np.ndarray[Any, Any]]

T = TypeVar("T")
WAIT_S = 50e-6  # before a stage that waits for its device is asked again, where nobody else has work


class Status(enum.StrEnum):
    """What a stage is; each value's sentence is in `sentence`."""

    PENDING = "pending"
    BLOCKED = "blocked"
    RUNNING = "running"
    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def sentence(self) -> str:
        """What a user should know about a stage in this status."""
        return {
            Status.PENDING: "waits for its parent or for a worker",
            Status.BLOCKED: "cannot run, because an ancestor failed",
            Status.RUNNING: "is being trained now",
            Status.DONE: "is trained and committed",
            Status.DIVERGED: "ended because its loss became NaN or infinite; a result, not a fault",
            Status.FAILED: "raised an error; the next launch tries it again",
            Status.INTERRUPTED: "stopped, or its worker died; `resume` goes on from its last checkpoint",
        }[self]

    @property
    def is_final(self) -> bool:
        """Whether the store holds a result that is never computed again."""
        return self in (Status.DONE, Status.DIVERGED)


@dataclass(frozen=True)
class Checkpoint:
    """Resume point of a running stage.

    Attributes:
        tensors: Network and optimizer state, by name.
        facts: Everything else that the remaining epochs depend on, as JSON values.
    """

    tensors: State
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one stage gives back.

    Attributes:
        status: DONE or DIVERGED.
        stop_reason: Which rule ended it, e.g. ``train_accuracy``, ``plateau``, ``epochs``, ``cap``.
        epochs: One mapping per epoch, with the columns of the table `epochs` except key.
        metrics: The stage's measured columns: train_accuracy, train_loss, test_accuracy,
            test_loss, epochs, steps, examples_seen, train_seconds.
        state: Final weights and buffers; what a child stage may start from.
        device: Name of the device that trained it, e.g. ``cpu`` or ``NVIDIA H200``.
        versions: Versions that may change numbers, e.g. ``{"torch_version": "2.15.0"}``.
        resume_point: Makes the checkpoint of its end, from where a stage that trains longer can go on; None
            where there is nothing to go on from.
    """

    status: Status
    stop_reason: str
    epochs: list[dict[str, Any]]
    metrics: Mapping[str, float | None]
    state: State
    device: str
    versions: Mapping[str, str] = field(default_factory=dict)
    resume_point: Callable[[], Checkpoint] | None = None


Turns = Generator[bool, None, Outcome]
"""A stage that gives way, so that several share one process and device; it returns the outcome that `train` returns.

It yields True after work of its own, about a step of training or a batch of evaluation, and False while it only waits
for its device; then somebody else's turn costs it nothing. A config names the function that makes it, ``(config, io) ->
Turns``, in its class attribute ``turns``, a dotted path like ``trainer``; one without it (or None) runs in one piece.
However turns of several stages alternate, each stage has the bits that it has alone. Closing it ends the stage.
"""


def run_to_end(turns: Generator[bool, None, T]) -> T:
    """Take one turn after the other, with nobody in between, and return what the last one returns."""
    while True:
        try:
            has_worked = next(turns)
        except StopIteration as end:
            result: T = end.value
            return result
        if not has_worked:
            time.sleep(WAIT_S)


class StageIO(Protocol):
    """What a trainer may ask of the world. Nothing else reaches it from outside.

    Attributes:
        data_root: Folder that data sets are looked for in first, or None. An option: no result
            depends on it, because data sets are checked by content.
        device: ``"cpu"``, ``"cuda"``, or None to take CUDA where there is one.
        cuda_graphs: Whether a step on CUDA is captured once and launched again as one graph. An option.
    """

    data_root: str | None
    device: str | None
    cuda_graphs: bool

    def parent_state(self) -> State | None:
        """Final state of the parent stage, or None without a parent."""

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest sound checkpoint of this stage, or of one on whose way it goes on; None to start from nothing."""

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """Called after each epoch; `checkpoint` is called only if a resume point is due.

        Raises:
            InterruptedStage: the worker was asked to stop; the checkpoint has been saved.
        """
