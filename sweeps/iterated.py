"""Does shrinking and perturbing help where no data arrive? (Ash & Adams 2020, appendix)

ResNet-18 is trained to 99 % on all of CIFAR-10, then ten rounds in all on the same data, each from the
last one's weights shrunk to 0.6, 0.4 or 0.2 with 0.01 of noise, from the weights as they are, or from
fresh ones. Adam with learning rate 0.001, made anew each round.

Cost: 5 cells x 3 seeds, 138 stages (150 without sharing): one first round a seed, which `figure6` and
`figure9` have too, and nine more an arm.
Expectation: no number but a small one: a marginal improvement over the rounds, by some benefit of
regularization. The warm start stays where it is; random inits show the spread.
Measured (--small: Digits, MLP of width 64, 3 seeds): after six rounds 96.2 % at a factor of 0.6, 96.8 % warm,
96.2 % of random inits; 95.8 % in the first round.
"""

from orchestrator import Sweep
from orchestrator.figures.curves import Curves
from sweeps.protocols import CONVERGED, repeat
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import TrainAccuracy

NOISE = 0.01

sweep = Sweep(
    source="Ash & Adams 2020, appendix on a static data set",
    protocol=repeat,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart(), *(ShrinkPerturb(shrink, NOISE) for shrink in (0.6, 0.4, 0.2))],
        "rounds": [10],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
    },
    seeds=range(3),
    figure=Curves("Shrink and perturb again and again, on the same data", x="round", x_title="round"),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "rounds": [6],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(3),
)
