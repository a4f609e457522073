"""Sweep: how the experiments behind one table or figure are written down.

A sweep is axes, a protocol that turns one cell and one seed into stages, and seeds. Cells that
turn out to run the very same stages are one cell: in a grid of first-round settings x inits, a
random init depends on no first round, so its cells merge and the axes that make no difference
are None there.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from orchestrator.errors import ConfigError, SweepError
from orchestrator.spec import RULES, Spec, plain
from orchestrator.stage import Stage

if TYPE_CHECKING:
    from orchestrator.claims import Claim
    from orchestrator.figures.results import Figure

MOST_TRIALS = 100_000  # a slip such as --seeds 0-99999 is named instead of planned for minutes
OF_EVERY_CELL = ("sweep", "seed", "round", "key")  # columns of the table `cells` that no axis may hide
SEED_HINT = "Seeds are no axis: give them as the sweep's seeds, or with --seeds."


@dataclass(frozen=True)
class Trial:
    """One cell of a sweep under one seed.

    Attributes:
        cell: Value of each axis, by name; None where the axis makes no difference to this cell.
        stages: The stages whose results are reported, in the order of time. Their ancestors
            are part of the trial too, whether listed or not.
    """

    cell: Mapping[str, Any]
    seed: int
    stages: Sequence[Stage]

    def rows(self, sweep: str) -> list[dict[str, Any]]:
        """Rows of the table `cells`, one per reported stage."""
        columns: dict[str, Any] = {}
        for name, value in self.cell.items():
            columns |= value.columns(name) if isinstance(value, Spec) else {name: scalar(value)}
        return [
            {"sweep": sweep, **columns, "seed": self.seed, "round": s.config.round, "key": s.key} for s in self.stages
        ]


@dataclass(frozen=True)
class Sweep:
    """All experiments behind one item of the paper.

    Every value is checked against the annotation of the protocol's parameter when the sweep is made,
    where there is one that can be read at run time.

    Attributes:
        source: The item, e.g. ``"Ash & Adams 2020, Table 1"``.
        axes: Name of each setting and its values, also where there is one value only; their
            product are the cells.
        protocol: Builds a trial's reported stages from one value of each axis and `seed`, by
            keyword. Its keyword parameters with defaults may be replaced at launch too.
        seeds: One trial per cell and seed; the spread over seeds is the reported error.
        name: Given by the file that the sweep was loaded from.
        small: Axes that ``--small`` puts in place of its own: the same experiment within minutes on two cores.
        small_seeds: The seeds that go with them.
        figure: The form in which its results are drawn; by default a scatter.
        claims: What its results are to decide.

    Raises:
        ConfigError: names every axis that the protocol does not have or lacks, or has no value or
            wrong ones, and what is wrong with the seeds.
    """

    source: str
    axes: Mapping[str, Sequence[Any]]
    protocol: Callable[..., Sequence[Stage]]
    seeds: Sequence[int]
    name: str = ""
    small: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    small_seeds: Sequence[int] = (0,)
    figure: Figure | None = None
    claims: Sequence[Claim] = ()

    def __post_init__(self) -> None:
        faults = [*self._axis_faults(), *self._size_faults()] or [*self._seed_faults(), *self._value_faults()]
        if faults:
            raise ConfigError("\n".join(f"{self.title}: {fault}" for fault in faults))

    @property
    def title(self) -> str:
        """What a message calls this sweep."""
        return self.name or self.source

    def parameters(self) -> dict[str, inspect.Parameter]:
        """What the protocol can be given by keyword, except the seed."""
        given = inspect.signature(self.protocol).parameters
        by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: one for name, one in given.items() if name != "seed" and one.kind in by_keyword}

    def _axis_faults(self) -> Iterator[str]:
        known = self.parameters()
        yield from (self._unknown_axis(name) for name in self.axes if name not in known)
        for name, parameter in known.items():
            if name in OF_EVERY_CELL:
                yield f"a protocol's parameter cannot be called {name!r}: every cell has a column of that name."
            if parameter.default is parameter.empty and name not in self.axes:
                yield f"no axis {name!r}, and the protocol needs it. Give it one value or more."

    def _unknown_axis(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.parameters(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Its axes: {', '.join(self.parameters())}."
        return f"no axis {name!r}. {SEED_HINT if name in ('seed', 'seeds') else hint}"

    def _size_faults(self) -> Iterator[str]:
        counts = {name: len(values) for name, values in self.axes.items()} | {"seeds": len(self.seeds)}
        yield from (f"no value for {name}. Give it one or more." for name, count in counts.items() if not count)
        if (trials := math.prod(counts.values())) > MOST_TRIALS:
            sizes = " x ".join(f"{count:,} {name}" for name, count in counts.items() if count > 1)
            yield f"{trials:,} trials ({sizes}); {MOST_TRIALS:,} are the most. Give fewer values or seeds at a time."

    def _seed_faults(self) -> Iterator[str]:
        seeds = [plain(seed) for seed in self.seeds]
        wrong = [seed for seed in seeds if type(seed) is not int or seed < 0]
        if wrong:
            yield f"seeds {', '.join(map(repr, wrong))}: give whole numbers from 0."
        elif len(set(seeds)) < len(seeds):
            yield f"seeds {', '.join(map(str, seeds))}: one is given twice. Give each once."

    def _value_faults(self) -> Iterator[str]:
        annotations = annotations_of(self.protocol)
        for name, values in self.axes.items():
            if name in annotations:
                yield from (f"axis {name}: {fault}" for fault in misfits(values, annotations[name]))

    def replace(self, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] | None = None) -> Sweep:
        """The same sweep with the values of `axes` and `seeds` in place of its own.

        Raises:
            ConfigError: as for a new sweep.
        """
        return dataclasses.replace(
            self, axes={**self.axes, **axes}, seeds=self.seeds if seeds is None else tuple(seeds)
        )

    def trials(self) -> list[Trial]:
        """Every cell under every seed, cells in the order of the axes, last axis fastest.

        A combination for which the protocol returns no stage is no cell.

        Raises:
            ConfigError: no combination is a cell, or a combination of values means nothing; says which cell.
        """
        cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        stages: dict[tuple[str, ...], list[Sequence[Stage]]] = {}
        for cell in self._grid():
            reported = [self._stages(cell, int(seed)) for seed in self.seeds]
            if not any(reported):  # a combination that the protocol skips
                continue
            address = tuple(stage.key for trial in reported for stage in trial)
            cells.setdefault(address, []).append(cell)
            stages.setdefault(address, reported)
        if not cells:
            raise ConfigError(f"{self.title}: its protocol makes no stage of any cell. Give its axes other values.")
        return [
            Trial(merge(same), int(seed), reported)
            for address, same in cells.items()
            for seed, reported in zip(self.seeds, stages[address], strict=True)
        ]

    def _grid(self) -> Iterator[dict[str, Any]]:
        for values in product(*self.axes.values()):
            yield dict(zip(self.axes, map(plain, values), strict=True))

    def _stages(self, cell: Mapping[str, Any], seed: int) -> Sequence[Stage]:
        """What the protocol makes of one cell and seed; whatever it raises says which."""
        try:
            stages = self.protocol(**cell, seed=seed)
            if not isinstance(stages, (list, tuple)) or not all(isinstance(s, Stage) for s in stages):
                raise ConfigError(f"the protocol must return a list of stages, and returned {stages!r}.")
        except ConfigError as error:
            raise ConfigError(f"{error} (In {self._place(cell, seed)}.)") from error
        except Exception as error:
            file = inspect.getsourcefile(unwrapped(self.protocol)) or ""
            raise ConfigError(f"{raised_at(error, file)} (In {self._place(cell, seed)}.)") from error
        return stages

    def _place(self, cell: Mapping[str, Any], seed: int) -> str:
        return f"{self.title}, seed {seed}, cell {', '.join(f'{name}={value}' for name, value in cell.items())}"


def merge(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One cell for `cells` that run the same stages: None on every axis on which they differ."""
    first = cells[0]
    return {name: value if all(c[name] == value for c in cells) else None for name, value in first.items()}


