"""Every draw has a name of its own: it depends on seed, purpose, round and epoch, and on nothing else."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.made import FIRST, run, same_bits, second, watched
from trainers.inits import ShrinkPerturb
from trainers.models import ResNet18
from trainers.optimizers import SGD
from trainers.regularizers import Adversarial
from trainers.seeds import stream
from trainers.stage_config import Supervised

EVERYTHING = replace(FIRST, model=ResNet18(width=2), optimizer=SGD(momentum=0.9), regularizer=Adversarial(size=0.1))
ROOT = Path(__file__).parents[2]
DIGESTS = "from tests.trainers.test_randomness import EVERYTHING, digests\nprint(digests(EVERYTHING))"


def digests(config: Supervised) -> dict[str, str]:
    """SHA-256 of every tensor of the final state."""
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in run(config).state.items()}


def test_no_random_stream_is_opened_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one stream in two places repeats its numbers, e.g. one data order in every epoch."""
    opened: Counter[tuple[Any, ...]] = Counter()

    def counted(*address: Any) -> torch.Generator:
        opened[address] += 1
        return stream(*address)

    for name, module in list(sys.modules.items()):
        if name.startswith("trainers.") and hasattr(module, "stream"):
            monkeypatch.setattr(module, "stream", counted)
    run(second(init=ShrinkPerturb(shrink=0.4, perturb=0.1, noise="gaussian")), run(FIRST).state)

    shared = {(3, "split"): 2}  # both rounds must see one order of the images
    epochs = {(3, "order", round_, epoch): 1 for round_ in (0, 1) for epoch in (1, 2, 3)}
    starts = {(3, purpose, round_): 1 for purpose in ("weights", "noise") for round_ in (0, 1)}
    assert opened == shared | epochs | starts


def test_global_generators_are_neither_read_nor_moved() -> None:
    """What a user drew before, or a test in the same process, must not decide where training ends."""
    torch.manual_seed(1)
    expected = run(EVERYTHING)
    torch.manual_seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()

    outcome = run(EVERYTHING)

    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(after[0], before[0])
    assert after[1:] == before[1:]
    assert same_bits(outcome.state, expected.state)


def test_another_process_gives_the_same_bits() -> None:
    """A number that cannot be trained again cannot be checked."""
    command, other = [sys.executable, "-c", DIGESTS], os.environ | {"PYTHONHASHSEED": "1"}

    there = subprocess.run(command, cwd=ROOT, env=other, capture_output=True, check=True, text=True).stdout

    assert there == f"{digests(EVERYTHING)}\n"


def test_every_epoch_has_an_order_of_its_own() -> None:
    """One order in every epoch makes every batch the same, and the noise of SGD a constant."""
    orders = watched(FIRST).orders

    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(30)) for order in orders)


def test_another_seed_is_another_experiment() -> None:
    """The spread over seeds is the reported error; what they share does not vary in it."""
    one, other = (watched(replace(FIRST, seed=seed)) for seed in (3, 4))

    assert not torch.equal(one.splits.test_x, other.splits.test_x)
    assert one.orders[0] != other.orders[0]
    assert not same_bits(one.start, other.start)


def test_another_round_has_other_draws_and_the_same_third_held_out() -> None:
    """A second round that tests on what the first one fitted has no held-out accuracy."""
    one, other = (watched(replace(FIRST, round=round_)) for round_ in (0, 1))

    assert torch.equal(one.splits.test_x, other.splits.test_x)
    assert one.orders[0] != other.orders[0]
    assert not same_bits(one.start, other.start)


@pytest.mark.parametrize("changes", [{"lr": 0.2}, {"batch_size": 16}, {"optimizer": SGD(momentum=0.9)}], ids=str)
def test_settings_of_the_step_change_no_draw(changes: dict[str, Any]) -> None:
    """Cells of a grid are compared seed by seed: the same start, order and third."""
    one, other = watched(FIRST), watched(replace(FIRST, **changes))

    assert torch.equal(one.splits.test_x, other.splits.test_x)
    assert one.orders == other.orders
    assert same_bits(one.start, other.start)
