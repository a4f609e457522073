"""The trainer's part of the CPU benchmark: images a second by model and batch size, beside the authors' loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.tables import Goal, markdown, ratio, say, shown
from benchmarks.throughput import Ask, Meter, Rate, meters, together

ALONE, LOADERS, COPIES = "authors' loop", "authors' loop, 2 loader workers", "authors' loop, a copy a core"
ONE, TWO, HALF = "ours, 1 worker", "ours, 2 workers", "ours, 2 workers, bf16"
EVERY, FEW = (ALONE, LOADERS, COPIES, ONE, TWO, HALF), (ALONE, TWO, HALF)
GOALS = {"logistic": 16.0, "MLP": 8.0, "ResNet18 narrow": 4.0}
GOAL_BATCH = 128  # of the paper's Table 1
CEILING_S = 0.3


@dataclass(frozen=True)
class Case:
    """A model at a batch size.

    Attributes:
        images: Of an epoch of ours.
        rounds: At most; a step of a wide network takes many seconds.
        warm_up: See `Ask`.
    """

    model: str
    batch_size: int
    images: int
    rounds: int = 3
    variants: Sequence[str] = EVERY
    warm_up: bool = True

    @property
    def name(self) -> str:
        """As tables say it."""
        return f"{self.model}, {self.batch_size}"


def images_of(model: str, batch_size: int) -> int:
    """Of an epoch that takes some tenths of a second, as far as a step is shorter than that."""
    if model == "ResNet18 wide":
        return batch_size if batch_size > 16 else 32
    if model == "ResNet18 narrow":
        return max(batch_size, 128)
    return min(20_000, 160 * batch_size)


def cases() -> list[Case]:
    """Every model at every batch size; where an epoch is seconds, fewer variants and rounds."""
    found = []
    for model in ("logistic", "MLP", "ResNet18 narrow"):
        found += [Case(model, size, images_of(model, size)) for size in (16, 32, 64, 128, 512)]
    found[-1] = replace(found[-1], rounds=1, variants=FEW)
    wide = "ResNet18 wide"
    found += [Case(wide, size, images_of(wide, size), rounds=2, variants=FEW) for size in (16, 32)]
    found += [Case(wide, size, images_of(wide, size), rounds=1, variants=FEW) for size in (64, 128)]
    return [*found, Case(wide, 512, 512, rounds=1, variants=(ALONE, TWO), warm_up=False)]


CASES = cases()
QUICK_CASES = [Case("logistic", 128, 1280, 1), Case("MLP", 128, 1280, 1, FEW)]


@dataclass
class Found:
    """What was measured.

    Attributes:
        rates: Images a second of all processes of a variant together, by case and variant, a value a round.
        peaks: Most memory of one process, MiB.
        ceilings: GFLOP/s of two processes together, by precision.
        flops: Of training on one image, by model.
    """

    cases: Sequence[Case]
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)
    ceilings: dict[str, list[float]] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def of(self, case: Case, variant: str) -> list[float]:
        """Rates of one variant; empty if it was not measured."""
        return self.rates.get(case.name, {}).get(variant, [])

    def best(self, case: Case) -> str:
        """The faster precision of ours."""
        measured = [name for name in (TWO, HALF) if self.of(case, name)]
        return max(measured, key=lambda name: ratio(self.of(case, name), [1.0] * 99).median)

    def note(self, case: Case, variant: str, rates: Sequence[Rate]) -> None:
        """Keep what the processes of a variant measured together."""
        total = sum(rate.images_per_s for rate in rates)
        self.rates.setdefault(case.name, {}).setdefault(variant, []).append(total)
        if known := [rate.peak_mib for rate in rates if rate.peak_mib is not None]:
            peaks = self.peaks.setdefault(case.name, {})
            peaks[variant] = max(*known, peaks.get(variant, 0.0))


def trainer_part(cases: Sequence[Case], rounds: int, window_s: float) -> Found:
    """Measure every variant of every case in turn, round after round; processes live as long as all of it."""
    found = Found(cases)
    with meters(4) as (*own, first, second):
        (found.flops,) = together(own[:1], "flops")
        for turn in range(rounds):
            for precision in ("fp32", "bf16"):
                both = together(own, "ceiling", precision=precision, seconds=CEILING_S)
                found.ceilings.setdefault(precision, []).append(sum(both))
            for case in cases:
                if turn < case.rounds:
                    measure(found, case, own, [first, second], window_s)
            say(f"round {turn + 1} of {rounds} of the trainer's part")
    return found


def measure(found: Found, case: Case, own: list[Meter], other: list[Meter], window_s: float) -> None:
    """One round of one case."""
    who = {
        ALONE: (other[:1], "authors", 0, "fp32"),
        LOADERS: (other[:1], "authors", 2, "fp32"),
        COPIES: (other, "authors", 0, "fp32"),
        ONE: (own[:1], "ours", 0, "fp32"),
        TWO: (own, "ours", 0, "fp32"),
        HALF: (own, "ours", 0, "bf16"),
    }
    for variant in case.variants:
        processes, loop, loaders, precision = who[variant]
        ask = Ask(loop, case.model, case.batch_size, case.images, window_s, loaders, precision, case.warm_up)  # type: ignore[arg-type]
        found.note(case, variant, [Rate(**one) for one in together(processes, "rate", **asdict(ask))])


def trainer_goals(found: Found) -> list[Goal]:
    """Ours on both cores against the authors' loop as it is, one process, at the paper's batch size."""
    goals = []
    for model, least in GOALS.items():
        case = next((one for one in found.cases if (one.model, one.batch_size) == (model, GOAL_BATCH)), None)
        reached = None
        what = f"{model}, batch {GOAL_BATCH}: images a second on 2 cores to the authors' loop"
        if case is not None:
            best = found.best(case)
            reached = ratio(found.of(case, best), found.of(case, ALONE)).median
            what += " (bf16)" if best == HALF else " (fp32)"
        goals.append(Goal(what, least, reached))
    return goals


def trainer_text(found: Found) -> str:
    """A row for each model and batch size."""
    head = ["model, batch size", *EVERY, "rounds", "2 workers to authors' loop", "bf16 to it", "2 workers to copies"]
    head += ["share of bound", "memory MiB, ours / theirs"]
    rows = [row_of(found, case) for case in found.cases]
    ceilings = ", ".join(f"{name} {shown(values)} GFLOP/s" for name, values in found.ceilings.items())
    flops = ", ".join(f"{name} {count / 1e6:,.2f} M" for name, count in found.flops.items())
    return markdown(head, rows) + (
        f"\n\nImages a second, one thread a process; medians, ratios round by round with their range. Random images of "
        f"CIFAR-10's shape. *Authors' loop*: written by us from its description, one process; *a copy a core*: two of "
        f"them at once, one on each core. *Share of bound*: of two workers in fp32, beside products of square matrices "
        f"in this run: {ceilings} on both cores. Floating-point operations of training on an image, without the "
        f"gradient of the first layer's input: {flops}."
    )


def row_of(found: Found, case: Case) -> list[str]:
    """Of one case."""
    rates = {variant: found.of(case, variant) for variant in EVERY}
    cells = [
        case.name,
        *(shown(rates[variant], 0) if len(rates[variant]) == 1 else median(rates[variant]) for variant in EVERY),
    ]
    cells.append(str(len(rates[TWO])))
    for above, below in ((TWO, ALONE), (HALF, ALONE), (TWO, COPIES)):
        known = rates[above] and rates[below]
        cells.append(shown(ratio(rates[above], rates[below]).values, 1) if known else "-")
    bound = [1e9 * one / found.flops[case.model] for one in found.ceilings["fp32"]]
    share = ratio(rates[TWO], bound).median
    peaks = found.peaks.get(case.name, {})
    memory = " / ".join(f"{peaks[name]:,.0f}" if name in peaks else "-" for name in (TWO, ALONE))
    return [*cells, f"{100 * share:.0f} %", memory]


def median(values: Sequence[float]) -> str:
    """Without its range, which the ratios have."""
    return f"{ratio(values, [1.0] * len(values)).median:,.0f}" if values else "-"
