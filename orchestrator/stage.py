"""Stage: one uninterrupted training job; the unit that is planned, run, stored and resumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

from orchestrator.errors import ConfigError
from orchestrator.key import content_key


class Config(Protocol):
    """What the orchestrator asks of a trainer's config, beside being a `Spec`.

    Attributes:
        trainer: Dotted path of the function that runs it, ``"package.module:function"``.
        version: Raised whenever that function's numerics change.
        round: How many times data had arrived before this stage, from 0.
        seed: The trial's seed.
        data: The data set; the driver calls its ``check(data_root)`` before any worker starts.
    """

    trainer: ClassVar[str]
    version: ClassVar[int]

    @property
    def round(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def data(self) -> Any: ...

    def stage_columns(self) -> dict[str, Any]:
        """The columns of the table `stages` that the config alone decides."""

    def work(self) -> float:
        """Examples times the most epochs that it may train: above 0, and no less than what it will see."""


# A config may also have `turns`: dotted path of a function that does the same as `trainer` by turns, as
# `orchestrator.seam.Turns` says; None, or none, for a trainer that cannot. And `trajectory()`: what stages have in
# common that pass through the same states and differ only in when they end, and after how many epochs this one does;
# None if that is not known beforehand. And `cpu_only()`: whether it trains on the CPU where there are GPUs too, so
# that it fills nodes without one.
CONFIG_HAS = ("trainer", "version", "round", "seed", "data", "stage_columns", "work")  # as `Config` says


@dataclass(frozen=True, repr=False)
class Stage:
    """A trainer's config, and the stage whose final state it may start from.

    Two stages are equal if their keys are: then they are the same computation.

    Attributes:
        config: A setting that also satisfies `Config`.
        parent: Stage to read the final state from, or None to start from nothing.
        extendable: Whether its end is kept with all that training on depends on, so that a stage of the same
            trajectory that ends later goes on from there. Changes no number, and is not in the key.
    """

    config: Config
    parent: Stage | None = None
    extendable: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        lacking = [name for name in CONFIG_HAS if not hasattr(self.config, name)]
        if lacking:
            raise ConfigError(
                f"{type(self.config).__name__} cannot be a stage's config: it has no {', '.join(lacking)}. "
                f"orchestrator.stage.Config says what a trainer's config has."
            )

    @cached_property
    def key(self) -> str:
        """Content address: trainer, its version, config, and the parent's key."""
        above = self.parent
        unknown: list[Stage] = []
        while above is not None and "key" not in vars(above):
            unknown.append(above)
            above = above.parent
        for stage in reversed(unknown):  # oldest first: a chain of a thousand rounds would end Python's stack
            _ = stage.key
        return stage_key(self.config, self.parent.key if self.parent else None)

    @cached_property
    def trajectory(self) -> tuple[str, int] | None:
        """Names the states that it passes through, and the number of epochs after which it ends; None if unknown."""
        found = self._way()
        if found is None:
            return None
        shared, epochs = found
        above = self.parent.key if self.parent else None
        return content_key("trajectory", self.config.trainer, self.config.version, shared, above), epochs

    @property
    def is_fixed(self) -> bool:
        """Whether it is known beforehand after how many epochs it ends; sooner said than its `trajectory`."""
        return self._way() is not None

    def _way(self) -> tuple[Any, int] | None:
        """What its config says of its trajectory, if it does."""
        found: tuple[Any, int] | None = getattr(self.config, "trajectory", lambda: None)()
        return found

    @cached_property
    def cpu_only(self) -> bool:
        """Whether it is never given a GPU; False unless its config says otherwise."""
        return bool(getattr(self.config, "cpu_only", lambda: False)())

    def lineage(self) -> list[Stage]:
        """Return this stage and its ancestors, oldest first."""
        chain: list[Stage] = [self]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        return chain[::-1]

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and other.key == self.key

    def __repr__(self) -> str:
        parent = f", parent={self.parent.key}" if self.parent else ""
        return f"Stage({self.config!r}{parent})"


def stage_key(config: Any, parent_key: str | None) -> str:
    """Key of the stage with this config and this parent."""
    return content_key("stage", config.trainer, config.version, config, parent_key)


def turns_path(config: Config) -> str | None:
    """The dotted path of what does the same as the config's trainer by turns; None if nothing does.

    A class that names another trainer than the class it is made from has no turns unless it names these too.
    """
    for base in type(config).__mro__:
        named = vars(base)
        if "trainer" in named or "turns" in named:
            path: str | None = named.get("turns")
            return path
    return None
