"""Pace: how long stages like one lasted so far in this launch, to hand out short ones before they are asked for."""

from __future__ import annotations

from collections.abc import Hashable

NEWEST = 0.3  # share of the last stage in what is expected of the next one


class Pace:
    """Seconds that stages hold a worker, by what they have in common and by their cost; knows no clock and no stage."""

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self._rates: dict[Hashable, float] = {}

    def told(self, kind: Hashable, cost: float, seconds: float) -> None:
        """A stage of this kind and `cost`, in any unit, held its worker for so long."""
        rate = seconds / max(cost, 1e-9)
        before = self._rates.get(kind, rate)
        self._rates[kind] = before + NEWEST * (rate - before)

    def seconds(self, kind: Hashable, cost: float) -> float:
        """What is to be expected of another one; infinite while nothing like it was measured."""
        rate = self._rates.get(kind)
        return float("inf") if rate is None else rate * max(cost, 1e-9)
