"""Gate: hands Ray Tune the next stage, and tells the schedule what became of it; starts and kills nothing itself."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.backend import Note, Settler, nothing
from orchestrator.errors import StoreError
from orchestrator.files import log
from orchestrator.ray_api import Searcher, cloudpickle
from orchestrator.ray_shapes import Limits, Shape
from orchestrator.seam import Status
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report, committed_report, lost_report

WORKER_DEATHS = 20  # of one stage, before it counts as failed
DEAD_S = 5.0  # that a killed worker may take to end; it is longer if its machine cannot be reached
ALIKE = ("data_text", "model_text", "batch_size")  # columns of stages that need about the same memory


@dataclass
class Trial:
    """A stage that Tune was given.

    Attributes:
        shape: What it asks for.
        node: Id of the node that it runs on, once it does.
        began: By the gate's clock, when it began to run; None while it waits for a slot.
    """

    handout: Handout
    shape: Shape
    node: str | None = None
    began: float | None = None


class Gate(Searcher):
    """Hands Tune the next ready stage, and tells the schedule what became of it.

    Stages that ask for unlike shares of GPUs are handed out one shape after the other: Ray reserves nothing for a
    stage that waits for a whole GPU, and small ones would slip past it for ever. Stages without a GPU pass.

    Attributes:
        live: Stages that Tune has, by trial.
        trials: More of the same.
        limits: How many it may have; `orchestrator.ray_watch` keeps them up to date.
        deaths: Time by the gate's clock, node's id and key of each stage that was lost with its worker.
        names: Of nodes, for people, by id.
    """

    def __init__(
        self,
        settles: Settler,
        store: Store,
        options: Options,
        *,
        gpu_shape: Shape | None = None,
        cpus: float = 1.0,
        note: Note = nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hand out the stages of `settles`; `gpu_shape` is for those that may have a GPU, `cpus` for the others."""
        super().__init__(metric=None, mode=None)
        self.store, self.options = store, options
        self._settles, self._schedule, self.note, self.clock = settles, settles.schedule, note, clock
        self.cpu_shape = Shape(cpus)
        self.gpu_shape = gpu_shape or self.cpu_shape
        self.live: dict[str, Handout] = {}
        self.trials: dict[str, Trial] = {}
        self.limits = Limits()
        self.deaths: list[tuple[float, str, str]] = []
        self.names: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()
        self._hung: Counter[str] = Counter()
        self._running: Counter[bool] = Counter()  # whether with a GPU
        self._waiting: dict[str, Shape] = {}  # of trials that ask for some GPU and did not begin yet
        self._shapes: Counter[Shape] = Counter()  # of these
        self._shares: dict[tuple[Any, ...], Shape] = {}  # of stages that needed more than they were given
        self._left = Counter(stage.cpu_only for stage in self._schedule.stages.values())

    # What Tune asks and tells.

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tune's own limit, fixed for a launch, is not used: `limits` move with the cluster."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Config of the next stage, None while nothing may be handed out, FINISHED at the end."""
        self._settles.due()
        found = self._next()
        if found is None:
            return Searcher.FINISHED if self._schedule.is_over else None
        stage, shape = found
        handout, options = Handout.of(stage), self.options
        if not shape.gpus:
            options = replace(options, device="cpu" if stage.cpu_only else options.device or "cpu")
        self.live[trial_id], self.trials[trial_id] = handout, Trial(handout, shape)
        self._running[shape.gpus > 0] += 1
        self._wait(trial_id, shape)
        return {"work": cloudpickle.dumps((handout, self.store.root, options)), "shape": shape.bundle}

    def began(self, trial_id: str, node: str | None) -> None:
        """A trial has got its slot."""
        self._wait_no_more(trial_id)
        if (trial := self.trials.get(trial_id)) is not None:
            trial.began, trial.node = self.clock(), node

    def waits_again(self, trial_id: str) -> None:
        """Tune has taken a trial back by itself, from a node that is about to be taken away."""
        if (trial := self.trials.get(trial_id)) is not None:
            self._note_death(trial)
            trial.began = trial.node = None
            self._wait(trial_id, trial.shape)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settle the trial's stage, once, whatever Tune calls this for."""
        trial = self._let_go(trial_id)
        if trial is None:
            return
        report = None if error or not result else result.get("report")
        if report is None:
            report = self._without_report(trial)
        self._settle(trial, report)

    # What the watch finds out.

    def hang_s(self, trial_id: str) -> float:
        """Seconds without progress after which the trial's worker counts as hung.

        Twice as many after each time, because its epochs may just be long.
        """
        return self.options.hang_after_s * float(2 ** self._hung[self.live[trial_id].key])

    def settle_hung(self, trial_id: str, seconds: float, host: str) -> None:
        """A worker made no progress for so long; it is being killed."""
        trial = self._let_go(trial_id)
        if trial is None:
            return
        why = f"no epoch ended for {seconds:.0f} s on {host}, so its worker was killed; see --hang-after"
        self._hung[trial.handout.key] += 1
        self.note("hung", key=trial.handout.key, node=trial.node, host=host, seconds=round(seconds))
        self._await_end(trial.handout.key)
        report = lost_report(trial.handout, self.store, self.options, f"WorkerHung: {why}")
        self._settle(trial, replace(report, retry=True) if report.status is Status.FAILED else report)

    def _await_end(self, key: str) -> None:
        """Wait a moment until a worker that was just killed holds its stage no more: its failure can be recorded."""
        deadline = time.monotonic() + DEAD_S
        with contextlib.suppress(StoreError):  # then its failure cannot be recorded either, and that is said
            while self.store.is_held(key) and time.monotonic() < deadline:
                time.sleep(0.1)

    def settle_all(self) -> None:
        """Tune has ended: what it still had is committed, or ready again, or called off."""
        for trial_id in list(self.trials):
            trial = self._let_go(trial_id)
            if trial is not None:
                self._settle(trial, self._committed(trial.handout.key) or self._if_stopped(trial))

    @property
    def is_stopped(self) -> bool:
        """Whether the launch was asked to stop, and nothing runs: what waits need not be waited for."""
        return self._schedule.is_stopped and not any(trial.began is not None for trial in self.trials.values())

    @property
    def left(self) -> int:
        """How many stages are not over."""
        return self._left.total()

    @property
    def is_mixed(self) -> bool:
        """Whether stages with and without a GPU are left."""
        return bool(self.gpu_shape.gpus) and self._left[True] > 0 and self._left[False] > 0

    def over(self, keys: Iterable[str]) -> None:
        """These stages are committed, failed or blocked."""
        self._left.subtract(self._schedule.stages[key].cpu_only for key in keys)

    # How it decides.

    def _next(self) -> tuple[Stage, Shape] | None:
        """Take the first stage that may be handed out now from the schedule."""
        if len(self.trials) >= self.limits.total:
            return None
        for head in self._schedule.heads():
            shape = self._shape(head)
            if self._may_go(shape):
                stage = self._schedule.next_ready(head)
                return None if stage is None else (stage, shape)
        return None

    def _may_go(self, shape: Shape) -> bool:
        """Whether one more of this shape is within the limits, and does not slip past another one that waits."""
        if not shape.gpus:
            return self._running[False] < self.limits.cpu
        return self._running[True] < self.limits.gpu and not self._shapes.keys() - {shape}

    def _shape(self, stage: Stage) -> Shape:
        if stage.cpu_only or not self.gpu_shape.gpus:
            return self.cpu_shape
        return self._shares.get(alike(stage.config), self.gpu_shape) if self._shares else self.gpu_shape

    def _wait(self, trial_id: str, shape: Shape) -> None:
        if shape.gpus:
            self._waiting[trial_id] = shape
            self._shapes[shape] += 1

    def _wait_no_more(self, trial_id: str) -> None:
        if (shape := self._waiting.pop(trial_id, None)) is not None:
            self._shapes[shape] -= 1
            self._shapes = +self._shapes  # without those of which none waits

    def _let_go(self, trial_id: str) -> Trial | None:
        """Forget a trial; None if it was forgotten before."""
        self.live.pop(trial_id, None)
        self._wait_no_more(trial_id)
        trial = self.trials.pop(trial_id, None)
        if trial is not None:
            self._running[trial.shape.gpus > 0] -= 1
        return trial

    def _settle(self, trial: Trial, report: Report | None) -> None:
        """Tell the schedule: None for a stage that is to be handed out again at once."""
        key = trial.handout.key
        if report is None:
            self._schedule.hand_back(key)
        elif report.out_of_memory and trial.shape.gpus and not report.status.is_final:
            self._settle_out_of_memory(trial, report)
        else:
            self._settles.settle(report)

    def _settle_out_of_memory(self, trial: Trial, report: Report) -> None:
        """Hand out again, at once and with twice the share, a stage that shared its GPU with too many others.

        Others of its data, model and batch size get as much from now on.
        """
        key, had, now = trial.handout.key, trial.shape, trial.shape.doubled
        again = now != had and not self._schedule.is_stopped
        facts = {"key": key, "gpus": had.gpus, "error": report.error, "node": trial.node}
        self.note("out_of_memory", **facts, again_gpus=now.gpus if again else None)
        if not again:
            advice = f"it had {had.gpus:g} GPU to itself: take a smaller batch_size or model, or a larger GPU"
            self._settles.settle(replace(report, error=f"{report.error}; {advice}", retry=had != now))
            return
        log.warning(
            "stage %s: out of memory with %g GPU; again with %g, and others like it too. --gpus-per-stage %g, or a "
            "smaller batch_size, spares the attempt.", key, had.gpus, now.gpus, now.gpus
        )  # fmt: skip
        kind = alike(trial.handout.config)
        self._shares[kind] = max(now, self._shares.get(kind, now), key=lambda shape: shape.gpus)
        self._schedule.hand_back(key)

    def _if_stopped(self, trial: Trial) -> Report | None:
        return Report(trial.handout.key, Status.INTERRUPTED) if self._schedule.is_stopped else None

    def _without_report(self, trial: Trial) -> Report | None:
        """What became of a stage whose worker never answered: None if it is to be tried again.

        Tune is not asked to retry: it counts a trial that was handed to a dead, reused process as failed for good.
        If the stage was committed all the same, the store knows.
        """
        key = trial.handout.key
        if (report := self._committed(key) or self._if_stopped(trial)) is not None:
            return report
        self._note_death(trial)
        self._deaths[key] += 1
        if self._deaths[key] <= WORKER_DEATHS:
            return None
        deaths = f"its worker process died {WORKER_DEATHS + 1} times, or could not be started"
        return lost_report(trial.handout, self.store, self.options, f"{deaths}; Ray's log folder says why")

    def _committed(self, key: str) -> Report | None:
        """The report of a stage that is committed; while the store is away, none: its next worker will find it."""
        try:
            return committed_report(key, self.store)
        except StoreError as error:
            log.warning("stage %s: not known whether it is committed. %s", key, error)
            return None

    def _note_death(self, trial: Trial) -> None:
        if trial.began is None:  # its worker was to leave, had ended while it waited for work, or was never there
            self.note("not_begun", key=trial.handout.key)
            return
        self.note("worker_died", key=trial.handout.key, node=trial.node, name=self.names.get(trial.node or ""))
        if trial.node is not None:
            self.deaths.append((self.clock(), trial.node, trial.handout.key))

    # What Tune would write into files that nobody ever reads here.

    def __getstate__(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""


def alike(config: Any) -> tuple[Any, ...]:
    """What stages that need about the same memory have in common."""
    columns = config.stage_columns()
    return (config.trainer, *(columns.get(name) for name in ALIKE))
