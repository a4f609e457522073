"""Does a warm start harm generalization, whatever model, optimizer and data? (Ash & Adams 2020, Table 1)

Half of the training data to convergence, then all of it, from the found weights or from fresh
ones; batch size 128, learning rate 0.001, held-out third. LinearSVM is ours: it asks whether a
second convex model is spared as logistic regression is.

Cost: 48 cells x 3 seeds, 216 stages. MLPs with SGD and the linear models stop at a plateau, the
rest at 99 % training accuracy.
Expectation (held-out accuracy of random init minus warm start, in points, SGD / Adam): ResNet-18
4.5 / 3.6 on CIFAR-10, 2.7 / 6.4 on CIFAR-100, 1.9 / 0.1 on SVHN; MLP 1.6 / 3.3, 0.9 / 1.7, 1.1 / 7.3;
logistic regression at most 0.9.
Measured (CIFAR-10, one seed, at most 60 epochs, 2 CPU cores, 2 min 45 s): MLP 7.7 / 3.0, logistic
regression -0.2 / 1.9. MLP with SGD stops at the plateau rule long before it has converged; see the
README for a stricter rule.
"""

from orchestrator import Sweep
from sweeps.protocols import half_then_all
from trainers.data import CIFAR10, CIFAR100, SVHN
from trainers.inits import RandomInit, WarmStart
from trainers.models import MLP, LinearSVM, Logistic, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stopping import TrainAccuracy

sweep = Sweep(
    source="Ash & Adams 2020, Table 1",
    protocol=half_then_all,
    axes={
        "data": [CIFAR10(), SVHN(), CIFAR100()],
        "model": [ResNet18(), MLP(depth=3, activation="tanh"), Logistic(), LinearSVM()],
        "optimizer": [SGD(), Adam()],
        "init": [RandomInit(), WarmStart()],
        "lr": [0.001],
        "batch_size": [128],
        "stop": [TrainAccuracy(0.99, cap=500)],
        "evaluate_every": [0],
    },
    seeds=range(3),
)
