"""Does regularization close the warm-start gap? (Ash & Adams 2020, appendix regularization table)

The same regularizer in both rounds: L2, confidence penalty or adversarial training, of size 0.1,
0.01, 0.001 and 0.0001; ResNet-18 on CIFAR-10, SGD with learning rate 0.001.

Cost: 24 cells x 3 seeds, 108 stages (36 first rounds shared by nothing, 72 second rounds).
Expectation: gaps of 2.4 to 8.8 points, positive everywhere; strong L2 lifts both inits (72.7 and
63.9 % at 0.1 against about 55 and 51 % elsewhere). The paper gives sizes, not formulas; ours are
in trainers/regularizers.py and DECISIONS.md.
"""

from orchestrator import Sweep
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10
from trainers.inits import RandomInit, WarmStart
from trainers.models import ResNet18
from trainers.regularizers import L2, Adversarial, ConfidencePenalty
from trainers.stopping import TrainAccuracy

SIZES = (0.1, 0.01, 0.001, 0.0001)

sweep = Sweep(
    source="Ash & Adams 2020, appendix regularization table",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "regularizer": [kind(size=size) for kind in (L2, Adversarial, ConfidencePenalty) for size in SIZES],
        "init": [RandomInit(), WarmStart()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [TrainAccuracy(0.99, cap=500)],
        "evaluate_every": [0],
    },
    seeds=range(3),
)
