"""Watch: what Tune does not see or does not say: silent ends, lost answers, hung workers, nodes that come and go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.files import log
from orchestrator.ray_api import RayError, node_of, ray, tune
from orchestrator.ray_cluster import Node, grows, live_nodes
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import limits
from orchestrator.ray_trial import packed
from orchestrator.worker import Handout

LOOK_S = 2.0  # between two looks at the nodes
LOOK_AT_STORE_S = 5.0  # between two looks for stages that are committed while Tune says that they run
COMMITTED_S = 10.0  # after which such a stage's answer counts as lost
LOOKS_AT_PROGRESS = 4  # in the time after which a worker counts as hung
LOST_WITH_NODE_S = 120.0  # Ray says of a node that it is dead up to a minute after its workers are


@dataclass
class Seen:
    """What the watch knows of one trial.

    Attributes:
        progress: What the store said of each stage that it trains when that last changed, and when it did, by key.
        since: When any of that changed.
        look: When to look again.
        committed: Since when stages that it trains are known to be committed, by key.
    """

    trial: Any
    progress: dict[str, tuple[Mapping[str, Any], float]] = field(default_factory=dict)
    since: float = 0.0
    look: float = 0.0
    committed: dict[str, float] = field(default_factory=dict)

    def note(self, now: float, notes: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what the store says now of all stages that it trains."""
        new = {key: (facts, now) for key, facts in notes.items() if self.progress.get(key, (None,))[0] != facts}
        if new or notes.keys() != self.progress.keys():
            self.since = now
        self.progress = {key: new.get(key) or self.progress[key] for key in notes}

    def stalled(self, now: float, hang_s: float) -> list[str] | None:
        """Keys of begun stages that have not moved for so long; none of them if it has begun none; None if all is well.

        One that is next to be begun has noted nothing; its worker hangs for want of it only if it moves nothing at all.
        """
        begun = [key for key, (facts, since) in self.progress.items() if facts and now - since >= hang_s]
        return begun if begun or now - self.since >= hang_s else None


@dataclass
class Nodes:
    """The nodes of the cluster at the last look.

    Attributes:
        grows: Whether it starts more of them for what waits.
    """

    known: dict[str, Node] = field(default_factory=dict)
    grows: bool = False


