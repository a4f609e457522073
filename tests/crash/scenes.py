"""What processes die in: launches and compactions of small stores, and what must be seen after; no test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import Stage, Sweep
from orchestrator.errors import SweepError
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.table import load
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import MEASURED, Lab, Walk, names_of
from tests.orchestrator.launches import Watch, go

Told = Callable[[str], None]
LEAVES_NOTHING = ("running/", "checkpoints/", "failures/", "tracebacks/", "leases/", "stop/")


def chain(lr: float, seed: int, epochs: int = 3) -> list[Stage]:
    """A walk, and one of a third of its length from its end, which is kept for longer ones."""
    first = Stage(Walk(lr=lr, seed=seed, epochs=epochs), extendable=True)
    return [Stage(Walk(lr=lr, start="parent", seed=seed, round=1, epochs=epochs // 3), first)]


def chains(*lr: float) -> Sweep:
    """A sweep of two stages for each `lr`."""
    return Sweep("made up", {"lr": list(lr)}, chain, [0], "made")


@dataclass(frozen=True)
class Scene:
    """Something that a process does to a store, and may die in.

    Attributes:
        sweep: What is launched, and whose rows must be there in the end.
        before: Makes the store in which it is done.
        act: Does it; tells the key of each stage that it reports as committed.
        is_damaged: Whether the store is damaged before, so that a reader sees less than whole stages.
    """

    sweep: Sweep
    before: Callable[[Store, Lab], None]
    act: Callable[[Store, Lab, Told], None]
    is_damaged: bool = False


def launched(sweep: Sweep, **options: Any) -> Callable[..., None]:
    """Launch `sweep` to its end."""

    def act(store: Store, lab: Lab, told: Told = lambda _: None) -> None:
        given = {"data_root": str(lab.folder), "checkpoint_every_s": 0.0, "retries": 0, **options}
        go(store, lab, sweep, Telling(told), options=given)

    return act


class Telling(Watch):
    """Tells the keys of the stages that are reported as committed."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def report(self, report: Report, blocked: Sequence[str]) -> None:
        if report.status.is_final:
            self._told(report.key)


def nothing(store: Store, lab: Lab) -> None:
    """An empty store."""


def first_stage_done_then_spoilt(store: Store, lab: Lab) -> None:
    """The parents are committed, and their children will raise."""
    lab.spoil("raise", 1, round=1)
    for trial in ONE.trials():
        commit(trial.stages[0].parent, store, lab)


def commit(stage: Stage, store: Store, lab: Lab) -> None:
    """Run one stage outside of any launch."""
    from tests.orchestrator.fake_trainer import run

    store.check_format()
    assert run(stage, store, lab).status is Status.DONE


def damaged(store: Store, lab: Lab) -> None:
    """All was committed; of the first stage the weights were lost, of the second the epochs."""
    launched(ONE)(store, lab)
    first, second = ONE.trials()[0].stages[0].lineage()
    store.files.delete(f"weights/{first.key}.safetensors")
    store.files.delete(f"epochs/{second.key}.parquet")


def compacted_and_grown(store: Store, lab: Lab) -> None:
    """Two cells are in merged files, a third one is not."""
    launched(chains(0.1, 0.2))(store, lab)
    store.compact()
    launched(THREE)(store, lab)


def compact(store: Store, lab: Lab, told: Told = lambda _: None) -> None:
    """Merge the small files."""
    store.compact()


ONE, THREE = chains(0.1), chains(0.1, 0.2, 0.3)
SCENES = {
    "a launch": Scene(ONE, nothing, launched(ONE)),
    "a failure": Scene(ONE, first_stage_done_then_spoilt, launched(ONE)),
    "a repair": Scene(ONE, damaged, launched(ONE), is_damaged=True),
    "a compaction": Scene(THREE, launched(THREE), compact),
    "a second compaction": Scene(THREE, compacted_and_grown, compact),
}


def content(store: Store) -> dict[str, Any]:
    """All rows of all tables but what no two attempts have in common, and the weights' bytes."""
    stages, epochs, cells = (load(store.files, name).to_pylist() for name in ("stages", "epochs", "cells"))
    found: dict[str, Any] = {
        "stages": sorted(repr({name: row[name] for name in row if name not in (*MEASURED, "host")}) for row in stages),
        "epochs": sorted(map(repr, epochs)),
        "cells": sorted(map(repr, cells)),
    }
    return found | {row["key"]: store.files.read(f"weights/{row['key']}.safetensors").hex() for row in stages}


def seen(store: Store, reference: Mapping[str, Any], told: Sequence[str]) -> list[str]:
    """What is wrong with what a reader sees now: each stage whole or not at all, those `told` of whole."""
    faults = []
    committed = store.committed()
    stages = load(store.files, "stages").to_pylist()
    rows = {row["key"]: row for row in stages if row["status"] != "failed"}
    if len({row["key"] for row in stages}) != len(stages):
        faults.append("a stage has two rows")
    if committed != rows.keys():
        faults.append(f"committed: {sorted(committed)}, rows: {sorted(rows)}")
    if lost := set(told) - committed:
        faults.append(f"lost: {sorted(lost)}")
    epochs = load(store.files, "epochs").to_pylist()
    for key, row in rows.items():
        own = [repr(epoch) for epoch in epochs if epoch["key"] == key]
        if sorted(own) != [text for text in reference["epochs"] if repr(key) in text]:
            faults.append(f"{key}: {len(own)} epochs, not those of an undisturbed run")
        if repr({name: row[name] for name in row if name not in (*MEASURED, "host")}) not in reference["stages"]:
            faults.append(f"{key}: another row than of an undisturbed run")
        try:
            store.load_state(key)
        except SweepError as error:
            faults.append(f"{key}: {error}")
    return faults


def left_over(store: Store) -> list[str]:
    """Files that nobody needs once all is committed."""
    return [name for name in names_of(store) if name.startswith(LEAVES_NOTHING) or "/." in f"/{name}"]


def recovered(
    scene: Scene, root: Path, lab: Lab, reference: Mapping[str, Any], told: Sequence[str], litter: Sequence[str] = ()
) -> list[str]:
    """What is wrong after the sweep was launched again: as undisturbed, nothing left over, nothing trained twice.

    Args:
        litter: Beginnings of names that may be left over.
    """
    store = Store(str(root))
    launched(scene.sweep)(store, lab)
    if scene.act is compact:
        compact(store, lab)
    faults = [f"{name} differ in the end" for name, value in content(store).items() if reference.get(name) != value]
    left = [name for name in left_over(store) if not name.startswith(tuple(litter))]
    again = {
        stage.key
        for trial in scene.sweep.trials()
        for one in trial.stages
        for stage in one.lineage()
        if stage.key in told and str(stage.config) in lab.trained
    }
    return faults + [f"left over: {name}" for name in left] + [f"trained twice: {key}" for key in sorted(again)]
