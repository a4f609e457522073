"""A program whose children die at every step of scenes, and others look at what they left; no test.

``python -m tests.crash.dying kill|cut FOLDER [SCENE ...]`` prints one line of JSON for each death. It only forks:
what it does to stores, it does in children, so that none of them inherits another's threads or locks.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.random  # noqa: F401 - once, for all children, as are the others that are not used here
import pandas as pd  # noqa: F401 - pyarrow asks for it when it gives out times
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import safetensors.numpy  # noqa: F401

from orchestrator import compaction, folder
from orchestrator.errors import SweepError
from orchestrator.store import Store
from tests.crash.disk import Disk, disks
from tests.crash.scenes import SCENES, Scene, content, recovered, seen
from tests.orchestrator.fake_trainer import Lab

Death = tuple[str, str, list[str]]  # what it left: a folder's name; when it came; what had been reported
# By the note of a running stage its checkpoints are found after its commit, and that is not synced: they do no harm.
CUT_LEAVES = ("checkpoints/",)
LONG_AGO_S = 1e6  # a machine that lost its power is away for longer than any lease


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do `work` in a child; the signal that ended it or 0, and what `work` gave."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
        except BaseException:  # noqa: BLE001 - the parent prints it and stops
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed; its traceback is above")
    return (os.WTERMSIG(status), None) if os.WIFSIGNALED(status) else (0, json.loads(said))


@dataclass(frozen=True)
class Place:
    """Where a scene is played.

    Attributes:
        made: The store before the scene, which is copied for each death.
    """

    scene: Scene
    home: Path

    @property
    def made(self) -> Path:
        return self.home / "before"

    def lab(self, name: str) -> Lab:
        """A lab in which nothing goes wrong, or the scene's own for ``before``."""
        (self.home / f"lab {name}").mkdir(exist_ok=True)
        return Lab(self.home / f"lab {name}")

    def prepare(self) -> list[str]:
        """Make the store before the scene; the stages in it."""
        self.scene.before(Store(str(self.made)), self.lab("before"))
        return [] if self.scene.is_damaged else sorted(Store(str(self.made)).committed())

    def undisturbed(self) -> dict[str, Any]:
        """The content of a store to which nothing happened."""
        store, lab = Store(str(self.home / "undisturbed")), self.lab("undisturbed")
        from tests.crash.scenes import launched

        launched(self.scene.sweep)(store, lab)
        return content(store)

    def copy(self, name: str) -> Path:
        """The store before the scene once more."""
        root = self.home / name
        if self.made.exists():
            shutil.copytree(self.made, root)
        return root

    def act(self, root: Path, told: Callable[[str], None]) -> None:
        """Play the scene in the store `root`."""
        self.scene.act(Store(str(root)), self.lab("before"), told)

    def look(self, root: Path, reference: dict[str, Any], told: Sequence[str], litter: Sequence[str]) -> list[str]:
        """What is wrong in `root`, at once and after the sweep was launched again."""
        try:
            found = [] if self.scene.is_damaged else seen(Store(str(root)), reference, told)
            return found + recovered(self.scene, root, self.lab(f"of {root.name}"), reference, told, litter)
        except (SweepError, OSError) as error:
            return [f"{type(error).__name__}: {error}"]


def record(place: Place, before: list[str]) -> list[tuple[str, list[str]]]:
    """Every step of the scene, and what had been reported as committed when it began."""
    steps: list[tuple[str, list[str]]] = []
    told, root = list(before), place.copy("recorded")
    folder.on_step = lambda what, path: steps.append((f"{what} {os.path.relpath(path, root)}", list(told)))
    place.act(root, told.append)
    return steps


def die_at(place: Place, root: Path, number: int) -> None:
    """Play the scene until its step `number`, and die there as by SIGKILL from outside."""
    count = 0

    def die(what: str, path: Path) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    folder.on_step = die
    place.act(root, lambda _: None)


def kills(place: Place, before: list[str]) -> list[Death]:
    """Die at every step, one child after the other; what each left is in a folder of its own."""
    _, steps = in_child(lambda: record(place, before))
    deaths = []
    for number, (step, told) in enumerate(steps):
        if " ended " in step:
            continue  # nothing is done before the next step begins: the same death
        root = place.copy(f"killed at {number}")
        ended_by, _ = in_child(lambda root=root, number=number: die_at(place, root, number))
        if ended_by != signal.SIGKILL:
            raise SystemExit(f"step {number}, {step}: the child was not killed")
        deaths.append((root.name, step, told))
    return deaths


def write_disks(place: Place, before: list[str]) -> list[Death]:
    """Play the scene, and write every disk that a power cut in it may leave."""
    root = place.copy("followed")
    root.mkdir(exist_ok=True)
    following = Disk(root, told=list(before))
    folder.on_step = following.on_step
    place.act(root, following.told.append)
    draw, known, deaths = random.Random(0), set(), []
    for state in following.states:
        for name, files in disks(state, draw):
            same = (state.told, frozenset(item for path, data in files.items() for item in identity(path, data)))
            if same in known:
                continue
            known.add(same)
            deaths.append((f"disk {len(deaths)}", f"{state.step}: {name}", list(state.told)))
            for path, data in files.items():
                target = place.home / deaths[-1][0] / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                os.utime(target, (0, target.stat().st_mtime - LONG_AGO_S))
    return deaths


def identity(path: Path, data: bytes) -> list[tuple[Path, bytes]]:
    """What of a file can matter to anybody: nothing of a lock, only the name of one that was not finished."""
    return [] if "locks" in path.parts else [(path, b"" if path.name.startswith(".") else data)]


def look_at_all(
    place: Place, deaths: Sequence[Death], reference: dict[str, Any], litter: Sequence[str]
) -> list[dict[str, Any]]:
    """What is wrong in each folder."""
    return [
        {"step": step, "faults": place.look(place.home / name, reference, told, litter)} for name, step, told in deaths
    ]


def play(how: str, scene: str, home: Path) -> None:
    """Play one scene, and print what every death left."""
    home.mkdir()
    place = Place(SCENES[scene], home)
    _, before = in_child(place.prepare)
    _, reference = in_child(place.undisturbed)
    deaths = kills(place, before) if how == "kill" else in_child(lambda: write_disks(place, before))[1]
    litter = () if how == "kill" else CUT_LEAVES
    _, looks = in_child(lambda: look_at_all(place, deaths, reference, litter))
    for look in looks:
        print(json.dumps({"scene": scene, **look}), flush=True)


def main(how: str, home: str, *scenes: str) -> None:
    """Play these scenes, by default all."""
    os.fsync = lambda _: None  # a killed process loses nothing that it wrote; power cuts are `Disk`'s
    compaction.READERS = 1  # one change of the folder after another, so that steps have numbers
    for scene in scenes or SCENES:
        play(how, scene, Path(home) / scene)


if __name__ == "__main__":
    main(*sys.argv[1:])
