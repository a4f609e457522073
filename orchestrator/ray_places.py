"""Places: which places at workers to ask for, and which stages each of them is given; knows no Ray, settles nothing.

A place is bound to stages only when it is there: whoever comes first takes what is most urgent then, and nothing waits
for a machine that never comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.pace import Pace
from orchestrator.ray_shapes import Limits, Shape
from orchestrator.schedule import Schedule
from orchestrator.stage import Stage
from orchestrator.worker import Handout, Report

ALIKE = ("data_text", "model_text", "batch_size")  # columns of stages that need about the same memory
AHEAD_S = 1.0  # of work that a worker holds, so that a short stage is followed by the next one at once
SOON = 32  # stages that are looked at where some need a larger share of a GPU than others
IDLE_S = 60.0  # that a worker without a stage stays, as its process took seconds to start


@dataclass
class Trial:
    """A place at a worker, as Tune knows it.

    Attributes:
        shape: What it asks for.
        node: Id of the node that it is on, once it is there.
        began: By the gate's clock, when it got its worker; None while it waits for one.
        feed: Gives stages to its worker.
        held: Stages that its worker was given and has said nothing of, in order, by key.
        is_alone: Whether it holds one stage that may be poisonous, and gets no other meanwhile.
        idle: By the gate's clock, since when it holds nothing; None while it does.
    """

    shape: Shape
    node: str | None = None
    began: float | None = None
    feed: Callable[[list[Handout]], None] | None = None
    held: dict[str, Handout] = field(default_factory=dict)
    is_alone: bool = False
    idle: float | None = None

    def running(self, width: int) -> list[Handout]:
        """Those that its worker trains now: it begins them in order, up to `width` at a time."""
        return list(self.held.values())[:width]


class Places:
    """Asks for places, and fills those that are there.

    Stages that ask for unlike shares of GPUs are given out one shape after the other: Ray reserves nothing for one
    that waits for a whole GPU, and small ones would slip past it for ever. Stages without a GPU pass.

    Attributes:
        trials: All places, by their trial's id.
        limits: How many there may be.
        pace: How long stages last.
        suspects: Keys of stages one of which may have killed its worker; each runs alone until it ends.
        draining: Ids of nodes that are about to be taken away; places there get nothing more.
    """

    def __init__(self, schedule: Schedule, gpu_shape: Shape | None, cpus: float, pack_size: int) -> None:
        """Give out the stages of `schedule`; up to `pack_size` at a time to a place, but not where others have GPUs."""
        self._schedule, self._pack_size = schedule, pack_size
        self.cpu_shape = Shape(cpus)
        self.gpu_shape = gpu_shape or self.cpu_shape
        self.trials: dict[str, Trial] = {}
        self.limits = Limits()
        self.pace = Pace()
        self.suspects: set[str] = set()
        self.draining: set[str] = set()
        self._open: Counter[bool] = Counter()  # places, by whether they have a GPU
        self._waiting: Counter[Shape] = Counter()  # of them, those that are not there yet
        self._shares: dict[tuple[Any, ...], Shape] = {}  # of stages that needed more than they were given
        self._kinds: dict[str, tuple[Any, ...]] = {}  # of stages, by key
        self._widths: dict[tuple[Any, ...], int] = {}  # of packs of stages that needed more than their part

    # Places.

    def wanted(self) -> Shape | None:
        """Shape of the place to ask for next; None while there are enough, or no more may be asked for."""
        if len(self.trials) >= self.limits.total:
            return None
        shapes = (self.shape_of(head) for head in self._schedule.heads())
        return next((shape for shape in shapes if self._may_open(shape)), None)

    def _may_open(self, shape: Shape) -> bool:
        """Whether one more of this shape is within the limits, of use, and does not slip past another that waits."""
        waiting = self._waiting.get(shape, 0)
        if waiting * self.width_of(shape) >= self._ready_for(shape):
            return False
        if shape.gpus and self._shares and waiting >= sum(self.shape_of(one) == shape for one in self._soon()):
            return False
        if not shape.gpus:
            return self._open[False] < self.limits.cpu
        return self._open[True] < self.limits.gpu and not self._is_barred(shape)

    def _is_barred(self, shape: Shape) -> bool:
        """Whether a place of another share of a GPU waits, which whoever takes a GPU now would keep waiting."""
        return bool(shape.gpus) and any(other.gpus and other != shape for other in self._waiting)

    def _ready_for(self, shape: Shape) -> int:
        if not self.gpu_shape.gpus:
            return self._schedule.ready
        return self._schedule.ready_on(cpu_only=not shape.gpus)

    def _soon(self) -> list[Stage]:
        """Stages that may have a GPU and come next: enough to see how many of unlike shares there are."""
        return self._schedule.soon(SOON, cpu_only=False)

    def open(self, trial_id: str, shape: Shape) -> None:
        """A place was asked for."""
        self.trials[trial_id] = Trial(shape)
        self._open[shape.gpus > 0] += 1
        self._waiting[shape] += 1

    def is_there(self, trial: Trial, now: float) -> None:
        """A place has got its worker."""
        if trial.began is None:
            self._waits_no_more(trial.shape)
        trial.began = now

    def is_gone(self, trial: Trial) -> None:
        """Its worker was taken away, and Tune looks for another one."""
        if trial.began is not None:
            self._waiting[trial.shape] += 1
        trial.began = trial.node = trial.feed = trial.idle = None
        trial.held.clear()

    def let_go(self, trial_id: str) -> Trial | None:
        """Forget a place; None if it was forgotten before."""
        trial = self.trials.pop(trial_id, None)
        if trial is not None:
            self._open[trial.shape.gpus > 0] -= 1
            if trial.began is None:
                self._waits_no_more(trial.shape)
        return trial

    def _waits_no_more(self, shape: Shape) -> None:
        self._waiting[shape] -= 1
        if not self._waiting[shape]:
            del self._waiting[shape]

    # Stages.

    def shape_of(self, stage: Stage) -> Shape:
        """What a stage asks for."""
        if stage.cpu_only or not self.gpu_shape.gpus:
            return self.cpu_shape
        return self._shares.get(self._kind(stage), self.gpu_shape) if self._shares else self.gpu_shape

    def width_of(self, shape: Shape) -> int:
        """How many stages train at a time in one place."""
        return 1 if self.gpu_shape.gpus and not shape.gpus else self._pack_size

    def give(self, trial: Trial, now: float) -> list[Handout]:
        """Take from the schedule what a place gets now, and have it hold that."""
        given: list[Handout] = []
        while (head := self._next_for(trial)) is not None and self._schedule.next_ready(head) is not None:
            trial.is_alone = head.key in self.suspects
            trial.held[head.key] = Handout.of(head)
            given.append(trial.held[head.key])
        trial.idle = None if trial.held else now if trial.idle is None else trial.idle
        return given

    def _next_for(self, trial: Trial) -> Stage | None:
        """The most urgent stage of the place's shape, if it has room for it."""
        heads = self._schedule.heads()
        head = next((head for head in heads if self.shape_of(head) == trial.shape), None)
        if head is None or trial.node in self.draining or self._is_barred(trial.shape):
            return None
        has_room = not trial.held or not (trial.is_alone or head.key in self.suspects or self._is_full(trial, head))
        return head if has_room else None

    def _is_full(self, trial: Trial, head: Stage) -> bool:
        """Whether a place that holds some stages is to get no other: it has its share of all, or enough to do."""
        held, width = len(trial.held), self.width_of(trial.shape)
        if held >= self._share(trial.shape):
            return True
        stages: list[Stage | Handout] = [head, *trial.held.values()]
        if self._widths:
            return held >= min(self._widths.get(self._kind(one), width) for one in stages)  # ahead, it would begin
        return held >= width and self._seconds(stages) > AHEAD_S * width

    def _share(self, shape: Shape) -> int:
        """How many stages a place may hold so that no other starves."""
        room = self.limits.gpu_room if shape.gpus else self.limits.cpu_room
        return -(-(self._ready_for(shape) + len(self._schedule.running)) // max(1, room))

    def _seconds(self, stages: Iterable[Stage | Handout]) -> float:
        """How long these are expected to last, one after the other."""
        return sum(self.pace.seconds(self._kind(one), self._schedule.cost[one.key]) for one in stages)

    def _kind(self, stage: Stage | Handout) -> tuple[Any, ...]:
        """As `alike`, which takes a while, of a stage that is handed out or next."""
        if stage.key not in self._kinds:
            self._kinds[stage.key] = alike(stage.config)
        return self._kinds[stage.key]

    def may_stay(self, trial: Trial, now: float) -> bool:
        """Whether a place without a stage may wait for one, as some may become ready and nobody waits for the place."""
        nothing_comes = self._schedule.is_stopped or not (self._schedule.waiting or self._schedule.postponed)
        if nothing_comes or trial.idle is None or now - trial.idle > IDLE_S:
            return False
        others = (*self._waiting, *map(self.shape_of, self._schedule.heads()))
        return all(shape == trial.shape for shape in others)

    def ended(self, trial: Trial, handout: Handout, report: Report) -> None:
        """A stage ended in its place by itself."""
        self.suspects.discard(handout.key)
        kind = self._kind(handout)
        del self._kinds[handout.key]
        if report.status.is_final:
            self.pace.told(kind, self._schedule.cost[handout.key], report.held_s)

    def suspect(self, handouts: Iterable[Handout]) -> None:
        """One of these may have killed the worker that they shared."""
        self.suspects.update(handout.key for handout in handouts)

    # Memory.

    def widen(self, trial: Trial, handout: Handout) -> tuple[Shape, int]:
        """Give a stage that was out of memory, and others alike, twice as much: in a narrower pack, else of its GPU.

        To be called after its place let go of it.

        Returns:
            The shape that it has from now on, and with how many it shares its place; as before, if there is no more.
        """
        kind, beside = self._kind(handout), len(trial.running(self.width_of(trial.shape) - 1))
        if beside:
            self._widths[kind] = max(1, (1 + beside) // 2)
            return trial.shape, self._widths[kind]
        shape = trial.shape.doubled
        if shape != trial.shape:
            self._shares[kind] = max(shape, self._shares.get(kind, shape), key=lambda one: one.gpus)
        return shape, 1


def alike(config: Any) -> tuple[Any, ...]:
    """What stages that need about the same memory and time have in common."""
    columns = config.stage_columns()
    return (config.trainer, *(columns.get(name) for name in ALIKE))
