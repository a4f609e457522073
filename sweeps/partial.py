"""Is it some of the layers that do the harm? (Ash & Adams 2020, first version and appendix)

The first 1, 5, 9, 13 or 17 of ResNet-18's 18 layers start warm and the rest fresh, or the last one
alone starts warm; beside the whole warm start and the random init. 1 is the stem, the others end
after a stage, 17 is all but the head. Otherwise Table 1's CIFAR-10 with SGD.

Cost: 8 cells x 3 seeds, 27 stages (45 without sharing), of which `table1` has nine.
Expectation: no number. Starting only some layers warm does not close the gap (4.5 points with all of
them, Table 1).
Measured (--small: Digits, MLP 3 x 64, 5 seeds): random init 96.4 %, warm start 0.9 points below (standard error
0.4), partly warm 0.2 to 0.5 below in the random init's time.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.tables import ResultTable
from orchestrator.measures import Difference
from orchestrator.quantities import RANDOM, Cells, Final
from orchestrator.verdict import below
from sweeps.paper import number
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, Digits
from trainers.inits import PartialWarmStart, RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stopping import TrainAccuracy

LAST = PartialWarmStart(layers=1, part="last")
SOME = Cells("some layers warm", init="partial_warm_start")

sweep = Sweep(
    source="Ash & Adams 2020, first version (arXiv 1910.08475v1) and appendix",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart(), *(PartialWarmStart(layers) for layers in (1, 5, 9, 13, 17)), LAST],
        "optimizer": [SGD()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
        "evaluate_every": [0],
    },
    seeds=range(3),
    small={
        "data": [Digits()],
        "model": [MLP(depth=3, width=64)],
        "init": [RandomInit(), WarmStart(), *(PartialWarmStart(layers) for layers in (1, 2, 3)), LAST],
        "optimizer": [Adam()],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(5),
    figure=ResultTable(
        "Layers that start warm",
        rows=("data", "model"),
        paper={
            ("cifar10", "resnet18", init): number("table1", "cifar10", "resnet18", "sgd", init)
            for init in ("random_init", "warm_start")
        },
    ),
    claims=[
        Claim(
            13,
            "A warm start of some layers only does not make up for the gap, whichever they are",
            "first version; appendix",
            [Part(Difference(Final(), SOME, RANDOM, each="init_text"), below(0))],
        )
    ],
)
