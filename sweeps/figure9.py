"""When does training on another data set first help, and does shrinking make it safe? (Ash & Adams 2020, Figure 9)

ResNet-18 is trained on one of CIFAR-10, CIFAR-100 and SVHN, then on a fraction of another one, from
those weights, from fresh ones, or shrunk to 0.3 with 0.0001 of noise: all six ordered pairs, twelve
fractions. The last layer is a fresh one where class counts differ. Adam with learning rate 0.001.

Cost: 180 cells x 3 seeds, 549 stages (972 without sharing): 9 sources, and one random init a target,
seed and fraction for both sources.
Expectation (accuracy on the target at fractions 0.1 / 1.0, warm, random, shrink-perturb): CIFAR-100 to
CIFAR-10 65.7 / 79.2, 53.1 / 79.8, 68.3 / 82.1; SVHN to CIFAR-10 51.5 / 74.8, 53.2 / 79.9, 56.4 / 79.2. With
little data training before helps where it is related; with all of it the warm start is below the
random init in all six pairs; shrink-perturb is about as good as the better of both everywhere.
Measured (--small: Digits and FashionMNIST, 600 images each, ResNet-18 of width 4, 2 seeds, 136 s): shrink-perturb is
the best everywhere (with all data 97.5 % on Digits and 79.8 % on FashionMNIST, random inits 94.8 and 78.0 %, warm
95.0 and 74.3 %); a warm start as it is never helps beyond the seeds' spread.
Measured on the paper's sets in little (900 images of CIFAR-10 and of CIFAR-100, 1,083 of SVHN, ResNet-18 of width 4, at
most 30 epochs, 2 seeds, 7 minutes): with all of SVHN warm 39.8 % from CIFAR-10 and 31.7 % from CIFAR-100, random inits
56.0 %, shrink-perturb 58.0 and 60.4 %; on CIFAR-10 from CIFAR-100 22.5, 26.0, 29.3 %. Two seeds decide none of it.
"""

from itertools import permutations

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed
from orchestrator.figures.curves import ACCURACY, Curves
from orchestrator.figures.lines import PaperCurve
from orchestrator.measures import AgainstBest, Difference, gap
from orchestrator.quantities import RANDOM, WARM, Cells, Final
from orchestrator.verdict import above, at_least
from sweeps.paper import curve
from sweeps.protocols import CONVERGED, transfer
from trainers.data import CIFAR10, CIFAR100, SVHN, Digits, FashionMNIST
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import ResNet18
from trainers.optimizers import Adam
from trainers.stopping import TrainAccuracy

SETS = [CIFAR10(), CIFAR100(), SVHN()]
SMALL_SETS = [Digits(limit=600), FashionMNIST(limit=600)]  # both grey; to a ResNet18 their sizes need not be equal
SHRUNK = Cells("shrink-perturb", init="shrink_perturb")
FEW = WARM.where("warm start with at most a tenth", axis_fraction=lambda fraction: fraction <= 0.1)


def final_gap(source: str, target: str) -> float:
    """The paper's random init minus warm start with all of the target's data, in points."""
    fresh, warm = (dict(curve("figure9", f"{source}_to_{target}_{init}"))[1.0] for init in ("fresh", "warm"))
    return round(fresh - warm, 2)


def is_no_svhn(kind: str) -> bool:
    """Whether a data set is not SVHN."""
    return kind != "svhn"


PAPERS_GAPS = [
    Printed(final_gap(type(source).__name__, type(target).__name__), source=source.kind, data_text=str(target))
    for source in SETS
    for target in SETS
    if source != target
]

ARMS = {"random init": "fresh", "warm start": "warm", "shrink 0.3, noise 0.0001": "shrink_perturb"}

sweep = Sweep(
    source="Ash & Adams 2020, Figure 9",
    protocol=transfer,
    axes={
        "source": SETS,
        "data": SETS,
        "model": [ResNet18()],
        "init": [WarmStart(), RandomInit(), ShrinkPerturb(shrink=0.3, perturb=0.0001)],
        "fraction": [0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.18, 0.3, 0.5, 0.7, 0.9, 1.0],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
    },
    seeds=range(3),
    figure=Curves(
        "Figure 9, training on another data set first",
        x="axis_fraction",
        x_title="share of the target's training examples",
        panels=[ACCURACY],
        split=["source", "data"],
        paper=[
            PaperCurve(
                words,
                curve("figure9", f"{type(source).__name__}_to_{type(target).__name__}_{arm}"),
                where={"source_text": str(source), "data_text": str(target), "model": "resnet18"},
            )
            for source, target in permutations(SETS, 2)
            for words, arm in ARMS.items()
        ],
    ),
    small={
        "source": SMALL_SETS,
        "data": SMALL_SETS,
        "model": [ResNet18(width=4)],
        "fraction": [0.1, 0.3, 1.0],
        "lr": [0.003],
        "batch_size": [16],
        "stop": [TrainAccuracy(0.99, cap=60, window=0)],
    },
    small_seeds=range(2),
    claims=[
        Claim(
            14,
            "With all of the target's data a warm start from other data is worse than a random init; with any part of "
            "it shrink-perturb is within 2 points of the better of both",
            "section 4.2, Figure 9",
            [
                Part(gap(axis_fraction=1.0), above(0), PAPERS_GAPS),
                Part(AgainstBest(Final(), SHRUNK, [WARM, RANDOM], alike="axis_fraction"), at_least(-2)),
            ],
            across=["axis_fraction"],
        ),
        Claim(
            14,
            "With at most a tenth of the target's data a warm start from other data is better than a random init; in "
            "the paper so between CIFAR-10 and CIFAR-100, hardly with SVHN",
            "section 4.2, Figure 9",
            [Part(Difference(Final(), FEW, RANDOM, alike="axis_fraction"), above(0))],
            across=["axis_fraction"],
            only=Cells("not SVHN", source=is_no_svhn, data=is_no_svhn),
        ),
    ],
)
