"""What Tune does not see or say is found: lost answers, hung workers, nodes that come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import Stage, ray_watch
from orchestrator.backend import Settler
from orchestrator.errors import StoreError
from orchestrator.ray_api import RayError
from orchestrator.ray_cluster import Node
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import GROWTH, Limits
from orchestrator.ray_watch import Watch
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Options, Report
from tests.orchestrator.fake_trainer import Walk, run

HANG_S = 100.0
FACTS = {"attempts": 1, "wall_seconds": 0.0, "started_at": "2026-01-01T00:00:00+00:00", "host": "far"}


class Scene:
    """A gate and its watch on a clock of numbers, and a cluster as a test says."""

    def __init__(self, store: Store, stages: int = 1, pack_size: int = 1) -> None:
        self.store, self.now, self.can_grow = store, 0.0, False
        self.reports: list[Report] = []
        self.noted: list[dict[str, Any]] = []
        self.killed: list[str] = []
        self.nodes = {"a": Node("a", "a", {"CPU": 9.0})}
        made = [Stage(Walk(seed=seed)) for seed in range(stages)]
        schedule = Schedule(made, lambda stage: stage.config.work())
        settles = Settler(schedule, lambda report, _: self.reports.append(report), retries=9, clock=lambda: self.now)
        note = lambda kind, **facts: self.noted.append({"kind": kind, **facts})  # noqa: E731 - shorter than a method
        options = Options("t", hang_after_s=HANG_S, pack_size=pack_size)
        self.gate = Gate(settles, store, options, note=note, clock=lambda: self.now)
        self.gate.places.limits = Limits(cpu_room=stages if pack_size == 1 else 1)
        self.watch = Watch(
            self.gate,
            nodes=lambda: dict(self.nodes),
            can_grow=lambda: self.can_grow,
            kill=self.killed.append,
            clock=lambda: self.now,
        )
        self.trials: list[Any] = []
        self.started = 0

    def start(self, node: str = "a") -> str:
        """Have Tune start the next trial; the key of its first stage."""
        name = f"trial{self.started}"
        self.started += 1
        assert isinstance(self.gate.suggest(name), dict)
        state = SimpleNamespace(ray_actor=f"actor of {name}")
        trial = SimpleNamespace(trial_id=name, status="RUNNING", last_result=None, temporary_state=state)
        self.trials.append(trial)
        self.gate.began(name, node)
        return self.held(name)[0]

    def held(self, name: str) -> list[str]:
        """Keys of the stages of a trial."""
        return list(self.gate.trials[name].held)

    def pass_s(self, seconds: float) -> None:
        """Let Tune go through its loop for so long."""
        for _ in range(int(seconds)):
            self.now += 1
            self.watch.on_step_end(0, self.trials)

    @property
    def kinds(self) -> list[str]:
        """Events so far."""
        return [event["kind"] for event in self.noted]


@pytest.fixture
def scene(store: Store) -> Scene:
    """One stage, on a cluster of one node."""
    return Scene(store)


def test_a_trial_that_tune_ended_in_silence_is_found(scene: Scene) -> None:
    """Tune forgets to tell its searcher of a failed reset; the launch would hang."""
    key = scene.start()
    scene.trials[0].status = "ERROR"

    scene.pass_s(1)

    assert scene.start() == key


def test_a_worker_without_progress_is_killed(scene: Scene) -> None:
    """One deadlock in a data loader would hold its GPU until somebody looks."""
    scene.store.note_running(scene.start(), FACTS)

    scene.pass_s(HANG_S - 1)
    before = list(scene.killed)
    scene.pass_s(HANG_S / 2)

    assert (before, scene.killed, scene.kinds) == ([], ["actor of trial0"], ["hung"])
    assert scene.noted[0]["host"] == "far"
    assert scene.reports == []  # it will be tried again


def test_a_worker_that_never_begins_counts_as_hung_too(scene: Scene) -> None:
    """A file server that does not answer hangs it before it has noted anything."""
    scene.start()

    scene.pass_s(1.5 * HANG_S)

    assert scene.noted[0]["host"] == "a worker that never began"


def test_progress_keeps_a_worker_alive(scene: Scene) -> None:
    """A stage may take days, as long as its epochs end."""
    key = scene.start()

    for epoch in range(8):
        scene.store.note_running(key, {**FACTS, "epoch": epoch})
        scene.pass_s(HANG_S * 0.7)

    assert (scene.killed, scene.noted) == ([], [])


def test_waiting_for_a_machine_is_not_hanging(scene: Scene) -> None:
    """An autoscaler takes minutes, a full cluster days."""
    assert scene.gate.suggest("waits")

    scene.pass_s(3 * HANG_S)

    assert scene.noted == []


def test_a_committed_stage_whose_answer_was_lost_is_settled(scene: Scene) -> None:
    """After 20 s without a network Tune goes on waiting for 300 s, and all that starts from the stage with it."""
    key = scene.start()
    assert run(Stage(Walk()), scene.store).status is Status.DONE

    scene.pass_s(9)
    before = list(scene.reports)
    scene.pass_s(9)

    assert (before, scene.killed, scene.kinds) == ([], ["actor of trial0"], ["answer_lost"])
    assert [(report.key, report.status) for report in scene.reports] == [(key, Status.DONE)]


def test_an_answer_that_comes_in_time_is_not_lost(scene: Scene) -> None:
    """A commit and its answer are never at the same moment."""
    scene.start()
    report = run(Stage(Walk()), scene.store)
    scene.pass_s(8)

    scene.gate.told("trial0", {"reports": [report], "leaving": False})
    scene.pass_s(30)

    assert (scene.killed, scene.noted, len(scene.reports)) == ([], [], 1)


def test_a_node_that_is_lost_is_told_with_its_stages(store: Store) -> None:
    """Ray says that workers died, and up to a minute later that their node did; it is one event."""
    scene = Scene(store, stages=3)
    scene.nodes["b"] = Node("b", "b", {"CPU": 9.0})
    keys = [scene.start("b"), scene.start("b"), scene.start("a")]
    scene.pass_s(3)

    scene.gate.on_trial_complete("trial0", error=True)
    scene.gate.places.suspects.update(keys)
    scene.pass_s(15)
    del scene.nodes["b"]
    scene.pass_s(3)

    assert scene.kinds == ["worker_died", "node_lost"]
    assert scene.noted[1]["keys"] == sorted(keys[:2])
    assert scene.gate.places.suspects == {keys[2]}  # the others died of their node
    assert (scene.noted[1]["node"], scene.noted[1]["drained"]) == ("b", False)


def test_a_node_that_comes_is_used(scene: Scene) -> None:
    """Whoever adds a machine in the middle of a sweep wants stages on it."""
    scene.pass_s(3)
    before = scene.gate.places.limits.cpu

    scene.nodes["b"] = Node("b", "b", {"CPU": 9.0})
    scene.pass_s(3)

    assert (scene.kinds, scene.gate.places.limits.cpu - before) == (["node_added"], 9)


def test_a_node_that_is_drained_is_said_once_and_given_nothing(scene: Scene) -> None:
    """A spot machine has two minutes to live: nothing must be planned for it."""
    scene.pass_s(3)
    before = scene.gate.places.limits.cpu

    scene.nodes["a"] = Node("a", "a", {"CPU": 9.0}, draining=True)
    scene.pass_s(9)
    drained = scene.gate.places.limits.cpu
    del scene.nodes["a"]
    scene.pass_s(3)

    assert scene.kinds == ["node_draining", "node_lost"]
    assert (scene.noted[1]["drained"], before - drained) == (True, 9)


def test_a_worker_on_a_node_that_is_drained_gets_nothing_more(store: Store) -> None:
    """It would train until its node goes, and all since its last checkpoint again elsewhere."""
    scene = Scene(store, stages=2)
    key = scene.start()
    scene.nodes["a"] = Node("a", "a", {"CPU": 9.0}, draining=True)
    scene.pass_s(3)

    is_over = scene.gate.told("trial0", {"reports": [Report(key, Status.DONE)], "leaving": False})

    assert (is_over, scene.held("trial0")) == (False, [])


def test_a_cluster_that_can_grow_is_asked_for_more(scene: Scene) -> None:
    """Its autoscaler may say that it is there only some seconds after its head."""
    scene.pass_s(3)
    before = scene.gate.places.limits.cpu

    scene.can_grow = True
    scene.pass_s(3)

    assert (before, scene.gate.places.limits.cpu) == (11, 9 + GROWTH)


def test_a_new_experiment_of_tunes_is_watched_from_its_start(scene: Scene) -> None:
    """After Tune gave up its trials are others; taken for the old ones they would never be looked at."""
    scene.start()
    scene.pass_s(1)
    scene.gate.settle_all()

    scene.watch.forget_trials()
    scene.trials.clear()
    scene.start()
    scene.pass_s(1.5 * HANG_S)

    assert scene.kinds == ["hung"]


def test_looks_cost_little(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune's loop turns ten times a second; a store behind a network answers in a tenth of one."""
    scene.start()
    asked = []
    monkeypatch.setattr(scene.store, "running", lambda key: asked.append(key) or {"epoch": len(asked)})
    monkeypatch.setattr(scene.store, "noted", lambda: asked.append("all") or set(FACTS))

    scene.pass_s(200)

    assert len(asked) <= 200 / ray_watch.LOOK_AT_STORE_S + 200 / (HANG_S / ray_watch.LOOKS_AT_PROGRESS) + 2


