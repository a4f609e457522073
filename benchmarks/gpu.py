"""GPU: the trainer on one card beside the authors' loop, alone, in packs, in several processes. No Ray, no data set.

``python -m benchmarks.gpu`` on a machine with a GPU, under 8 minutes; ``--device cpu --quick`` shows that it runs.
Every variant of a case is measured in turn, the case of the goals first and most often, for as long as the time lasts;
medians, ratios with their range, goals beside figures. A variant that fails costs its own figures alone. Images are
random and of CIFAR-10's shape. Baselines are written by us from their description (`benchmarks.authors_loop`): one
process, and several at once, which is what fractions of a GPU under raw Ray Tune come to once all trials run.
``gpu.json`` and ``gpu.md`` are left in ``--output``, written anew after each case. Exit code 1 if a goal is missed or a
variant failed, 2 if there is no GPU. It was never run on a card yet.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_machine import Power, has_gpu, service
from benchmarks.gpu_process import GpuAsk, GpuRate
from benchmarks.tables import (
    MISSING,
    Goal,
    exit_code,
    goals_table,
    machine,
    machine_text,
    markdown,
    ratio,
    say,
    shown,
    written,
)
from benchmarks.throughput import Meter, together

MAIN = ("ResNet18 narrow", 128)  # of the goals
GOALS = {"loop": 30.0, "fraction": 5.0, "bound": 0.25}
PROCESSES, PACKS, FUSED = (4, 8, 16), (4, 8, 16, 32), (8, 32)
LEGEND = (
    "Images a second are of all members and processes together; medians, with the range of the rounds. Random images "
    "of CIFAR-10's shape. *Authors' loop*: written by us from its description. *Pack*: stages that take turns in one "
    "process, each on a stream of its own. *Share of bound*: of the products in bf16. *Set-up*: seconds until all have "
    "made their first steps."
)
HEAD = "variant|images a second|to the authors' loop|share of bound|memory MiB|set-up s|J / 1,000|rounds"
LEFT_S = 15.0  # nothing is begun with less than this left


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        name: As tables say it.
        ask: What differs from `GpuAsk`'s defaults.
        processes: At once, each with its share of the card.
        mps: Whether they share it by NVIDIA's multi-process service.
    """

    name: str
    ask: dict[str, Any]
    processes: int = 1
    mps: bool = False

    @property
    def is_theirs(self) -> bool:
        """Whether it is the authors' loop."""
        return self.ask["loop"] == "authors"


@dataclass(frozen=True)
class Case:
    """A model at a batch size, and what is measured of it."""

    model: str
    batch_size: int
    variants: Sequence[Variant]

    @property
    def name(self) -> str:
        """As tables say it."""
        return f"{self.model}, {self.batch_size}"


LOOP, LOADERS = Variant("authors' loop", {"loop": "authors"}), Variant(
    "authors' loop, 2 loader workers", {"loop": "authors", "loaders": 2}
)  # fmt: skip
EAGER, CAPTURED = Variant("ours", {"loop": "ours"}), Variant("ours, captured", {"loop": "ours", "graphs": True})


def pack(members: int, precision: str = "fp32", *, graphs: bool = True) -> Variant:
    """Stages that take turns in one process."""
    name = f"ours, {'captured' if graphs else 'eager'}, {precision}, pack of {members}"
    return Variant(name, {"loop": "ours", "graphs": graphs, "precision": precision, "members": members})


def several(loop: str, processes: int, *, mps: bool) -> Variant:
    """A process a stage: the authors' loop, or ours, captured, in bf16."""
    given: dict[str, Any] = {"loop": loop} if loop == "authors" else {"loop": loop, "graphs": True, "precision": "bf16"}
    name = "authors' loop" if loop == "authors" else "ours, captured, bf16"
    return Variant(f"{name}, {processes} processes{', MPS' if mps else ''}", given, processes, mps)


def fused(members: int, precision: str) -> Variant:
    """One network of grouped layers."""
    given = {"loop": "fused", "graphs": True, "precision": precision, "members": members}
    return Variant(f"fused, captured, {precision}, {members} models", given)


