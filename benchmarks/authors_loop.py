"""The authors' training loop, written by us from its description: what ours is measured against (a torch module).

It is not the authors' code. As PAPER.md (sections 1.2 to 1.7) and SPEED.md describe that: every item passes through
ToTensor and Normalize in Python each time it is asked for, a DataLoader puts batches together, every step reads
several numbers from the device, float32 throughout, no compilation, torch's own default optimizers. Where the
description leaves a choice, the faster one is taken: items are arrays, which ToTensor takes in half the time that
it takes for PIL images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler, SubsetRandomSampler

from trainers.networks import FirstLinear
from trainers.optimizers import SGD, Adam
from trainers.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trainers.arrays import Images
    from trainers.models import Model
    from trainers.optimizers import Optimizer
    from trainers.stage_config import Supervised

    Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]

TEST_BATCH = 256  # the authors' batch size in evaluation
ENDLESS = 10**9  # items of a loader that is left before its end


class Items(Dataset[Any]):
    """Images one by one, each transformed anew whenever it is asked for."""

    def __init__(self, images: Images) -> None:
        """Copy `images`, rows of pixels with their colours side by side, as ToTensor asks for them."""
        from torchvision import transforms

        centre = (0.5,) * images.pixels.shape[1]
        self._pixels_NHWC = images.pixels.transpose(0, 2, 3, 1).copy(order="C")
        self._labels = images.labels.tolist()
        self._transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(centre, centre)])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._pixels_NHWC[place]), self._labels[place]


@dataclass
class Counts:
    """What the loop adds up on the host, three numbers a step, each read from the device."""

    loss: float = 0.0
    window_loss: float = 0.0
    right: int = 0
    images: int = 0

    @property
    def accuracy(self) -> float:
        """Share of the images that were right when they were trained on."""
        return self.right / self.images


def loader(items: Items, batch_size: int, workers: int, examples: Sequence[int] | None = None) -> Batches:
    """Batches of the items at the places `examples`, in a new order each time they are gone through.

    Args:
        examples: Without them items are drawn at random, for ever.
        workers: Processes that load; 0 to load between the steps.
    """
    sampler: Any = RandomSampler(items, replacement=True, num_samples=ENDLESS)
    if examples is not None:
        sampler = SubsetRandomSampler(examples)
    return DataLoader(items, batch_size=batch_size, sampler=sampler, num_workers=workers)


def network(model: Model, shape: tuple[int, int, int], classes: int, device: torch.device, seed: int = 0) -> nn.Module:
    """A fresh float32 network of `model` on `device`, in torch's plain layout and of torch's own layers."""
    net: Any = model.build(shape, classes, stream(seed, "authors' loop"))
    for layer in net.modules():
        if isinstance(layer, FirstLinear):
            layer.is_swappable = False
    moved: nn.Module = net.to(device, memory_format=torch.contiguous_format)
    return moved


def default_optimizer(rule: Optimizer, net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """What ``torch.optim`` makes of `rule` when it is asked for nothing special.

    Raises:
        TypeError: it is another rule than the authors' two.
    """
    if isinstance(rule, SGD):
        return torch.optim.SGD(net.parameters(), lr=lr, momentum=rule.momentum, weight_decay=rule.weight_decay)
    if isinstance(rule, Adam):
        betas = (rule.beta1, rule.beta2)
        return torch.optim.Adam(net.parameters(), lr=lr, betas=betas, weight_decay=rule.weight_decay)
    raise TypeError(f"{rule}: the authors train with SGD and Adam.")


def steps(net: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, counts: Counts) -> Iterator[int]:
    """Train one batch after another; yields the images of each step when the device has done with it."""
    device = next(net.parameters()).device
    net.train()
    for host_x, host_y in batches:
        x, y = host_x.to(device), host_y.to(device)
        optimizer.zero_grad()
        logits = net(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()
        counts.loss += loss.item()
        counts.window_loss += loss.item()
        counts.right += int(logits.argmax(dim=1).eq(y).sum().item())
        counts.images += len(y)
        yield len(y)


def endless_steps(config: Supervised, images: Images, *, workers: int, device: torch.device) -> Iterator[int]:
    """Train a fresh network of `config` on `images` until the caller has seen enough; see `steps`.

    The caller times them, after as many as it takes for a warm-up: the start of loader processes is before the first.
    """
    _, *shape = images.pixels.shape
    channels, height, width = shape
    net = network(config.model, (channels, height, width), config.data.classes, device)
    optimizer = default_optimizer(config.optimizer, net, config.lr)
    return steps(net, loader(Items(images), config.batch_size, workers), optimizer, Counts())


def train_to(
    target: float, most_epochs: int, net: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer
) -> int:
    """Train epoch after epoch until one's accuracy reaches `target`, `most_epochs` at most; returns how many."""
    for epoch in range(1, most_epochs + 1):
        counts = Counts()
        for _ in steps(net, batches, optimizer, counts):
            pass
        if counts.accuracy >= target:
            return epoch
    return most_epochs


@torch.no_grad()
def accuracy_of(net: nn.Module, batches: Batches) -> float:
    """Share of the items in `batches` that `net` has right in eval mode, read from the device batch by batch."""
    device = next(net.parameters()).device
    net.eval()
    right = total = 0
    for host_x, host_y in batches:
        right += int(net(host_x.to(device)).argmax(dim=1).eq(host_y.to(device)).sum().item())
        total += len(host_y)
    return right / total
