"""How far can weights be shrunk before the network forgets? (Ash & Adams 2020, Figure 6)

ResNet-18 and MLPs with ReLU and tanh, with and without biases, are fitted to CIFAR-10; then all
weights, BatchNorm's and biases included, are multiplied by a factor from 1 to 0, and the accuracy is
measured anew, nothing is trained. BatchNorm normalises by statistics that are estimated again after the
shrinking; beside it by the frozen ones of training, which a smaller factor makes wrong: the paper's
curve needs the former. MLPs have none, so there the two are one cell.

Cost: 84 cells x 3 seeds, 267 stages (504 without sharing): 15 trainings, 252 measurements of seconds.
Expectation: without biases and with ReLU a flat line down to 0 exclusive (Proposition 1; exact in
tests/trainers/test_proposition.py). The MLP with biases loses nothing down to about 0.6, ResNet-18 nothing
down to about 0.1. No other numbers are published.
Measured (--small: Digits, 2 seeds, accuracy in % at factors 1 / 0.6 / 0.2 / 0.1): MLP without biases 96.5 at all;
with biases 95.3 / 95.5 / 93.2 / 66.0; ResNet-18 of width 4 95.7 / 95.7 / 95.5 / 94.6 with statistics
re-estimated, 95.6 / 8.8 / 8.8 / 8.8 with frozen ones: the trap.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.curves import ACCURACY, Curves
from orchestrator.measures import Difference
from orchestrator.quantities import Cells, Final
from orchestrator.verdict import at_least, exactly
from sweeps.protocols import CONVERGED, shrink_curve
from trainers.data import CIFAR10, Digits
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import TrainAccuracy

MLPS = [MLP(activation=activation, bias=bias) for activation in ("relu", "tanh") for bias in (True, False)]
WHOLE = Cells("as trained", shrink=1.0)
SHRUNK = Cells("shrunk", shrink=lambda shrink: 0 < shrink < 1)

sweep = Sweep(
    source="Ash & Adams 2020, Figure 6 and Proposition 1",
    protocol=shrink_curve,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18(), *MLPS],
        "statistics": ["reestimated", "frozen"],
        "shrink": [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        "optimizer": [Adam()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
    },
    seeds=range(3),
    figure=Curves(
        "Figure 6, what shrinking keeps",
        x="shrink",
        x_title="factor on all weights",
        panels=[ACCURACY],
        arm=["model", "statistics"],
    ),
    small={
        "data": [Digits()],
        "model": [ResNet18(width=4), *MLPS],
        "shrink": [0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0],
        "lr": [0.003],
        "batch_size": [64],
        "stop": [TrainAccuracy(0.99, cap=30, window=0)],
    },
    small_seeds=range(2),
    claims=[
        Claim(
            10,
            "Shrinking keeps what a bias-free ReLU network predicts",
            "section 4, Proposition 1 and Figure 6",
            [Part(Difference(Final(), SHRUNK, WHOLE, each="shrink"), exactly(0))],
            across=["shrink"],
            only=Cells(
                "bias-free ReLU", model="mlp", model_text=lambda text: "bias=False" in text and "tanh" not in text
            ),
        ),
        Claim(
            10,
            "A ResNet-18 with re-estimated statistics stands shrinking to about 0.1; looked at is 0.2, to 2 points",
            "section 4, Figure 6",
            [Part(Difference(Final(), WHOLE.where("shrunk to 0.2", shrink=0.2), WHOLE), at_least(-2))],
            across=["shrink"],
            only=Cells("re-estimated statistics", model="resnet18", statistics="reestimated"),
        ),
        Claim(
            10,
            "A perceptron with biases stands shrinking to about 0.6, to 2 points",
            "section 4, Figure 6",
            [Part(Difference(Final(), WHOLE.where("shrunk to 0.6", shrink=0.6), WHOLE), at_least(-2))],
            across=["shrink"],
            only=Cells("with biases", model="mlp", model_text=lambda text: "bias=False" not in text),
        ),
    ],
)