def main_variants(*, mps: bool) -> list[Variant]:
    """Everything there is."""
    found = [LOOP, LOADERS, EAGER, CAPTURED, pack(1, "tf32"), pack(1, "bf16"), pack(8, graphs=False)]
    found += [pack(members, precision) for precision in ("fp32", "bf16") for members in PACKS]
    for shares in (False, True) if mps else (False,):
        found += [several(loop, count, mps=shares) for loop in ("authors", "ours") for count in PROCESSES]
    return found + [fused(members, precision) for precision in ("fp32", "bf16") for members in FUSED]


def cases(*, mps: bool) -> list[Case]:
    """The case of the goals in full, all others in short."""
    short = [LOOP, EAGER, CAPTURED, pack(1, "bf16"), pack(16, "bf16")]
    found = [Case(*MAIN, main_variants(mps=mps))]
    found += [Case("ResNet18 narrow", size, short) for size in (16, 32, 64, 512)]
    found += [Case("ResNet18 wide", size, short) for size in (16, 128)]
    small = [*short, pack(16, "fp32"), fused(32, "fp32")]
    return found + [Case(model, size, small) for model in ("MLP", "logistic") for size in (16, 128, 512)]


def quick_cases(device: str) -> list[Case]:
    """One of each kind of variant, on the smallest models; what a CPU has no form of is left out."""
    own = [pack(4, graphs=device != "cpu"), fused(2, "fp32"), several("authors", 2, mps=False)]
    if device == "cpu":
        own[1] = Variant("fused, 2 models", {"loop": "fused", "members": 2})
    return [
        Case("logistic", 16, [LOOP, EAGER, *own]),
        Case("MLP", 16, [EAGER, pack(1, "bf16", graphs=device != "cpu")]),
    ]


@dataclass
class Found:
    """What was measured.

    Attributes:
        card: What is known of the device.
        ceilings: TFLOP/s of products of square matrices, by precision, a value a round.
        rates: Images a second of all processes and members together, by case and variant, a value a round.
        peaks: Most memory of the device in MiB, all processes together.
        set_up: Seconds from the question to the first step of the window.
        joules: By 1,000 images, where the card tells its power.
        failed: What a variant failed with; its process told the rest on standard error.
    """

    card: dict[str, Any] = field(default_factory=dict)
    ceilings: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)
    set_up: dict[str, dict[str, float]] = field(default_factory=dict)
    joules: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, case: Case, variant: Variant, rates: Sequence[GpuRate], watts: float | None) -> None:
        """Keep what the processes of a variant measured together."""
        total = sum(rate.images_per_s for rate in rates)
        self.rates.setdefault(case.name, {}).setdefault(variant.name, []).append(total)
        self.peaks.setdefault(case.name, {})[variant.name] = sum(rate.peak_mib or 0.0 for rate in rates)
        self.set_up.setdefault(case.name, {})[variant.name] = max(rate.set_up for rate in rates)
        if watts is not None:
            self.joules.setdefault(case.name, {})[variant.name] = 1000 * watts / total

    def fail(self, case: Case, variant: Variant, error: Exception) -> None:
        """Keep why a variant was not measured."""
        self.failed.setdefault(case.name, {})[variant.name] = str(error)
        say(f"{case.name}, {variant.name}: {error}")

    def has(self, case: Case, variant: Variant) -> bool:
        """Whether it was measured, or failed."""
        return bool(self.of(case, variant)) or variant.name in self.failed.get(case.name, {})

    def of(self, case: Case, variant: Variant) -> list[float]:
        """Rates of one variant; empty if it was not measured."""
        return self.rates.get(case.name, {}).get(variant.name, [])

    def best(self, case: Case, variants: Sequence[Variant]) -> Variant | None:
        """The fastest of those that were measured."""
        known = [variant for variant in variants if self.of(case, variant)]
        return max(known, key=lambda one: ratio(self.of(case, one), [1.0] * 99).median, default=None)


