"""Do new examples pull harder than old ones, and does shrinking balance them? (Ash & Adams 2020, Figure 5)

Second round of ResNet-18 on CIFAR-10 after half of it: L2 norm of the gradient over the old half's
examples of a batch and over the new half's, every 20 steps, for the warm start and for shrink-perturb
with factors 0.9, 0.7, 0.5 and 0.3 (noise 0.01; the paper's is not known). SGD with learning rate 0.001
and batch size 128: small steps, to look closely.

Cost: 5 cells x 3 seeds, 18 stages (30 without sharing); the three first rounds are `table1`'s.
Expectation (new over old after 1,000 steps): warm start 3.5, after 16 at its first step; then 2.5, 1.9, 1.3
and 1.1 for factors 0.9, 0.7, 0.5 and 0.3. Both norms fall to 4 to 22 within 13,500 steps.
Measured (--small: 1,500 images of FashionMNIST, MLP, 3 seeds): in epochs 3 to 5 new examples' gradients are 1.9
times as long as old ones' after a warm start, and 1.8, 1.5, 1.4, 1.3 times at factors 0.9, 0.7, 0.5, 0.3.
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed
from orchestrator.figures.lines import PaperCurve
from orchestrator.figures.training import GradientNorms
from orchestrator.measures import Order, Value
from orchestrator.quantities import WARM, Cells, GradientRatio
from orchestrator.verdict import above
from sweeps.paper import SETTING, curve
from sweeps.protocols import CONVERGED, half_then_all
from trainers.data import CIFAR10, FashionMNIST
from trainers.inits import ShrinkPerturb, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD
from trainers.stopping import TrainAccuracy

NOISE = 0.01
SHRINKS = (0.9, 0.7, 0.5, 0.3)
EARLY = GradientRatio(first=3, last=5)  # about 1,000 steps after the start in the paper's setting, of 261 an epoch
ARMS = {1.0: "warm start", **{shrink: f"shrink {shrink}" for shrink in SHRINKS}}

sweep = Sweep(
    source="Ash & Adams 2020, Figure 5",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "init": [WarmStart(), *(ShrinkPerturb(shrink, NOISE) for shrink in SHRINKS)],
        "gradient_norms_every": [20],
        "optimizer": [SGD()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [CONVERGED],
        "evaluate_every": [0],
    },
    seeds=range(3),
    small={
        "data": [FashionMNIST(limit=1500)],
        "model": [MLP()],
        "lr": [0.05],
        "batch_size": [32],
        "gradient_norms_every": [10],
        "stop": [TrainAccuracy(0.99, cap=150, window=0)],
    },
    small_seeds=range(3),
    figure=GradientNorms(
        "Figure 5",
        paper=[
            PaperCurve(arm, curve("figure5", f"{which}_{shrink}"), f"{which}_gradient_norms", SETTING)
            for which in ("old", "new")
            for shrink, arm in ARMS.items()
        ],
    ),
    claims=[
        Claim(
            9,
            "After a warm start gradients of new examples are far longer than those of old ones; shrinking balances "
            "them, the more the smaller the factor",
            "section 4, Figure 5",
            [
                Part(Value(EARLY, WARM), above(1), [Printed(3.5, **SETTING)]),
                Part(
                    Order(EARLY, [Cells(f"shrink {shrink}", shrink=shrink) for shrink in (0.3, 0.5, 0.7, 0.9, 1.0)]),
                    above(0),
                ),
            ],
        )
    ],
)
