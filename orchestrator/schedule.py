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

    `finish`, `hand_back`, `postpone` and `fail` each end one handing out; of a stage that is not running
    they raise a KeyError, because telling the same end twice would run its children twice. A postponed
    stage waits for `hand_back`; when that comes is for others to say.

    Attributes:
        waiting: Keys of stages that were not handed out yet, blocked ones excluded.
        running: Keys handed out and not let go of.
        postponed: Keys let go of, to be handed out again later.
        blocked: Keys that cannot run, because an ancestor failed or was interrupted.
        cost: Of each stage, by key.
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
        self.postponed: set[str] = set()
        self.blocked: set[str] = set()
        self.children: dict[str, list[str]] = {key: [] for key in self.stages}
        self.cost = {stage.key: cost(stage) for stage in to_run}
        self.remaining: dict[str, float] = {}
        self._rank = {key: rank for rank, key in enumerate(self.stages)}  # ties: in the order of the plan
        self._ready: dict[bool, list[tuple[float, int, str]]] = {False: [], True: []}  # by `Stage.cpu_only`
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
            self.remaining[key] = self.cost[key] + below
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
        heapq.heappush(self._ready[self.stages[key].cpu_only], (-self.remaining[key], self._rank[key], key))

    @property
    def ready(self) -> int:
        """How many stages could be handed out now."""
        return 0 if self._stopped else sum(map(len, self._ready.values()))

    def ready_on(self, *, cpu_only: bool) -> int:
        """How many stages that are, or are not, `Stage.cpu_only` could be handed out now."""
        return 0 if self._stopped else len(self._ready[cpu_only])

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing will be handed out: all is finished, failed, blocked or called off."""
        return not self.ready and not self.running and (self._stopped or not self.postponed)

    def soon(self, most: int, *, cpu_only: bool) -> list[Stage]:
        """Some of the stages that `ready_on` counts, the first one and others that are urgent, in no order."""
        return [] if self._stopped else [self.stages[key] for _, _, key in self._ready[cpu_only][:most]]

    def heads(self) -> list[Stage]:
        """The first ready stage of those that are `Stage.cpu_only`, and of the others; longest remaining path first."""
        if self._stopped:
            return []
        return [self.stages[key] for _, _, key in sorted(ready[0] for ready in self._ready.values() if ready)]

    def next_ready(self, head: Stage | None = None) -> Stage | None:
        """Hand out `head`, which is one of `heads`, by default the first of them; None if none is ready."""
        heads = self.heads()
        if not heads:
            return None
        _, _, key = heapq.heappop(self._ready[(head or heads[0]).cpu_only])
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
        """A running stage whose worker was lost, or a postponed one whose time has come: it is ready again."""
        (self.postponed if key in self.postponed else self.running).remove(key)
        self.waiting.add(key)
        self._push(key)

    def postpone(self, key: str) -> None:
        """The stage was let go of and cannot go on now: it is neither running nor ready until `hand_back`."""
        self.running.remove(key)
        self.postponed.add(key)

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
