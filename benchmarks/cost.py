"""Cost: hours that every sweep takes at full size on one device, from throughput measured there; trains no sweep.

Stages that train equally fast are a group, and of each group some short epochs of `trainers.supervised.Training`
are timed, on random images that lie on the device; no data set is needed. ``python -m benchmarks.cost``.

*At most* is every stage up to the cap of its stopping rule. *Expected* takes fixed numbers of epochs as they are, and
in Figure 1's setting those that the paper's Figure 1 needs to 99 % of training accuracy; of every other stage nobody
knows when it stops, and nothing is guessed. Training alone counts, one stage at a time: no reading of images, no
evaluation, no choice of examples, no Fisher information.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator import Stage, catalogue
from orchestrator.errors import ConfigError
from orchestrator.estimate import share_left
from orchestrator.plan import Plan, plan
from orchestrator.seam import run_to_end
from trainers.after_step import NoChange
from trainers.augmentation import NoAugmentation
from trainers.data import CIFAR10
from trainers.inits import RandomInit, WarmStart
from trainers.models import ResNet18
from trainers.optimizers import SGD
from trainers.regularizers import NoRegularizer
from trainers.selection import InOrder
from trainers.shrunk import Shrunk
from trainers.stage_config import Supervised
from trainers.stopping import Epochs, TrainAccuracy

if TYPE_CHECKING:
    import torch

    from trainers.splits import Splits
    from trainers.supervised import Training

# Epochs to 99 % of training accuracy, read off the paper's Figure 1: an assumption, not a measurement of ours.
HALF_DATA, WARM_START, RANDOM_INIT = 155, 65, 145
FIGURE_1 = (
    *(CIFAR10(), ResNet18(), SGD(), 0.001, 128),
    *(NoRegularizer(), InOrder(), NoAugmentation(), NoChange()),
)
FEWEST_EPOCHS, USUAL_EPOCHS = 3, 5  # that are timed of a group
FEWEST_BATCHES, MOST_BATCHES = 2, 20  # of such an epoch
TINY_LR = 1e-9  # random images are never fitted: gradients of nearly 0 are slow on a CPU, and no stage has them
EACH_ONCE = "all, each stage once"


@dataclass(frozen=True)
class Group:
    """What decides how many images a stage trains on in a second; one measurement holds for all stages of a group."""

    model: str
    shape: tuple[int, int, int]
    classes: int
    batch_size: int
    optimizer: str
    regularizer: str
    augmentation: str
    after_step: str
    gradient_norms_every: int

    @classmethod
    def of(cls, config: Supervised) -> Group:
        """The group of a stage; of optimizer and regularizer the kind, because their numbers cost nothing."""
        return cls(
            model=str(config.model),
            shape=config.data.shape,
            classes=config.data.classes,
            batch_size=config.batch_size,
            optimizer=config.optimizer.kind,
            regularizer=config.regularizer.kind,
            augmentation=str(config.augmentation),
            after_step=str(config.after_step),
            gradient_norms_every=config.gradient_norms_every,
        )

    def beside(self) -> str:
        """What is done beside the plain step, in words; empty for nothing."""
        plain = (NoRegularizer.kind, str(NoAugmentation()), str(NoChange()))
        extras = [name for name in (self.regularizer, self.augmentation, self.after_step) if name not in plain]
        if self.gradient_norms_every:
            extras.append(f"gradient norms every {self.gradient_norms_every} steps")
        return ", ".join(extras)


@dataclass(frozen=True)
class Load:
    """Training that one stage adds to a sweep.

    Attributes:
        most: Examples times epochs, at the cap of the stopping rule.
        expected: The same for the epochs that are expected; None where they are not known.
    """

    group: Group
    most: float
    expected: float | None


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes:
        stages: All stages, those without epochs too.
        training: Stages with epochs.
        known: Those of `training` whose expected epochs are known.
        expected_hours: Of the `known` stages alone.
    """

    sweep: str
    stages: int
    training: int
    known: int
    most_examples: float
    most_hours: float
    expected_hours: float

    def expected_text(self) -> str:
        """Expected hours in words; never a number for stages that nothing is known of."""
        if not self.known:
            return "not known"
        hours = short_number(self.expected_hours)
        return hours if self.known == self.training else f"{hours} for {self.known} of {self.training:,} stages"


def expected_epochs(stage: Stage) -> int | None:
    """Epochs that a stage is expected to train for, None if they are not known."""
    config = stage.config
    if isinstance(config, Supervised) and isinstance(config.stop, Epochs):
        return config.stop.n
    return figure_1_epochs(stage)


