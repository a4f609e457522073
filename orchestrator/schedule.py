"""Schedule: which stage to hand out next; longest remaining path first, each stage once.

Knows no clock, no worker and no store: backends ask it, tests and simulations drive it. Handing
out and finishing a stage cost O(log n), whatever the size of the tree.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from orchestrator.stage import Stage


class Schedule:
    """The stages of a plan on their way from waiting to finished.

    `finish`, `hand_back` and `fail` each end one handing out; of a stage that is not running they
    raise a KeyError, because telling the same end twice would run its children twice.

    Attributes:
        waiting: Keys of stages that were not handed out yet, blocked ones excluded.
        running: Keys handed out and not let go of.
        blocked: Keys that cannot run, because an ancestor failed or was interrupted.
    """

    def __init__(
        self, to_run: Sequence[Stage], cost: Callable[[Stage], float], follows: Mapping[str, Stage] | None = None
    ) -> None:
        """Take `to_run`, parents before children; `cost` gives a stage's seconds or any like unit.

        Stages wait for their parent, and for the stage that `follows` gives them by key.
        """
        self.stages = {stage.key: stage for stage in to_run}
        self.waiting = set(self.stages)
        self.running: set[str] = set()
        self.blocked: set[str] = set()
        self.children: dict[str, list[str]] = {key: [] for key in self.stages}
        self.remaining: dict[str, float] = {}
        self._rank = {key: rank for rank, key in enumerate(self.stages)}  # ties: in the order of the plan
        self._ready: list[tuple[float, int, str]] = []
        self._stopped = False
        self._waits_for: dict[str, int] = {}
        for stage in to_run:
            above = {one.key for one in (stage.parent, (follows or {}).get(stage.key)) if one is not None}
            above &= self.stages.keys()
            self._waits_for[stage.key] = len(above)
            for key in above:
                self.children[key].append(stage.key)
        for key in reversed(self._in_order()):  # children before parents
            below = max((self.remaining[child] for child in self.children[key]), default=0.0)
            self.remaining[key] = cost(self.stages[key]) + below
        for key, count in self._waits_for.items():
            if not count:
                self._push(key)

    def _in_order(self) -> list[str]:
        """All keys, each after those that it waits for."""
        counts = dict(self._waits_for)
        order = [key for key, count in counts.items() if not count]
        for key in order:  # grows meanwhile
            for child in self.children[key]:
                counts[child] -= 1
                if not counts[child]:
                    order.append(child)
        return order

    def _push(self, key: str) -> None:
        heapq.heappush(self._ready, (-self.remaining[key], self._rank[key], key))

    @property
    def ready(self) -> int:
        """How many stages could be handed out now."""
        return 0 if self._stopped else len(self._ready)

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing can be handed out: all is finished, failed, blocked or called off."""
        return not self.ready and not self.running

    def next_ready(self) -> Stage | None:
        """Hand out the ready stage with the longest remaining path, or None if none is ready."""
        if not self.ready:
            return None
        _, _, key = heapq.heappop(self._ready)
        self.waiting.remove(key)
        self.running.add(key)
        return self.stages[key]

    def finish(self, key: str) -> None:
        """The stage is committed: those that waited for nothing else become ready."""
        self.running.remove(key)
        for child in self.children[key]:
            self._waits_for[child] -= 1
            if not self._waits_for[child] and child in self.waiting:
                self._push(child)

    def hand_back(self, key: str) -> None:
        """The worker was lost, not the stage: it is ready again."""
        self.running.remove(key)
        self.waiting.add(key)
        self._push(key)

    def fail(self, key: str) -> list[str]:
        """The stage will not be committed in this launch: block and return its descendants."""
        self.running.remove(key)
        descendants: list[str] = []
        below = list(self.children[key])
        while below:
            child = below.pop()
            if child in self.waiting:  # and not found by another way before
                self.waiting.remove(child)
                descendants.append(child)
                below.extend(self.children[child])
        self.blocked.update(descendants)
        return descendants

    def stop(self) -> None:
        """Hand out nothing more, whatever becomes ready; what runs may still finish."""
        self._stopped = True
