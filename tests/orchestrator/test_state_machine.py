"""Whatever order plans, runs, failures, deaths, growth, damage and compaction come in, a store equals a dictionary."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator import Stage, Sweep, folder
from orchestrator.errors import SweepError
from orchestrator.store import Store
from orchestrator.table import load
from tests.orchestrator.fake_trainer import MEASURED, Killed, Lab, Walk
from tests.orchestrator.launches import go, stage_keys

LRS, EPOCHS, SEEDS = (0.1, 0.2), (1, 3), (0,)
NOT_COMPARED = {*MEASURED, "host", "continued_from"}
DAMAGES = ("emptied", "cut", "a bit flipped", "another file")
FOLDERS = (
    "weights",
    "weights",
    "stages",
    "epochs",
    "cells",
    "launches/made",
    "merged",
    "points/*",
    "checkpoints/*",
    "running",
)
A_LEASE_LATER_S = 1000.0
values = st.tuples(
    st.lists(st.sampled_from(LRS), min_size=1, unique=True),
    st.lists(st.sampled_from(EPOCHS), min_size=1, unique=True),
    st.lists(st.sampled_from(SEEDS), min_size=1, unique=True),
)
SHARE = st.floats(0, 0.999)
Values = tuple[list[float], list[int], list[int]]


def spoilt(data: bytes, how: str, where: float) -> bytes:
    """`data` after one of `DAMAGES`, at that share of its length."""
    place = int(where * len(data))
    flipped = data[:place] + bytes([byte ^ 1 for byte in data[place : place + 1]]) + data[place + 1 :]
    return {"emptied": b"", "cut": data[:place], "a bit flipped": flipped, "another file": b"PAR1 not ours PAR1"}[how]


def walks(lr: float, epochs: int, seed: int) -> list[Stage]:
    """A walk from the end of another, whose shorter forms lie on its way."""
    first = Stage(Walk(seed=seed, epochs=epochs), extendable=True)
    return [Stage(Walk(lr=lr, start="parent", seed=seed, round=1, epochs=2), first)]


def sweep_of(given: Values) -> Sweep:
    """The sweep of these values, named ``made``."""
    lrs, epochs, seeds = (sorted(each) for each in given)
    return Sweep("made up", {"lr": lrs, "epochs": epochs}, walks, seeds, "made")


@cache
def truth() -> dict[str, Any]:
    """What an undisturbed store holds of every stage that any rule can ask for."""
    with tempfile.TemporaryDirectory() as home:
        store = Store(f"{home}/store")
        go(store, Lab(None), sweep_of(([*LRS], [*EPOCHS], [*SEEDS])), options={})
        found, faults = looked_at(store)
        assert faults == []
        return found


def looked_at(store: Store) -> tuple[dict[str, Any], list[str]]:
    """Every committed stage as a reader sees it, by key, and what is wrong without knowing more."""
    committed = store.committed()
    stages = [row for row in load(store.files, "stages").to_pylist() if row["status"] != "failed"]
    found: dict[str, Any] = {row["key"]: [kept(row), [], None] for row in stages if row["key"] in committed}
    faults = [] if len({row["key"] for row in stages}) == len(stages) else ["a stage has two rows"]
    for row in load(store.files, "epochs").to_pylist():
        if row["key"] in found:
            found[row["key"]][1].append(row)
    for key, parts in found.items():
        with contextlib.suppress(SweepError):  # damaged, and now set aside
            parts[2] = {name: array.tobytes() for name, array in store.load_state(key).items()}
    return found, faults


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row must not depend on what happened."""
    return {name: value for name, value in row.items() if name not in NOT_COMPARED}


@contextlib.contextmanager
def dying_at(step: int) -> Iterator[None]:
    """Let nothing change the folder from this step on, as if the process were dead."""
    count = 0

    def die(what: str, path: Path) -> None:
        nonlocal count
        count += 1
        if count > step:
            raise Killed

    folder.on_step = die
    try:
        yield
    except Killed:
        pass
    finally:
        folder.on_step = folder.nothing


