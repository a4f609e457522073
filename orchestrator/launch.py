"""Launch: plan a sweep against a store, remember it there, and run what is missing.

`launch` twice equals once. `resume` is `launch` of what the store remembers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Protocol

from orchestrator.backend import Backend
from orchestrator.catalogue import Found, find
from orchestrator.columns import STAGES
from orchestrator.errors import ConfigError, StoreError
from orchestrator.estimate import Estimate
from orchestrator.expressions import parse_values
from orchestrator.files import log
from orchestrator.key import canonical_text
from orchestrator.plan import Plan, plan, stages_of
from orchestrator.quoting import nearest
from orchestrator.schedule import Schedule
from orchestrator.schema import value_faults
from orchestrator.seam import Status
from orchestrator.spec import Spec, plain
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.sweep import Sweep, Trial
from orchestrator.tensors import digest
from orchestrator.upkeep import Upkeep
from orchestrator.worker import Options, Report


class Watcher(Protocol):
    """Who is told how a launch goes on; `orchestrator.progress` has one for terminals."""

    def begin(self, plan: Plan, schedule: Schedule, cost: Mapping[str, float], workers: int | None) -> None:
        """The stages of `plan` are about to run."""

    def report(self, report: Report, blocked: Sequence[str]) -> None:
        """A stage has ended in this launch."""

    def stopping(self) -> None:
        """The user asked to stop; workers are saving their checkpoints."""

    def end(self) -> None:
        """Nothing runs any more."""


@dataclass
class Summary:
    """How a launch ended.

    Attributes:
        plan: What it set out to do.
        reports: One per stage that ended in it; of one that was tried again, the last.
        blocked: Keys of stages that could not run, because an ancestor failed.
        interrupted: Whether it was asked to stop before everything was done.
        seconds: Wall seconds of the launch.
    """

    plan: Plan
    reports: list[Report] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    def add(self, report: Report, blocked: Sequence[str]) -> None:
        """Keep what became of a stage, without its row: the store has it, and 100,000 of them take half a gigabyte."""
        self.reports.append(replace(report, row={}))
        self.blocked.extend(blocked)

    def count(self, status: Status) -> int:
        """How many stages ended this launch in `status`."""
        return sum(report.status is status for report in self.reports)

    @property
    def settled(self) -> int:
        """How many of the stages to run are committed now, or failed, or blocked by one that failed."""
        ended = sum(report.status.is_final or report.status is Status.FAILED for report in self.reports)
        return ended + len(self.blocked)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some stage failed, 75 interrupted and resumable."""
        if self.interrupted:
            return 75
        return 1 if self.count(Status.FAILED) or self.blocked else 0


def plan_sweep(sweep: Sweep, store: Store) -> tuple[Plan, Estimate]:
    """What a launch of `sweep` would run, and what the store knows of its cost.

    Raises:
        ConfigError: some cell of the sweep means nothing.
    """
    trials = sweep.trials()
    keys = {key for trial in trials for key in stages_of(trial)}
    committed = store.committed(keys)
    # Whoever deleted weights to save space keeps the results; weights that were damaged are made again.
    planned = plan(trials, committed - store.spoilt(), committed & store.startable())
    # Reading all that was ever measured takes a millisecond a stage: only where there is something to estimate.
    if planned.to_run and store.has_results():
        return planned, Estimate.of(store.stages())
    return planned, Estimate([])


