"""Does a warm start harm active learning too? (Ash & Adams 2020, first version)

Figure 2's online learning, with the 1,000 examples of each round chosen from the pool of those not
used yet: those between whose two likeliest classes the last model hesitates most (margin sampling);
random selection, which is figure 2 itself, beside it. A selecting random init keeps nothing of the
last model but its choice. The first version gives neither numbers nor the size of its rounds.

Cost: 4 cells x 5 seeds, 665 stages (680 without sharing), of which `figure2` has 335.
Expectation: no number. The same gap under margin sampling as under random selection (12.3 points
after 34 rounds), where margin sampling needs fewer examples for the same accuracy. In the last
round nothing is left to choose: all arms have the same examples there.
Measured (--small: Digits, MLP of width 64, 100 a round, 3 seeds): no gap under either selection (last round 95.8 and
96.1 % from random inits, 96.4 and 96.7 % warm); with 600 examples margin sampling has 96.8 %, the random order 94.2 %.
"""

from orchestrator import Sweep
from orchestrator.figures.curves import Curves
from sweeps.paper import ONLINE_PANELS
from sweeps.protocols import CONVERGED, online
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.selection import InOrder, Margin
from trainers.stopping import TrainAccuracy

sweep = Sweep(
    source="Ash & Adams 2020, first version (arXiv 1910.08475v1)",
    protocol=online,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "selection": [InOrder(), Margin()],
        "init": [RandomInit(), WarmStart()],
        "per_round": [1000],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED.capped(200)],
    },
    seeds=range(5),
    figure=Curves(
        "Active learning by margin sampling",
        x="examples",
        x_title="training examples (thousands)",
        x_scale=0.001,
        arm=["init", "selection"],
        panels=ONLINE_PANELS,
    ),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "per_round": [100],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(3),
)
