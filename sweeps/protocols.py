"""The paper's protocols, each one function from a cell and a seed to a trial's stages.

Every protocol takes two caps, so that any sweep can be tried in minutes: ``epochs``, the most
epochs of any stage, and ``limit``, how many images of each data set are used at all; and ``precision``, to how many
digits products are rounded (`trainers.precision`).

A stage has a parent only if something in it reads one. What a setting asks of a parent and means
nothing without one, such as elastic weight consolidation from a random init, is left out there;
cells that differ in it alone are then one cell.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from orchestrator import Stage
from orchestrator.errors import ConfigError
from trainers.after_step import AfterStep, NoChange
from trainers.augmentation import Augmentation, NoAugmentation
from trainers.data import Data
from trainers.inits import Init, NewHead, RandomInit
from trainers.models import MLP, LinearSVM, Logistic, Model
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.precision import Precision
from trainers.regularizers import NoRegularizer, Regularizer
from trainers.selection import InOrder, Selection
from trainers.shrunk import Shrunk
from trainers.stage_config import Supervised
from trainers.stopping import Epochs, Stop, TrainAccuracy

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=0, le=1)]
# Training to convergence. The reproductions' plateau, four epochs within 0.002, stops an MLP with SGD at 0.001, whose
# accuracy rises by less than that an epoch, after 4 epochs of its warm start (DECISIONS.md).
CONVERGED = TrainAccuracy(0.99, cap=500, window=10, tolerance=0.001)
FULLY_CONNECTED = (MLP, Logistic, LinearSVM)  # no BatchNorm, and an input for every pixel


def half_then_all(
    data: Data,
    model: Model,
    init: Init,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    optimizer: Optimizer = SGD(),
    regularizer: Regularizer = NoRegularizer(),
    first_fraction: float = 0.5,
    first_lr: float | None = None,
    first_batch_size: int | None = None,
    first_epochs: Count | None = None,
    augmentation: Augmentation = NoAugmentation(),
    after_step: AfterStep = NoChange(),
    gradient_norms_every: Annotated[int, Field(ge=0)] = 0,
    evaluate_every: int = 1,
    precision: Precision = "fp32",
    epochs: Count | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train on the first part of the data from a random init, then on all of it from `init`.

    The second round is what is reported; the first is its parent, unless `init` needs none. All
    settings are those of both rounds, except the ones below, and a regularizer that needs a parent.

    Args:
        first_fraction: Share of the training examples that the first round has, in (0, 1].
        first_lr: Learning rate of the first round; `lr` if None. The same for `first_batch_size`.
        first_epochs: The first round ends after so many epochs, whatever `stop` says; rounds that
            differ in it alone are trained once, as far as the longest. None for what `stop` says.
        gradient_norms_every: Of the second round, where there is a first one; see `Supervised`.
        epochs: Cap on the epochs of both rounds; None for what `stop` says.
        limit: Cap on the images of the data set; None for what `data` says.

    Source:
        Ash & Adams 2020, section 2.1; the authors' code with ``0 < n_samples <= 1``. `first_epochs`: section 3.2.
    """
    if not 0 < first_fraction <= 1:
        raise ConfigError(f"first_fraction={first_fraction}: give a share of the training examples in (0, 1].")
    data = limited(data, limit)
    full = Supervised(
        data=data,
        model=model,
        init=RandomInit(),
        stop=capped(stop, epochs),
        seed=seed,
        round=1,
        examples=data.fit_size,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        regularizer=of_a_parentless(regularizer),
        evaluate_every=evaluate_every,
        augmentation=augmentation,
        after_step=after_step,
        precision=precision,
    )
    if not init.needs_parent:
        return [Stage(replace(full, init=init))]
    first = replace(
        full,
        stop=full.stop if first_epochs is None else capped(Epochs(first_epochs), epochs),
        round=0,
        examples=max(1, int(data.fit_size * first_fraction)),
        lr=lr if first_lr is None else first_lr,
        batch_size=batch_size if first_batch_size is None else first_batch_size,
    )
    asks = regularizer.needs_parent or gradient_norms_every > 0
    second = replace(
        full,
        init=init,
        regularizer=regularizer,
        gradient_norms_every=gradient_norms_every,
        old_examples=first.examples if asks else 0,
    )
    return [Stage(second, parent=Stage(first, extendable=first_epochs is not None))]


