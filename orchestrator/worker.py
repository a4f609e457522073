"""Worker: runs one stage from its start or its checkpoint to its commit, whatever backend asked.

A trainer's exception becomes a failure record in the store and a report; it never ends the worker.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, InterruptedStage, StoreError
from orchestrator.key import canonical_text
from orchestrator.seam import Checkpoint, Outcome, Status
from orchestrator.spec import plain
from orchestrator.stage import Stage, stage_key
from orchestrator.store import Store

if TYPE_CHECKING:
    from orchestrator.seam import State

LONGEST_ERROR = 500  # characters of an error in a table; the whole traceback is a file of its own


def own_version() -> str:
    """Version of warmgrid; "unknown" where its code runs without being installed, as on a cluster's nodes."""
    try:
        return version("warmgrid")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class Options:
    """What cannot change a result and is therefore in no key.

    Attributes:
        launch: Name of this launch; its workers look for a request to stop under it.
        data_root: Folder that data sets are looked for in first.
        device: ``"cpu"``, ``"cuda"``, or None to take CUDA where there is one.
        checkpoint_every_s: Seconds of a stage between two resume points, at ends of epochs.
        pack_size: How many stages train at once in this process; recorded with the result.
        warmgrid_version: Of the driver, whose code its workers run; recorded with the result.
    """

    launch: str
    data_root: str | None = None
    device: str | None = None
    checkpoint_every_s: float = 60.0
    pack_size: int = 1
    warmgrid_version: str = field(default_factory=own_version)


@dataclass(frozen=True)
class Handout:
    """A stage on its way to a worker: its config and keys, without the chain of its ancestors.

    Attributes:
        trajectory: As `Stage.trajectory`.
        extendable: As `Stage.extendable`.
    """

    key: str
    config: Any
    parent_key: str | None
    trajectory: tuple[str, int] | None = None
    extendable: bool = False

    @classmethod
    def of(cls, stage: Stage) -> Handout:
        """What a worker needs of `stage`."""
        parent_key = stage.parent.key if stage.parent else None
        return cls(stage.key, stage.config, parent_key, stage.trajectory, stage.extendable)


@dataclass(frozen=True)
class Report:
    """What a worker says of one stage when it lets go of it.

    Attributes:
        row: The stage's row of the table `stages`; {} for an interrupted one.
        error: Last line of the traceback of a failed one.
    """

    key: str
    status: Status
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


