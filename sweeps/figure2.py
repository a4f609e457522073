"""Does the warm-start gap grow while data keep arriving? (Ash & Adams 2020, Figure 2)

CIFAR-10 arrives in random batches of 1,000 without replacement; after each arrival ResNet-18 is
trained to 99 % on everything so far, from the last round's weights or from fresh ones. Adam with
learning rate 0.001, made anew each round, batch size 128, held-out third by seed.

Cost: 2 cells x 5 seeds, 335 stages (340 without sharing): 34 rounds an arm, of which the first is
one. `figure7` has all of them.
Expectation: held-out accuracy after 34 rounds 75.9 % from random inits and 63.6 % from warm starts;
the gap grows from 0 over 7.0 points at 5,000 examples and 11.4 at 10,000 to 12.3. Summed over all rounds
random inits train 5.6 times as long (7,800 s against 1,400 s): their time grows about linearly with
the examples, a warm start's stays flat.
Measured (--small: Digits, MLP of width 64, 100 a round, 3 seeds): no gap (-0.2 points in the last 5 rounds), and
5.8 times the training time for random inits (95 % interval 4.9 to 6.7).
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed
from orchestrator.figures.curves import Curves
from orchestrator.figures.lines import PaperCurve
from orchestrator.measures import Change, Difference, Ratio, Value
from orchestrator.quantities import RANDOM, WARM, Growth, MeanOf, Total
from orchestrator.verdict import above, between
from sweeps.paper import ONLINE_PANELS, SETTING, curve
from sweeps.protocols import CONVERGED, online
from trainers.data import CIFAR10, Digits
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import TrainAccuracy

PAPERS = {**SETTING, "per_round": 1000}  # what the paper's numbers are of

sweep = Sweep(
    source="Ash & Adams 2020, Figure 2",
    protocol=online,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [RandomInit(), WarmStart()],
        "per_round": [1000],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED.capped(200)],
    },
    seeds=range(5),
    figure=Curves(
        "Figure 2, passive online learning",
        x="examples",
        x_title="training examples (thousands)",
        x_scale=0.001,
        panels=ONLINE_PANELS,
        paper=[
            PaperCurve(words, curve("figure2", f"{series}_{arm}"), column, SETTING)
            for words, arm in (("random init", "random"), ("warm start", "warm"))
            for series, column in (("acc", "test_accuracy"), ("time_s", "train_seconds"))
        ],
    ),
    small={
        "data": [Digits()],
        "model": [MLP(width=64)],
        "per_round": [100],
        "batch_size": [32],
        "stop": [TrainAccuracy(0.99, cap=100, window=0)],
    },
    small_seeds=range(3),
    claims=[
        Claim(
            4,
            "Online, warm starts are far cheaper, but their gap widens as data accumulate; the time of a round grows "
            "about linearly from random inits and hardly from warm starts",
            "section 2.2, Figure 2",
            [
                Part(Difference(MeanOf(-5), RANDOM, WARM), above(2), [Printed(12.5, **PAPERS)]),
                Part(
                    Change(
                        "gap of the last 5 rounds minus gap of the first 5",
                        Difference(MeanOf(-5), RANDOM, WARM),
                        Difference(MeanOf(5), RANDOM, WARM),
                    ),
                    above(0),
                    [Printed(8.1, **PAPERS)],
                ),
                Part(Ratio(Total(), RANDOM, WARM), above(3), [Printed(5.6, **PAPERS)]),
                Part(Value(Growth(), RANDOM), between(0.75, 1.5), [Printed(1.1, **PAPERS)]),
                Part(Difference(Growth(), RANDOM, WARM), above(0.3), [Printed(0.7, **PAPERS)]),
            ],
        )
    ],
)
