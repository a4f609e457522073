"""Worker: runs one stage from its start or its checkpoint to its commit, whatever backend asked.

A trainer's exception becomes a failure record in the store and a report; it never ends the worker.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, InterruptedStage, LeaseLost, StoreError, SweepError
from orchestrator.files import log
from orchestrator.record import checked, committed_row, failed_row, known_columns, one_line, provenance
from orchestrator.seam import Checkpoint, Status
from orchestrator.spec import plain
from orchestrator.stage import Stage, stage_key, turns_path
from orchestrator.stage_log import StageLog, kept_log
from orchestrator.store import Store
from orchestrator.trainer import is_out_of_memory, load_trainer, may_pass

if TYPE_CHECKING:
    from orchestrator.lease import Lease
    from orchestrator.seam import Outcome, State, Turns

HELD_S = 1.0  # before a stage that another worker holds is looked at again
ELSEWHERE_S = 0.1  # before a stage is handed out again whose worker must leave
LOOK_EVERY_S = 1.0  # for a request to stop, where each look is a request over a network
LEAVING = threading.Event()  # set where this process was asked to end


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
        cuda_graphs: Whether steps on CUDA are captured once and launched again as one graph.
        retries: How often a stage that raised is tried again in this launch.
        hang_after_s: Seconds without an epoch's end after which a worker counts as hung.
        sweep: Name of the sweep, which events are noted under.
        warmgrid_version: Of the driver, whose code its workers run; recorded with the result.
    """

    launch: str
    data_root: str | None = None
    device: str | None = None
    checkpoint_every_s: float = 60.0
    pack_size: int = 1
    cuda_graphs: bool = False
    retries: int = 2
    hang_after_s: float = 1800.0
    sweep: str = ""
    warmgrid_version: str = field(default_factory=own_version)


@dataclass(frozen=True)
class Handout:
    """A stage on its way to a worker: its config and keys, without the chain of its ancestors.

    Attributes:
        trajectory: As `Stage.trajectory`.
        extendable: As `Stage.extendable`.
        cpu_only: As `Stage.cpu_only`.
    """

    key: str
    config: Any
    parent_key: str | None
    trajectory: tuple[str, int] | None = None
    extendable: bool = False
    cpu_only: bool = False

    @classmethod
    def of(cls, stage: Stage) -> Handout:
        """What a worker needs of `stage`."""
        parent_key = stage.parent.key if stage.parent else None
        return cls(stage.key, stage.config, parent_key, stage.trajectory, stage.extendable, stage.cpu_only)


@dataclass(frozen=True)
class Report:
    """What a worker says of one stage when it lets go of it.

    Attributes:
        row: The stage's row of the table `stages`; {} for an interrupted one.
        error: Last line of the traceback of a failed one.
        again_s: Of an interrupted one that can go on elsewhere or later: hand it out again, not before these
            seconds; None if the launch was asked to stop.
        retry: Whether a failed one may do better if it is tried again: so for all but an ImportError and a
            SweepError, which says what is wrong; unless that is a store that is away or full.
        out_of_memory: Whether it failed for want of memory on its device.
        held_s: Seconds that it had a place in its worker, from its first turn to its commit.
    """

    key: str
    status: Status
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    again_s: float | None = None
    retry: bool = False
    out_of_memory: bool = False
    held_s: float = 0.0


