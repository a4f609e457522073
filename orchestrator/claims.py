"""Claims: statements of the paper as rules over a sweep's results, and the verdict of each; prints nothing.

A claim stands in the file of the sweep that tests it. It is judged anew for each data set, model and other setting
that it does not compare, so that what holds on Digits is never read as a verdict about CIFAR-10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.figures.results import Results, Row, read
from orchestrator.groups import described, groups_of
from orchestrator.measures import Measure, Numbers, shown
from orchestrator.quantities import Cells, Group
from orchestrator.verdict import Bound, Interval, Outcome, interval, together

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.sweep import Sweep

COUNT = 16  # claims of the paper that we number


class Printed:
    """The paper's number for the rows with these columns: ``Printed(4.9, data_text="CIFAR10()", model="resnet18")``."""

    def __init__(self, number: float, **columns: Any) -> None:
        self.number, self.cells = number, Cells("", **columns)

    @property
    def words(self) -> str:
        """The number and what it is of."""
        columns = self.cells.columns.items()
        told = (value if isinstance(value, str) else f"{name}={value}" for name, value in columns)
        return f"{self.number:g} ({', '.join(told)})"


@dataclass(frozen=True)
class Part:
    """One measure and where it has to lie.

    Attributes:
        measure: One number per seed.
        bound: For the mean over seeds.
        paper: The paper's numbers, of the groups that it has one of.
        is_condition: Whether the claim speaks only where it holds: elsewhere nothing is decided, whatever other
            parts say.
    """

    measure: Measure
    bound: Bound
    paper: Sequence[Printed] = ()
    is_condition: bool = False


@dataclass(frozen=True)
class Claim:
    """A statement of the paper.

    Attributes:
        number: From 1 to 16, as the README lists them; a claim may stand in several sweeps, and more than once.
        text: What is claimed, in our words.
        source: Section and figure of the paper.
        parts: All must hold.
        across: Columns that its measures compare, besides those of the init; every other one tells groups apart.
        only: Which rows it speaks of.

    Raises:
        ConfigError: the number is none of a claim, or there is no part.
    """

    number: int
    text: str
    source: str
    parts: Sequence[Part]
    across: Sequence[str] = ()
    only: Cells = Cells("all cells")  # noqa: RUF009 - never changed

    def __post_init__(self) -> None:
        if not 1 <= self.number <= COUNT:
            raise ConfigError(f"claim {self.number}: the paper's claims are numbered from 1 to {COUNT}.")
        if all(part.is_condition for part in self.parts):
            raise ConfigError(f"claim {self.number}: no part to decide. Give it one measure with its bound, or more.")


@dataclass(frozen=True)
class Finding:
    """What one part of a claim came to.

    Attributes:
        measure: What was measured, in words.
        unit: Of the numbers; "" without one.
        rule: Where the mean has to lie.
        mean: Over seeds; None if no seed has a number. Of several comparisons, that of the least supported one.
        low: Lower end of the 95 % interval; None with fewer than two seeds.
        high: Its upper end.
        seeds: How many have a number.
        paper: The paper's number for this data set and model; None if it has none.
        paper_words: The same for a table; names the data set and model where they are others.
        outcome: The verdict.
        note: What is missing, or which of several comparisons is shown.
    """

    measure: str
    unit: str
    rule: str
    mean: float | None
    low: float | None
    high: float | None
    seeds: int
    paper: float | None
    paper_words: str
    outcome: Outcome
    note: str


@dataclass(frozen=True)
class Verdict:
    """What one sweep says about one claim, for one data set and model.

    Attributes:
        number: Of the claim.
        text: The claim.
        source: Where the paper makes it.
        sweep: What was run.
        data: Data set as it is written in a sweep, with its cap on images.
        model: Network as it is written in a sweep; several if the claim compares them.
        settings: What else tells this verdict from others; "" if nothing does.
        outcome: Of all parts together.
        findings: One per part.
        note: What is not there yet, of the whole sweep.
    """

    number: int
    text: str
    source: str
    sweep: str
    data: str
    model: str
    settings: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    note: str


def claims_of(store: Store, sweeps: Sequence[Sweep]) -> list[Verdict]:
    """Verdicts on every claim of `sweeps`, by number; *not run* where the store has nothing to decide it with.

    Raises:
        StoreError: there is no store.
    """
    tables = read(store)
    found = [verdict for sweep in sweeps for verdict in verdicts_of(tables.results_of(sweep.name), sweep)]
    return sorted(found, key=lambda verdict: verdict.number)


def verdicts_of(results: Results, sweep: Sweep) -> list[Verdict]:
    """Verdicts on the claims of one sweep."""
    return [verdict for claim in sweep.claims for verdict in judged(claim, results, sweep)]


def judged(claim: Claim, results: Results, sweep: Sweep) -> list[Verdict]:
    """Verdicts on one claim, one a group; a single one, *not run*, if no group has a row."""
    found = groups_of(results, claim.across, claim.only)
    if not found:
        return [verdict_of(claim, results, (planned(sweep, claim, "data"), planned(sweep, claim, "model"), ""))]
    addresses = [address for address, _ in found]
    return [
        verdict_of(claim, results, (*place(group), described(address, addresses)), group) for address, group in found
    ]


def place(group: Group) -> tuple[str, str]:
    """Data sets and models of a group, as text."""
    texts = (sorted({str(row[name]) for row in group.rows}) for name in ("data_text", "model_text"))
    data, model = (", ".join(one) for one in texts)
    return data, model


