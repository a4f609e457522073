"""Tables: medians with their spread, goals beside figures, the two files that a benchmark leaves; measures nothing."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MISSING = "-"  # what was not measured


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing: their median and, in brackets, the least and the largest."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all of them."""
        return statistics.median(self.values)

    def text(self, digits: int = 0) -> str:
        """``1,234 [1,200-1,260]``; without brackets if there is one measurement."""
        shown = f"{self.median:,.{digits}f}"
        if len(self.values) == 1:
            return shown
        return f"{shown} [{min(self.values):,.{digits}f}-{max(self.values):,.{digits}f}]"


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Round by round, so that a slower minute of the machine touches both sides; what one side lacks is left out."""
    return Spread(tuple(one / other for one, other in zip(above, below, strict=False)))


def shown(values: Sequence[float] | None, digits: int = 0) -> str:
    """The spread of measurements, or that there are none."""
    return Spread(tuple(values)).text(digits) if values else MISSING


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was.

    Attributes:
        what: In words, with its unit.
        goal: The least, or with `at_most` the most.
        reached: None where it was not measured, which is not a miss.
    """

    what: str
    goal: float
    reached: float | None
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or ``not measured``."""
        if self.reached is None:
            return "not measured"
        is_met = self.reached <= self.goal if self.at_most else self.reached >= self.goal
        return "met" if is_met else "missed"

    def row(self) -> list[str]:
        """Of the table of goals."""
        sign = "<=" if self.at_most else ">="
        digits = 3 if self.goal < 1 else 1
        reached = MISSING if self.reached is None else f"{self.reached:.{digits}f}"
        return [self.what, f"{sign} {self.goal:g}", reached, self.verdict]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals_table(goals: Sequence[Goal]) -> str:
    """Every goal beside what was reached."""
    return markdown(["goal", "asked", "reached", ""], [goal.row() for goal in goals])


def machine() -> dict[str, Any]:
    """What was measured on: no name of a host, but all that a figure depends on."""
    import torch

    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "bf16_instructions": sorted(flags & {"avx512_bf16", "amx_bf16"}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine_text(facts: Mapping[str, Any]) -> str:
    """The same in one line."""
    bf16 = ", ".join(facts["bf16_instructions"]) or "no bf16 instructions"
    return f"{facts['cores']} cores of {facts['cpu']} ({bf16}), torch {facts['torch']}, {facts['date']}"


def written(folder: Path, name: str, facts: Mapping[str, Any], goals: Sequence[Goal], text: str) -> tuple[Path, Path]:
    """Write ``name.json`` and ``name.md`` into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder / f"{name}.json", folder / f"{name}.md"
    told = [asdict(goal) | {"verdict": goal.verdict} for goal in goals]
    found[0].write_text(json.dumps({**facts, "goals": told}, indent=1) + "\n")
    found[1].write_text(text + "\n")
    return found


def exit_code(goals: Sequence[Goal]) -> int:
    """1 if a goal was missed."""
    return int(any(goal.verdict == "missed" for goal in goals))


def say(text: str, *, stamp: Callable[[], float] = lambda: os.getloadavg()[0]) -> None:
    """How far a benchmark is, with the machine's load, on standard error."""
    print(f"{text}  (load {stamp():.1f})", file=sys.stderr, flush=True)