class Watch(tune.Callback):
    """Looks around, in Tune's loop, after each of its steps; by the driver's own clock."""

    def __init__(
        self,
        gate: Gate,
        *,
        most: int | None = None,
        nodes: Callable[[], dict[str, Node]] = live_nodes,
        can_grow: Callable[[], bool] = grows,
        kill: Callable[[Any], None] = ray.kill,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the trials of `gate`, and set its limits by what `nodes` gives; `most` as of `limits`."""
        self._gate, self._most = gate, most
        self._look_at_nodes, self._can_grow, self._kill, self._clock = nodes, can_grow, kill, clock
        self._live: dict[str, Seen] = {}
        self._seen = 0
        self._nodes = Nodes()
        self._unseen = ""  # why the last look that failed did
        self._next_look = self._next_store = float("-inf")
        self._node_of: dict[str, str | None] = {}  # by actor

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as in `Gate`."""
        return {}

    def forget_trials(self) -> None:
        """Tune begins anew, with other trials."""
        self._live, self._seen = {}, 0

    # What Tune tells.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has got an actor, a new one or a reused one."""
        actor = trial.temporary_state.ray_actor
        name = str(actor)
        if name not in self._node_of:
            with contextlib.suppress(RayError):  # the head does not answer: asked again at its next stage
                self._node_of[name] = node_of(actor)

        def feed(handouts: list[Handout]) -> None:
            actor.feed.options(num_returns=0).remote(packed(handouts))  # before Tune's next call to it

        self._gate.began(trial.trial_id, self._node_of.get(name), feed)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune starts a trial again by itself: one on a node that is being drained, which it does not count."""
        self._gate.waits_again(trial.trial_id)
        if trial.trial_id in self._live:
            self._live[trial.trial_id] = Seen(trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Settle what is over in Tune's eyes and live in ours; now and then look at nodes, store and progress."""
        for trial in trials[self._seen :]:
            self._live[trial.trial_id] = Seen(trial)
        self._seen = len(trials)
        for trial_id in [name for name in self._live if name not in self._gate.trials]:
            del self._live[trial_id]
        for trial_id, seen in list(self._live.items()):
            if seen.trial.status in ("ERROR", "TERMINATED"):
                self._gate.on_trial_complete(trial_id, seen.trial.last_result, seen.trial.status == "ERROR")
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._try(self.look_at_nodes)
        if now >= self._next_store:
            self._next_store = now + min(LOOK_AT_STORE_S, self._gate.options.hang_after_s / LOOKS_AT_PROGRESS)
            self._try(partial(self.look_at_store, now))
            self._try(partial(self.look_at_progress, now))

    def _try(self, look: Callable[[], None]) -> None:
        """Look; a store or a head that is away for a while must not end what runs, and is looked at again later."""
        try:
            look()
        except (StoreError, RayError) as error:
            if str(error) != self._unseen:
                log.warning("not seen, will look again: %s", error)
            self._unseen = str(error)

    # Lost answers and hung workers.

    def _running(self) -> list[tuple[str, Seen]]:
        """Trials that hold stages."""
        trials = self._gate.trials
        return [(name, seen) for name, seen in self._live.items() if name in trials and trials[name].held]

    def _begun(self, trial_id: str) -> list[str]:
        """Keys of the stages that a trial's worker has begun; what the store says of others is another's doing."""
        trial = self._gate.trials[trial_id]
        return list(trial.held)[: self._gate.places.width_of(trial.shape)]

    def look_at_store(self, now: float) -> None:
        """Settle what has been committed for `COMMITTED_S` without Tune's noticing; its worker's answer was lost.

        One listing tells for all: of a committed stage there is no note that it runs.
        """
        running, store = self._running(), self._gate.store
        noted = store.noted() if running else set()
        for trial_id, seen in running:
            trial = self._gate.trials[trial_id]
            silent = [key for key in self._begun(trial_id) if key not in noted]
            silent = [key for key in silent if store.is_committed(key) and store.is_startable(key)]
            seen.committed = {key: seen.committed.get(key, now) for key in silent}
            for key in [key for key, since in seen.committed.items() if now - since >= COMMITTED_S][:1]:
                log.warning("stage %s: committed, but its worker's answer was lost; the worker is killed.", key)
                self._gate.note("answer_lost", key=key, node=trial.node)
                self._end(trial_id, partial(self._gate.settle_unanswered, trial_id))

    def look_at_progress(self, now: float) -> None:
        """Kill the workers whose stages have not moved for too long.

        What moves is what they note in the store: when they begin, and at every resume point.
        """
        for trial_id, seen in self._live.items():
            if trial_id in self._gate.trials and not self._gate.trials[trial_id].held:
                seen.progress.clear()
        for trial_id, seen in self._running():
            if now < seen.look:
                continue
            hang_s = self._gate.hang_s(trial_id)
            seen.look = now + hang_s / LOOKS_AT_PROGRESS
            seen.note(now, {key: self._gate.store.running(key) for key in self._begun(trial_id)})
            stalled = seen.stalled(now, hang_s)
            if stalled is not None:
                facts = seen.progress[stalled[0]][0] if stalled else {}
                host = str(facts.get("host") or "a worker that never began")
                self._end(trial_id, partial(self._gate.settle_hung, trial_id, now - seen.since, host, stalled))

    def _end(self, trial_id: str, settle: Callable[[], None]) -> None:
        """Kill a trial's worker and settle it; what Tune says of it afterwards is not news any more."""
        actor = self._live.pop(trial_id).trial.temporary_state.ray_actor
        if actor is not None:
            self._kill(actor)
        settle()

    # Nodes.

    def look_at_nodes(self) -> None:
        """Tell of nodes that came, are about to go, or are gone; ask of the cluster what it has room for."""
        nodes, before = self._look_at_nodes(), self._nodes.known
        can_grow = self._nodes.grows or self._can_grow()
        since = self._clock() - LOST_WITH_NODE_S
        self._gate.deaths[:] = [death for death in self._gate.deaths if death[0] >= since]
        if before:
            for node in (nodes[name] for name in nodes.keys() - before.keys()):
                log.warning("node %s joined.", node)
                self._gate.note("node_added", node=node.id, name=str(node))
            for node in (node for name, node in nodes.items() if node.draining and name in before):
                if not before[node.id].draining:
                    log.warning("node %s is about to be taken away; nothing new starts there.", node)
                    self._gate.note("node_draining", node=node.id, name=str(node))
            for node in (before[name] for name in before.keys() - nodes.keys()):
                self._lost(node)
        self._nodes = Nodes(nodes, can_grow)
        self._gate.names.update((node.id, node.name) for node in nodes.values())
        places = self._gate.places
        places.draining = {name for name, node in nodes.items() if node.draining}
        places.limits = limits(
            [node.resources for node in nodes.values() if not node.draining],
            places.gpu_shape,
            places.cpu_shape,
            mixed=self._gate.is_mixed,
            grows=self._nodes.grows,
            most=self._most,
        )

    def _lost(self, node: Node) -> None:
        """Note a node that is gone, with the stages that it took along."""
        keys = {key for _, where, key in self._gate.deaths if where == node.id}
        keys |= {key for trial in self._gate.trials.values() if trial.node == node.id for key in trial.held}
        self._gate.acquit(keys)
        stages = f" with {len(keys)} stages, which are tried again" if keys else ""
        log.warning("node %s %s%s.", node, "was taken away" if node.draining else "is lost", stages)
        self._gate.note("node_lost", node=node.id, name=str(node), keys=sorted(keys), drained=node.draining)
