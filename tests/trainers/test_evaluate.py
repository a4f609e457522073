"""Evaluation gives the mean over all examples in eval mode, and leaves the network as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.trainers.made import same_bits
from trainers.checkpoints import to_arrays
from trainers.evaluate import BATCH, evaluate, measured
from trainers.models import Logistic, ResNet18
from trainers.seeds import stream
from trainers.splits import Split

SIZES = [1, 7, 8, 9, 24, 25]


def split(examples: int) -> Split:
    """Made inputs and labels."""
    draw = stream(7, "split of a test")
    return Split(torch.randn(examples, 1, 8, 8, generator=draw), torch.randint(10, (examples,), generator=draw))


@pytest.fixture
def net() -> nn.Module:
    """A network whose BatchNorm has seen a batch, so that training and eval mode differ."""
    net = ResNet18(width=2).build((1, 8, 8), 10, stream(7, "weights", 0))
    net(split(16).x)
    return net


@pytest.mark.parametrize("examples", SIZES)
def test_it_is_the_mean_over_all_examples(net: nn.Module, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of batch means counts the examples of a short last batch more than others."""
    monkeypatch.setitem(BATCH, "cpu", 8)
    images = split(examples)
    logits, y = net.eval()(images.x).detach(), images.y

    loss, accuracy = evaluate(net, ResNet18().losses, images)

    assert loss == pytest.approx(functional.cross_entropy(logits.double(), y).item(), rel=1e-6)
    assert accuracy == sum(int(row.argmax()) == label for row, label in zip(logits, y, strict=True)) / examples


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_eval_meanwhile_and_the_old_one_afterwards(net: nn.Module, training: bool) -> None:
    """Measured in training mode, BatchNorm would look at the test images; left in eval mode, it would stop learning."""
    seen = []
    net.register_forward_hook(lambda layer, *_: seen.append([part.training for part in layer.modules()]))
    net.train(training)

    evaluate(net, ResNet18().losses, split(5))

    assert not any(map(any, seen))
    assert {part.training for part in net.modules()} == {training}


def test_nothing_in_the_network_changes(net: nn.Module) -> None:
    """How often a stage is measured must not decide where it ends."""
    before = to_arrays(net.state_dict())

    evaluate(net, ResNet18().losses, split(5))

    assert same_bits(to_arrays(net.state_dict()), before)
    assert all(weight.grad is None for weight in net.parameters())


def test_no_graph_is_kept(net: nn.Module) -> None:
    """Gradients of a whole test set fill the memory of a small GPU."""
    graphs = []

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        graphs.append(logits.requires_grad)
        return ResNet18().losses(logits, labels)

    evaluate(net, losses, split(5))

    assert graphs == [False]


def test_the_models_own_loss_is_measured() -> None:
    """A hinge loss in a column of cross entropies compares nothing."""
    net = Logistic().build((1, 8, 8), 10, stream(7, "weights", 0))

    assert evaluate(net, lambda _, labels: labels.double(), split(25))[0] == split(25).y.double().mean().item()


def test_many_small_losses_are_summed_exactly() -> None:
    """In float32 a sum of 10**5 losses is wrong in the fourth digit, as large as some gaps."""
    images = Split(torch.zeros(100_000, 1), torch.zeros(100_000, dtype=torch.int64))

    loss, _ = evaluate(nn.Identity(), lambda _, labels: torch.full((len(labels),), 0.1), images)

    assert loss == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_takes_its_accuracy_along(loss: float) -> None:
    """A network of NaN predicts class 0 for everything; 0.1 in a table would look like a weak network."""
    assert measured(loss, 0.1) == (None, None)
    assert measured(0.5, 0.1) == (0.5, 0.1)


def test_a_network_of_nan_has_neither_loss_nor_accuracy() -> None:
    """The same through the whole evaluation, as tables and averages see it."""
    net = Logistic().build((1, 8, 8), 10, stream(7, "weights", 0))
    net.get_parameter("1.weight").data[0, 0] = math.nan

    assert evaluate(net, Logistic().losses, split(5)) == (None, None)
