"""Can batch size and learning rate close the warm-start gap? (Ash & Adams 2020, Figure 3)

Every combination of both rounds' batch sizes {16, 32, 64, 128} and learning rates {0.001, 0.01,
0.1}: 12 first rounds x 12 second rounds from a warm start, and 12 from a random init, ResNet-18 on
CIFAR-10, 3 seeds. Each model is one dot: held-out accuracy against the second round's training time.

Cost: 156 cells x 3 seeds, 504 stages: 36 shared first rounds, 432 + 36 second rounds (900 without
sharing). The paper does not name the optimizer; its accuracies suggest SGD (DECISIONS.md).
Expectation: some warm starts reach the best random init's accuracy (about 79 %), none of them in
clearly less time: the upper left corner is empty of warm starts.
"""

from orchestrator import Sweep
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10
from trainers.inits import RandomInit, WarmStart
from trainers.models import ResNet18
from trainers.stopping import TrainAccuracy

BATCH_SIZES = [16, 32, 64, 128]
RATES = [0.001, 0.01, 0.1]

sweep = Sweep(
    source="Ash & Adams 2020, Figure 3",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart()],
        "first_batch_size": BATCH_SIZES,
        "first_lr": RATES,
        "batch_size": BATCH_SIZES,
        "lr": RATES,
        "stop": [TrainAccuracy(0.99, cap=500)],
        "evaluate_every": [0],
    },
    seeds=range(3),
)
