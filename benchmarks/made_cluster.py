"""A made-up cluster with a made-up clock, which takes stages from the real gate as Ray Tune does; starts no Ray."""

from __future__ import annotations

import heapq
import pickle
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from benchmarks.made_stages import drawn_seconds, expected_seconds, longest_chain
from orchestrator import Stage
from orchestrator.backend import Settler
from orchestrator.columns import STAGES
from orchestrator.launch import Summary
from orchestrator.plan import Plan
from orchestrator.ray_cluster import Node
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import AHEAD, Shape
from orchestrator.ray_watch import Watch
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report

CHECKPOINT_S = 60.0
NODE_GPUS, OUTAGE_S = 8, 900.0
HELD_S, ASK_S = 2.0, 15.0  # a worker without a stage asks for one
WATCH_EVERY_S = 60.0  # it looks at everything each time, the nodes too


@dataclass(frozen=True)
class Troubles:
    """What goes wrong.

    Attributes:
        deaths: Share of attempts whose worker dies on the way.
        lost_answers: Share of attempts that commit, and whose worker dies before it says so.
        silent: Share of attempts that commit, and of which Ray Tune believes for ever that they run.
        errors: Share of stages whose trainer raises at first; every third of them twice.
        held: Share of attempts that find their stage held by another worker.
        node_losses: How many times a node of `NODE_GPUS` GPUs is lost, and comes back after `OUTAGE_S`.
        hopeless: Keys of stages whose trainer raises each time.
    """

    deaths: float = 0.0
    lost_answers: float = 0.0
    silent: float = 0.0
    errors: float = 0.0
    held: float = 0.0
    node_losses: int = 0
    hopeless: frozenset[str] = frozenset()


NO_TROUBLES = Troubles()


def troubles_of(size: int) -> Troubles:
    """A bad week: a hundredth of all workers die, as many trainers raise, and a node is lost for every 2,000 stages."""
    rare = max(1, size // 2000)
    return Troubles(deaths=0.01, lost_answers=0.002, silent=0.001, errors=0.01, held=0.005, node_losses=rare)


@dataclass
class MadeStore:
    """What gate and watch ask of a store, without a disk; as `orchestrator.store.Store`.

    Attributes:
        clock: The made-up one.
        commits: How many times each stage was committed.
        begun: Stages that run now.
        events: How many of each kind were noted.
    """

    clock: Callable[[], float]
    root: str = "made-up"
    commits: Counter[str] = field(default_factory=Counter)
    begun: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)

    def is_committed(self, key: str) -> bool:
        return key in self.commits

    def is_startable(self, key: str) -> bool:
        return key in self.commits

    def find_row(self, key: str) -> dict[str, Any] | None:
        return {"key": key, "status": str(Status.DONE)} if key in self.commits else None

    def noted(self) -> set[str]:
        return set(self.begun)

    def running(self, key: str) -> dict[str, Any]:
        return {"epoch": int(self.clock() / CHECKPOINT_S)}

    def is_stop_requested(self, launch: str) -> bool:
        return False

    def note_event(self, kind: str, **facts: Any) -> None:
        self.events[kind] += 1


class MadeTrial:
    """Ray Tune's trial, a place at a worker, as far as the watch looks at it; the worker too.

    Attributes:
        gpu: That it has, once it has one.
        fed: Keys of stages that it was given and has not begun.
        key: Of the stage that it trains; None where it has nothing to do.
        began: When it began with that.
    """

    status = "RUNNING"
    last_result: Mapping[str, Any] = {}

    def __init__(self, trial_id: str) -> None:
        """Without a GPU yet."""
        self.trial_id = trial_id
        self.gpu: int | None = None
        self.fed: deque[str] = deque()
        self.key: str | None = None
        self.began = 0.0

    @property
    def temporary_state(self) -> MadeTrial:
        """Where Tune keeps the worker."""
        return self

    @property
    def ray_actor(self) -> MadeTrial:
        """The worker."""
        return self


