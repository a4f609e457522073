"""The paper's protocols, each one function from a cell and a seed to a trial's stages.

Every protocol takes two caps, so that any sweep can be tried in minutes: ``epochs``, the most
epochs of any stage, and ``limit``, how many images of the data set are used at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from orchestrator import Stage
from orchestrator.errors import ConfigError
from trainers.data import Data
from trainers.inits import Init, RandomInit
from trainers.models import Model
from trainers.optimizers import SGD, Optimizer
from trainers.regularizers import NoRegularizer, Regularizer
from trainers.stage_config import Supervised
from trainers.stopping import Stop


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
    evaluate_every: int = 1,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train on the first part of the data from a random init, then on all of it from `init`.

    The second round is what is reported; the first is its parent, unless `init` needs none.

    Args:
        first_fraction: Share of the training examples that the first round has, in (0, 1].
        first_lr: Learning rate of the first round; `lr` if None. The same for `first_batch_size`.
        epochs: Cap on the epochs of both rounds; None for what `stop` says.
        limit: Cap on the images of the data set; None for what `data` says.

    Source:
        Ash & Adams 2020, section 2.1; the authors' code with ``0 < n_samples <= 1``.
    """
    if not 0 < first_fraction <= 1:
        raise ConfigError(f"first_fraction={first_fraction}: give a share of the training examples in (0, 1].")
    data = data if limit is None else replace(data, limit=limit)
    full = Supervised(
        data=data,
        model=model,
        init=init,
        stop=stop if epochs is None else stop.capped(epochs),
        seed=seed,
        round=1,
        examples=data.fit_size,
        lr=lr,
        batch_size=batch_size,
        optimizer=optimizer,
        regularizer=regularizer,
        evaluate_every=evaluate_every,
    )
    if not init.needs_parent:
        return [Stage(full)]
    first = replace(
        full,
        init=RandomInit(),
        round=0,
        examples=max(1, int(data.fit_size * first_fraction)),
        lr=lr if first_lr is None else first_lr,
        batch_size=batch_size if first_batch_size is None else first_batch_size,
    )
    return [Stage(full, parent=Stage(first))]
