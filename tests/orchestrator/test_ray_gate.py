"""The gate hands out the right stage to the right machine, and what became of it is settled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Stage, ray_gate, ray_places
from orchestrator.backend import Settler
from orchestrator.plan import plan
from orchestrator.ray_api import Searcher, cloudpickle
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import Limits, Shape
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.spec import setting
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report
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

    def __init__(
        self, stages: list[Stage], store: Store, *, retries: int = 0, pack_size: int = 1, **given: Any
    ) -> None:
        self.reports: list[Report] = []
        self.noted: list[dict[str, Any]] = []
        self.fed: dict[str, list[Handout]] = {}
        self.now = 0.0
        schedule = Schedule(stages, lambda stage: stage.config.work())
        settles = Settler(schedule, self._report, retries=retries, clock=lambda: self.now)
        note = lambda kind, **facts: self.noted.append({"kind": kind, **facts})  # noqa: E731 - shorter than a method
        options = Options("t", pack_size=pack_size)
        super().__init__(settles, store, options, note=note, clock=lambda: self.now, **given)

    def _report(self, report: Report, blocked: list[str]) -> None:
        self.reports.append(report)
        self.over([report.key, *blocked])

    def start(self, trial_id: str) -> list[str]:
        """A place that was asked for is there; the keys that it gets."""
        self.fed[trial_id] = []
        self.began(trial_id, "node", self.fed[trial_id].extend)
        return self.held(trial_id)

    def held(self, trial_id: str) -> list[str]:
        """Keys of the stages that a trial holds."""
        return list(self.trials[trial_id].held)

    def ask(self, trial_id: str = "trial") -> list[str]:
        """Ask for a place, which is there at once; the keys that it gets."""
        assert isinstance(self.suggest(trial_id), dict)
        return self.start(trial_id)

    def hand_out(self, name: str = "trial") -> list[str]:
        """Ids of all the places that it asks for now, which are there at once."""
        ids: list[str] = []
        while isinstance(self.suggest(f"{name}{len(ids)}"), dict):
            ids.append(f"{name}{len(ids)}")
            self.start(ids[-1])
        return ids

    def end(self, trial_id: str, status: Status = Status.DONE, **facts: Any) -> str:
        """A trial's worker reports the first stage that it holds; the stage's key."""
        key = self.held(trial_id)[0]
        self.told(trial_id, {"reports": [Report(key, status, **{"held_s": 9.0, **facts})], "leaving": False})
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
    second = [trial_id for trial_id in gate.trials if gate.held(trial_id)]
    for trial_id in second:
        gate.end(trial_id)

    assert (len(first), waiting, len(second)) == (6, None, 4)
    assert gate.suggest("more") == Searcher.FINISHED


def test_a_stage_that_no_worker_could_read_is_recorded(gate_of: MakeGate, store: Store) -> None:
    """Without a row `status` shows no failure, and without a traceback nobody knows why."""
    gate = gate_of(Walk(lr=0.5))
    gate.ask()

    key = gate.end("trial", Status.FAILED, error="ModuleNotFoundError: no such module")

    assert (gate.reports[0].row["key"], gate.reports[0].row["lr"]) == (key, 0.5)
    assert "no such module" in store.traceback_text(key)


def test_a_stage_is_settled_once(gate_of: MakeGate) -> None:
    """Tune may say twice that a trial ended; its children must not be handed out twice."""
    gate = gate_of()
    (first, *_) = gate.hand_out()
    result = {"reports": [Report(gate.held(first)[0], Status.DONE)], "leaving": False}

    assert [gate.told(first, result), gate.told(first, result)] == [False, False]
    gate.told(first, {**result, "leaving": True})
    gate.on_trial_complete(first, result)

    assert len(gate.reports) == 1


def test_a_stage_whose_workers_die_is_tried_again_so_many_times(
    gate_of: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed for another one's sake must cost nothing; one that its stage kills must not go on for ever."""
    monkeypatch.setattr(ray_gate, "WORKER_DEATHS", 2)
    gate = gate_of(Walk())
    key = Stage(Walk()).key

    for _ in range(3):
        gate.ask()
        gate.on_trial_complete("trial", None, error=True)

    assert [(report.key, report.status) for report in gate.reports] == [(key, Status.FAILED)]
    assert [(event["kind"], event["key"]) for event in gate.noted] == [("worker_died", key)] * 3


def test_a_place_that_no_worker_took_is_no_death(gate_of: MakeGate) -> None:
    """A worker that must leave takes nothing new; told as a death, it would send a user looking for a fault."""
    gate = gate_of(Walk())
    gate.suggest("a")

    gate.on_trial_complete("a", None, error=True)

    assert [event["kind"] for event in gate.noted] == ["not_begun"]
    assert len(gate.ask("b")) == 1


