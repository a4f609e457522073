"""Does augmentation close the gap? (Ash & Adams 2020, Figure 1, with a reproduction's augmentation)

Figure 1's 350 epochs on half and 350 on all of CIFAR-10, with ResNet-18 and SGD, without and with
augmentation in both rounds: crops padded by 4, flips, colour jitter of 0.25, rotations by up to 2
degrees. The paper trains without; the augmentation is that of a reproduction (ReScience C 7-2-14, 2021).

Cost: 4 cells x 3 seeds, 18 stages of 350 epochs, of which `figure1` has nine.
Expectation: without augmentation a gap of 4.9 points (Figure 1); with it none, or the warm start
ahead: the reproduction found warm start minus random init at least 0.
Measured (--small: 1,500 images of FashionMNIST, MLP, 3 seeds): gap 0.7 points without, -0.7 with augmentation;
the difference, 1.4, is not distinct from 0 (-2.1 to 4.9).
"""

from orchestrator import Sweep
from orchestrator.claims import Claim, Part
from orchestrator.figures.tables import ResultTable
from orchestrator.measures import Change, gap
from orchestrator.verdict import above
from sweeps.paper import curve
from sweeps.protocols import half_then_all
from trainers.augmentation import CropFlipJitter, NoAugmentation
from trainers.data import CIFAR10, FashionMNIST
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import Adam
from trainers.stopping import Epochs

sweep = Sweep(
    source="Ash & Adams 2020, Figure 1, and ReScience C 7-2-14 (2021)",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10()],
        "model": [ResNet18()],
        "augmentation": [NoAugmentation(), CropFlipJitter()],
        "init": [RandomInit(), WarmStart()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [Epochs(350)],
    },
    seeds=range(3),
    small={
        "data": [FashionMNIST(limit=1500)],
        "model": [MLP()],
        "augmentation": [NoAugmentation(), CropFlipJitter(pad=2)],
        "optimizer": [Adam()],
        "batch_size": [32],
        "stop": [Epochs(40)],
    },
    small_seeds=range(3),
    figure=ResultTable(
        "Augmentation",
        rows=("data", "model", "augmentation"),
        measures=("test_accuracy", "train_accuracy", "train_seconds"),
        paper={
            ("cifar10", "resnet18", "no_augmentation", "random_init"): curve("figure1", "test_random_full")[-1][1],
            ("cifar10", "resnet18", "no_augmentation", "warm_start"): curve("figure1", "test_half_then_warm")[-1][1],
        },
    ),
    claims=[
        Claim(
            16,
            "Augmentation makes the gap smaller",
            "not in the paper: found by an independent reproduction, with Figure 1's design",
            [
                Part(
                    Change(
                        "gap without augmentation minus gap with it",
                        gap(augmentation="no_augmentation"),
                        gap(augmentation="crop_flip_jitter"),
                    ),
                    above(0),
                )
            ],
            across=["augmentation_text"],
        )
    ],
)
