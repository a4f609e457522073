"""Contract of every model, the paper's numbers of weights, and both losses by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.models import MLP, LinearSVM, Logistic, Model, ResNet18
from trainers.networks import FirstLinear
from trainers.seeds import stream

MEMBERS = [made for made in Spec.members.values() if issubclass(made, Model) and made.__module__ == Model.__module__]
every_model = pytest.mark.parametrize("model", [member() for member in MEMBERS], ids=str)


def build(model: Model, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, seed: int = 7) -> nn.Module:
    """The model's network under one seed."""
    return model.build(shape, classes, stream(seed, "weights", 0))


def images(batch: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """A batch of noise in [-1, 1]."""
    return torch.rand(batch, *shape, generator=stream(7, "x")) * 2 - 1


def weights(net: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(weight.numel() for weight in net.parameters())


def test_all_models_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"resnet18", "mlp", "logistic", "linear_svm"} <= {member.kind for member in MEMBERS}


@every_model
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)], ids=str)
def test_logits_are_one_float32_row_an_example(model: Model, shape: tuple[int, int, int]) -> None:
    """Every model must run on every data set, or a grid of both has holes."""
    logits = build(model, shape, classes=7)(images(5, shape))

    assert logits.shape == (5, 7)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_model
def test_every_weight_has_a_finite_gradient(model: Model) -> None:
    """A weight without a gradient is never trained, and no error says so."""
    net, labels = build(model, (1, 8, 8)), torch.arange(16) % 10

    model.losses(net(images(16, (1, 8, 8))), labels).mean().backward()

    for name, weight in net.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@every_model
def test_losses_are_those_of_single_examples(model: Model) -> None:
    """Sums of losses are averaged over examples; a loss that mixes a batch would depend on its neighbours."""
    logits, labels = torch.randn(6, 10, generator=stream(7, "x")), torch.arange(6)

    together = model.losses(logits, labels)

    assert together.shape == (6,)
    for i in range(6):
        torch.testing.assert_close(together[i : i + 1], model.losses(logits[i : i + 1], labels[i : i + 1]))


@every_model
def test_one_stream_is_one_network(model: Model) -> None:
    """Networks that differ between two runs of one seed make every pair of arms a comparison of seeds."""
    before = torch.get_rng_state()
    first, second, other = (build(model, seed=seed).state_dict() for seed in (7, 7, 8))

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "model", [*(member() for member in MEMBERS), ResNet18(width=64), MLP(3, 50, "tanh", bias=False)], ids=str
)
def test_a_model_is_written_as_it_is_read(model: Model) -> None:
    """The text in the tables must make the same model on the command line."""
    assert parse_values("model", str(model)) == [model]


@pytest.mark.parametrize(
    ("model", "classes", "expected"),
    [
        (ResNet18(), 10, 701_466),
        (ResNet18(), 100, 713_076),
        (ResNet18(width=64), 10, 11_173_962),
        (MLP(), 10, 318_410),
        (MLP(depth=3, activation="tanh"), 10, 328_510),
        (MLP(bias=False), 10, 318_200),
        (MLP(depth=1, width=20), 10, 3072 * 20 + 20 + 20 * 10 + 10),
        (Logistic(), 10, 30_730),
        (Logistic(), 100, 307_300),
        (LinearSVM(), 10, 30_730),
    ],
    ids=str,
)
def test_a_model_has_as_many_weights_as_the_authors(model: Model, classes: int, expected: int) -> None:
    """Counts of the authors, the reproductions, and by hand; another count is another architecture."""
    assert weights(build(model, classes=classes)) == expected


@pytest.mark.parametrize(("activation", "layer"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
def test_the_activation_stands_after_every_hidden_layer(activation: str, layer: type[nn.Module]) -> None:
    """Two linear layers without one between them are one linear layer."""
    kinds = [type(part) for part in build(MLP(depth=2, activation=activation))]

    assert kinds == [nn.Flatten, FirstLinear, layer, nn.Linear, layer, nn.Linear]


def test_both_linear_models_start_alike() -> None:
    """Their comparison is about the loss alone."""
    first, second = (build(model).state_dict() for model in (Logistic(), LinearSVM()))

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_cross_entropy_by_hand() -> None:
    """-log of the label's share, in nats."""
    logits, labels = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]]), np.array([1, 2])

    losses = MLP().losses(torch.tensor(logits), torch.tensor(labels))

    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(losses.numpy(), -np.log(shares[[0, 1], labels]), rtol=1e-12)


@pytest.mark.parametrize(
    ("logits", "label", "loss"),
    [
        ([3.0, 1.0, 1.5], 0, 0.0),  # leads by 1.5
        ([3.0, 1.0, 2.0], 0, 0.0),  # leads by 1, the margin
        ([3.0, 1.0, 2.5], 0, 0.5),  # leads by 0.5
        ([3.0, 1.0, 2.5], 1, 3.0),  # trails the best by 2: the best counts, not the sum
        ([-3.0, -1.0, -2.5], 0, 3.0),
        ([0.0, 0.0, 0.0], 2, 1.0),
    ],
)
def test_the_hinge_is_the_gap_to_the_best_rival(logits: list[float], label: int, loss: float) -> None:
    """Crammer and Singer's, not the sum over rivals, which grows with the number of classes."""
    assert LinearSVM().losses(torch.tensor([logits]), torch.tensor([label])).tolist() == [loss]


def test_the_hinge_pulls_at_label_and_best_rival_only() -> None:
    """Within the margin the gradient is -1 at the label and +1 at the rival; beyond it, nothing."""
    logits = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 1.5]], requires_grad=True)

    LinearSVM().losses(logits, torch.tensor([1, 0])).sum().backward()

    assert logits.grad.tolist() == [[1, -1, 0], [0, 0, 0]]