def planned(sweep: Sweep, claim: Claim, axis: str) -> str:
    """Those values of a sweep's axis that a claim speaks of, as text."""
    values = sweep.axes.get(axis, ())
    return ", ".join(str(value) for value in values if is_meant(value, axis, claim))


def is_meant(value: Any, axis: str, claim: Claim) -> bool:
    """Whether a claim speaks of a value of an axis."""
    columns = value.columns(axis) if hasattr(value, "columns") else {axis: value}
    asked = {name: wanted for name, wanted in claim.only.columns.items() if name in columns}
    return Cells("", **asked).has(columns)


def verdict_of(claim: Claim, results: Results, where: tuple[str, str, str], group: Group | None = None) -> Verdict:
    """The verdict on a claim for one group, or for none."""
    findings = tuple(finding_of(part, group) for part in claim.parts)
    return Verdict(
        claim.number,
        claim.text,
        claim.source,
        results.sweep,
        *where,
        of_all(claim.parts, findings),
        findings,
        " ".join(notes(results, group)),
    )


def of_all(parts: Sequence[Part], findings: Sequence[Finding]) -> Outcome:
    """What the parts of a claim say together; at most "not decided" where a condition is not known to hold."""
    pairs = list(zip(parts, findings, strict=True))
    outcome = together(finding.outcome for part, finding in pairs if not part.is_condition)
    is_known = all(finding.outcome is Outcome.SUPPORTED for part, finding in pairs if part.is_condition)
    return outcome if is_known or outcome is Outcome.NOT_RUN else Outcome.NOT_DECIDED


def notes(results: Results, group: Group | None) -> list[str]:
    """Sentences on what is not there."""
    absent, failed = results.planned - len(results.rows), sum(row["status"] == "failed" for row in results.rows)
    diverged = sum(row["status"] == "diverged" for row in group.rows) if group else 0
    said = [f"{absent:,} of {results.planned:,} models of the sweep are not trained yet."] if absent > 0 else []
    said += [f"{failed:,} of the sweep failed."] if failed else []
    return said + ([f"{diverged:,} here diverged."] if diverged else [])


def finding_of(part: Part, group: Group | None) -> Finding:
    """What one part comes to in one group; of several comparisons the least supported one is shown."""
    try:
        found = part.measure.numbers(group) if group else {}
        trouble = ""
    except ConfigError as error:
        found, trouble = {}, str(error)
    judgements = [(label, *judge(numbers, part.bound)) for label, numbers in found.items()]
    outcome = together(one[2] for one in judgements) if not trouble else Outcome.NOT_DECIDED
    label, interval_, _ = min(judgements, key=lambda one: support(one[2], one[1], part.bound), default=("", None, None))
    numbers = found.get(label, {})
    unmet = part.is_condition and outcome is Outcome.CONTRADICTED
    outcome = Outcome.NOT_DECIDED if unmet else outcome
    met = "The condition does not hold here, so nothing is decided." if unmet else ""
    said = [trouble, compared(judgements, label), lacking(numbers, group), met]
    number = printed(part, group)
    return Finding(
        part.measure.words,
        part.measure.unit,
        ("only where it is " if part.is_condition else "") + part.bound.words(part.measure.unit),
        interval_.mean if interval_ else None,
        finite(interval_.low) if interval_ else None,
        finite(interval_.high) if interval_ else None,
        len(numbers),
        number,
        paper_words(part, number),
        outcome,
        " ".join(filter(None, said)),
    )


Judgement = tuple[str, Interval | None, Outcome]


def judge(numbers: Numbers, bound: Bound) -> tuple[Interval | None, Outcome]:
    """Interval of the seeds' numbers, and what it says of the bound."""
    if not numbers:
        return None, Outcome.NOT_RUN
    found = interval(list(numbers.values()))
    return found, bound.outcome(found)


def support(outcome: Outcome, found: Interval | None, bound: Bound) -> tuple[int, float]:
    """How well a bound is supported, to sort by: contradicted first, then by how far inside it the mean lies."""
    order = (Outcome.CONTRADICTED, Outcome.NOT_DECIDED, Outcome.NOT_RUN, Outcome.SUPPORTED)
    inside = math.inf if found is None else min(found.mean - bound.low, bound.high - found.mean)
    return order.index(outcome), inside


def compared(judgements: Sequence[Judgement], label: str) -> str:
    """Which of several comparisons is shown, and how many of them are supported."""
    if not label:
        return ""
    if len(judgements) == 1:
        return f"Of {label}."
    count = sum(outcome is Outcome.SUPPORTED for _, _, outcome in judgements)
    return f"Shown: {label}; {count} of {len(judgements)} such comparisons are supported."


def lacking(numbers: Numbers, group: Group | None) -> str:
    """How many seeds of a group have no number."""
    seeds = {row["seed"] for row in group.rows} if group else set()
    absent = len(seeds - set(numbers))
    return f"{absent} of {len(seeds)} seeds {'lack' if absent > 1 else 'lacks'} what is needed." if absent else ""


def printed(part: Part, group: Group | None) -> float | None:
    """The paper's number for a group."""
    rows: Sequence[Row] = group.rows if group else ()
    return next((one.number for one in part.paper if any(one.cells.has(row) for row in rows)), None)


def paper_words(part: Part, number: float | None) -> str:
    """The paper's number for a table; its range where it has others only."""
    if number is not None:
        return f"{number:g}"
    if len(part.paper) < 2:
        return "".join(one.words for one in part.paper)
    numbers = [one.number for one in part.paper]
    return f"{shown(float(min(numbers)))} to {shown(float(max(numbers)))} (elsewhere)"


def finite(number: float) -> float | None:
    """`number`, or None if it is infinite."""
    return number if math.isfinite(number) else None