class StageIO:
    """The `orchestrator.seam.StageIO` of one stage, on top of the store."""

    def __init__(
        self, handout: Handout, store: Store, options: Options, lease: Lease, facts: dict[str, Any], told: StageLog
    ) -> None:
        """`facts` is what the store says of the running stage; kept up to date at checkpoints. `told` is its log."""
        self.data_root = options.data_root
        self.device = "cpu" if handout.cpu_only else options.device
        self.cuda_graphs = options.cuda_graphs
        self._handout, self._store, self._options, self._lease, self._facts = handout, store, options, lease, facts
        self._told = told
        self._looked_for_stop = -math.inf
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
        if self._handout.parent_key is None:
            return None
        self._told.say(f"reads the final state of its parent, stage {self._handout.parent_key}")
        return self._store.load_state(self._handout.parent_key)

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest sound resume point, of this stage or on its way; None to start from nothing."""
        found = self._store.resume_point(self._handout.key, self._handout.trajectory)
        if found is None:
            return None
        checkpoint, continued_from = found
        made = "its own checkpoint" if continued_from is None else f"the end of a stage of {continued_from} epochs"
        self._told.say(f"goes on from {made}")
        own_end = self._handout.trajectory and self._handout.trajectory[1]
        if continued_from is not None and continued_from != own_end:  # its own end: it died just before its commit
            self._facts["continued_from"] = continued_from
        return checkpoint

    def end_epoch(self, row: Mapping[str, Any], checkpoint: Callable[[], Checkpoint]) -> None:
        """Save a resume point if one is due or the worker was asked to stop.

        Raises:
            InterruptedStage: it was.
            LeaseLost: another worker has taken the stage over; nothing was saved.
        """
        key, epoch = self._handout.key, int(row["epoch"])
        self._facts["epoch"] = epoch
        self._told.end_epoch(row)
        stop = self._is_asked_to_stop()
        is_due = stop or time.monotonic() - self._saved >= self._options.checkpoint_every_s
        self._lease.check(sure=is_due)
        if not is_due:
            return
        self._store.save_checkpoint(key, epoch, checkpoint())
        self._told.say(f"checkpoint after epoch {epoch}")
        self._facts |= {"wall_seconds": self.wall_seconds, "noted_at": now_text()}
        self._store.note_running(key, self._facts)
        self._saved = time.monotonic()
        if stop:
            raise InterruptedStage(f"stage {key} stopped after epoch {epoch}")

    def _is_asked_to_stop(self) -> bool:
        """Whether this process or the launch was; a store behind a network is not asked at each of many epochs."""
        if LEAVING.is_set():
            return True
        if "://" in self._store.root:
            if (now := time.monotonic()) - self._looked_for_stop < LOOK_EVERY_S:
                return False
            self._looked_for_stop = now
        return self._store.is_stop_requested(self._options.launch)


def leave_on_sigterm() -> None:
    """Let SIGTERM, which the processes of a preempted node get, stop this worker's stage at the end of its epoch.

    The stage's report asks to hand it out again, elsewhere, and the process takes no other stage. To be called
    in the main thread of a worker's own process; a driver has `orchestrator.launch.stop_on_signal`.
    """
    signal.signal(signal.SIGTERM, lambda _signum, _frame: LEAVING.set())


def run_stage(handout: Handout, store: Store, options: Options) -> Report:
    """Train one stage and commit it, or record why not; as `stage_turns`, all turns at once."""
    return copy_context().run(all_of, stage_turns(handout, store, options))


def all_of(turns: Generator[bool, None, Report]) -> Report:
    """Take all turns of a stage."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            report: Report = end.value
            return report


def stage_turns(handout: Handout, store: Store, options: Options) -> Generator[bool, None, Report]:
    """Train one stage by turns and commit it, or record why not; raises nothing that concerns this stage alone.

    A stage that another worker holds is not waited for: its report says when to look at it again. Every turn is to be
    taken in one `contextvars.Context`, by which the stage's log knows its lines. Yields as `orchestrator.seam.Turns`.
    """
    key = handout.key
    try:
        return (yield from held(handout, store, options))
    except InterruptedStage:
        if LEAVING.is_set():
            store.note_event(
                "handed_back", key=key, launch=options.launch, sweep=options.sweep, name=socket.gethostname()
            )
        return Report(key, Status.INTERRUPTED, again_s=ELSEWHERE_S if LEAVING.is_set() else None)
    except LeaseLost as lost:
        log.warning("stage %s: %s. Nothing more was written.", key, lost)
        store.note_event("lease lost", key=key, launch=options.launch, sweep=options.sweep, host=socket.gethostname())
        return Report(key, Status.INTERRUPTED, again_s=HELD_S)
    except SweepError as error:  # the store cannot even be told that the attempt begins, or there is none for this node
        return Report(key, Status.FAILED, known_columns(handout), one_line(error), retry=may_pass(error))


def held(handout: Handout, store: Store, options: Options) -> Generator[bool, None, Report]:
    """Train the stage under its lease, unless it is committed; without the lease, ask to look again later.

    Raises:
        InterruptedStage, LeaseLost, StoreError: as `attempt`.
    """
    if LEAVING.is_set():
        raise InterruptedStage(f"stage {handout.key} not begun: its worker must leave")
    with store.lock(handout.key) as lease:
        if lease is None:
            return Report(handout.key, Status.INTERRUPTED, again_s=HELD_S)
        if report := committed_report(handout.key, store):
            return report
        return (yield from attempt(handout, store, options, lease))


def committed_report(key: str, store: Store) -> Report | None:
    """The report of a stage that is committed, whoever trained it; None if it is not, or is to be repaired."""
    row = store.find_row(key) if store.is_startable(key) and store.is_committed(key) else None
    return None if row is None else Report(key, Status(row["status"]), row)