def launch(
    sweep: Sweep,
    store: Store,
    backend: Callable[[], Backend],
    watcher: Watcher,
    *,
    source: str,
    overrides: Mapping[str, Sequence[Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    is_local: bool = True,
) -> Summary:
    """Run every stage of `sweep` that the store lacks.

    Args:
        sweep: With the overrides applied already.
        store: Where results are, and go.
        backend: Makes the backend; called only if something must run.
        watcher: Told of every stage that ends.
        source: What finds the sweep again: its name or its file.
        overrides: Axes that were replaced at launch, for `resume` to replace again.
        options: Fields of `orchestrator.worker.Options` except the launch's name.
        is_local: Whether workers see this machine's files, so that data sets are checked here.

    Raises:
        SweepError: before any worker starts and before the store is written, if something is wrong with the request.
    """
    began = time.monotonic()
    options = dict(options or {})
    planned, estimate = plan_sweep(sweep, store)
    check_columns(planned)
    if is_local:
        check_data(planned, options.get("data_root"))
    executes = backend() if planned.to_run else None  # first, because it refuses what cannot be
    store.check_format()
    store.record_launch(sweep.name, recipe(sweep, source, overrides or {}, planned), cell_rows(sweep, planned))
    store.tidy({stage.key for stage in planned.stages} - {stage.key for stage in planned.to_run})
    summary = Summary(planned)
    if executes is not None:
        run(planned, estimate, store, executes, watcher, summary, {"sweep": sweep.name, **options})
    summary.seconds = time.monotonic() - began
    return summary


def run(
    planned: Plan,
    estimate: Estimate,
    store: Store,
    backend: Backend,
    watcher: Watcher,
    summary: Summary,
    options: Mapping[str, Any],
) -> None:
    """Hand the plan's missing stages to the backend until all is done or the user stops it."""
    cost = estimate.cost(planned.to_run, planned.follows)
    schedule = Schedule(planned.to_run, lambda stage: cost[stage.key], planned.follows)
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    upkeep = Upkeep(store)

    def on_report(report: Report, blocked: list[str]) -> None:
        summary.add(report, blocked)
        watcher.report(report, blocked)
        if report.status.is_final:
            upkeep.committed()

    def on_stop() -> None:
        summary.interrupted = True
        schedule.stop()
        try:
            store.request_stop(name)
        except StoreError as error:
            log.warning("%s Workers cannot be asked to stop; stopping now.", error)
            raise KeyboardInterrupt from error
        watcher.stopping()

    watcher.begin(planned, schedule, cost, backend.workers)
    try:
        with store.stoppable(name), stop_on_signal(on_stop):
            backend.run(schedule, store, Options(launch=name, **options), on_report)
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        summary.interrupted &= summary.settled < len(planned.to_run)  # asked too late, it has stopped nothing
        watcher.end()
        with stop_on_signal(upkeep.hurry):  # who stops it now stops the merging, and no launch
            upkeep.end(in_haste=summary.settled < len(planned.to_run))


@contextlib.contextmanager
def stop_on_signal(on_stop: Callable[[], None]) -> Iterator[None]:
    """Call `on_stop` at the first Ctrl-C or SIGTERM, raise KeyboardInterrupt at the second.

    Outside the main thread, as in some notebooks, signals are not ours and stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(_signum: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        on_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_columns(planned: Plan) -> None:
    """Make sure, before any worker starts, that what configs say of themselves fits the table `stages`.

    Raises:
        ConfigError: names every column that does not, and the config it was found in.
    """
    known = {column.name: column for column in STAGES}
    for stage in planned.to_run:
        given = stage.config.stage_columns()
        faults = [f"the table has no column {name!r}" for name in given if name not in known]
        faults += [fault for name in given.keys() & known for fault in value_faults(known[name], plain(given[name]))]
        if faults:
            raise ConfigError(f"{stage.config}.stage_columns(): {'; '.join(faults)}. The columns: {', '.join(known)}.")


def check_data(planned: Plan, data_root: str | None) -> None:
    """Make sure, before any worker starts, that every data set that must be read can be.

    Raises:
        DataError: one cannot.
    """
    seen: dict[str, Any] = {}
    for stage in planned.to_run:
        seen.setdefault(canonical_text(stage.config.data), stage.config.data)
    for data in seen.values():
        data.check(data_root)


def cell_rows(sweep: Sweep, planned: Plan) -> list[dict[str, Any]]:
    """Rows of the table `cells` of all trials."""
    return [row for trial in planned.trials for row in trial.rows(sweep.name)]


def recipe(sweep: Sweep, source: str, overrides: Mapping[str, Sequence[Any]], planned: Plan) -> dict[str, Any]:
    """What `resume` needs to build the same sweep again, as JSON values.

    All axes are in it, so that values that are added to the sweep's file later do not change what was launched.
    """
    return {
        "sweep": sweep.name,
        "source": source,
        "axes": {name: texts for name, values in sweep.axes.items() if (texts := as_texts(name, values))},
        "overrides": sorted(overrides),
        "seeds": [int(seed) for seed in sweep.seeds],
        "stages": stages_digest(planned.stages),
    }


def stages_digest(stages: Sequence[Stage]) -> str:
    """Digest of the stages of a plan, to tell whether a sweep is still what was launched."""
    return digest("".join(sorted(stage.key for stage in stages)).encode())[:16]


def as_texts(name: str, values: Sequence[Any]) -> list[str] | None:
    """`values` of an axis as `orchestrator.expressions.parse_values` reads them; None if it would read others."""
    texts = [str(value) if isinstance(value, Spec) else repr(plain(value)) for value in values]
    try:
        is_same = canonical_text(parse_values(name, ", ".join(texts))) == canonical_text(list(values))
    except ConfigError:
        return None
    return texts if is_same else None


def rebuild(recipe: Mapping[str, Any]) -> tuple[Found, dict[str, list[Any]], list[Trial]]:
    """The sweep of a remembered launch, with the axes and seeds it had then, the axes that were replaced, its trials.

    Raises:
        ConfigError: its file is gone, or no longer makes the stages that were launched.
    """
    found = find(recipe["source"])
    axes = {name: parse_values(name, ", ".join(texts)) for name, texts in recipe["axes"].items()}
    sweep = found.sweep.replace(axes, recipe["seeds"])
    trials = sweep.trials()
    if stages_digest(plan(trials).stages) != recipe["stages"]:
        raise ConfigError(
            f"{recipe['source']}: no longer the sweep that was launched, so its stages are others now. To run the "
            f"new ones: warmgrid launch {recipe['source']}. To go on with the old ones, restore the file first."
        )
    return replace(found, sweep=sweep), {name: axes[name] for name in recipe["overrides"] if name in axes}, trials


def remembered(
    store: Store, sweep: str, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None
) -> list[tuple[Found, dict[str, list[Any]]]]:
    """The launches of a sweep that the store remembers; with `axes` or `seeds`, those that were given the same.

    A launch that its file no longer makes is left out with a warning, as long as there are others.

    Raises:
        ConfigError: there is none, or none that its file still makes.
    """
    return [(found, replaced) for found, replaced, _ in remembered_trials(store, sweep, axes, seeds)]


def remembered_trials(
    store: Store, sweep: str, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None
) -> list[tuple[Found, dict[str, list[Any]], list[Trial]]]:
    """As `remembered`, with the trials of each launch, which take long to make."""
    recipes = [recipe for recipe in store.launches(sweep) if was_given(recipe, axes, seeds)]
    if not recipes:
        which = " with these axes and seeds" if axes or seeds is not None else ""
        near = "" if which else nearest(sweep, store.files.folders("launches"))
        raise ConfigError(f"{store.root}: no launch of {sweep!r}{which}{near}. Start one with: warmgrid launch {sweep}")
    rebuilt, faults = [], []
    for recipe in recipes:
        try:
            rebuilt.append(rebuild(recipe))
        except ConfigError as error:
            faults.append(str(error))
    if not rebuilt:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
    for fault in dict.fromkeys(faults):
        log.warning("%s Left out.", fault)
    return rebuilt


def was_given(recipe: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None) -> bool:
    """Whether a launch was given these axes and seeds, as far as they are named."""
    same_axes = sorted(axes) == recipe["overrides"] and all(
        recipe["axes"].get(name) == as_texts(name, values) for name, values in axes.items()
    )
    return (not axes or same_axes) and (seeds is None or recipe["seeds"] == list(seeds))
