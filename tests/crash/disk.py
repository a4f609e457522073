"""What a disk may hold after a power cut, by the rules of POSIX and no file system's kindness; no test.

Only what was synced is sure: the bytes of a file since its fsync, the names of a folder since that was synced. All
else may have reached the disk, or not, or in part, one name and one file without the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Names = Mapping[Path, Mapping[str, int]]  # of each folder: its entries, each with the number of a file, or FOLDER
FOLDER = -1
DRAWS = 1  # a disk drawn at random from each state, beside the five extreme ones


@dataclass(frozen=True)
class State:
    """One moment: what processes see, and what is sure to be on the disk.

    Attributes:
        step: The step that had just ended, as ``"<what> <path>"``.
        told: What had been reported as committed by then.
        names: What processes see.
        sure: Names that were synced.
        bytes_of: Bytes of the files that processes see.
        kept: Bytes of the files that were synced, also of removed ones.
    """

    step: str
    told: tuple[str, ...]
    names: Names
    sure: Names
    bytes_of: Mapping[int, bytes]
    kept: Mapping[int, bytes]


@dataclass
class Disk:
    """Follows the steps of `orchestrator.folder` in one folder, and keeps every state."""

    root: Path
    states: list[State] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    _sure: dict[Path, dict[str, int]] = field(default_factory=dict)
    _kept: dict[int, bytes] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)  # of files by inode, which a file system uses again
    _count: int = 0

    def __post_init__(self) -> None:
        """Take what is there before the first step as synced."""
        names = self._see()
        self._sure = {folder: dict(entries) for folder, entries in names.items()}
        self._kept = self._read(names)
        self._keep("before", names)

    def on_step(self, what: str, path: Path) -> None:
        """In place of `orchestrator.folder.on_step`."""
        if what.endswith("begins"):
            return
        if what == "open ended":
            self._numbers.pop(path.stat().st_ino, None)  # a file that has the inode of one that is gone
        names = self._see()
        if what == "fsync ended":
            self._kept[names[path.parent][path.name]] = path.read_bytes()
        elif what == "sync ended":
            self._sure[path] = dict(names.get(path, {}))
        self._keep(f"{what} {path.relative_to(self.root)}", names)

    def _keep(self, step: str, names: Names) -> None:
        sure = {folder: dict(entries) for folder, entries in self._sure.items()}
        self.states.append(State(step, tuple(self.told), names, sure, self._read(names), dict(self._kept)))

    def _see(self) -> dict[Path, dict[str, int]]:
        """The names that processes see now."""
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        return {folder: {entry.name: self._number(entry) for entry in folder.iterdir()} for folder in folders}

    def _number(self, path: Path) -> int:
        if path.is_dir():
            return FOLDER
        inode = path.stat().st_ino
        if inode not in self._numbers:
            self._count += 1
            self._numbers[inode] = self._count
        return self._numbers[inode]

    @staticmethod
    def _read(names: Names) -> dict[int, bytes]:
        """Bytes of all files, as processes see them."""
        return {
            number: (folder / name).read_bytes()
            for folder, entries in names.items()
            for name, number in entries.items()
            if number != FOLDER
        }


Choose = Callable[[int | None, int | None], int | None]  # of what is sure and what is seen under one name
Spoil = Callable[[bytes], bytes]  # of bytes that were never synced


def disks(state: State, draw: random.Random) -> Iterator[tuple[str, dict[Path, bytes]]]:
    """Whole disks that a power cut may leave of `state`: bytes by path, each with what it stands for."""
    extremes: dict[str, tuple[Choose, Spoil]] = {
        "nothing more": (lambda sure, _: sure, empty),
        "names without bytes": (lambda _, seen: seen, empty),
        "names with half the bytes": (lambda _, seen: seen, half),
        "no removal": (lambda sure, seen: sure if seen is None else seen, whole),
        "no addition": (lambda sure, seen: None if seen is None else sure, whole),
    }
    for name, (choose, spoil) in extremes.items():
        yield name, disk(state, choose, spoil)
    spoils = [empty, half, whole]

    def pick(sure: int | None, seen: int | None) -> int | None:
        return draw.choice([sure, seen])

    for number in range(DRAWS):
        yield f"draw {number}", disk(state, pick, draw.choice(spoils))


def disk(state: State, choose: Choose, spoil: Spoil) -> dict[Path, bytes]:
    """One such disk: `choose` takes a name's old or new file, `spoil` what is left of bytes that were not synced."""
    found: dict[Path, bytes] = {}
    root = min(state.names, key=lambda path: len(path.parts))
    below = [root]
    for folder in below:  # grows meanwhile
        sure, seen = state.sure.get(folder, {}), state.names.get(folder, {})
        for name in sorted({*sure, *seen}):
            number = choose(sure.get(name), seen.get(name))
            if number == FOLDER:
                below.append(folder / name)
            elif number is not None:
                kept = state.kept.get(number)
                found[folder / name] = spoil(state.bytes_of.get(number, b"")) if kept is None else kept
    return found


def empty(_: bytes) -> bytes:
    """Nothing of them."""
    return b""


def half(data: bytes) -> bytes:
    """Their first half."""
    return data[: len(data) // 2]


def whole(data: bytes) -> bytes:
    """All of them."""
    return data