class Meters:
    """Measuring processes, started when they are first needed: ours and theirs apart, those under MPS too."""

    def __init__(self, mps: dict[str, str]) -> None:
        """`mps`: variables of the multi-process service; {} without one."""
        self._mps, self._made = mps, dict[tuple[bool, bool], list[Meter]]()

    def take(self, variant: Variant) -> list[Meter]:
        """As many as it needs."""
        made = self._made.setdefault((variant.is_theirs, variant.mps), [])
        while len(made) < variant.processes:
            made.append(Meter("benchmarks.gpu_process", **(self._mps if variant.mps else {})))
        return made[: variant.processes]

    def drop(self, variant: Variant) -> None:
        """End those that a variant shares: one of them may have died, and others wait for it."""
        for meter in self._made.pop((variant.is_theirs, variant.mps), []):
            with contextlib.suppress(OSError):  # of a process that is no more
                meter.close()

    def close(self) -> None:
        """End them all."""
        for meter in (meter for made in self._made.values() for meter in made):
            meter.close()


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        window_s: Of one measurement.
        rounds: At most.
        images: Of an epoch, at most.
        matrix: Rows of the ceiling's matrices.
    """

    window_s: float
    rounds: int
    images: int
    matrix: int


FULL, QUICK = Size(0.6, 4, 20_000, 8192), Size(0.05, 1, 512, 256)


def measure_all(
    todo: Sequence[Case], size: Size, device: str, until: float, mps: dict[str, str], keep: Callable[[Found], object]
) -> Found:
    """Case after case, as `queue` says, until the time is over; the first one is measured in any case.

    Args:
        keep: Is given what was found after each case: a card may be taken back at any time.
    """
    found, meters, power = Found(), Meters(mps), Power(device)
    with contextlib.closing(meters), contextlib.closing(power):
        models = sorted({case.model for case in todo})
        (found.card,) = together(meters.take(EAGER), "facts", device=device, models=models)
        for case in queue(todo, size.rounds):
            if case is todo[0]:
                measure_ceilings(found, size, device, meters.take(EAGER))
            for variant in case.variants:
                if is_measured(found, todo[0]) and time.monotonic() > until - LEFT_S:
                    say(f"time is over at {case.name}, {variant.name}")
                    return found
                measure(found, case, variant, size, device, meters, power)
            say(case.name)
            keep(found)
    return found


def is_measured(found: Found, case: Case) -> bool:
    """Whether every variant of a case was, at least once, or failed."""
    return all(found.has(case, variant) for variant in case.variants)


def queue(todo: Sequence[Case], rounds: int) -> list[Case]:
    """The first case, which the goals are of, twice; then all, round after round. In one round each case once."""
    return [*todo] if rounds == 1 else [todo[0], *(case for _ in range(rounds) for case in todo)]


def measure_ceilings(found: Found, size: Size, device: str, meter: list[Meter]) -> None:
    """The arithmetic bound, beside what is compared with it."""
    for precision in ("fp32", "bf16") if device == "cpu" else ("fp32", "tf32", "bf16"):
        given: dict[str, Any] = {"precision": precision, "size": size.matrix, "seconds": size.window_s / 4}
        found.ceilings.setdefault(precision, []).extend(together(meter, "ceiling", device=device, **given))


def measure(found: Found, case: Case, variant: Variant, size: Size, device: str, meters: Meters, power: Power) -> None:
    """One round of one variant, unless it has failed before."""
    if variant.name in found.failed.get(case.name, {}):
        return
    given = {"model": case.model, "batch_size": case.batch_size, "seconds": size.window_s, "device": device}
    batches = max(1, min(size.images // case.batch_size, 160))
    ask = GpuAsk(images=batches * case.batch_size, **{**given, **variant.ask})
    try:
        answers = together(meters.take(variant), "rate", **asdict(ask))
    except (RuntimeError, OSError) as error:  # a process of it ended
        found.fail(case, variant, error)
        meters.drop(variant)
        return
    found.note(case, variant, [GpuRate(**one) for one in answers], power.mean(size.window_s))


def goals(found: Found, case: Case | None) -> list[Goal]:
    """Of one card, for the narrow ResNet18; not measured elsewhere."""
    what = "narrow ResNet18, batch 128, images a second"
    reached: dict[str, float | None] = dict.fromkeys(GOALS)
    words = "the best of ours"
    if case is not None and found.card["card"] != "cpu":
        best = found.best(case, [one for one in case.variants if not one.is_theirs])
        fraction = found.best(case, [one for one in case.variants if one.is_theirs and one.processes > 1])
        if best is not None:
            words, ours = best.name, found.of(case, best)
            reached["loop"] = ratio(ours, found.of(case, LOOP)).median if found.of(case, LOOP) else None
            reached["fraction"] = ratio(ours, found.of(case, fraction)).median if fraction else None
            reached["bound"] = share(found, case, best)
    return [
        Goal(f"{what}: {words}, to the authors' loop", GOALS["loop"], reached["loop"]),
        Goal(
            f"{what}: the same to the authors' loop in the best number of processes",
            GOALS["fraction"],
            reached["fraction"],
        ),
        Goal(f"{what}: the same, as a share of the card's bf16 products", GOALS["bound"], reached["bound"]),
    ]


def share(found: Found, case: Case, variant: Variant) -> float:
    """Of the arithmetic bound: products of square matrices in bf16 in the same run."""
    bound = [1e12 * one / found.card["flops"][case.model] for one in found.ceilings["bf16"]]
    return ratio(found.of(case, variant), bound).median


def text(found: Found, todo: Sequence[Case], aims: Sequence[Goal]) -> str:
    """Goals, then a table for each case, a row for each variant."""
    ceilings = ", ".join(f"{name} {shown(values, 2)}" for name, values in found.ceilings.items())
    parts = [
        f"{found.card['card']}, CUDA {found.card['cuda']}; {machine_text(machine())}.",
        goals_table(aims),
        f"Products of square matrices, TFLOP/s: {ceilings}. {LEGEND}",
    ]
    for case in todo:
        rows = [row for variant in case.variants if (row := row_of(found, case, variant))]
        parts.append(f"### {case.name}\n\n{markdown(HEAD.split('|'), rows)}")
    return "\n\n".join(parts)


def row_of(found: Found, case: Case, variant: Variant) -> list[str]:
    """Of one variant; empty if it was not measured."""
    if not (rates := found.of(case, variant)):
        return [variant.name, "failed", *[MISSING] * 6] if found.has(case, variant) else []
    loop = found.of(case, LOOP)
    compared = shown(ratio(rates, loop).values, 1) if loop and variant is not LOOP else "-"
    joules = found.joules.get(case.name, {}).get(variant.name)
    return [
        variant.name,
        shown(rates),
        compared,
        f"{100 * share(found, case, variant):.2f} %",
        f"{found.peaks[case.name][variant.name]:,.0f}",
        f"{found.set_up[case.name][variant.name]:.1f}",
        "-" if joules is None else f"{joules:.2f}",
        str(len(rates)),
    ]


def run(device: str, size: Size, minutes: float, output: Path, *, quick: bool) -> int:
    """Measure, print and write; the exit code."""
    began = time.monotonic()
    with service(device, quick=quick) as mps:
        todo = quick_cases(device) if quick else cases(mps=bool(mps))
        found = measure_all(todo, size, device, began + 60 * minutes, mps, lambda found: kept(found, todo, output))
    told, aims = kept(found, todo, output)
    print(told)
    say(f"wrote gpu.json and gpu.md into {output}; {time.monotonic() - began:.0f} s")
    return 1 if found.failed else exit_code(aims)


def kept(found: Found, todo: Sequence[Case], output: Path) -> tuple[str, list[Goal]]:
    """Write what was found so far; the same as text, and its goals."""
    aims = goals(found, next((case for case in todo if (case.model, case.batch_size) == MAIN), None))
    told = text(found, todo, aims)
    written(output, "gpu", {**machine(), **asdict(found)}, aims, told)
    return told, aims


def main(given: Sequence[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda; cpu shows that it runs")
    parser.add_argument("--quick", action="store_true", help="the smallest models, one short round; no figures")
    parser.add_argument("--minutes", type=float, default=7.5, help="nothing is begun after them")
    parser.add_argument("--output", type=Path, default=Path("benchmarks-output"), help="folder of gpu.json and gpu.md")
    asked = parser.parse_args(given)
    if asked.device != "cpu" and not has_gpu():
        print("No CUDA device that torch can use. Give --device cpu --quick to see that it runs.", file=sys.stderr)
        return 2
    size = QUICK if asked.quick else FULL
    return run(asked.device or "cuda", size, asked.minutes, asked.output, quick=asked.quick)


if __name__ == "__main__":
    sys.exit(main())
