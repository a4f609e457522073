"""Do the options for speed leave the accuracy as it was? The runs that `benchmarks.accuracy` compares.

Every run is made once plainly, as before there were options, once in fp32 and once in bf16, under the same seeds:
table1's MLP and a short training of ResNet18 on 4,000 images, with the paper's learning rate and batch size. (At ten
times that rate eight seeds of the ResNet18 leave the difference open by 2 points: every run is then another one.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from orchestrator import Stage, Sweep
from orchestrator.spec import setting
from sweeps.protocols import limited
from trainers.data import CIFAR10, Data
from trainers.inits import RandomInit
from trainers.models import MLP, Model, ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.stage_config import Supervised
from trainers.stopping import Epochs

if TYPE_CHECKING:
    import torch
    from torch import nn

Network = Literal["mlp_sgd", "mlp_adam", "short_resnet18"]
Arm = Literal["plain", "fp32", "bf16"]


@setting
class PlainResNet18(ResNet18, kind="plain_resnet18"):
    """ResNet18 with its weights in torch's usual order in memory, as it was in revision 1."""

    def build(self, shape: tuple[int, int, int], classes: int, draw: torch.Generator) -> nn.Module:
        import torch

        return super().build(shape, classes, draw).to(memory_format=torch.contiguous_format)


@setting
class PlainAdam(Adam, kind="plain_adam"):
    """Adam one operation at a time, as it was in revision 1."""

    def build(self, net: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        import torch

        decay, betas = self.weight_decay + weight_decay, (self.beta1, self.beta2)
        return torch.optim.Adam(net.parameters(), lr, betas, weight_decay=decay)


@dataclass(frozen=True)
class Training:
    """What is trained, and how long; the plain forms are what the fast ones came from, None where there is no other."""

    model: Model
    optimizer: Optimizer
    lr: float
    epochs: int
    limit: int | None = None
    plain_model: Model | None = None
    plain_optimizer: Optimizer | None = None


TANH = MLP(depth=3, activation="tanh")
TRAININGS: dict[Network, Training] = {
    "mlp_sgd": Training(TANH, SGD(), lr=0.001, epochs=12),
    "mlp_adam": Training(TANH, Adam(), lr=0.001, epochs=8, plain_optimizer=PlainAdam()),
    "short_resnet18": Training(ResNet18(), SGD(), lr=0.001, epochs=6, limit=6000, plain_model=PlainResNet18()),
}


def one_run(
    network: Network,
    arm: Arm,
    data: Data,
    batch_size: int,
    seed: int,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    limit: int | None = None,
) -> list[Stage]:
    """Train one network from a random init; no stage where the plain form is the fast one.

    Args:
        epochs: In place of the training's own, as is `limit`, the images of the data set.
    """
    of, is_plain = TRAININGS[network], arm == "plain"
    if is_plain and of.plain_model is None and of.plain_optimizer is None:
        return []
    data = limited(data, of.limit if limit is None else limit)
    config = Supervised(
        data=data,
        model=of.plain_model if is_plain and of.plain_model else of.model,
        init=RandomInit(),
        stop=Epochs(of.epochs if epochs is None else epochs),
        seed=seed,
        round=0,
        examples=data.fit_size,
        lr=of.lr,
        batch_size=batch_size,
        optimizer=of.plain_optimizer if is_plain and of.plain_optimizer else of.optimizer,
        precision="bf16" if arm == "bf16" else "fp32",
    )
    return [Stage(config)]


sweep = Sweep(
    source="a benchmark's own, no item of the paper",
    protocol=one_run,
    axes={
        "network": ["mlp_sgd", "mlp_adam", "short_resnet18"],
        "arm": ["fp32", "bf16", "plain"],
        "data": [CIFAR10()],
        "batch_size": [128],
    },
    seeds=range(8),
)
