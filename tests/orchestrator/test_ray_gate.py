"""The gate hands out the right stage to the right machine, and what became of it is settled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Stage, ray_gate
from orchestrator.backend import Settler
from orchestrator.plan import plan
from orchestrator.ray_api import Searcher, cloudpickle
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import Limits, Shape
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.spec import setting
from orchestrator.store import Store
from orchestrator.worker import Options, Report
from tests.orchestrator.fake_trainer import Walk, made_sweep

QUARTER = Shape(1, 0.25)


@setting
class Light(Walk, kind="made_light"):
    """A walk that needs no GPU."""

    def cpu_only(self) -> bool:
        return True


@setting
class Heavy(Walk, kind="made_heavy"):
    """A walk that needs more memory than others."""

    def stage_columns(self) -> dict[str, Any]:
        return {**Walk.stage_columns(self), "batch_size": 2}


class Told(Gate):
    """A gate before these stages, which remembers what it reports and notes."""

    def __init__(self, stages: list[Stage], store: Store, *, retries: int = 0, **given: Any) -> None:
        self.reports: list[Report] = []
        self.noted: list[dict[str, Any]] = []
        self.now = 0.0
        schedule = Schedule(stages, lambda stage: stage.config.work())
        settles = Settler(schedule, self._report, retries=retries, clock=lambda: self.now)
        note = lambda kind, **facts: self.noted.append({"kind": kind, **facts})  # noqa: E731 - shorter than a method
        super().__init__(settles, store, Options("t"), note=note, clock=lambda: self.now, **given)

    def _report(self, report: Report, blocked: list[str]) -> None:
        self.reports.append(report)
        self.over([report.key, *blocked])

    def hand_out(self, name: str = "trial") -> list[str]:
        """Ids of all the trials that it gives now."""
        ids: list[str] = []
        while isinstance(self.suggest(f"{name}{len(ids)}"), dict):
            ids.append(f"{name}{len(ids)}")
        return ids

    def end(self, trial_id: str, status: Status = Status.DONE, **facts: Any) -> str:
        """A trial's worker reports; the stage's key."""
        key = self.live[trial_id].key
        self.on_trial_complete(trial_id, {"report": Report(key, status, **facts)})
        return key


MakeGate = Callable[..., Told]


@pytest.fixture
def gate_of(store: Store) -> MakeGate:
    """Makes a gate before these configs, each a stage without a parent; by default before the ten of the made sweep."""

    def make(*configs: Walk, **given: Any) -> Told:
        stages = [Stage(config) for config in configs] or list(plan(made_sweep().trials()).to_run)
        return Told(stages, store, **given)

    return make


def test_children_wait_for_their_parents_and_the_end_is_said(gate_of: MakeGate) -> None:
    """Tune would wait for ever for a searcher that never says FINISHED."""
    gate = gate_of()
    first = gate.hand_out()

    waiting = gate.suggest("more")
    for trial_id in first:
        gate.end(trial_id)
    second = gate.hand_out()
    for trial_id in second:
        gate.end(trial_id)

    assert (len(first), waiting, len(second)) == (6, None, 4)
    assert gate.suggest("more") == Searcher.FINISHED


def test_a_trial_is_settled_once(gate_of: MakeGate) -> None:
    """Tune may say twice that a trial ended; its children must not be handed out twice."""
    gate = gate_of()
    (first, *_) = gate.hand_out()
    result = {"report": Report(gate.live[first].key, Status.DONE)}

    gate.on_trial_complete(first, result)
    gate.on_trial_complete(first, result)

    assert len(gate.reports) == 1


def test_a_stage_whose_workers_die_is_tried_again_so_many_times(
    gate_of: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed for another one's sake must cost nothing; one that its stage kills must not go on for ever."""
    monkeypatch.setattr(ray_gate, "WORKER_DEATHS", 2)
    gate = gate_of(Walk())
    key = Stage(Walk()).key

    for attempt in range(3):
        gate.suggest(f"{attempt}")
        gate.began(f"{attempt}", "node")
        gate.on_trial_complete(f"{attempt}", None, error=True)

    assert [(report.key, report.status) for report in gate.reports] == [(key, Status.FAILED)]
    assert [(event["kind"], event["key"]) for event in gate.noted] == [("worker_died", key)] * 3


def test_a_stage_that_no_worker_took_is_no_death(gate_of: MakeGate) -> None:
    """A worker that must leave takes nothing new; told as a death, it would send a user looking for a fault."""
    gate = gate_of(Walk())
    gate.suggest("a")

    gate.on_trial_complete("a", None, error=True)

    assert [event["kind"] for event in gate.noted] == ["not_begun"]
    assert isinstance(gate.suggest("b"), dict)


# Shapes.


