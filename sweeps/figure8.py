"""Which pairs of shrinking and noise are worth their time? (Ash & Adams 2020, Figure 8)

Two heat maps over the factor on the last round's weights and the factor on fresh ones: final
held-out accuracy, and training time summed over all rounds, of figure 7's online learning. The
corner (0, 1) is the random init, (1, 0) the warm start. The paper's grid is not known; this one is
ours, and leaves out (0, 0), from where nothing is learnt.

Cost: 41 cells x 3 seeds, 4062 stages (4182 without sharing), of which `figure7` has 597. The largest
sweep of all, hence 3 seeds where the other online ones have 5.
Expectation: no number. Some noise after shrinking is better than none in both accuracy and time; a broad
band around (0.6, 0.01) is as accurate as the random init in much less time; smaller factors are
slower and more accurate; the smallest initial weights (0 and hardly any noise) cannot be trained.
Measured (--small: Digits, MLP of width 64, 2 seeds): last rounds between 94.0 and 96.1 %; noise of 0.01 at a factor
of 0.6 changes neither accuracy (0.0 points) nor time (1.03 times).
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.heatmaps import HeatMaps
from orchestrator.measures import Difference, Ratio
from orchestrator.quantities import Cells, Final, Total
from orchestrator.verdict import above
from sweeps.protocols import CONVERGED, online
from trainers.data import CIFAR10, Digits
from trainers.inits import on_the_plane
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import TrainAccuracy

SHRINKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
NOISES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FEWER_SHRINKS = (0.0, 0.3, 0.6, 1.0)
FEWER_NOISES = (0.0, 1e-2, 1e-1, 1.0)
QUIET, NOISY = (Cells(f"shrink 0.6, noise {noise}", shrink=0.6, perturb=noise) for noise in (0.0, 0.01))

sweep = Sweep(
    source="Ash & Adams 2020, Figure 8",
    protocol=online,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [on_the_plane(shrink, noise) for shrink in SHRINKS for noise in NOISES if shrink or noise],
        "per_round": [1000],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED.capped(200)],
    },
    seeds=range(3),
    figure=HeatMaps("Figure 8, shrinking and noise"),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "init": [on_the_plane(shrink, noise) for shrink in FEWER_SHRINKS for noise in FEWER_NOISES if shrink or noise],
        "per_round": [200],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=50, window=0)],
    },
    small_seeds=range(2),
    claims=[
        Claim(
            12,
            "Noise after shrinking helps accuracy and time; looked at is 0.01 at a factor of 0.6",
            "section 4, Figure 8",
            [
                Part(Difference(Final(), NOISY, QUIET), above(0)),
                Part(Ratio(Total(), QUIET, NOISY), above(1)),
            ],
        )
    ],
)
