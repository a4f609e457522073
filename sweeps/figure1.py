"""The phenomenon: equal training accuracy, unequal generalization. (Ash & Adams 2020, Figure 1)

ResNet-18 on CIFAR-10: 350 epochs on a random half, then 350 more on all of it from the found
weights, beside 350 on all of it from fresh ones. The paper does not name the optimizer; SGD with
learning rate 0.001 and batch size 128 fits the shape of its curves (DECISIONS.md).

Cost: 2 cells x 3 seeds, 9 stages of 350 epochs.
Expectation: test accuracy of random init 61.5 %, warm start 56.6 %: a gap of 4.9 points at equal
training accuracy, and the warm start needs less than half of the epochs to 99 %.
Measured (first 6,000 images of CIFAR-10, ResNet-18 of width 8, Adam, batch size 32, 25 + 25 epochs, 3 seeds, 19
minutes on 2 CPU cores): 47.1 % from random inits, 42.7 % warm, a gap of 4.4 points (standard error 1.4; too few
seeds to decide), at 99.2 and 98.8 % training accuracy. With --small (1,500 images of FashionMNIST, MLP, 3
seeds): a gap of 1.1 points, between -2.5 and 4.7.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed
from orchestrator.figures.lines import PaperCurve
from orchestrator.figures.training import LearningCurves
from orchestrator.measures import Difference, Value, gap
from orchestrator.quantities import RANDOM, WARM, Final
from orchestrator.verdict import above, at_least, between
from sweeps.paper import SETTING, curve
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10, FashionMNIST
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import Epochs

FITTED = Final("train_accuracy", words="training accuracy")

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
    small={
        "data": [FashionMNIST(limit=1500)],
        "model": [MLP()],
        "optimizer": [Adam()],
        "batch_size": [32],
        "stop": [Epochs(60)],
    },
    small_seeds=range(3),
    figure=LearningCurves(
        "Figure 1",
        paper=[
            PaperCurve(arm, curve("figure1", f"{split}_{series}"), f"{split}_accuracy", SETTING)
            for split in ("train", "test")
            for arm, series in (("random init", "random_full"), ("warm start", "half_then_warm"))
        ],
    ),
    claims=[
        Claim(
            1,
            "A warm start generalizes worse than a random init, though both fit the training data alike",
            "Figure 1",
            [
                Part(gap(), above(0), [Printed(4.9, **SETTING)]),
                Part(Difference(FITTED, RANDOM, WARM), between(-0.1, 0.1)),
                Part(Value(FITTED, RANDOM), at_least(99.9), is_condition=True),
                Part(Value(FITTED, WARM), at_least(99.9), is_condition=True),
            ],
        )
    ],
)