def figure_1_epochs(stage: Stage) -> int | None:
    """Epochs that the paper's Figure 1 needs to 99 %, None for a stage that is none of its three arms.

    Source:
        Ash & Adams 2020, Figure 1, digitised. SGD at 0.001 with batches of 128 is our reading of it (DECISIONS.md).
    """
    config = stage.config
    if not isinstance(config, Supervised) or not has_figure_1s_setting(config):
        return None
    whole, half = config.data.fit_size, config.data.fit_size // 2
    epochs = None
    if config.init == RandomInit():
        epochs = {whole: RANDOM_INIT, half: HALF_DATA}.get(config.examples)
    elif config.init == WarmStart() and config.examples == whole and stage.parent is not None:
        epochs = WARM_START if figure_1_epochs(stage.parent) == HALF_DATA else None
    return None if epochs is None else min(epochs, config.stop.most_epochs)


def has_figure_1s_setting(config: Supervised) -> bool:
    """Whether all but init and examples is as in the paper's Figure 1, and it trains to 99 %."""
    trained = (config.data, config.model, config.optimizer, config.lr, config.batch_size)
    changed = (config.regularizer, config.selection, config.augmentation, config.after_step)
    return (*trained, *changed) == FIGURE_1 and isinstance(config.stop, TrainAccuracy) and config.stop.target == 0.99


def loads(planned: Plan) -> list[Load]:
    """What each stage with epochs adds; one that goes on from another one adds only the rest of the way.

    Raises:
        ConfigError: nothing is known of the cost of a stage's trainer.
    """
    found = []
    for stage in planned.stages:
        config = stage.config
        if isinstance(config, Shrunk):  # measures a network once, and has no epochs
            continue
        if not isinstance(config, Supervised):
            raise ConfigError(f"{config}: no throughput is measured of this trainer. Add it to benchmarks/cost.py.")
        left, epochs = share_left(stage, planned.follows), expected_epochs(stage)
        expected = None if epochs is None else config.examples * epochs * left
        found.append(Load(Group.of(config), config.work() * left, expected))
    return found


def summed(sweep: str, planned: Plan, images_per_s: Mapping[Group, float]) -> Cost:
    """Add up the stages of a plan, each at the throughput of its own group."""
    found = loads(planned)
    known = [(load.group, load.expected) for load in found if load.expected is not None]
    return Cost(
        sweep=sweep,
        stages=len(planned.stages),
        training=len(found),
        known=len(known),
        most_examples=sum(load.most for load in found),
        most_hours=sum(load.most / images_per_s[load.group] for load in found) / 3600,
        expected_hours=sum(expected / images_per_s[group] for group, expected in known) / 3600,
    )


def plans() -> dict[str, Plan]:
    """The stage tree of every sweep of the package by name, and of all of them together, where equal stages are one."""
    trials = {name: catalogue.find(name).sweep.trials() for name in catalogue.names()}
    every = list(itertools.chain.from_iterable(trials.values()))
    return {**{name: plan(own) for name, own in trials.items()}, EACH_ONCE: plan(every)}


def measure(config: Supervised, device: torch.device, seconds: float) -> list[float]:
    """Images per second of some short epochs of `config` on random images, after two that warm up.

    Args:
        config: Of any stage of the group.
        device: As `trainers.device.prepare_device` returns it.
        seconds: Wall time to keep to, warm-up included; three epochs are measured whatever they take.
    """
    from trainers.seeds import stream
    from trainers.supervised import Training

    until = time.perf_counter() + seconds
    splits = random_splits(config, device)
    net = config.model.build(config.data.shape, config.data.classes, stream(config.seed, "weights")).to(device)
    parent = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    old = splits.train.part(slice(config.batch_size))
    batch_loss = config.regularizer.bound(net, parent, old, config.model.losses)
    optimizer = config.optimizer.build(net, TINY_LR, config.regularizer.weight_decay)
    net.train()
    warm_up = Training(shortened(config, FEWEST_BATCHES), net, batch_loss, optimizer, splits.train)
    warm_up_s = [epoch_seconds(warm_up, epoch) for epoch in (1, 2)]
    batches = batches_of_an_epoch(config, seconds, warm_up_s[-1] / FEWEST_BATCHES)
    timed = Training(shortened(config, batches), net, batch_loss, optimizer, splits.train)
    rates: list[float] = []
    while len(rates) < FEWEST_EPOCHS or time.perf_counter() < until:
        rates.append(timed.config.examples / epoch_seconds(timed, len(rates) + 1))
    return rates