class Stores(RuleBasedStateMachine):
    """One store, and the model: the keys that were asked for, and those that were ever seen committed."""

    @initialize()
    def begin(self) -> None:
        """Make an empty store, on which nobody waits for the disk."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda _: None)
        self.home = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").exists() else None))
        (self.home / "lab").mkdir()
        self.lab, self.store = Lab(self.home / "lab"), Store(str(self.home / "store"))
        self.asked: list[Values] = []
        self.committed: set[str] = set()
        self.is_damaged = False

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.home)

    def launch(self, given: Values) -> None:
        """Launch in this process, in one attempt a stage."""
        options = {"data_root": str(self.lab.folder), "checkpoint_every_s": 0.0, "retries": 0}
        go(self.store, self.lab, sweep_of(given), options=options)

    def ask(self, given: Values) -> None:
        """Remember what was asked for."""
        self.asked = [*(each for each in self.asked if each != given), given]

    def reopen(self) -> None:
        """Look at the store as a new process does, after the dead one's lease has run out."""
        self.store = Store(self.store.root)
        for claim in Path(self.store.root).glob("leases/*"):
            os.utime(claim, (0, claim.stat().st_mtime - A_LEASE_LATER_S))

    @rule(given=values)
    def run(self, given: Values) -> None:
        """A launch that nothing disturbs commits all that it plans."""
        self.ask(given)
        self.launch(given)

        assert self.is_damaged or stage_keys(sweep_of(given)) <= self.store.committed()
        self.committed |= stage_keys(sweep_of(given))

    @rule(given=values, epoch=st.sampled_from(EPOCHS), round_=st.sampled_from([0, 1]))
    def fail(self, given: Values, epoch: int, round_: int) -> None:
        """A trainer raises; what does not hang on it is committed all the same."""
        self.ask(given)
        self.lab.spoil("raise", epoch, round=round_)
        self.launch(given)
        self.lab.mend()

    @rule(given=values, step=st.integers(0, 400))
    def die(self, given: Values, step: int) -> None:
        """The process dies somewhere in its launch."""
        self.ask(given)
        with dying_at(step):
            self.launch(given)
        self.reopen()

    @precondition(lambda self: self.asked)
    @rule()
    def compact(self) -> None:
        """Merge what is small."""
        self.store.compact()

    @precondition(lambda self: self.asked)
    @rule(step=st.integers(0, 80))
    def die_compacting(self, step: int) -> None:
        """The process dies while it merges."""
        with dying_at(step):
            self.store.compact()
        self.reopen()

    @precondition(lambda self: self.asked)
    @rule(folder_=st.sampled_from(FOLDERS), number=st.integers(0, 20), how=st.sampled_from(DAMAGES), where=SHARE)
    def damage(self, folder_: str, number: int, how: str, where: float) -> None:
        """One file is no longer what was written."""
        files = self.files(folder_) or [file for each in FOLDERS for file in self.files(each)]
        if files:
            file = files[number % len(files)]
            file.write_bytes(spoilt(file.read_bytes(), how, where))
            self.is_damaged = True
            self.reopen()

    def files(self, pattern: str) -> list[Path]:
        """Finished files in the folders that fit the pattern."""
        return sorted(path for path in Path(self.store.root).glob(f"{pattern}/[!.]*") if path.is_file())

    @precondition(lambda self: self.asked)
    @rule()
    def resume(self) -> None:
        """All that was ever asked for is there again, whatever happened."""
        looked_at(self.store)  # finds the damage, as any query does
        load(self.store.files, "cells")
        for given in self.asked:
            self.launch(given)
        self.is_damaged = False
        self.committed = set().union(*(stage_keys(sweep_of(given)) for given in self.asked)) | self.committed

        found, _ = looked_at(self.store)
        for key in self.committed:
            assert found[key] == truth()[key]
        cells = {row["key"] for row in load(self.store.files, "cells").to_pylist()}
        assert {trial.stages[0].key for given in self.asked for trial in sweep_of(given).trials()} <= cells

    @invariant()
    def what_is_seen_is_true(self) -> None:
        """No row twice, no row of another value; nothing committed is gone unless a file was damaged."""
        if not hasattr(self, "asked") or not self.asked or not self.store.check_readable():
            return
        found, faults = looked_at(self.store)

        assert faults == []
        for key, (row, epochs, state) in found.items():
            assert row == truth()[key][0]
            assert epochs in (truth()[key][1], *([[]] if self.is_damaged else []))
            assert state in (truth()[key][2], *([None] if self.is_damaged else []))
        assert self.is_damaged or self.committed <= found.keys()
        self.committed |= found.keys()


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=25, stateful_step_count=12, suppress_health_check=list(HealthCheck), print_blob=False
)