def attempt(handout: Handout, store: Store, options: Options, lease: Lease) -> Generator[bool, None, Report]:
    """Train the stage, whose lease is held, from its start or its last checkpoint.

    Raises:
        InterruptedStage: it was asked to stop, and has saved its checkpoint.
        LeaseLost: another worker has taken the stage over; nothing was written since.
        StoreError: the store cannot be written.
    """
    facts = begin(handout, store)
    with kept_log(store, handout.key, attempts=int(facts["attempts"])) as told:
        told.say(f"attempt {facts['attempts']} begins, process {facts['pid']} on {facts['host']}: {handout.config}")
        report = yield from trained(handout, store, options, lease, facts, told)
        row, error = report.row, f": {report.error}" if report.error else ""
        epochs = "" if row["epochs"] is None else f"{row['epochs']} epochs, "
        told.say(f"{report.status} after {epochs}{row['wall_seconds']:.1f} s{error}")
    return report


def trained(
    handout: Handout, store: Store, options: Options, lease: Lease, facts: dict[str, Any], told: StageLog
) -> Generator[bool, None, Report]:
    """Train the stage and commit it, or record its failure; raises what `attempt` does."""
    io = StageIO(handout, store, options, lease, facts, told)
    try:
        check_key(handout)
        outcome = checked((yield from turns_of(handout.config, io, options)), handout.config.trainer)
        row = committed_row(handout, outcome, provenance(handout, facts, options, io.wall_seconds))
        lease.check(sure=True)
        if handout.extendable and handout.trajectory is not None and outcome.resume_point is not None:
            store.save_point(handout.trajectory[0], len(outcome.epochs), outcome.resume_point())
        stored = store.commit(handout.key, row, outcome.epochs, outcome.state)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a trainer raises is recorded
        row = failed_row(handout, facts, options, io.wall_seconds, one_line(error))
        report = failed_report(handout.key, store, lease, row, traceback.format_exc())
        return replace(report, retry=may_pass(error), out_of_memory=is_out_of_memory(error))
    return Report(handout.key, Status(stored["status"]), stored)


def turns_of(config: Any, io: StageIO, options: Options) -> Turns:
    """The trainer's turns; all in one where it knows none, or the stage has its process to itself."""
    by_turns = turns_path(config) if options.pack_size > 1 else None
    trainer = load_trainer(by_turns or config.trainer)
    io.start_clock()
    outcome: Outcome = (yield from trainer(config, io)) if by_turns else trainer(config, io)
    return outcome


def begin(handout: Handout, store: Store) -> dict[str, Any]:
    """Note in the store that an attempt begins; what it says goes on from the attempts before.

    The stage's settings are in it, so that whoever looks at a running stage need not plan its sweep again.
    """
    before = {**first_facts(), **store.running(handout.key)}
    columns = {name: plain(value) for name, value in known_columns(handout).items() if value is not None}
    own = {"parent": handout.parent_key, "columns": columns, "host": socket.gethostname(), "pid": os.getpid()}
    facts = {**before, **own, "attempts": int(before["attempts"]) + 1, "noted_at": now_text()}
    store.note_running(handout.key, facts)
    return facts


def first_facts() -> dict[str, Any]:
    """What the store says of a stage that nobody has begun yet."""
    return {"attempts": 0, "started_at": now_text(), "wall_seconds": 0.0, "epoch": None, "host": None, "pid": None}


def now_text() -> str:
    """This moment in UTC, as notes have it."""
    return datetime.now(UTC).isoformat()


def lost_report(handout: Handout, store: Store, options: Options, why: str) -> Report:
    """Record and report, from the driver, a stage whose workers died without a word; a committed one is done.

    A worker that only seemed dead still holds the stage's lock: its commit is found by the next launch.
    """
    key = handout.key
    try:
        with store.lock(key) as lease:
            if (report := committed_report(key, store)) is not None:
                return report
            if lease is not None:
                facts = {**first_facts(), **store.running(key)}
                told = StageLog(store.log_lines(key))
                told.say(f"failed: {why}")
                store.keep_log(key, told.lines)
                row = failed_row(handout, facts, options, float(facts["wall_seconds"]), why)
                return failed_report(key, store, lease, row, f"{why}\n")
    except StoreError as error:
        why = f"{why} (and the store has no record of it: {one_line(error)})"
    return Report(key, Status.FAILED, known_columns(handout), why)


def failed_report(key: str, store: Store, lease: Lease, row: dict[str, Any], traceback_text: str) -> Report:
    """Record a failure and report it; a store that is full cannot hide the error behind its own.

    Raises:
        LeaseLost: another worker has taken the stage over, which may be why this one failed.
    """
    error = str(row["error"])
    try:
        lease.check(sure=True)
        store.record_failure(key, row, traceback_text)
    except StoreError as unwritten:
        error = f"{error} (and the store has no record of it: {one_line(unwritten)})"
    return Report(key, Status.FAILED, row, error)


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
