"""Is shrink-perturb nothing but weight decay? (Ash & Adams 2020, section 4.1)

At every step of SGD, shrinking the weights is weight decay: by 0.9999 at learning rate 0.001 it is L2
of size 0.1. So that is trained with and without 0.0001 of noise a step, beside L2 of size 0.1 and
nothing, in both rounds, each from a random init, a warm start and shrink-perturb (0.6, 0.01) once
before the second round. ResNet-18 on CIFAR-10.

Cost: 18 cells x 3 seeds, 72 stages (90 without sharing), of which `table1` has nine and
`regularization` nine.
Expectation: shrinking at every step acts as L2 does, under which the gap stays (8.8 points at 0.1,
appendix regularization table); shrinking once before the round closes it, also on top of L2.
Measured (--small: Digits, MLP of width 64, 3 seeds): a factor of 0.9999 at every step gives the accuracies of L2 of
0.001 to within 0.2 points, as it must; no gap to close, with or without.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.tables import ResultTable
from orchestrator.measures import Difference, gap
from orchestrator.quantities import RANDOM, Cells, Final
from orchestrator.verdict import above, at_least
from sweeps.paper import number
from sweeps.protocols import CONVERGED, half_then_all
from trainers.after_step import NoChange, ShrinkPerturbEachStep
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD
from trainers.regularizers import L2, NoRegularizer
from trainers.stopping import TrainAccuracy

EACH_STEP = [ShrinkPerturbEachStep(shrink=0.9999, perturb=noise) for noise in (0.0, 0.0001)]
SHRUNK = Cells("shrink-perturb", init="shrink_perturb")
GAP_STAYS, SHRINKING_CLOSES = Part(gap(), above(0)), Part(Difference(Final(), SHRUNK, RANDOM), at_least(-1))

sweep = Sweep(
    source="Ash & Adams 2020, section 4.1",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "regularizer": [NoRegularizer(), L2(size=0.1)],
        "after_step": [NoChange(), *EACH_STEP],
        "init": [RandomInit(), WarmStart(), ShrinkPerturb(shrink=0.6, perturb=0.01)],
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
        "regularizer": [NoRegularizer(), L2(size=0.001)],
        "lr": [0.1],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(3),
    figure=ResultTable(
        "Shrink-perturb at every step",
        rows=("data", "model", "regularizer", "after_step"),
        paper={
            ("cifar10", "resnet18", "none", "no_change", init): number("table1", "cifar10", "resnet18", "sgd", init)
            for init in ("random_init", "warm_start")
        },
    ),
    claims=[
        Claim(
            15,
            "Weight decay, as L2 in the loss, leaves the gap; shrink-perturb once before the round closes it "
            "(to 1 point)",
            "section 4.1",
            [GAP_STAYS, SHRINKING_CLOSES],
            only=Cells("L2", regularizer="l2", after_step="no_change"),
        ),
        Claim(
            15,
            "Weight decay, as shrinking at every step, leaves the gap; shrink-perturb once before the round closes it "
            "(to 1 point)",
            "section 4.1",
            [GAP_STAYS, SHRINKING_CLOSES],
            only=Cells("shrinking at every step", regularizer="none", after_step="shrink_perturb_each_step"),
        ),
    ],
)
