"""Stages of one pack train by turns and end as they do alone, whatever becomes of the others."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Stage, Store
from orchestrator.backend import InProcessBackend
from orchestrator.pack import Pack
from orchestrator.schedule import Schedule
from orchestrator.seam import Status
from orchestrator.stage_log import StageLog
from orchestrator.worker import Handout, Options, Report, StageIO
from tests.orchestrator import turns_trainer
from tests.orchestrator.fake_trainer import Killed, Lab, Walk, result
from tests.orchestrator.turns_trainer import Stroll

MakePack = Callable[..., Pack]


@pytest.fixture
def pack_of(store: Store, lab: Lab) -> Iterator[MakePack]:
    """Makes a pack of these configs, two at a time."""
    turns_trainer.taken.clear()
    with contextlib.ExitStack() as made:

        def make(*configs: Walk, width: int = 2) -> Pack:
            options = Options("t", str(lab.folder), checkpoint_every_s=0.0, pack_size=width)
            pack = made.enter_context(contextlib.closing(Pack(store, options, width)))
            pack.add([Handout.of(Stage(config)) for config in configs])
            return pack

        yield make


def ended(pack: Pack) -> list[Report]:
    """The reports of all stages, once all have ended."""
    reports = []
    while not pack.is_empty:
        reports += pack.turn()
    return reports


def strolls(count: int, **facts: Any) -> list[Stroll]:
    """So many configs, each with its own seed."""
    return [Stroll(seed=seed, **facts) for seed in range(count)]


def test_stages_take_turns(pack_of: MakePack) -> None:
    """One after the other they would leave a card idle most of the time."""
    ended(pack_of(*strolls(2)))

    assert turns_trainer.taken == [(seed, epoch) for epoch in (1, 2, 3) for seed in (0, 1)]


def test_the_next_stage_takes_the_place_of_one_that_ended_at_once(pack_of: MakePack) -> None:
    """In a pack that waits for its longest stage most places are empty most of the time."""
    ended(pack_of(Stroll(epochs=1), Stroll(seed=1, epochs=4), Stroll(seed=2, epochs=2)))

    assert turns_trainer.taken == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (1, 4), (2, 2)]


def test_a_pack_has_the_bits_of_stages_alone(pack_of: MakePack, store: Store, tmp_path: Path) -> None:
    """What stood beside a stage must not show in any number."""
    ended(pack_of(*strolls(3)))
    alone = Store(str(tmp_path / "alone"))
    for config in strolls(3):
        run_alone(config, alone)

    for config in strolls(3):
        key = Stage(config).key
        packed, single = result(store, key), result(alone, key)
        assert (packed[2].pop("pack_size"), single[2].pop("pack_size")) == (2, 1)
        assert packed == single


def run_alone(config: Walk, store: Store) -> None:
    """Run one stage in a pack of its own."""
    pack = Pack(store, Options("t"), 1)
    pack.add([Handout.of(Stage(config))])
    ended(pack)


@pytest.mark.parametrize(
    ("does", "status"), [("raise", Status.FAILED), ("exit", Status.FAILED), ("diverge", Status.DIVERGED)]
)
def test_what_goes_wrong_in_one_stage_touches_no_other(
    pack_of: MakePack, store: Store, lab: Lab, does: str, status: Status
) -> None:
    """One learning rate too high must not cost the other thirty-one."""
    lab.spoil(does, epoch=2, seed=0)

    reports = ended(pack_of(*strolls(3)))

    assert {report.key: report.status for report in reports} == {
        Stage(config).key: status if config.seed == 0 else Status.DONE for config in strolls(3)
    }


def test_a_stop_saves_checkpoints_of_all_and_begins_none(pack_of: MakePack, store: Store) -> None:
    """Ctrl-C must not wait for whatever else was handed out."""
    with store.stoppable("t"):
        store.request_stop("t")
        reports = ended(pack_of(*strolls(3)))

    assert [(report.status, report.again_s) for report in reports] == [(Status.INTERRUPTED, None)] * 3
    assert turns_trainer.taken == [(0, 1), (1, 1)]


def test_a_pack_goes_on_from_checkpoints(pack_of: MakePack, store: Store) -> None:
    """A worker that is taken away takes the epochs of all its stages along."""
    with store.stoppable("t"):
        store.request_stop("t")
        ended(pack_of(*strolls(2)))
    turns_trainer.taken.clear()

    ended(pack_of(*strolls(2)))

    assert turns_trainer.taken == [(0, 2), (1, 2), (0, 3), (1, 3)]


def test_each_stage_has_its_own_lines_in_its_log(pack_of: MakePack, store: Store) -> None:
    """A warning about one stage in the log of another one sends its reader the wrong way."""
    before = (logging.getLogger().level, list(logging.getLogger().handlers))
    ended(pack_of(*strolls(2)))

    for config in strolls(2):
        lines = [line for line in store.log_lines(Stage(config).key) if "some.library" in line]
        assert [line[-15:] for line in lines] == [f"seed {config.seed}, epoch {epoch}" for epoch in (1, 2, 3)]
    assert (logging.getLogger().level, logging.getLogger().handlers) == before


def test_a_trainer_that_never_gives_way_runs_in_one_piece(pack_of: MakePack) -> None:
    """A user's own trainer knows nothing of packs."""
    reports = ended(pack_of(Walk(), Walk(seed=1)))

    assert [report.status for report in reports] == [Status.DONE] * 2


def test_a_pack_that_is_closed_gives_its_leases_back(pack_of: MakePack, store: Store) -> None:
    """After a second Ctrl-C the next launch would wait a minute for each of its stages."""
    pack = pack_of(*strolls(2))
    pack.turn()
    held = store.held()

    pack.close()

    assert (len(held), store.held()) == (2, set())


def test_a_pack_in_this_process_runs_a_tree(store: Store, lab: Lab) -> None:
    """The debugger's backend must be able to show what goes wrong in a pack."""
    turns_trainer.taken.clear()
    parent = Stage(Stroll())
    stages = [parent, *(Stage(Stroll(seed=seed, round=1), parent) for seed in (1, 2))]
    schedule, reports = Schedule(stages, lambda stage: stage.config.work()), []
    options = Options("t", str(lab.folder), pack_size=2)

    InProcessBackend().run(schedule, store, options, lambda report, _: reports.append(report))

    assert [report.status for report in reports] == [Status.DONE] * 3
    assert turns_trainer.taken == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]


def test_the_end_of_a_process_gives_the_leases_of_its_pack_back(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C ends the driver in the middle of a turn."""

    def kill(config: Walk, epoch: int) -> None:
        if config.seed:
            raise Killed

    monkeypatch.setattr(turns_trainer, "after_epoch", kill)
    schedule = Schedule([Stage(config) for config in strolls(2)], lambda stage: stage.config.work())

    with pytest.raises(Killed):
        InProcessBackend().run(schedule, store, Options("t", str(lab.folder), pack_size=2), lambda *_: None)

    assert store.held() == set()


def test_a_stage_that_needs_no_gpu_takes_none(store: Store) -> None:
    """It would take CUDA where there is one, beside the stages that the card was promised to."""
    facts = {"wall_seconds": 0.0}
    handouts = [Handout("key", Walk(), None, cpu_only=cpu_only) for cpu_only in (True, False)]

    devices = [StageIO(one, store, Options("t", device="cuda"), None, facts, StageLog()).device for one in handouts]

    assert devices == ["cpu", "cuda"]
