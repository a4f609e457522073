"""Does a grid survive the death of what runs it? The grid that `benchmarks.faults` kills processes over.

Real training in little: 8 x 8 images of digits, a small network, stages of about a second.
"""

from benchmarks.counted import counted_half_then_all
from orchestrator import Sweep
from trainers.data import Digits
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP
from trainers.optimizers import Adam
from trainers.stopping import Epochs

sweep = Sweep(
    source="a benchmark's own, no item of the paper",
    protocol=counted_half_then_all,
    axes={
        "data": [Digits()],
        "model": [MLP()],
        "batch_size": [4],
        "lr": [0.001, 0.003],
        "optimizer": [Adam()],
        "init": [RandomInit(), WarmStart(), ShrinkPerturb(shrink=0.4, perturb=0.1)],
        "stop": [Epochs(12)],
    },
    seeds=range(6),
)