def test_workers_that_never_start_end_the_launch(gate_of: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines without our code it would ask for workers for ever, and say nothing."""
    monkeypatch.setattr(ray_gate, "WORKER_DEATHS", 2)
    gate = gate_of(Walk(), Walk(seed=1))

    while isinstance(gate.suggest("a"), dict):
        gate.on_trial_complete("a", None, error=True)

    assert [report.status for report in gate.reports] == [Status.FAILED] * 2
    assert "could not be started 3 times" in str(gate.reports[0].error)


# Feeding.


def test_a_place_is_fed_until_nothing_is_left(gate_of: MakeGate) -> None:
    """A new trial of Tune's for each stage costs ten milliseconds, and a process that starts again seconds."""
    gate = gate_of(Walk(), Walk(seed=1))
    gate.places.limits = Limits(total=1)
    gate.ask()

    first, second = gate.end("trial"), gate.end("trial")

    assert [one.key for one in gate.fed["trial"]] == [first, second]
    assert (len(gate.reports), gate.trials, gate.suggest("more")) == (2, {}, Searcher.FINISHED)


def test_who_comes_first_takes_the_most_urgent(gate_of: MakeGate) -> None:
    """A stage bound to a machine that is still to come would wait for it, with all that starts from it."""
    long, short = Walk(epochs=9), Walk(seed=1)
    gate = gate_of(long, short)
    gate.suggest("waits for a machine")

    assert gate.ask("is there") == [Stage(long).key]


def test_short_stages_are_handed_out_ahead(gate_of: MakeGate) -> None:
    """Between two stages of a hundredth of a second a worker would wait for its driver most of the time."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(99)))
    gate.places.limits = Limits(total=2, cpu_room=2)
    gate.ask()

    before = len(gate.fed["trial"])
    gate.end("trial", held_s=0.1)

    assert (before, len(gate.held("trial"))) == (1, 10)  # a second of work


def test_long_stages_are_not_handed_out_ahead(gate_of: MakeGate) -> None:
    """One that waits behind a long one keeps everything waiting that starts from it."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(99)))
    gate.places.limits = Limits(total=2, cpu_room=2)
    gate.ask()

    gate.end("trial", held_s=0.7)

    assert len(gate.held("trial")) == 1


def test_stages_that_last_ever_longer_are_not_taken_for_short(gate_of: MakeGate) -> None:
    """With ten times the epochs they are not short any more."""
    gate = gate_of(Walk(epochs=1), *(Walk(seed=seed, epochs=100) for seed in range(9)))
    gate.places.limits = Limits(total=1, cpu_room=1)
    gate._schedule.next_ready()  # the most urgent ones are elsewhere
    for _ in range(8):
        gate._schedule.next_ready()
    gate.ask()

    gate.end("trial", held_s=0.01)  # an epoch
    for stage in list(gate._schedule.running):
        gate._schedule.hand_back(stage)
    gate.ask("next")

    assert len(gate.held("next")) == 1


def test_no_worker_starves_for_what_another_one_holds_ahead(gate_of: MakeGate) -> None:
    """At the end of a sweep one worker would have ten stages before it, and the others none."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(9)))
    gate.places.limits = Limits(total=4, cpu_room=4)
    gate.ask()

    gate.end("trial", held_s=0.01)

    assert len(gate.held("trial")) == 2  # of the eight that are left, for four workers


def test_a_worker_stays_while_more_may_become_ready(gate_of: MakeGate) -> None:
    """Behind one long parent all other processes would end, and start again for its children, seconds each."""
    gate = gate_of()
    for idle in gate.hand_out()[2:]:  # all but the parents
        gate.end(idle)
    gate.now = ray_places.IDLE_S
    stays = not gate.told(idle, {"reports": [], "leaving": False})
    gate.now += 1

    assert (stays, gate.told(idle, {"reports": [], "leaving": False})) == (True, True)


def test_a_worker_that_must_leave_is_fed_no_more(gate_of: MakeGate) -> None:
    """Its machine will be gone in seconds."""
    gate = gate_of(Walk(), Walk(seed=1))
    gate.ask()

    key = gate.held("trial")[0]
    is_over = gate.told("trial", {"reports": [Report(key, Status.INTERRUPTED, again_s=0.1)], "leaving": True})

    assert (is_over, len(gate.fed["trial"]), gate.trials) == (True, 1, {})


# Packs.


def test_a_pack_is_as_wide_as_was_asked_for(gate_of: MakeGate) -> None:
    """One more than fits into its memory ends them all."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(9)), gpu_shape=QUARTER, pack_size=4)
    gate.places.limits = Limits(gpu_room=1)

    assert len(gate.ask()) == 4
    gate.end("trial")
    assert len(gate.held("trial")) == 4


def test_few_stages_are_spread_over_all_places(gate_of: MakeGate) -> None:
    """Eight stages in one pack of eight leave the second card empty."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(8)), gpu_shape=QUARTER, pack_size=8)
    gate.places.limits = Limits(gpu_room=2)

    assert [len(gate.ask("a")), len(gate.ask("b"))] == [4, 4]


def test_beside_gpus_a_stage_without_one_has_its_core_to_itself(gate_of: MakeGate) -> None:
    """Packs pay on a card; on a core they only make each stage slower."""
    gate = gate_of(*(Light(seed=seed) for seed in range(4)), gpu_shape=QUARTER, pack_size=4)
    gate.places.limits = Limits(cpu_room=1)

    given = gate.suggest("a")

    assert len(gate.start("a")) == 1
    assert cloudpickle.loads(given["work"])[1].pack_size == 1


def test_stages_whose_shared_worker_died_run_alone_until_they_end(gate_of: MakeGate) -> None:
    """One poisoned stage would take its neighbours with it for ever, and all would count as failed."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(3)), gpu_shape=QUARTER, pack_size=4)
    gate.places.limits = Limits(total=1, gpu_room=1)
    held = gate.ask()

    gate.on_trial_complete("trial", None, error=True)

    assert [len(held), gate.places.suspects] == [3, set(held)]
    assert [len(gate.ask("a")), gate.end("a"), len(gate.held("a"))] == [1, held[0], 1]
    assert (gate._deaths.total(), gate.places.suspects) == (0, set(held[1:]))


def test_stages_that_died_with_their_node_are_no_suspects(gate_of: MakeGate) -> None:
    """Of spot machines one is lost every hour; its stages would run alone for the rest of the sweep."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(3)), gpu_shape=QUARTER, pack_size=4)
    gate.places.limits = Limits(total=1, gpu_room=1)
    held = gate.ask()
    gate.on_trial_complete("trial", None, error=True)

    gate.acquit(held)

    assert len(gate.ask("a")) == 3


def test_stages_that_hung_together_run_alone(gate_of: MakeGate) -> None:
    """Which one hangs is not known; each would be killed again and again for the one that does."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(3)), gpu_shape=QUARTER, pack_size=4)
    gate.places.limits = Limits(total=1, gpu_room=1)
    held = gate.ask()

    gate.settle_hung("trial", 1800.0, "host", held[:2])

    assert (gate.places.suspects, gate.reports) == (set(held[:2]), [])
    assert gate.noted[0]["keys"] == held[:2]


def test_a_pack_that_is_out_of_memory_is_made_narrower(gate_of: MakeGate) -> None:
    """A whole card for one of four stages wastes three quarters of it; the pack was too wide, not the stage."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(8)), gpu_shape=Shape(1, 1.0), pack_size=4)
    gate.places.limits = Limits(total=1, gpu_room=1)
    gate.ask()

    for _ in range(4):
        gate.end("trial", Status.FAILED, out_of_memory=True)

    assert (gate.trials["trial"].shape.gpus, len(gate.held("trial")), gate.reports) == (1, 1, [])


# Shapes.


def test_no_more_is_handed_out_than_the_limits_say(gate_of: MakeGate) -> None:
    """What stands in Ray's queue cannot be overtaken by what is more urgent."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(9)), *(Light(seed=seed) for seed in range(9)), gpu_shape=QUARTER)
    gate.places.limits = Limits(gpu=3, cpu=2, total=99)

    gate.hand_out()

    assert sorted(trial.shape.gpus for trial in gate.trials.values()) == [0, 0, 0.25, 0.25, 0.25]
    gate.places.limits = Limits(gpu=99, cpu=99, total=6)
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
    gate.start("a"), gate.start("b")

    told = {cloudpickle.loads(one["work"])[1].device: one["shape"] for one in given}
    assert told == {"cpu": {"CPU": 1}, None: {"CPU": 1, "GPU": 0.25}}
    assert {one.cpu_only for (one,) in gate.fed.values()} == {True, False}


def test_out_of_memory_is_tried_again_with_twice_the_share(gate_of: MakeGate) -> None:
    """Four stages that share a card may be one too many; a user must not have to find the share by failing nights."""
    gate = gate_of(Walk(), gpu_shape=QUARTER)

    shares = []
    for name in "abc":
        gate.ask(name)
        shares.append(gate.trials[name].shape.gpus)
        key = gate.end(name, Status.FAILED, error="OutOfMemoryError: CUDA", out_of_memory=True, retry=True)

    assert shares == [0.25, 0.5, 1]
    assert [event["again_gpus"] for event in gate.noted] == [0.5, 1, None]
    (report,) = gate.reports
    assert (report.key, report.status) == (key, Status.FAILED)
    assert "it had 1 GPU to itself: take a smaller batch_size" in str(report.error)


def test_stages_alike_get_the_larger_share_at_once(gate_of: MakeGate) -> None:
    """A hundred stages of one size would each waste an attempt."""
    gate = gate_of(*(Walk(seed=seed) for seed in range(3)), gpu_shape=QUARTER)
    gate.places.limits = Limits(gpu=1)

    gate.ask("a")
    gate.end("a", Status.FAILED, out_of_memory=True)
    gate.ask("b")
    gate.end("b")

    assert (gate.trials["b"].shape.gpus, len(gate.held("b"))) == (0.5, 1)


def test_a_stage_that_waits_for_a_whole_gpu_is_not_starved(gate_of: MakeGate) -> None:
    """Ray reserves nothing for it: small ones would slip past it until none is left."""
    gate = gate_of(Heavy(epochs=9), Walk(seed=1), Light(seed=2), gpu_shape=Shape(1, 0.5))
    gate.places.limits = Limits(gpu=1)
    gate.ask("large")
    gate.end("large", Status.FAILED, out_of_memory=True)
    gate.places.limits = Limits()

    large, light, waits = (gate.suggest(name) for name in ("large", "light", "small"))
    gate.start("large")
    small = gate.suggest("small")

    assert (large["shape"]["GPU"], light["shape"], waits, small["shape"]["GPU"]) == (1, {"CPU": 1}, None, 0.5)


def test_a_place_that_is_there_does_not_slip_past_one_that_waits_for_a_whole_gpu(gate_of: MakeGate) -> None:
    """Fed for ever, the small ones never free the card that the large one waits for."""
    gate = gate_of(Walk(seed=1, epochs=99), Heavy(epochs=9), Walk(), gpu_shape=Shape(1, 0.5))
    gate.places.limits = Limits(gpu=3)
    for name in ("urgent", "large", "small"):
        gate.ask(name)
    gate.end("large", Status.FAILED, out_of_memory=True)
    assert gate.suggest("whole")["shape"]["GPU"] == 1
    gate.on_trial_complete("urgent", error=True)

    gate.end("small")

    assert "small" not in gate.trials


# What the watch and Tune tell.


def test_a_hung_stage_is_tried_again_and_given_twice_as_long(gate_of: MakeGate) -> None:
    """Its epochs may just be long; killed at the same point for ever, it would never end."""
    gate = gate_of(Walk(), retries=1)
    gate.ask("a")

    gate.settle_hung("a", 1800.0, "host")
    assert gate.suggest("b") is None
    gate.now = 10.0
    gate.ask("b")

    assert (gate.reports, gate.hang_s("b")) == ([], 2 * Options("t").hang_after_s)
    gate.settle_hung("b", 3600.0, "host")
    assert [(report.status, "see --hang-after" in str(report.error)) for report in gate.reports] == [
        (Status.FAILED, True)
    ]
    assert [event["kind"] for event in gate.noted] == ["hung", "hung"]


def test_what_still_waits_when_a_launch_is_stopped_is_called_off(gate_of: MakeGate) -> None:
    """The machine that it waits for may never come, and Ctrl-C would never end."""
    gate = gate_of(Walk(), Walk(seed=1))
    gate.ask()
    gate.suggest("waits")

    gate._schedule.stop()
    while_one_runs = gate.is_over
    gate.end("trial")

    assert (while_one_runs, gate.is_over) == (False, True)
    assert [report.status for report in gate.reports] == [Status.DONE]


def test_what_a_lost_worker_held_when_a_launch_is_stopped_is_called_off(gate_of: MakeGate) -> None:
    """Ctrl-C would never end if it were handed out again."""
    gate = gate_of(Walk())
    gate.ask()
    gate._schedule.stop()

    gate.settle_all()

    assert ([report.status for report in gate.reports], gate.is_over) == ([Status.INTERRUPTED], True)


def test_a_stage_that_tune_takes_back_waits_again(gate_of: MakeGate) -> None:
    """From a node that is being drained Tune moves trials by itself; a barrier that forgot it would let all pass."""
    gate = gate_of(Heavy(epochs=9), Walk(), gpu_shape=QUARTER)
    gate.places.limits = Limits(gpu=1)
    (key,) = gate.ask("a")

    gate.waits_again("a")

    assert [(event["kind"], event["node"]) for event in gate.noted] == [("worker_died", "node")]
    assert gate.deaths == [(0.0, "node", key)]
    assert (gate.trials["a"].began, gate.suggest("b"), gate.start("a")) == (None, None, [key])