def test_no_more_is_handed_out_than_the_limits_say(gate_of: MakeGate) -> None:
    """What stands in Ray's queue cannot be overtaken by what is more urgent."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(9)), *(Light(seed=seed) for seed in range(9)), gpu_shape=QUARTER)
    gate.limits = Limits(gpu=3, cpu=2, total=99)

    given = gate.hand_out()

    assert sorted(trial.shape.gpus for trial in gate.trials.values()) == [0, 0, 0.25, 0.25, 0.25]
    gate.end(given[0])
    gate.limits = Limits(gpu=99, cpu=99, total=5)
    assert len(gate.hand_out("more")) == 1


def test_never_more_than_the_ready_stages_are_asked_for(gate_of: MakeGate) -> None:
    """An autoscaler that sees more starts machines for nothing, and one that still sees them never stops any."""
    gate = gate_of()

    assert len(gate.hand_out()) == 6
    assert gate.suggest("more") is None


def test_a_stage_without_a_gpu_is_told_so(gate_of: MakeGate) -> None:
    """It would take CUDA on a machine that has one, beside the stages that it was promised to."""
    gate = gate_of(Light(), Walk(), gpu_shape=QUARTER)

    given = [gate.suggest("a"), gate.suggest("b")]

    told = {cloudpickle.loads(one["work"])[2].device: one["shape"] for one in given}
    assert told == {"cpu": {"CPU": 1}, None: {"CPU": 1, "GPU": 0.25}}


def test_out_of_memory_is_tried_again_with_twice_the_share(gate_of: MakeGate) -> None:
    """Four stages that share a card may be one too many; a user must not have to find the share by failing nights."""
    gate = gate_of(Walk(), gpu_shape=QUARTER)

    shares = []
    while isinstance(gate.suggest("a"), dict):
        shares.append(gate.trials["a"].shape.gpus)
        key = gate.end("a", Status.FAILED, error="OutOfMemoryError: CUDA", out_of_memory=True, retry=True)

    assert shares == [0.25, 0.5, 1]
    assert [event["again_gpus"] for event in gate.noted] == [0.5, 1, None]
    (report,) = gate.reports
    assert (report.key, report.status) == (key, Status.FAILED)
    assert "it had 1 GPU to itself: take a smaller batch_size" in str(report.error)


def test_stages_alike_get_the_larger_share_at_once(gate_of: MakeGate) -> None:
    """A hundred stages of one size would each waste an attempt."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(3)), gpu_shape=QUARTER)
    gate.limits = Limits(gpu=1)

    gate.suggest("a")
    gate.end("a", Status.FAILED, out_of_memory=True)
    gate.suggest("b")
    gate.end("b")
    gate.suggest("c")

    assert gate.trials["c"].shape.gpus == 0.5


def test_a_stage_that_waits_for_a_whole_gpu_is_not_starved(gate_of: MakeGate) -> None:
    """Ray reserves nothing for it: small ones would slip past it until none is left."""
    gate = gate_of(Heavy(epochs=9), Walk(seed=1), Light(seed=2), gpu_shape=Shape(1, 0.5))
    gate.limits = Limits(gpu=1)
    gate.suggest("large")
    gate.end("large", Status.FAILED, out_of_memory=True)
    gate.limits = Limits()

    large, light, waits = (gate.suggest(name) for name in ("large", "light", "small"))
    gate.began("large", "node")
    small = gate.suggest("small")

    assert (large["shape"]["GPU"], light["shape"], waits, small["shape"]["GPU"]) == (1, {"CPU": 1}, None, 0.5)


# What the watch and Tune tell.


def test_a_hung_stage_is_tried_again_and_given_twice_as_long(gate_of: MakeGate) -> None:
    """Its epochs may just be long; killed at the same point for ever, it would never end."""
    gate = gate_of(Walk(), retries=1)
    gate.suggest("a")

    gate.settle_hung("a", 1800.0, "host")
    assert gate.suggest("b") is None
    gate.now = 10.0
    gate.suggest("b")

    assert (gate.reports, gate.hang_s("b")) == ([], 2 * Options("t").hang_after_s)
    gate.settle_hung("b", 3600.0, "host")
    assert [(report.status, "see --hang-after" in str(report.error)) for report in gate.reports] == [
        (Status.FAILED, True)
    ]
    assert [event["kind"] for event in gate.noted] == ["hung", "hung"]


def test_what_still_waits_when_a_launch_is_stopped_is_called_off(gate_of: MakeGate) -> None:
    """The machine that it waits for may never come, and Ctrl-C would never end."""
    gate = gate_of(Walk(), Walk(seed=1))
    gate.hand_out()
    gate.began("trial0", "node")

    gate._schedule.stop()
    while_one_runs = gate.is_stopped
    gate.end("trial0")

    assert (while_one_runs, gate.is_stopped) == (False, True)
    gate.settle_all()
    assert [report.status for report in gate.reports] == [Status.DONE, Status.INTERRUPTED]


def test_a_stage_that_tune_takes_back_waits_again(gate_of: MakeGate) -> None:
    """From a node that is being drained Tune moves trials by itself; a barrier that forgot it would let all pass."""
    gate = gate_of(Walk(), gpu_shape=QUARTER)
    gate.suggest("a")
    gate.began("a", "node")

    gate.waits_again("a")

    assert gate.trials["a"].began is None
    assert [(event["kind"], event["node"]) for event in gate.noted] == [("worker_died", "node")]
    assert gate.deaths == [(0.0, "node", gate.live["a"].key)]
