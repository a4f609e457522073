"""Can batch size and learning rate close the warm-start gap? (Ash & Adams 2020, Figure 3)

Every combination of both rounds' batch sizes {16, 32, 64, 128} and learning rates {0.001, 0.01,
0.1}: 12 first rounds x 12 second rounds from a warm start, and 12 from a random init, ResNet-18 on
CIFAR-10, 3 seeds. Each model is one dot: held-out accuracy against the second round's training time.

Cost: 156 cells x 3 seeds, 504 stages: 36 shared first rounds, 432 + 36 second rounds (900 without
sharing). The paper does not name the optimizer; its accuracies suggest SGD (DECISIONS.md).
Expectation: some warm starts reach the best random init's accuracy (about 79 %), none of them in
clearly less time: the upper left corner is empty of warm starts.
Measured (--small: Digits, MLP of width 64, 2 seeds): not decided; the best fast warm start lies 0.1 points above
the best random init, between -5.2 and 5.4.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.scatter import Scatter
from orchestrator.measures import FastCorner
from orchestrator.quantities import RANDOM, WARM
from orchestrator.verdict import below
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
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
        "stop": [CONVERGED],
        "evaluate_every": [0],
    },
    seeds=range(3),
    figure=Scatter("Figure 3, batch size and learning rate", inset=True),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "first_batch_size": [16, 64],
        "first_lr": [0.03, 0.3],
        "batch_size": [16, 64],
        "lr": [0.01, 0.1, 0.3],
        "stop": [TrainAccuracy(0.99, cap=100)],
    },
    small_seeds=range(2),
    claims=[
        Claim(
            5,
            "No batch size and learning rate give a warm start that is as accurate as the best random init in clearly "
            "less time: the upper left corner is empty",
            "section 3.1, Figure 3",
            [Part(FastCorner(WARM, RANDOM), below(-1))],
            across=["first_batch_size", "first_lr", "batch_size", "lr"],
        )
    ],
)
