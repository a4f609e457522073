"""The phenomenon: equal training accuracy, unequal generalization. (Ash & Adams 2020, Figure 1)

ResNet-18 on CIFAR-10: 350 epochs on a random half, then 350 more on all of it from the found
weights, beside 350 on all of it from fresh ones. The paper does not name the optimizer; SGD with
learning rate 0.001 and batch size 128 fits the shape of its curves (DECISIONS.md).

Cost: 2 cells x 3 seeds, 9 stages of 350 epochs.
Expectation: test accuracy of random init 61.5 %, warm start 56.6 %: a gap of 4.9 points at equal
training accuracy, and the warm start needs less than half of the epochs to 99 %.
"""

from orchestrator import Sweep
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10
from trainers.inits import RandomInit, WarmStart
from trainers.models import ResNet18
from trainers.stopping import Epochs

sweep = Sweep(
    source="Ash & Adams 2020, Figure 1",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [Epochs(350)],
    },
    seeds=range(3),
)