def online(
    data: Data,
    model: Model,
    init: Init,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    optimizer: Optimizer = Adam(),
    regularizer: Regularizer = NoRegularizer(),
    per_round: Count = 1000,
    rounds: Count | None = None,
    selection: Selection = InOrder(),
    evaluate_every: int = 0,
    precision: Precision = "fp32",
    epochs: Count | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Let examples arrive in rounds; after each arrival train on all so far, from `init`.

    Every round is reported. The first one is a random init on the first examples of the seed's
    order in every arm, so that all arms begin with one network.

    Args:
        per_round: Examples that arrive in a round; the last round has what is left.
        rounds: Most rounds; None until all training examples have arrived.
        selection: Which examples arrive.
        epochs: Cap on the epochs of every round; None for what `stop` says.
        limit: Cap on the images of the data set; None for what `data` says.

    Source:
        Ash & Adams 2020, section 2.2; the authors' code with ``n_samples > 1``, 1,000 by default. With
        Margin, the first version's active learning.
    """
    data = limited(data, limit)
    sizes = [*range(per_round, data.fit_size, per_round), data.fit_size][:rounds]
    first = Supervised(
        data=data,
        model=model,
        init=RandomInit(),
        stop=capped(stop, epochs),
        seed=seed,
        round=0,
        examples=sizes[0],
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        regularizer=of_a_parentless(regularizer),
        evaluate_every=evaluate_every,
        precision=precision,
    )
    later = regularizer if init.needs_parent else first.regularizer
    asks = selection.needs_parent or later.needs_parent
    stages = [Stage(first)]
    for number, (old, examples) in enumerate(itertools.pairwise(sizes), start=1):
        config = replace(
            first,
            init=init,
            round=number,
            examples=examples,
            regularizer=later,
            selection=selection,
            old_examples=old if asks else 0,
        )
        stages.append(Stage(config, parent=stages[-1] if config.needs_parent else None))
    return stages


def repeat(
    data: Data,
    model: Model,
    init: Init,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    optimizer: Optimizer = Adam(),
    rounds: Count = 10,
    evaluate_every: int = 0,
    precision: Precision = "fp32",
    epochs: Count | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train on all of the data again and again, each round from `init`; no data arrive.

    Every round is reported. The first one is a random init in every arm.

    Args:
        rounds: How often.
        epochs: Cap on the epochs of every round; None for what `stop` says.
        limit: Cap on the images of the data set; None for what `data` says.

    Source:
        Ash & Adams 2020, appendix on iterated shrink-perturb on a static data set.
    """
    first = all_at_once(data, model, lr, batch_size, stop, seed, optimizer, evaluate_every, precision, epochs, limit)
    stages = [Stage(first)]
    for number in range(1, rounds):
        config = replace(first, init=init, round=number)
        stages.append(Stage(config, parent=stages[-1] if init.needs_parent else None))
    return stages


def transfer(
    source: Data,
    data: Data,
    model: Model,
    init: Init,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    optimizer: Optimizer = Adam(),
    fraction: Share = 1.0,
    evaluate_every: int = 0,
    precision: Precision = "fp32",
    epochs: Count | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train on all of one data set from a random init, then on a part of another one from `init`.

    The training on `data` is reported; that on `source` is its parent, unless `init` needs none. The
    last layer is a fresh one where the two sets have other numbers of classes. From a set to itself
    there is no stage, so a sweep can list the same sets on both axes.

    Args:
        source: What is trained on first. As many channels as `data`, and as many pixels for a fully
            connected model.
        data: What is trained on then, and reported.
        fraction: Share of the training examples of `data`, from the front.
        epochs: Cap on the epochs of both stages; None for what `stop` says.
        limit: Cap on the images of each data set; None for what they say.

    Source:
        Ash & Adams 2020, section 4.2.
    """
    if source == data:
        return []
    if not do_fit(source, data, model):
        raise ConfigError(
            f"source={source} has images of {source.shape}, data={data} of {data.shape} (channels, height, width): "
            f"no {model} starts from the other. Give sets of one shape; a ResNet18 asks for equal channels alone."
        )
    first = all_at_once(source, model, lr, batch_size, stop, seed, optimizer, evaluate_every, precision, epochs, limit)
    target = limited(data, limit)
    second = replace(
        first,
        data=target,
        init=NewHead(init) if init.needs_parent and source.classes != data.classes else init,
        round=1,
        examples=max(1, int(target.fit_size * fraction)),
    )
    return [Stage(second, parent=Stage(first) if init.needs_parent else None)]


def shrink_curve(
    data: Data,
    model: Model,
    shrink: Factor,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    statistics: Literal["reestimated", "frozen"] = "reestimated",
    optimizer: Optimizer = Adam(),
    evaluate_every: int = 0,
    precision: Precision = "fp32",
    epochs: Count | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train on all of the data from a random init, then measure the network with its weights shrunk.

    The measurement is reported; nothing is trained in it.

    Args:
        shrink: Factor on every weight.
        statistics: Whether BatchNorm normalises by what it sees after the shrinking, or by what it saw
            while training; makes no difference to a fully connected model, which has none.
        epochs: Cap on the epochs of the training; None for what `stop` says.
        limit: Cap on the images of the data set; None for what `data` says.

    Source:
        Ash & Adams 2020, section 4, Proposition 1 and Figure 6.
    """
    trained = all_at_once(data, model, lr, batch_size, stop, seed, optimizer, evaluate_every, precision, epochs, limit)
    measured = Shrunk(
        data=trained.data,
        model=model,
        seed=seed,
        round=1,
        examples=trained.examples,
        shrink=shrink,
        statistics=statistics if model.has_batch_norm else "frozen",
    )
    return [Stage(measured, parent=Stage(trained))]


def all_at_once(
    data: Data,
    model: Model,
    lr: float,
    batch_size: int,
    stop: Stop,
    seed: int,
    optimizer: Optimizer,
    evaluate_every: int,
    precision: Precision,
    epochs: int | None,
    limit: int | None,
) -> Supervised:
    """Train on all of the data from a random init, as the first thing that happens."""
    data = limited(data, limit)
    return Supervised(
        data=data,
        model=model,
        init=RandomInit(),
        stop=capped(stop, epochs),
        seed=seed,
        round=0,
        examples=data.fit_size,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        evaluate_every=evaluate_every,
        precision=precision,
    )


def limited(data: Data, limit: int | None) -> Data:
    """`data` with this cap on its images, with its own where there is none."""
    return data if limit is None else replace(data, limit=limit)


def capped(stop: Stop, epochs: int | None) -> Stop:
    """`stop` with this cap on the epochs, as it is where there is none."""
    return stop if epochs is None else stop.capped(epochs)


def of_a_parentless(regularizer: Regularizer) -> Regularizer:
    """`regularizer` in a stage without a parent: none, where it needs one."""
    return NoRegularizer() if regularizer.needs_parent else regularizer


def do_fit(source: Data, data: Data, model: Model) -> bool:
    """Whether a network of `model` for images of one set can start from one for the other, but for its last layer."""
    return source.shape == data.shape if isinstance(model, FULLY_CONNECTED) else source.shape[0] == data.shape[0]