class StageIO:
    """The `orchestrator.seam.StageIO` of one stage, on top of the store."""

    def __init__(self, handout: Handout, store: Store, options: Options, facts: dict[str, Any]) -> None:
        """`facts` is what the store says of the running stage; kept up to date at checkpoints."""
        self.data_root = options.data_root
        self.device = options.device
        self._handout, self._store, self._options, self._facts = handout, store, options, facts
        self._earlier_s = float(facts["wall_seconds"])
        self.start_clock()

    def start_clock(self) -> None:
        """Begin to count this attempt's seconds; what a process loads before its first stage is nobody's."""
        self._began = self._saved = time.monotonic()

    @property
    def wall_seconds(self) -> float:
        """Seconds that this stage held a worker, earlier attempts up to their last checkpoint included."""
        return self._earlier_s + time.monotonic() - self._began

    def parent_state(self) -> State | None:
        """Final state of the parent stage, or None without a parent."""
        return self._store.load_state(self._handout.parent_key) if self._handout.parent_key else None

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest sound resume point, of this stage or on its way; None to start from nothing."""
        found = self._store.resume_point(self._handout.key, self._handout.trajectory)
        if found is None:
            return None
        checkpoint, continued_from = found
        own_end = self._handout.trajectory and self._handout.trajectory[1]
        if continued_from is not None and continued_from != own_end:  # its own end: it died just before its commit
            self._facts["continued_from"] = continued_from
        return checkpoint

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """Save a resume point if one is due or the launch was asked to stop."""
        key, epoch = self._handout.key, int(row["epoch"])
        self._facts["epoch"] = epoch
        stop = self._store.is_stop_requested(self._options.launch)
        if not stop and time.monotonic() - self._saved < self._options.checkpoint_every_s:
            return
        self._store.save_checkpoint(key, epoch, checkpoint())
        self._facts["wall_seconds"] = self.wall_seconds
        self._store.note_running(key, self._facts)
        self._saved = time.monotonic()
        if stop:
            raise InterruptedStage(f"stage {key} stopped after epoch {epoch}")


def run_stage(handout: Handout, store: Store, options: Options) -> Report:
    """Train one stage and commit it, or record why not; raises nothing that concerns this stage alone.

    A stage that another worker holds is waited for; what it then committed is reported as done.
    """
    key = handout.key
    try:
        with store.lock(key, give_up=lambda: store.is_stop_requested(options.launch)) as is_ours:
            if not is_ours:
                return Report(key, Status.INTERRUPTED)
            if store.is_committed(key) and store.is_startable(key) and (row := store.find_row(key)):
                return Report(key, Status(row["status"]), row)
            return attempt(handout, store, options)
    except InterruptedStage:
        return Report(key, Status.INTERRUPTED)
    except StoreError as error:  # the store cannot even be told that the attempt begins
        return Report(key, Status.FAILED, known_columns(handout), one_line(error))


def attempt(handout: Handout, store: Store, options: Options) -> Report:
    """Train the stage, whose lock is held, from its start or its last checkpoint.

    Raises:
        InterruptedStage: it was asked to stop, and has saved its checkpoint.
        StoreError: the store cannot be written.
    """
    facts = begin(handout.key, store)
    io = StageIO(handout, store, options, facts)
    try:
        check_key(handout)
        trainer = load_trainer(handout.config.trainer)
        io.start_clock()
        outcome = checked(trainer(handout.config, io), handout.config.trainer)
        row = committed_row(handout, outcome, provenance(handout, facts, options, io.wall_seconds))
        if handout.extendable and handout.trajectory is not None and outcome.resume_point is not None:
            store.save_point(handout.trajectory[0], len(outcome.epochs), outcome.resume_point())
        stored = store.commit(handout.key, row, outcome.epochs, outcome.state)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a trainer raises is recorded
        row = failed_row(handout, facts, options, io.wall_seconds, one_line(error))
        return failed_report(handout.key, store, row, traceback.format_exc())
    return Report(handout.key, Status(stored["status"]), stored)


def begin(key: str, store: Store) -> dict[str, Any]:
    """Note in the store that an attempt begins; what it says goes on from the attempts before."""
    before = {**first_facts(), **store.running(key)}
    facts = {**before, "attempts": int(before["attempts"]) + 1, "host": socket.gethostname(), "pid": os.getpid()}
    store.note_running(key, facts)
    return facts


def first_facts() -> dict[str, Any]:
    """What the store says of a stage that nobody has begun yet."""
    now = datetime.now(UTC).isoformat()
    return {"attempts": 0, "started_at": now, "wall_seconds": 0.0, "epoch": None, "host": None, "pid": None}


def lost_report(handout: Handout, store: Store, options: Options, why: str) -> Report:
    """Record and report, from the driver, a stage whose workers died without a word; a committed one is done.

    A worker that only seemed dead still holds the stage's lock: its commit is found by the next launch.
    """
    key = handout.key
    try:
        with store.lock(key, give_up=lambda: True) as is_ours:
            if store.is_committed(key) and (row := store.find_row(key)):
                return Report(key, Status(row["status"]), row)
            if is_ours:
                facts = {**first_facts(), **store.running(key)}
                row = failed_row(handout, facts, options, float(facts["wall_seconds"]), why)
                return failed_report(key, store, row, f"{why}\n")
    except StoreError as error:
        why = f"{why} (and the store has no record of it: {one_line(error)})"
    return Report(key, Status.FAILED, known_columns(handout), why)


def failed_report(key: str, store: Store, row: dict[str, Any], traceback_text: str) -> Report:
    """Record a failure and report it; a store that is full cannot hide the error behind its own."""
    error = str(row["error"])
    try:
        store.record_failure(key, row, traceback_text)
    except StoreError as unwritten:
        error = f"{error} (and the store has no record of it: {one_line(unwritten)})"
    return Report(key, Status.FAILED, row, error)


def one_line(error: BaseException) -> str:
    """`error` as the end of its traceback says it, on one line of at most LONGEST_ERROR characters."""
    text = " ".join(" ".join(traceback.format_exception_only(error)).split())
    text = text.encode(errors="replace").decode()  # half of a surrogate pair fits into no table
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."


def check_key(handout: Handout) -> None:
    """Make sure that this process would give the stage the key that the plan gave it.

    Raises:
        ConfigError: it would not: a user's data file changed meanwhile, or the code here is another version.
    """
    here = stage_key(handout.config, handout.parent_key)
    if here != handout.key:
        raise ConfigError(
            f"stage {handout.key} would be {here} on this worker: its data file was changed since the launch began, "
            f"or the worker has other code than the driver. Launch again once both are the same everywhere."
        )


def load_trainer(path: str) -> Callable[[Any, Any], Outcome]:
    """The function at the dotted path ``package.module:function``."""
    module, _, function = path.partition(":")
    trainer: Callable[[Any, Any], Outcome] = getattr(importlib.import_module(module), function)
    return trainer


def known_columns(handout: Handout) -> dict[str, Any]:
    """Every column of the table `stages`: the config's where it gives a fitting value, else null."""
    from orchestrator.schema import STAGES, value_faults

    given = handout.config.stage_columns()
    known = {column.name: given.get(column.name) for column in STAGES}
    return {c.name: None if value_faults(c, plain(known[c.name])) else known[c.name] for c in STAGES}


