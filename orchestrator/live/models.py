"""Models: the results of one sweep as the page draws and filters them, in the order in which they became known.

Settings are a cell's, measurements its stage's, as in the view `results` (`orchestrator.query`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from orchestrator.columns import SETTINGS
from orchestrator.figures.results import as_in_results
from orchestrator.figures.style import (
    CAPS,
    by_size,
    call_in_words,
    decided,
    first_of,
    init_in_words,
    spoken,
    told,
    value_in_words,
)

Row = Mapping[str, Any]
MEASURED = ("test_accuracy", "train_accuracy", "train_seconds", "steps", "examples_seen", "epochs")
COLUMNS = ("id", "key", "seed", "round", "status", *MEASURED, "finished_at")  # and then each axis' place of its value


class Axis:
    """A setting that tells a sweep's cells apart.

    Attributes:
        name: Its column.
        words: Each value as people say it, by place.
    """

    def __init__(self, name: str) -> None:
        """No value yet."""
        self.name, self.words = name, list[str]()
        self._places: dict[Any, int] = {}
        self._orders: list[Any] = []

    def place(self, row: Row) -> int:
        """The place of the value that a row has."""
        value = told(row, self.name)
        identity = (type(value) is bool, value)
        if identity not in self._places:
            self._places[identity] = len(self.words)
            self.words.append(self._said(row, value))
            self._orders.append(order_of(value, self.words[-1]))
        return self._places[identity]

    def _said(self, row: Row, value: Any) -> str:
        """A value in words; as it is written in a sweep where another one is called the same."""
        said = words_of(row, self.name, value)
        return said if said not in self.words else call_in_words(str(value))

    def facts(self) -> dict[str, Any]:
        """What the page shows; ``order`` has the places as they are best read.

        It ``varies`` if it has two values: None, of a cell to which it makes no difference, is none but of a cap.
        """
        order = sorted(range(len(self.words)), key=self._orders.__getitem__)
        told_apart = sum(self.name in CAPS or value is not None for _, value in self._places)
        facts = {"name": self.name, "title": spoken(self.name), "words": self.words, "order": order}
        return {**facts, "varies": told_apart > 1}


def words_of(row: Row, axis: str, value: Any) -> str:
    """A row's value of an axis, without the axis' name."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if axis == "init":
        return init_in_words(row)
    return value_in_words(row, axis) if row.get(f"{axis}_text") is not None else str(value)


def order_of(value: Any, words: str) -> tuple[Any, ...]:
    """Sorts numbers by size, random init before warm start before other words, and None last."""
    if isinstance(value, (int, float)):
        return (0, float(value))
    return (2,) if value is None else (1, *first_of(words), by_size(words))


class Models:
    """The models of one sweep; one that is told again, because it failed before, keeps its id.

    Attributes:
        entries: What the page is told of each, as `COLUMNS`; only ever added to.
        latest: When the last of them ended, in seconds since 1970.
    """

    def __init__(self, sweep: str, cells: Iterable[Row]) -> None:
        """Of the sweep's `cells`, rows of that table; none is trained yet."""
        self.sweep, self.entries = sweep, list[list[Any]]()
        self.cells = [paired(as_in_results(cell)) for cell in cells]
        self.axes = [Axis(name) for name in decided(self.cells)]
        self._ids: dict[tuple[Any, ...], int] = {}
        self._of_key: dict[str, list[int]] = {}
        self._statuses: dict[int, str] = {}
        self._planned: int | None = None
        self.latest = 0.0
        self._identities = [self._identity(cell) for cell in self.cells]
        for place, cell in enumerate(self.cells):
            self._of_key.setdefault(cell["key"], []).append(place)

    def _identity(self, cell: Row) -> tuple[Any, ...]:
        """What tells a model from others: of equal rows, as two launches may list them, one is shown."""
        return (cell["key"], cell["seed"], cell["round"], *(axis.place(cell) for axis in self.axes))

    def add(self, stage: Row) -> None:
        """A stage was committed, or failed: so were the models that report it."""
        for place in self._of_key.get(stage["key"], ()):
            identity = self._identity(as_trained(self.cells[place], stage))
            self._identities[place], self._planned = identity, None
            number = self._ids.setdefault(identity, len(self._ids))
            key, seed, round_, *places = identity
            self._statuses[number] = stage["status"]
            numbers, ended = [finite(stage[name]) for name in MEASURED], seconds(stage)
            self.entries.append([number, key, seed, round_, stage["status"], *numbers, ended, *places])
            self.latest = max(self.latest, ended or 0.0)

    @property
    def planned(self) -> int:
        """How many models the launches of the sweep asked for."""
        if self._planned is None:
            self._planned = len(set(self._identities))
        return self._planned

    def counts(self) -> dict[str, int]:
        """How many models have each status."""
        return dict(Counter(self._statuses.values()))

    def cells_of(self, key: str) -> list[Row]:
        """The cells that report a stage."""
        return [self.cells[place] for place in self._of_key.get(key, ())]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of all stages that the sweep reports."""
        return frozenset(self._of_key)


def paired(cell: Row) -> Row:
    """A cell in which a setting that was renamed keeps its text beside it, as `told` looks for it."""
    renamed = {name.removeprefix("axis_") + "_text": f"{name}_text" for name in cell if name.startswith("axis_")}
    return {renamed.get(name, name): value for name, value in cell.items()}


def as_trained(cell: Row, stage: Row) -> Row:
    """A cell with the settings that it left at their defaults, which its stage knows."""
    known = {name: stage[name] for name in SETTINGS if name in cell and cell[name] is None}
    return {**cell, **known} if known else cell


def finite(value: float | None) -> float | None:
    """A number as JSON has it: None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None


def seconds(stage: Row) -> float | None:
    """When a stage ended: seconds since 1970."""
    ended = stage["finished_at"]
    return None if ended is None else ended.timestamp()


def by_sweep(cells: Sequence[Row]) -> dict[str, Models]:
    """The models of each sweep that has any, by its name."""
    found: dict[str, list[Row]] = {}
    for cell in cells:
        found.setdefault(cell["sweep"], []).append(cell)
    return {sweep: Models(sweep, rows) for sweep, rows in sorted(found.items(), key=lambda item: by_size(item[0]))}