@dataclass
class Cluster:
    """GPUs that take what a gate gives, as Ray Tune does, on a clock of numbers.

    Attributes:
        seconds: How long each stage really lasts, by key.
        now: Seconds since the start.
        order: Keys in the order of handing out, as often as they were.
        early: Stages that were handed out before what they start from was committed; there must be none.
        repeated: Stages that were handed out although they were committed; there must be none.
        lost_s: GPU seconds that were used for nothing.
        away_s: GPU seconds of lost nodes.
        handing_s: CPU seconds of this process that were spent in the gate.
        watching_s: The same of the watch.
        steps: How many times it looked.
        ended: Made-up seconds at which the last worker let go of its stage.
        summary: What the launch would say of itself.
    """

    planned: Plan
    seconds: Mapping[str, float]
    gpus: int
    troubles: Troubles = NO_TROUBLES
    seed: int = 0
    now: float = 0.0
    order: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    lost_s: float = 0.0
    away_s: float = 0.0
    handing_s: float = 0.0
    watching_s: float = 0.0
    steps: int = 0
    ended: float = 0.0

    def __post_init__(self) -> None:
        self.store, self.summary = MadeStore(self.clock), Summary(self.planned)
        self._draw = random.Random(self.seed)
        self._free = list(range(self.gpus))
        self._away: set[int] = set()  # nodes
        self._trials: list[MadeTrial] = []  # all that there ever were, as Tune keeps them
        self._live: dict[str, MadeTrial] = {}
        self._waiting: deque[MadeTrial] = deque()  # for a GPU, first come first served
        self._kept: dict[str, float] = {}  # seconds of a stage that its checkpoints hold
        self._answer = answer_of(self.planned.to_run[0])
        keys = [stage.key for stage in self.planned.to_run]
        raising = self._draw.sample(keys, round(self.troubles.errors * len(keys)))
        self._raises = {key: 1 + (place % 3 == 0) for place, key in enumerate(raising)}
        self._events: list[tuple[float, int, str, Any]] = []
        self._count, self._next_watch = 0, 0.0
        likely = sum(self.seconds.values()) / self.gpus
        for _ in range(self.troubles.node_losses):
            self._push(self._draw.uniform(0, likely), "lose", self._draw.randrange(self.gpus // NODE_GPUS))

    def clock(self) -> float:
        """The made-up time, for what asks a clock."""
        return self.now

    def nodes(self) -> dict[str, Node]:
        """What Ray would say of its nodes; the last one has what is left of the GPUs."""
        sizes = {number: len(self._gpus_of(number)) for number in range(-(-self.gpus // NODE_GPUS))}
        there = {f"n{number}": size for number, size in sizes.items() if number not in self._away}
        return {name: Node(name, name, {"CPU": size, "GPU": size}) for name, size in there.items()}

    def run(self, gate: Gate, watch: Watch, settler: Settler) -> None:
        """Take stages from `gate` until it gives no more."""
        self._gate, self._watch, self._settler = gate, watch, settler
        watch.look_at_nodes()
        self._step()
        while self._events:
            self.now, _, what, which = heapq.heappop(self._events)
            if what == "lose":
                self._lose(which)
            elif what == "return":
                self._away.discard(which)
                self._free += self._gpus_of(which)
            elif what != "wake" and self._live.get(which.trial_id) is which:
                self._end(which, what)
            self._step()

    def _push(self, seconds: float, what: str, which: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, what, which))

    def _step(self) -> None:
        """What Tune does after each event: ask for stages while there are any; now and then the watch looks, too."""
        while isinstance(self._asked(self._gate.suggest, f"t{len(self._trials)}"), dict):
            trial = MadeTrial(f"t{len(self._trials)}")
            self._trials.append(trial)
            self._live[trial.trial_id] = trial
            self._waiting.append(trial)
        wait = self._settler.next_due()
        if wait is not None and (not self._events or self.now + wait < self._events[0][0]):
            self._push(wait, "wake")
        while self._waiting and self._free:
            self._begin(self._waiting.popleft())
        if self.now >= self._next_watch:
            self._next_watch = self.now + WATCH_EVERY_S
            began = time.process_time()
            self._watch.on_step_end(self.steps, self._trials)
            self.watching_s += time.process_time() - began
            self.steps += 1

    def _asked(self, ask: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What the gate answers; its CPU seconds count."""
        began = time.process_time()
        answer = ask(*given, **named)
        self.handing_s += time.process_time() - began
        return answer

    def _begin(self, trial: MadeTrial) -> None:
        """Give a place its GPU, for which it gets its first stages."""
        trial.gpu = self._free.pop()
        node = f"n{trial.gpu // NODE_GPUS}"
        self._asked(self._gate.began, trial.trial_id, node, lambda handouts: self._feed(trial, handouts))
        self._go_on(trial)

    def _feed(self, trial: MadeTrial, handouts: Sequence[Handout]) -> None:
        """Stages were handed out to a place that is there."""
        for handout in handouts:
            key, before = handout.key, self.planned.follows.get(handout.key)
            above = [handout.parent_key, before.key if before else None]
            if any(one in self.seconds and one not in self.store.commits for one in above):
                self.early.append(key)
            if key in self.store.commits:
                self.repeated.append(key)
            self.order.append(key)
            trial.fed.append(key)

    def _go_on(self, trial: MadeTrial) -> None:
        """Have a worker begin with its next stage, and draw how that will end; one without any asks again later."""
        if not trial.fed:
            self._push(ASK_S, "ask", trial)
            return
        key, troubles = trial.fed.popleft(), self.troubles
        trial.key, trial.began = key, self.now
        self.store.begun.add(key)
        left = self.seconds[key] - self._kept.get(key, 0.0)
        fate = self._draw.random()
        if fate < troubles.held:
            self._push(HELD_S, "held", trial)
        elif fate < troubles.held + troubles.deaths:
            self._push(left * self._draw.random(), "die", trial)
        elif key in troubles.hopeless or self._raises.get(key):
            self._raises[key] = self._raises.get(key, 0) - 1
            self._push(left * self._draw.random(), "raise", trial)
        elif fate > 1 - troubles.silent:
            self._push(left, "silent", trial)
        else:
            self._push(left, "lose answer" if fate > 1 - troubles.silent - troubles.lost_answers else "finish", trial)

    def _end(self, trial: MadeTrial, what: str) -> None:
        """A worker ends its stage, asks for one, or dies."""
        key, is_done = trial.key, what in ("finish", "lose answer", "silent")
        if key is not None:
            self.store.begun.discard(key)
        if is_done and key is not None:
            self.store.commits[key] += 1
        if what == "silent":  # only the watch can find it, if it is asked
            for seconds in (60, 120, 180):
                self._push(seconds, "wake")
            return
        reports = [] if key is None else self._reported(key, what, self.now - trial.began)
        self._stop(trial, is_done=is_done)
        if what in ("die", "lose answer"):
            self._let_go(trial)
            self._asked(self._gate.on_trial_complete, trial.trial_id, error=True)
        elif self._asked(self._gate.told, trial.trial_id, {"reports": reports, "leaving": False}):
            self._let_go(trial)
        else:
            self._go_on(trial)

    def _reported(self, key: str, what: str, seconds: float) -> list[Report]:
        """What a worker says of a stage that ended this way."""
        if what == "finish":
            return [replace(self._answer(key), held_s=seconds)]
        if what == "raise":
            return [
                Report(key, Status.FAILED, {"status": "failed"}, "MadeError: made to fail", retry=True, held_s=seconds)
            ]
        return [Report(key, Status.INTERRUPTED, again_s=1.0)] if what == "held" else []

    def kill(self, worker: MadeTrial) -> None:
        """The watch has done away with a worker, whose stage is committed."""
        self._stop(worker, is_done=True)
        self._let_go(worker)

    def _stop(self, trial: MadeTrial, *, is_done: bool) -> None:
        """The stage that a worker trains ends; what came after its last checkpoint is lost if it is not done."""
        if trial.key is not None and not is_done:
            total = self._kept.get(trial.key, 0.0) + self.now - trial.began
            self._kept[trial.key] = total // CHECKPOINT_S * CHECKPOINT_S
            self.lost_s += total % CHECKPOINT_S
        if trial.key is not None:
            self.ended = self.now
        trial.key = None

    def _let_go(self, trial: MadeTrial) -> None:
        """Free the GPU."""
        del self._live[trial.trial_id]
        if trial.gpu is not None and trial.gpu // NODE_GPUS not in self._away:
            self._free.append(trial.gpu)

    def _lose(self, node: int) -> None:
        """A node is gone with all that runs on it, for a while."""
        if node in self._away:
            return
        mine = set(self._gpus_of(node))
        self._away.add(node)
        self._free = [gpu for gpu in self._free if gpu not in mine]
        self.away_s += OUTAGE_S * len(mine)
        for trial in [trial for trial in self._live.values() if trial.gpu in mine]:
            self._end(trial, "die")
        self._push(OUTAGE_S, "return", node)

    def _gpus_of(self, node: int) -> list[int]:
        return list(range(node * NODE_GPUS, min(self.gpus, (node + 1) * NODE_GPUS)))


def answer_of(stage: Stage) -> Callable[[str], Report]:
    """Makes the report that a stage is done: with a row as wide as that of `stage`, new as out of Ray's wire."""
    row: dict[str, Any] = {column.name: 0.5 if column.type == "number" else None for column in STAGES}
    row |= stage.config.stage_columns()

    def answer(key: str) -> Report:
        mine = {**row, "key": key, "config": key * 60, "status": str(Status.DONE)}
        made: Report = pickle.loads(pickle.dumps(Report(key, Status.DONE, mine)))  # noqa: S301 - our own
        return made

    return answer


def bound(cluster: Cluster) -> float:
    """The least seconds a launch can take: its longest chain, or all GPU seconds that went into it over all GPUs.

    These are the work of all stages, what was repeated, and what lost nodes were away for.
    """
    work = sum(cluster.seconds.values()) + cluster.lost_s + cluster.away_s
    return max(work / cluster.gpus, longest_chain(cluster.planned, cluster.seconds))


def simulate(planned: Plan, gpus: int, troubles: Troubles = NO_TROUBLES, seed: int = 0) -> Cluster:
    """Run a plan to its end on a made-up cluster."""
    expected = expected_seconds(planned, seed)
    schedule = Schedule(planned.to_run, lambda stage: expected[stage.key], planned.follows)
    cluster = Cluster(planned, drawn_seconds(expected, seed), gpus, troubles, seed)
    hand_out(cluster, schedule)
    return cluster


def hand_out(cluster: Cluster, schedule: Schedule) -> None:
    """Let the real gate, watch and retries feed the cluster until all is over."""
    store, options = cast(Store, cluster.store), Options(launch="simulation", sweep="simulation")
    asked: dict[str, Any] = {"note": cluster.store.note_event, "clock": cluster.clock}

    def told(report: Report, blocked: list[str]) -> None:
        gate.over([report.key, *blocked])
        cluster.summary.add(report, blocked)

    settler = Settler(schedule, told, retries=options.retries, **asked)
    gate = Gate(settler, store, options, gpu_shape=Shape(1.0, 1.0), **asked)
    looks: dict[str, Any] = {"nodes": cluster.nodes, "can_grow": lambda: False, "kill": cluster.kill}
    watch = Watch(gate, most=cluster.gpus + AHEAD, clock=cluster.clock, **looks)
    cluster.run(gate, watch, settler)
