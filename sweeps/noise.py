"""Is noise alone enough, without shrinking? (Ash & Adams 2020, first version and appendix Table 4)

The second round starts from the first one's weights plus 0.001, 0.01, 0.1 or 1 times a fresh network;
shrink-perturb with the paper's (0.6, 0.01), the warm start and the random init beside it. Otherwise
Table 1's ResNet-18 on CIFAR-10 with SGD.

Cost: 7 cells x 3 seeds, 24 stages (39 without sharing), of which `table1` has nine.
Expectation: no number. Noise helps the warm start somewhat and costs time; it does not close the gap
(4.5 points, Table 1), because it destroys the function that was learnt before it frees the weights.
Measured (--small: Digits, MLP of width 64, 5 seeds): warm starts are 0.6 points above random inits there, with noise
0.2 to 0.8 above; noise of 0.1 takes 1.7 times the warm start's time.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.tables import ResultTable
from orchestrator.measures import Difference, Ratio
from orchestrator.quantities import RANDOM, WARM, Cells, Final, Total
from orchestrator.verdict import above, below
from sweeps.paper import number
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stopping import TrainAccuracy

ALONE = [ShrinkPerturb(shrink=1, perturb=noise) for noise in (0.001, 0.01, 0.1, 1.0)]
NOISY = Cells("noise alone", init="shrink_perturb", shrink=1.0)

sweep = Sweep(
    source="Ash & Adams 2020, first version (arXiv 1910.08475v1) and appendix Table 4",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart(), *ALONE, ShrinkPerturb(shrink=0.6, perturb=0.01)],
        "optimizer": [SGD()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
        "evaluate_every": [0],
    },
    seeds=range(3),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "optimizer": [Adam()],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(5),
    figure=ResultTable(
        "Noise without shrinking",
        rows=("data", "model"),
        paper={
            ("cifar10", "resnet18", init): number("table1", "cifar10", "resnet18", "sgd", init)
            for init in ("random_init", "warm_start")
        },
    ),
    claims=[
        Claim(
            13,
            "Noise alone does not make up for the gap, whatever its scale, and costs time",
            "first version; appendix Table 4",
            [
                Part(Difference(Final(), NOISY, RANDOM, each="init_text"), below(0)),
                Part(Ratio(Total(), NOISY.where("noise of 0.1 alone", perturb=0.1), WARM), above(1)),
            ],
        )
    ],
)
