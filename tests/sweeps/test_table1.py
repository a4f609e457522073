"""table1 is the paper's Table 1: data set x model x optimizer from both inits, and a second convex model of ours."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.table1 import sweep
from trainers.models import MLP


def test_its_plan_counts_what_is_promised() -> None:
    """24 blocks, two inits, three seeds, and a first round for every warm start."""
    made = plan(sweep.trials())

    assert (made.cells, len(made.stages), made.stages_without_sharing) == (48, 216, 216)


def test_its_blocks_are_the_papers() -> None:
    """Three data sets, ResNet, MLP and logistic regression, SGD and Adam (Ash & Adams 2020, section 2.1)."""
    blocks = {name: [value.kind for value in sweep.axes[name]] for name in ("data", "model", "optimizer", "init")}

    assert blocks == {
        "data": ["cifar10", "svhn", "cifar100"],
        "model": ["resnet18", "mlp", "logistic", "linear_svm"],
        "optimizer": ["sgd", "adam"],
        "init": ["random_init", "warm_start"],
    }


def test_its_mlp_is_the_one_of_the_text() -> None:
    """Three hidden layers of 100 with tanh, where the authors' code has two with ReLU (DECISIONS.md)."""
    assert MLP(depth=3, width=100, activation="tanh") in sweep.axes["model"]


def test_batch_size_and_learning_rate_are_the_papers() -> None:
    """128 and 0.001, whatever the model."""
    assert {(s.config.batch_size, s.config.lr) for s in plan(sweep.trials()).stages} == {(128, 0.001)}
