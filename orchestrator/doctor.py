"""Doctor: whether this machine, its installation and a store are fit for launches; it mends nothing.

What may hang or crash, as a broken CUDA does, is tried in processes of their own (`orchestrator.probe`).
"""

from __future__ import annotations

import enum
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SweepError
from orchestrator.lease import claims, may_live

if TYPE_CHECKING:
    from orchestrator.store import Store

GIB = 2**30
FEW_GIB, NO_GIB = 10.0, 1.0  # of free disk: worth a word, and too little
CLOCKS_S = 30.0  # that two clocks may differ
PROBES = {"torch": 120.0, "ray": 180.0, "data": 600.0}  # seconds until one counts as hung
TO_LEAVE_S = 10.0  # for a probe that is told to
OLDEST = (3, 11)


class Level(enum.StrEnum):
    """What a finding means."""

    GOOD = "good"
    NOTE = "note"  # nothing keeps launches from running, and something is worth knowing
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        what: What was looked at, in a word or two.
        says: What was found.
        todo: What to do about it; "" if nothing.
    """

    what: str
    level: Level
    says: str
    todo: str = ""


def examine(
    store: Store, address: str | None = None, data_root: str | None = None, *, with_ray: bool = True
) -> Iterator[Finding]:
    """Look at everything, the quick things first; takes as long as Ray needs to start.

    Args:
        store: Whose place need not exist yet.
        address: A running Ray cluster to join instead of starting one here.
        data_root: Folder that data sets are looked for in first.
        with_ray: Whether Ray is started, or joined.
    """
    parts = [part for part in PROBES if with_ray or part != "ray"]
    started = {part: start_probe(part, address or "", data_root or "") for part in parts}
    try:
        yield python_finding()
        yield from package_findings()
        yield from store_findings(store)
        yield from disk_findings(store)
        for part, process in started.items():
            yield from probe_findings(part, process)
    finally:
        for process in started.values():
            end(process)


def python_finding() -> Finding:
    """Whether this Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST:
        return Finding("Python", Level.GOOD, f"{version} in {sys.prefix}")
    return Finding("Python", Level.BAD, version, "Make an environment with Python 3.11 or newer: make install")


# Packages.


def package_findings() -> Iterator[Finding]:
    """Whether what warmgrid needs is installed, and in versions that it was tested with."""
    try:
        required = metadata.requires("warmgrid") or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", Level.NOTE, "warmgrid itself is not installed here", "Install it: make install")
        return
    faults, found = faults_of(required)
    yield from faults
    if not faults:
        yield Finding("packages", Level.GOOD, f"all {len(found)} that are needed, in versions that fit")
    if others := untested(found):
        shown = ", ".join(f"{name} {version} (tested: {tested})" for name, (version, tested) in others.items())
        todo = "For the very same numbers: pip install -c constraints.txt -e ."
        yield Finding("packages", Level.NOTE, f"other versions than the tests ran on: {shown}", todo)


def faults_of(required: Sequence[str]) -> tuple[list[Finding], dict[str, str]]:
    """What is missing or does not fit of the packages that are `required`, and the version of each that is there."""
    from packaging.requirements import Requirement

    faults, found = [], {}
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        todo = f"pip install '{requirement}'"
        try:
            found[requirement.name] = version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(Finding("packages", Level.BAD, f"{requirement.name} is missing", todo))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            says = f"{requirement.name} {version} is installed, {requirement} is needed"
            faults.append(Finding("packages", Level.BAD, says, todo))
    return faults, found


