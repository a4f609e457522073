"""Is the warm start harmed by forgetting the first half? (Ash & Adams 2020, first version)

If it were, elastic weight consolidation would help: in the second round it holds each weight near the
first round's, the more firmly the more the first half's predictions depend on it. Strengths 1, 10, 100
and 1,000 (the first version's are not known), beside the plain warm start and the random init, which
has nothing to hold on to. Otherwise Table 1's ResNet-18 on CIFAR-10 with SGD.

Cost: 6 cells x 3 seeds, 21 stages (33 without sharing), of which `table1` has nine.
Expectation: no number. It lowers the warm start's held-out accuracy, the stronger the more; the gap of
4.5 points (Table 1) grows.
Measured (--small: Digits, MLP of width 64, 5 seeds): it hurts the more the stronger it is: 96.6 % (size 0 and 1),
96.2, 95.1 and 94.4 % (sizes 10, 100, 1000), and the last two never fit the data in 100 epochs.
"""

from orchestrator import Sweep
from orchestrator.figures.tables import ResultTable
from sweeps.paper import number
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.regularizers import EWC, NoRegularizer
from trainers.stopping import TrainAccuracy

sweep = Sweep(
    source="Ash & Adams 2020, first version (arXiv 1910.08475v1)",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart()],
        "regularizer": [NoRegularizer(), *(EWC(size=size) for size in (1.0, 10.0, 100.0, 1000.0))],
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
        "Elastic weight consolidation",
        rows=("data", "model"),
        arms=("init", "regularizer"),
        paper={
            ("cifar10", "resnet18", init, "none"): number("table1", "cifar10", "resnet18", "sgd", init)
            for init in ("random_init", "warm_start")
        },
    ),
)