def test_a_store_that_is_away_for_a_while_ends_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A bucket that does not answer for minutes must not end a launch of days; it is looked at again."""
    key = scene.start()

    def away(*_: object) -> None:
        raise StoreError("cannot read: nobody answers")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("noted", "running", "is_held", "is_committed", "is_startable"):
            patch.setattr(scene.store, name, away)
        scene.pass_s(20)
        scene.gate.on_trial_complete("trial0", error=True)

    assert "not seen, will look again: cannot read: nobody answers" in caplog.text
    assert (scene.start(), scene.reports) == (key, [])


def test_a_head_that_does_not_answer_for_a_while_ends_nothing(scene: Scene) -> None:
    """What it said of nodes before still holds."""
    scene.pass_s(3)
    nodes = scene.nodes

    def away() -> dict[str, Node]:
        raise RayError("timed out")

    scene.watch._look_at_nodes = away
    scene.pass_s(3)
    scene.watch._look_at_nodes = lambda: {**nodes, "b": Node("b", "b", {"CPU": 9.0})}
    scene.pass_s(3)

    assert scene.kinds == ["node_added"]


def test_a_row_without_weights_is_no_lost_answer(scene: Scene) -> None:
    """A stage that is repaired has its old row all the time; taken for done, its children would start from nothing."""
    stage = Stage(Walk())
    assert run(stage, scene.store).status is Status.DONE
    scene.store.files.delete(f"weights/{stage.key}.safetensors")
    scene.start()

    scene.pass_s(30)
    scene.gate.on_trial_complete("trial0", error=True)

    assert (scene.killed, scene.reports, scene.kinds) == ([], [], ["worker_died"])


def test_what_waits_in_a_worker_is_not_hanging(store: Store) -> None:
    """Stages are handed out ahead; behind one that lasts for days they have begun nothing."""
    scene = Scene(store, stages=2)
    key = scene.start()
    scene.gate.trials["trial0"].held["waits"] = scene.gate.trials["trial0"].held[key]

    for epoch in range(8):
        scene.store.note_running(key, {**FACTS, "epoch": epoch})
        scene.pass_s(HANG_S * 0.7)

    assert scene.noted == []


def test_what_others_do_with_a_stage_that_waits_is_not_its_workers(store: Store) -> None:
    """Another launch commits it, or hangs with it: the worker, days into the stage before it, must not be killed."""
    scene = Scene(store, stages=3)
    begun, waits, hangs = scene.start(), Stage(Walk(seed=1)), Stage(Walk(seed=2))
    held = scene.gate.trials["trial0"].held
    held[waits.key] = held[hangs.key] = held[begun]
    assert run(waits, store).status is Status.DONE
    store.note_running(hangs.key, FACTS)

    for epoch in range(8):
        store.note_running(begun, {**FACTS, "epoch": epoch})
        scene.pass_s(HANG_S * 0.7)

    assert (scene.killed, scene.noted) == ([], [])


def test_one_stage_of_a_pack_that_hangs_is_found(store: Store) -> None:
    """The others that move beside it must not hide it for ever; and it alone is to blame."""
    scene = Scene(store, stages=2, pack_size=2)
    moves, hangs = scene.start(), scene.held("trial0")[1]
    scene.store.note_running(hangs, FACTS)

    for epoch in range(3):
        scene.store.note_running(moves, {**FACTS, "epoch": epoch})
        scene.pass_s(HANG_S * 0.7)

    assert (scene.killed, [event.get("key") for event in scene.noted]) == (["actor of trial0"], [hangs])
    assert scene.gate.places.suspects == set()


def test_a_worker_without_a_stage_is_not_hanging(scene: Scene) -> None:
    """It stays because its process took seconds to start."""
    key = scene.start()
    scene.pass_s(1)
    scene.gate.trials["trial0"].held.clear()

    scene.pass_s(3 * HANG_S)
    scene.gate.trials["trial0"].held[key] = None
    scene.pass_s(HANG_S / 2)

    assert scene.noted == []