def scalar(value: Any) -> Any:
    """`value` of an axis as a table can hold it: a number, text, a boolean or None; anything else as its text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def annotations_of(protocol: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the parameters, {} where they name what is imported for type checkers only."""
    try:
        return typing.get_type_hints(unwrapped(protocol), include_extras=True)
    except (NameError, TypeError):
        return {}


def misfits(values: Sequence[Any], annotation: Any) -> Iterator[str]:
    """A sentence for each of `values` that is not what `annotation` says; none for an annotation without a check."""
    try:
        check = TypeAdapter(tuple[annotation, ...], config=RULES)
    except PydanticUserError:
        return
    try:
        check.validate_python(tuple(map(plain, values)))
    except ValidationError as error:
        rules: dict[Any, str] = {}
        for fault in error.errors():
            rules.setdefault(fault["loc"][0], fault["msg"])
        yield from (f"{values[place]!r}: {rule[0].lower()}{rule[1:]}." for place, rule in rules.items())


def unwrapped(protocol: Callable[..., Any]) -> Callable[..., Any]:
    """The function that was written, behind decorators and functools.partial."""
    written: Callable[..., Any] = inspect.unwrap(getattr(protocol, "func", protocol))
    return written


def raised_at(error: BaseException, file: str) -> str:
    """Where and what: the innermost line of `file` that led to `error`, else of any file, and the error's own words."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = [frame for frame in frames if frame.filename == file][-1:] or frames[-1:]
    words = str(error) if isinstance(error, SweepError) else traceback.format_exception_only(error)[-1].strip()
    return f"{frame[0].filename}, line {frame[0].lineno}: {words}"
