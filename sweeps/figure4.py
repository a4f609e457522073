"""How little training on half of the data is enough to harm? (Ash & Adams 2020, Figure 4)

ResNet-18 is trained on half of CIFAR-10 for 350 epochs; a second round on all of it starts from the
weights after 5, 10, 15, ... 350 of them. Left: held-out accuracy of the half-data run. Right: percent
difference of the second round's accuracy from that of a random init, against the epoch it starts
from. SGD with learning rate 0.001, as the level of the curves suggests (DECISIONS.md).

Cost: 71 cells x 3 seeds, 423 stages. The 70 first rounds of a seed are one run of 350 epochs: each
goes on from the one before it.
Expectation: no damage until about epoch 30 (-0.2 %), -1.8 % at 50, -6.2 % at 100, then a plateau at
about -7 % (-7.9 % at most, at 150). The half-data run peaks at 48.4 % at epoch 75 and falls to 42 %.
Measured (--small: 1,500 images of FashionMNIST, MLP, 3 seeds, first rounds of 2 to 80 epochs): differences
between -1.3 and 0.6 %, none of them distinct from 0.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed
from orchestrator.figures.differences import PercentDifference
from orchestrator.figures.lines import PaperCurve
from orchestrator.measures import PercentAlong
from orchestrator.quantities import RANDOM, WARM
from orchestrator.verdict import between
from sweeps.paper import SETTING, curve
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, FashionMNIST
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stopping import TrainAccuracy

sweep = Sweep(
    source="Ash & Adams 2020, Figure 4",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart()],
        "first_epochs": list(range(5, 351, 5)),
        "optimizer": [SGD()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
        "evaluate_every": [5],
    },
    seeds=range(3),
    figure=PercentDifference(
        "Figure 4, how soon a first round harms",
        paper_left=[PaperCurve("warm start", curve("figure4", "left_acc_on_half"), where=SETTING)],
        paper_right=[PaperCurve("warm start", curve("figure4", "right_pct_difference"), where=SETTING)],
    ),
    small={
        "data": [FashionMNIST(limit=1500)],
        "model": [MLP()],
        "first_epochs": [2, 4, 6, 10, 14, 20, 30, 40, 60, 80],
        "optimizer": [Adam()],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
        "evaluate_every": [2],
    },
    small_seeds=range(3),
    claims=[
        Claim(
            7,
            "A first round of about 30 epochs does no harm; the harm then grows and levels off long before its end",
            "section 3.2, Figure 4",
            [
                Part(PercentAlong(WARM, RANDOM, "first_epochs", 0, 0.09), between(-1, 1), [Printed(0.0, **SETTING)]),
                Part(PercentAlong(WARM, RANDOM, "first_epochs", 0.42, 1), between(-8, -3), [Printed(-7.2, **SETTING)]),
            ],
            across=["first_epochs"],
        )
    ],
)