def untested(found: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Installed and tested version of the packages in which they differ; {} without a constraints.txt of a checkout."""
    file = Path(__file__).parents[1] / "constraints.txt"
    text = file.read_text() if file.is_file() else ""
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))
    plain = {name: version.partition("+")[0] for name, version in found.items()}  # 2.15.0+cpu is 2.15.0
    return {name: (found[name], tested[name]) for name in plain if tested.get(name, plain[name]) != plain[name]}


# The store.


def store_findings(store: Store) -> Iterator[Finding]:
    """Whether the store opens and can be written, what is in it, and whose clock it goes by."""
    try:
        is_store = store.check_readable()
        if not is_store and ("://" not in store.root or not store.files.there()):
            yield new_store(store)
            return
        if is_store:
            yield from contents(store)
        yield from written(store)
        yield from clock_findings(store)
    except SweepError as error:
        yield Finding("store", Level.BAD, str(error), "Give another --store, or mend this one.")


def new_store(store: Store) -> Finding:
    """Whether a launch could make the store; nothing is written into a folder that is none."""
    if "://" in store.root or os.access(nearest(store.root), os.W_OK | os.X_OK):
        if store.files.list():
            says = f"none in {store.root} yet, but other files; a launch adds folders of its own"
            return Finding("store", Level.NOTE, says, "Give another --store, if that is not what you meant.")
        return Finding("store", Level.GOOD, f"none at {store.root} yet; a launch makes it")
    says = f"none at {store.root} yet, and {nearest(store.root)} cannot be written"
    return Finding("store", Level.BAD, says, "Give another --store, or the right to write there.")


def contents(store: Store) -> Iterator[Finding]:
    """What the store holds, and what in it wants attention."""
    rows = store.sql("SELECT status, count(*) AS n FROM stages GROUP BY status ORDER BY status").to_pylist()
    counts = ", ".join(f"{row['n']} {row['status']}" for row in rows) or "no stage yet"
    form = json.loads(store.files.read("warmgrid.json"))["format"]
    yield Finding("store", Level.GOOD, f"{store.root}, format {form}: {counts}")
    if aside := [name for name in store.files.list("set_aside") if not name.endswith(".reason")]:
        says = f"{len(aside)} damaged or foreign files were set aside, {aside[0]} first"
        todo = f"Read {store.root}/set_aside/*.reason. `warmgrid resume SWEEP` trains again what is missing."
        yield Finding("store", Level.NOTE, says, todo)
    if left := sorted(store.noted() - store.held()):
        says = f"{len(left)} stages were interrupted, {left[0]} first"
        yield Finding("store", Level.NOTE, says, "Go on with them: warmgrid resume SWEEP")
    yield from stale_leases(store)


def stale_leases(store: Store) -> Iterator[Finding]:
    """How many claims dead workers have left."""
    found = claims(store.files)
    now = store.files.now() if found else 0.0
    if stale := [claim for claim in found if not may_live(store.files, claim, now)]:
        says = f"{len(stale)} claims of dead workers, on {stale[0].name} first; nobody waits for them"
        yield Finding("leases", Level.NOTE, says, "The next launch removes them: warmgrid resume SWEEP")


def written(store: Store) -> Iterator[Finding]:
    """Whether the store can be written: what is smallest is, and is removed again."""
    name = f"doctor-{os.getpid()}"
    try:
        with store.stoppable(name):
            store.request_stop(name)
    except SweepError as error:
        yield Finding("store", Level.BAD, f"cannot be written: {error}", "Free space, or get the right to write there.")
    else:
        yield Finding("store", Level.GOOD, "can be written")


def clock_findings(store: Store) -> Iterator[Finding]:
    """Whether the store's clock, by which leases expire, and this machine's are one."""
    ahead = store.files.now() - time.time()
    if abs(ahead) <= CLOCKS_S:
        yield Finding("clock", Level.GOOD, "the store's and this machine's agree")
    else:
        says = f"the store's is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        yield Finding("clock", Level.NOTE, f"{says}; leases go by the store's, times in rows by ours", "Set the clock.")


# The disk.


def disk_findings(store: Store) -> Iterator[Finding]:
    """Free space where the store is and where Ray and downloads write."""
    places = {} if "://" in store.root else {"disk of the store": nearest(store.root)}
    for what, folder in {**places, "disk for Ray": Path(tempfile.gettempdir())}.items():
        free = shutil.disk_usage(folder).free / GIB
        level = Level.BAD if free < NO_GIB else Level.NOTE if free < FEW_GIB else Level.GOOD
        todo = "" if level is Level.GOOD else "Free some: a ResNet-18 takes 45 MB a stage, its checkpoints 270 MB."
        yield Finding(what, level, f"{free:.1f} GiB free at {folder}", todo)


def nearest(path: str) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(one for one in (Path(path), *Path(path).parents) if one.exists())


# What is tried in processes of their own.


def start_probe(part: str, address: str, data_root: str) -> subprocess.Popen[str]:
    """Begin to try one part, with the packages that this process sees."""
    code = "import sys; from orchestrator.probe import main; main(*sys.argv[1:])"
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", code, part, address, data_root]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)


def end(process: subprocess.Popen[str]) -> None:
    """End a probe that still runs; at first so that it can take Ray down."""
    if process.poll() is None:
        process.terminate()
        try:
            process.communicate(timeout=TO_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.communicate()


def probe_findings(part: str, process: subprocess.Popen[str]) -> Iterator[Finding]:
    """What one probe has found; if it hangs or dies, that."""
    try:
        out, err = process.communicate(timeout=PROBES[part])
    except subprocess.TimeoutExpired:
        end(process)
        says = f"did not answer within {PROBES[part]:.0f} s"
        yield Finding(part, Level.BAD, says, f"Try it by itself: python -m orchestrator.probe {part}")
        return
    if process.returncode:
        last = [line for line in err.splitlines() if line.strip()][-1:] or [f"exit code {process.returncode}"]
        yield Finding(part, Level.BAD, last[0].strip(), f"Try it by itself: python -m orchestrator.probe {part}")
        return
    for found in json.loads(out.splitlines()[-1]):
        yield Finding(found["what"], Level(found["level"]), found["says"], found["todo"])
