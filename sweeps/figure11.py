"""Do warm starts that generalize well forget where they started? (Ash & Adams 2020, appendix Figure 11)

Pearson correlation of the weights at the end of the second round with those at its start, against
held-out accuracy, for all warm starts of Figure 3's grid: batch sizes and learning rates of both
rounds. Beside ResNet-18 an MLP and logistic regression on the same grid, as in the appendix; both
cost little next to it.

Cost: 432 cells x 3 seeds, 1404 stages (2592 without sharing), of which `figure3` has the 468 of
ResNet-18.
Expectation: no number. For ResNet-18 a significant negative correlation between the two: models that
generalize well have almost no correlation with their start. For logistic regression no such trade.
Measured (--small: Digits, MLP of width 64, 48 warm starts): r = -0.26 of weight correlation with accuracy, -0.40
with time; logistic regression -0.30 and -0.51.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.correlations import Correlations
from orchestrator.measures import Correlation
from orchestrator.quantities import WARM, Cells
from orchestrator.verdict import below
from sweeps.figure3 import BATCH_SIZES, RATES
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, Digits
from trainers.inits import WarmStart
from trainers.models import MLP, Logistic, ResNet18
from trainers.stopping import TrainAccuracy

sweep = Sweep(
    source="Ash & Adams 2020, appendix Figure 11",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18(), MLP(depth=3, activation="tanh"), Logistic()],
        "init": [WarmStart()],
        "first_batch_size": BATCH_SIZES,
        "first_lr": RATES,
        "batch_size": BATCH_SIZES,
        "lr": RATES,
        "stop": [CONVERGED],
        "evaluate_every": [0],
    },
    seeds=range(3),
    figure=Correlations("Figure 11, what is left of the starting weights"),
    small={
        "data": [Digits()],
        "model": [MLP(width=64), Logistic()],
        "first_batch_size": [16, 64],
        "first_lr": [0.03, 0.3],
        "batch_size": [16, 64],
        "lr": [0.01, 0.1, 0.3],
        "stop": [TrainAccuracy(0.99, cap=100)],
    },
    small_seeds=range(2),
    claims=[
        Claim(
            6,
            "Those warm starts generalize well that have forgotten where they started",
            "section 3.1, appendix Figure 11",
            [Part(Correlation("weight_correlation", "test_accuracy", WARM), below(0))],
            across=["first_batch_size", "first_lr", "batch_size", "lr"],
            only=Cells("networks", model=("resnet18", "mlp").__contains__),
        )
    ],
)
