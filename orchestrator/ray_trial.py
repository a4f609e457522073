"""StageTrial: Ray Tune's trial, a worker's process that is fed with stages and reports them as they end.

The stages run in a thread of their own, so that they go on while their driver is told, and nobody need know before how
long one lasts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.pack import Pack
from orchestrator.ray_api import cloudpickle, tune
from orchestrator.record import one_line
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.trainer import may_pass
from orchestrator.worker import LEAVING, Handout, Options, Report, leave_on_sigterm

ASK_S = 1.0  # at most, between two times that a worker with a free place asks for more


class Runner:
    """Runs a pack in a thread, and says what ended; all its methods are for the process' main thread."""

    def __init__(self, store: Store, options: Options, pause_s: float) -> None:
        """Run packs of `options.pack_size`; `pause_s` is how long an end may wait for others to be told with it."""
        self._pack, self._pause_s = Pack(store, options, options.pack_size), pause_s
        self._new: list[Handout] = []
        self._ended: list[Report] = []
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._fed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="warmgrid-pack", daemon=True)

    def feed(self, handouts: Sequence[Handout], unread: Sequence[Report] = ()) -> None:
        """Have these run too, in this order; `unread` is said of others that came with them."""
        with self._changed:
            self._new.extend(handouts)
            self._ended += unread
            self._fed = time.monotonic()
            self._changed.notify_all()
        if not self._thread.is_alive():
            self._thread.start()

    def reports(self) -> list[Report]:
        """Of all stages that ended, once there are any; of none where more could run, after ever longer times.

        Raises:
            BaseException: what no stage may raise, and this process was not made for; once all that ended is said.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, self._patience_s)
            self._changed.wait_for(lambda: not self._pack.has_waiting and not self._new, self._pause_s)
            if self._error is not None and not self._ended:
                raise self._error
            reports, self._ended = self._ended, []
        return reports

    def _has_news(self) -> bool:
        return bool(self._ended) or self._error is not None

    @property
    def _patience_s(self) -> float | None:
        """Seconds until more work is asked for; None where there is no place for it."""
        if self._pack.room <= len(self._new):
            return None
        return min(max(ASK_S, 10 * self._pause_s), max(self._pause_s, (time.monotonic() - self._fed) / 4))

    def _run(self) -> None:
        """What the thread does, for as long as its process lives."""
        try:
            while True:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - raised again by `reports`
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _turn(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._new or not self._pack.is_empty)
            self._pack.add(self._new)
            self._new.clear()
        if ended := self._pack.turn():
            with self._changed:
                self._ended += ended
                self._changed.notify_all()


class StageTrial(tune.Trainable):
    """A place at a worker. Its process is reused for the next trial of the same shape."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the gate says that its stages ask for."""
        return tune.PlacementGroupFactory([config["shape"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Begin; asked to leave, as on a machine that is taken away, its stages save a checkpoint first."""
        leave_on_sigterm()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on in the same process, in which nothing of the last trial is left; unless it must leave."""
        self._begin(new_config)
        return not LEAVING.is_set()

    def _begin(self, config: dict[str, Any]) -> None:
        if getattr(self, "_work", None) != config["work"]:
            self._work = config["work"]
            root, options, pause_s = cloudpickle.loads(self._work)
            self._runner = Runner(Store(root), options, pause_s)

    def feed(self, work: Sequence[tuple[str, bytes]]) -> None:
        """Have these stages run too; not Tune but the gate calls this, and it hears of nothing that is raised here."""
        self._runner.feed(*unpacked(work))

    def step(self) -> dict[str, Any]:
        """Wait for stages to end; Tune calls this again until the gate stops the trial."""
        return {"reports": self._runner.reports(), "leaving": LEAVING.is_set()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store has our checkpoints."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: a stage resumes from the store."""


def packed(handouts: Sequence[Handout]) -> list[tuple[str, bytes]]:
    """Stages by key, each for itself, as `StageTrial.feed` takes them."""
    return [(handout.key, cloudpickle.dumps(handout)) for handout in handouts]


def unpacked(work: Sequence[tuple[str, bytes]]) -> tuple[list[Handout], list[Report]]:
    """What `packed` packed, and reports of what means nothing to this process, such as a class of a missing module."""
    handouts, unread = [], []
    for key, data in work:
        try:
            handouts.append(cloudpickle.loads(data))
        except Exception as error:  # noqa: BLE001 - whatever a user's own modules raise is reported
            why = f"{one_line(error)}; a worker could not read the stage: what its sweep imports must be on every node"
            unread.append(Report(key, Status.FAILED, error=why, retry=may_pass(error)))
    return handouts, unread
