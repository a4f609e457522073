"""The paper's published curves and table entries, to stand beside ours; no sweep.

One JSON file for each figure or table, with a note on where its numbers are from. Accuracies are in
percent, as published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from orchestrator.errors import ConfigError
from orchestrator.figures.curves import Panel

Curve = tuple[tuple[float, float], ...]
SETTING: Mapping[str, str] = {"data_text": "CIFAR10()", "model": "resnet18"}  # what most of its figures are of
ONLINE_PANELS = (  # what Figures 2 and 7 show of a round
    Panel("test_accuracy", "test accuracy (%)", scale=100, range=(20, 90)),
    Panel("train_seconds", "training time of a round (s)", comparable=False),
)


class Entry(NamedTuple):
    """An entry of a table.

    Attributes:
        value: As published.
        spread: What the paper prints in parentheses behind it, whose meaning it does not say.
    """

    value: float
    spread: float


def items() -> list[str]:
    """Names of the figures and tables that there are numbers of, as their sweeps are called, sorted."""
    names = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def curve(item: str, series: str) -> Curve:
    """The points (x, y) of one curve of a figure, by rising x.

    Raises:
        ConfigError: there is no such figure or curve; names what there is.
    """
    return tuple((float(x), float(y)) for x, y in _one_of(item, "curves", series))


def number(item: str, *names: str) -> Entry:
    """One entry of a table, e.g. ``number("table1", "cifar10", "resnet18", "sgd", "warm_start")``.

    Raises:
        ConfigError: there is no such table or entry; names what there is.
    """
    published, spread = _one_of(item, "numbers", "/".join(names))
    return Entry(float(published), float(spread))


def value(item: str, *names: str) -> float:
    """One number that sums a figure up, e.g. ``value("figure7", "total_seconds", "0.6")``.

    Raises:
        ConfigError: there is no such figure or number; names what there is.
    """
    return float(_one_of(item, "values", "/".join(names)))


def source(item: str) -> str:
    """Where the numbers of this item are from, and how exact they are.

    Raises:
        ConfigError: there is no such item.
    """
    return str(_read(item)["source"])


def _one_of(item: str, part: str, name: str) -> Any:
    known: Mapping[str, Any] = _read(item).get(part, {})
    if name not in known:
        raise ConfigError(f"the paper's {item} has no {name!r} among its {part}: {', '.join(known) or 'it has none'}.")
    return known[name]


@cache
def _read(item: str) -> Mapping[str, Any]:
    if item not in items():
        raise ConfigError(f"there are no numbers of the paper's {item!r}. There are some of {', '.join(items())}.")
    content: Mapping[str, Any] = json.loads(files(__name__).joinpath(f"{item}.json").read_text("utf-8"))
    return content
