"""figure9 is the paper's Figure 9: six ordered pairs of data sets, twelve fractions, three inits."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np

from orchestrator.plan import plan
from sweeps.figure9 import sweep
from tests.sweeps.test_every_sweep import SMALL, tried
from trainers.data import CIFAR10, CIFAR100, SVHN, ArrayFile, Digits
from trainers.inits import NewHead, RandomInit


def test_its_pairs_are_all_ordered_pairs() -> None:
    """From a set to itself is no transfer."""
    stages = [trial.stages[0] for trial in sweep.replace({}, [0]).trials()]
    pairs = {(stage.parent.config.data, stage.config.data) for stage in stages if stage.parent}

    assert pairs == set(permutations([CIFAR10(), CIFAR100(), SVHN()], 2))


def test_each_source_is_trained_once_a_seed() -> None:
    """48 stages start from it; trained for each it would be most of the sweep."""
    stages = plan(sweep.replace({}, [0]).trials()).stages

    assert Counter(stage.parent.key for stage in stages if stage.parent).most_common() == [
        (stage.key, 48) for stage in stages if stage.config.round == 0
    ]


def test_a_random_init_belongs_to_no_source() -> None:
    """Its curve is the same in both panels of a target."""
    cells = [trial.cell for trial in sweep.trials() if trial.cell["init"] == RandomInit()]

    assert {cell["source"] for cell in cells} == {None}
    assert len(cells) == 3 * 12 * 3


def test_it_runs_between_sets_of_other_classes(tmp_path: Path) -> None:
    """The last layer of ten classes fits no three; found after the source has been trained, it is found late."""
    numbers = np.random.default_rng(0)
    x, y = numbers.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    np.savez_compressed(tmp_path / "three.npz", x=x, y=y)
    SMALL["figure9"] = SMALL["figure9"] | {"data": [ArrayFile(str(tmp_path / "three.npz"))], "source": [Digits()]}

    summary, _ = tried("figure9", tmp_path / "store")

    assert summary.exit_code == 0
    inits = {type(stage.config.init) for stage in summary.plan.stages}
    assert inits == {RandomInit, NewHead}