def provenance(handout: Handout, facts: Mapping[str, Any], options: Options, wall_seconds: float) -> dict[str, Any]:
    """The columns of the table `stages` that do not come from the outcome; the measured ones null."""
    config = handout.config
    return {
        **known_columns(handout),
        "key": handout.key,
        "parent": handout.parent_key,
        "trainer": config.trainer,
        "version": config.version,
        "config": canonical_text(config),
        "host": facts["host"],
        "pack_size": options.pack_size,
        "attempts": facts["attempts"],
        "continued_from": facts.get("continued_from"),
        "wall_seconds": wall_seconds,
        "started_at": datetime.fromisoformat(facts["started_at"]),
        "finished_at": datetime.now(UTC),
        "warmgrid_version": options.warmgrid_version,
    }


def checked(outcome: object, trainer: str) -> Outcome:
    """`outcome` of a trainer, if it is one that can be committed."""
    if isinstance(outcome, Outcome) and outcome.status.is_final:
        return outcome
    raise ConfigError(
        f"{trainer} gave back {outcome!r:.200}. A trainer gives back an Outcome that is done or diverged."
    )


def failed_row(
    handout: Handout, facts: Mapping[str, Any], options: Options, wall_seconds: float, error: str
) -> dict[str, Any]:
    """The row of the table `stages` of an attempt that failed."""
    ended = {"status": str(Status.FAILED), "error": error, "epochs": facts["epoch"]}
    return {**provenance(handout, facts, options, wall_seconds), **ended}


def committed_row(handout: Handout, outcome: Outcome, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the table `stages` of a stage that ended by its own rule.

    Raises:
        ConfigError: the trainer measured what the config or the worker decides.
    """
    measured = {**outcome.metrics, **outcome.versions}
    if decided := [name for name in measured if provenance.get(name) is not None]:
        raise ConfigError(f"{handout.config.trainer} measured {', '.join(decided)}, which is decided before it begins.")
    ended = {"status": str(outcome.status), "stop_reason": outcome.stop_reason, "device": outcome.device}
    return {**provenance, **handout.config.stage_columns(), **measured, **ended}
