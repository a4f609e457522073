"""Gate: hands Ray Tune the stages of a schedule, and tells it what became of them; starts and kills nothing itself."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.backend import Note, Settler, nothing
from orchestrator.errors import StoreError
from orchestrator.files import log
from orchestrator.ray_api import Searcher, cloudpickle
from orchestrator.ray_places import Places, Trial
from orchestrator.ray_shapes import Shape
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report, committed_report, lost_report

WORKER_DEATHS = 20  # of one stage, before it counts as failed
DEAD_S = 5.0  # that a killed worker may take to end; it is longer if its machine cannot be reached
PAUSE_S = 0.05  # between two reports of one worker with short stages, at least; more where there are many workers
REPORTS_A_S = 200.0  # that a driver can take of all of them


class Gate(Searcher):
    """Tells Tune how many places at workers to make, feeds those that are there, and settles what they report.

    A trial of Tune's is a place. It holds stages one after the other, or several at a time, until there are no more.

    Attributes:
        places: What there is, and who gets which stage.
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
        self.places = Places(self._schedule, gpu_shape, cpus, options.pack_size)
        self.deaths: list[tuple[float, str, str]] = []
        self.names: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()
        self._hung: Counter[str] = Counter()
        self._in_vain = 0  # places that got no worker, one after the other
        self._left = Counter(stage.cpu_only for stage in self._schedule.stages.values())

    @property
    def trials(self) -> dict[str, Trial]:
        """The places that Tune has, by trial."""
        return self.places.trials

    # What Tune asks and tells.

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tune's own limit, fixed for a launch, is not used: `Places.limits` move with the cluster."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Config of the next place, None while no more may be asked for, FINISHED at the end."""
        self._settles.due()
        shape = self.places.wanted()
        if shape is None:
            return Searcher.FINISHED if self._schedule.is_over else None
        self.places.open(trial_id, shape)
        device = self.options.device if shape.gpus else self.options.device or "cpu"
        options = replace(self.options, pack_size=self.places.width_of(shape), device=device)
        pause_s = max(PAUSE_S, len(self.trials) / REPORTS_A_S)
        return {"work": cloudpickle.dumps((self.store.root, options, pause_s)), "shape": shape.bundle}

    def began(self, trial_id: str, node: str | None, feed: Callable[[list[Handout]], None] | None = None) -> None:
        """A trial has got its place, at a worker that `feed` gives stages to; it gets the first ones."""
        if (trial := self.trials.get(trial_id)) is None:
            return
        self.places.is_there(trial, self.clock())
        trial.node, trial.feed, self._in_vain = node, feed, 0
        self._fill(trial)

    def told(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Settle what a worker reports, and give it more; whether the trial is over: it holds nothing and may go."""
        if (trial := self.trials.get(trial_id)) is None:
            return True
        for report in result["reports"]:
            self._take(trial, report)
        self._settles.due()
        if not result["leaving"]:
            self._fill(trial)
        is_over = not trial.held and (result["leaving"] or not self.places.may_stay(trial, self.clock()))
        if is_over:
            self.places.let_go(trial_id)
        return bool(is_over)

    def _fill(self, trial: Trial) -> None:
        """Give a place what it may have."""
        given = self.places.give(trial, self.clock())
        if given and trial.feed is not None:
            trial.feed(given)

    def waits_again(self, trial_id: str) -> None:
        """Tune has taken a trial back by itself, from a node that is about to be taken away."""
        if (trial := self.trials.get(trial_id)) is not None:
            self._lose(trial)
            self.places.is_gone(trial)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settle what the trial still held, once, whatever Tune calls this for; what was reported is settled already.

        Tune is not asked to retry: it counts a trial that was handed to a dead, reused process as failed for good.
        """
        trial = self.places.let_go(trial_id)
        if trial is None:
            return
        if trial.began is not None:
            self._lose(trial)
        elif error and not self._schedule.is_stopped:
            self._lose_unbegun(trial)

    # What the watch finds out.

    def hang_s(self, trial_id: str) -> float:
        """Seconds without progress after which the trial's worker counts as hung.

        Twice as many after each time, because its epochs may just be long.
        """
        hung = max((self._hung[key] for key in self.trials[trial_id].held), default=0)
        return self.options.hang_after_s * float(2**hung)

    def settle_hung(self, trial_id: str, seconds: float, host: str, stalled: Collection[str] = ()) -> None:
        """A worker made no progress with the stages `stalled`, by default all that run; it is being killed."""
        trial = self.places.let_go(trial_id)
        if trial is None:
            return
        left = self._uncommitted(trial)
        blamed = [one for one in left if one.key in stalled] or left[: self.places.width_of(trial.shape)]
        self._hand_back(one for one in left if one not in blamed)
        facts = {"node": trial.node, "host": host, "seconds": round(seconds)}
        if len(blamed) != 1:
            self.note("hung", keys=[one.key for one in blamed], **facts)
            self.places.suspect(blamed)
            self._hand_back(blamed)
            return
        (handout,) = blamed
        why = f"no epoch ended for {seconds:.0f} s on {host}, so its worker was killed; see --hang-after"
        self._hung[handout.key] += 1
        self.note("hung", key=handout.key, **facts)
        self._await_end(handout.key)
        report = lost_report(handout, self.store, self.options, f"WorkerHung: {why}")
        self._settle(trial, handout, replace(report, retry=True) if report.status is Status.FAILED else report)

    def _await_end(self, key: str) -> None:
        """Wait a moment until a worker that was just killed holds its stage no more: its failure can be recorded."""
        deadline = time.monotonic() + DEAD_S
        with contextlib.suppress(StoreError):  # then its failure cannot be recorded either, and that is said
            while self.store.is_held(key) and time.monotonic() < deadline:
                time.sleep(0.1)

    def settle_unanswered(self, trial_id: str) -> None:
        """A worker's answer was lost, and it is killed: what it committed is done, the rest is handed out again."""
        trial = self.places.let_go(trial_id)
        if trial is not None:
            self._hand_back(self._uncommitted(trial))

    def settle_all(self) -> None:
        """Tune has ended: what it still had is committed, or ready again, or called off."""
        for trial_id in list(self.trials):
            self.settle_unanswered(trial_id)

    def acquit(self, keys: Iterable[str]) -> None:
        """These died with their node: none of them killed its worker."""
        self.places.suspects.difference_update(keys)

    @property
    def is_over(self) -> bool:
        """Whether Tune can end: all is over, or the launch was asked to stop and what waits need not be waited for."""
        may_end = self._schedule.is_stopped or self._schedule.is_over
        return may_end and not any(trial.held for trial in self.trials.values())

    @property
    def left(self) -> int:
        """How many stages are not over."""
        return self._left.total()

    @property
    def is_mixed(self) -> bool:
        """Whether stages with and without a GPU are left."""
        return bool(self.places.gpu_shape.gpus) and self._left[True] > 0 and self._left[False] > 0

    def over(self, keys: Iterable[str]) -> None:
        """These stages are committed, failed or blocked."""
        self._left.subtract(self._schedule.stages[key].cpu_only for key in keys)

    # How stages are settled.

    def _take(self, trial: Trial, report: Report) -> None:
        """Settle what a worker says of a stage that it holds; what it could not even read is recorded here."""
        handout = trial.held.pop(report.key, None)
        if handout is not None:
            if report.status is Status.FAILED and not report.row:
                kept = lost_report(handout, self.store, self.options, str(report.error))
                report = replace(report, row=kept.row, error=kept.error) if kept.status is Status.FAILED else kept
            self.places.ended(trial, handout, report)
            self._settle(trial, handout, report)

    def _settle(self, trial: Trial, handout: Handout, report: Report) -> None:
        """Tell the schedule."""
        if report.out_of_memory and trial.shape.gpus and not report.status.is_final:
            self._settle_out_of_memory(trial, handout, report)
        else:
            self._settles.settle(report)

    def _settle_out_of_memory(self, trial: Trial, handout: Handout, report: Report) -> None:
        """Hand out again, at once and with twice the memory, a stage that shared its GPU with too many others.

        Others of its data, model and batch size get as much from now on.
        """
        had, (now, width) = trial.shape, self.places.widen(trial, handout)
        is_narrower = now == had and width < self.places.width_of(had)
        again = (now != had or is_narrower) and not self._schedule.is_stopped
        facts = {"key": handout.key, "gpus": had.gpus, "error": report.error, "node": trial.node}
        self.note("out_of_memory", **facts, again_gpus=now.gpus if again else None)
        if not again:
            advice = f"it had {had.gpus:g} GPU to itself: take a smaller batch_size or model, or a larger GPU"
            self._settles.settle(replace(report, error=f"{report.error}; {advice}", retry=had != now))
            return
        which = f"at most {width} in a pack" if is_narrower else f"{now.gpus:g}"
        spares = f"--pack-size {width}" if is_narrower else f"--gpus-per-stage {now.gpus:g}"
        log.warning(
            "stage %s: out of memory with %g GPU; again with %s, and others like it too. %s, or a smaller batch_size, "
            "spares the attempt.", handout.key, had.gpus, which, spares
        )  # fmt: skip
        self._hand_back([handout])

    def _hand_back(self, handouts: Iterable[Handout]) -> None:
        """These are to be handed out again at once, unless the launch was asked to stop."""
        for handout in list(handouts):
            if self._schedule.is_stopped:
                self._settles.settle(Report(handout.key, Status.INTERRUPTED))
            else:
                self._schedule.hand_back(handout.key)

    def _uncommitted(self, trial: Trial) -> list[Handout]:
        """What a place still held, in order, without what is committed all the same, which is settled."""
        left = []
        for handout in trial.held.values():
            if (report := self._committed(handout.key)) is not None:
                self._settles.settle(report)
            else:
                left.append(handout)
        trial.held.clear()
        return left

    def _committed(self, key: str) -> Report | None:
        """The report of a stage that is committed; while the store is away, none: its next worker will find it."""
        try:
            return committed_report(key, self.store)
        except StoreError as error:
            log.warning("stage %s: not known whether it is committed. %s", key, error)
            return None

    def _lose(self, trial: Trial) -> None:
        """A worker ended without a word: what it held is tried again; each alone, if several ran when it died."""
        left = self._uncommitted(trial)
        width = self.places.width_of(trial.shape)
        running = [] if self._schedule.is_stopped else left[:width]
        self._hand_back(left[len(running) :])
        for handout in running:
            self._note_death(trial, handout)
        if len(running) > 1:
            self.places.suspect(running)
            self._hand_back(running)
        elif running:
            self._tried(running[0])

    def _tried(self, handout: Handout) -> None:
        """A stage's worker died while no other stage ran there: hand it out again, unless that was so too often."""
        self._deaths[handout.key] += 1
        if self._deaths[handout.key] <= WORKER_DEATHS:
            self._hand_back([handout])
            return
        why = f"its worker process died {WORKER_DEATHS + 1} times, with no other stage in it; Ray's log folder says why"
        self._settles.settle(lost_report(handout, self.store, self.options, why))

    def _lose_unbegun(self, trial: Trial) -> None:
        """A place was never there: its worker was to leave, or did not start; if that goes on, a stage fails for it."""
        self.note("not_begun")
        self._in_vain += 1
        if self._in_vain <= WORKER_DEATHS:
            return
        self._in_vain = 0
        heads = [head for head in self._schedule.heads() if self.places.shape_of(head) == trial.shape]
        for stage in heads[:1]:
            self._schedule.next_ready(stage)
            why = f"its worker process could not be started {WORKER_DEATHS + 1} times; Ray's log folder says why"
            self._settles.settle(lost_report(Handout.of(stage), self.store, self.options, why))

    def _note_death(self, trial: Trial, handout: Handout) -> None:
        self.note("worker_died", key=handout.key, node=trial.node, name=self.names.get(trial.node or ""))
        if trial.node is not None:
            self.deaths.append((self.clock(), trial.node, handout.key))

    # What Tune would write into files that nobody ever reads here.

    def __getstate__(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""