def epoch_seconds(training: Training, epoch: int) -> float:
    """Seconds of one epoch, its numbers read."""
    began = time.perf_counter()
    run_to_end(training.epoch(epoch))
    training.sums.tolist()
    return time.perf_counter() - began


def batches_of_an_epoch(config: Supervised, seconds: float, step_s: float) -> int:
    """Batches that let USUAL_EPOCHS fit into that time."""
    batches = int(seconds / USUAL_EPOCHS / step_s)
    return whole_periods(config, max(FEWEST_BATCHES, min(MOST_BATCHES, batches)))


def whole_periods(config: Supervised, batches: int) -> int:
    """As many batches, or a few more: every epoch measures its share of gradient norms, where any are measured."""
    every = max(1, config.gradient_norms_every)
    return -(-batches // every) * every


def shortened(config: Supervised, batches: int) -> Supervised:
    """The same stage on so many full batches, or all examples that its data set has; half of them old, if any are."""
    examples = min(batches * config.batch_size, config.data.fit_size)
    return replace(config, examples=examples, old_examples=examples // 2 if config.old_examples else 0)


def random_splits(config: Supervised, device: torch.device) -> Splits:
    """Random images in [-1, 1] and labels for the longest epoch that is measured, on `device`; no test split."""
    import torch

    from trainers.seeds import stream
    from trainers.splits import Split, Splits

    examples = shortened(config, whole_periods(config, MOST_BATCHES)).examples
    draw = stream(config.seed, "random images")
    x = (2 * torch.rand(examples, *config.data.shape, generator=draw) - 1).to(device)
    y = torch.randint(config.data.classes, (examples,), generator=draw).to(device)
    return Splits(Split(x, y), Split(x[:0], y[:0]))


def short_number(value: float) -> str:
    """Two decimals below 10 and none above; what is too small for two is said to be so."""
    if 0 < value < 0.01:
        return "< 0.01"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def cost_table(costs: Sequence[Cost]) -> str:
    """The table of sweeps, in Markdown."""
    lines = [
        "| sweep | stages | examples, at most (billions) | hours, at most | hours, expected |",
        "|---|--:|--:|--:|--:|",
    ]
    for cost in costs:
        numbers = f"{short_number(cost.most_examples / 1e9)} | {short_number(cost.most_hours)}"
        lines.append(f"| {cost.sweep} | {cost.stages:,} | {numbers} | {cost.expected_text()} |")
    return "\n".join(lines)


def throughput_table(rates: Mapping[Group, Sequence[float]]) -> str:
    """The table of groups, in Markdown: median and range over the epochs that were timed."""
    lines = [
        "| model | images | classes | batch | optimizer | beside the step | images/s | range | epochs timed |",
        "|---|---|--:|--:|---|---|--:|---|--:|",
    ]
    for group, found in rates.items():
        shape = " x ".join(map(str, group.shape))
        start = f"{group.model} | {shape} | {group.classes} | {group.batch_size} | {group.optimizer}"
        numbers = f"{statistics.median(found):,.0f} | {min(found):,.0f}-{max(found):,.0f} | {len(found)}"
        lines.append(f"| {start} | {group.beside()} | {numbers} |")
    return "\n".join(lines)


def heading(device: torch.device) -> str:
    """Where it was measured, in one line."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    threads = torch.get_num_threads()
    return f"On one {name}, torch {torch.__version__}, {threads} CPU thread{'s' * (threads > 1)}, one stage at a time:"


def positive(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := float(text)) < float("inf"):
        raise ValueError(text)
    return value


def main() -> None:
    """Measure every group, and print both tables; how far it is goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default CUDA where there is one")
    parser.add_argument("--seconds", type=positive, default=5.0, help="measuring time of a group (default 5)")
    options = parser.parse_args()

    from trainers.device import prepare_device

    device = prepare_device(options.device)
    planned = plans()
    configs = [stage.config for stage in planned[EACH_ONCE].stages if isinstance(stage.config, Supervised)]
    examples = {Group.of(config): config for config in configs}
    rates: dict[Group, list[float]] = {}
    for group, config in examples.items():
        rates[group] = measure(config, device, options.seconds)
        print(f"{len(rates)} of {len(examples)} groups measured", file=sys.stderr)
    medians = {group: statistics.median(found) for group, found in rates.items()}
    print(heading(device), cost_table([summed(name, one, medians) for name, one in planned.items()]), sep="\n\n")
    print("\nMeasured:", throughput_table(rates), sep="\n\n")


if __name__ == "__main__":
    main()
