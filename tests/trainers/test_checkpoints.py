"""A checkpoint holds everything that a step changes, bit for bit, and shares no memory with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.spec import Spec
from tests.trainers.made import same_bits
from trainers.checkpoints import put_tensors, tensors_of, to_arrays, to_tensors
from trainers.models import ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.seeds import stream

MEMBERS = [m() for m in Spec.members.values() if issubclass(m, Optimizer) and m.__module__ == Optimizer.__module__]
every_optimizer = pytest.mark.parametrize("optimizer", [*MEMBERS, SGD(momentum=0.9)], ids=str)
Pair = tuple[nn.Module, torch.optim.Optimizer]


def fresh(optimizer: Optimizer) -> Pair:
    """A network with BatchNorm and its optimizer, before the first step."""
    net = ResNet18(width=1).build((1, 8, 8), 10, stream(7, "weights", 0))
    return net, optimizer.build(net, lr=0.1, weight_decay=0.0)


def step(net: nn.Module, rule: torch.optim.Optimizer) -> None:
    """One step on made images."""
    rule.zero_grad()
    net(torch.randn(8, 1, 8, 8, generator=stream(7, "x"))).square().sum().backward()
    rule.step()


@every_optimizer
def test_the_next_step_after_a_resume_has_the_same_bits(optimizer: Optimizer) -> None:
    """A forgotten momentum, step count or running average would make a resumed stage another experiment."""
    one, other = fresh(optimizer), fresh(optimizer)
    step(*one)

    put_tensors(tensors_of(*one), *other)
    step(*one)
    step(*other)

    assert same_bits(tensors_of(*one), tensors_of(*other))


@every_optimizer
def test_a_later_step_leaves_a_checkpoint_as_it_was(optimizer: Optimizer) -> None:
    """Tensors that share memory with the network would save the weights of a half-done epoch."""
    pair = fresh(optimizer)
    step(*pair)
    taken = tensors_of(*pair)
    before = {name: array.copy() for name, array in taken.items()}

    step(*pair)

    assert same_bits(taken, before)


@every_optimizer
def test_training_on_leaves_the_loaded_arrays_as_they_were(optimizer: Optimizer) -> None:
    """A parent's state serves many children; the first one must not train it."""
    pair = fresh(optimizer)
    step(*pair)
    taken = tensors_of(*pair)
    before = {name: array.copy() for name, array in taken.items()}
    other = fresh(optimizer)
    put_tensors(taken, *other)

    step(*other)

    assert same_bits(taken, before)


def test_adam_remembers_by_weight() -> None:
    """Moments that change places between weights of one shape raise no error."""
    net, rule = fresh(Adam())
    step(net, rule)

    taken = tensors_of(net, rule)

    for index, weight in enumerate(net.parameters()):
        assert np.array_equal(taken[f"optimizer/{index}/exp_avg"], rule.state[weight]["exp_avg"].numpy())


def test_settings_are_the_optimizers_own() -> None:
    """A checkpoint holds no learning rate, so none can be taken over from another stage."""
    net, rule = fresh(SGD(momentum=0.9))
    step(net, rule)
    other = ResNet18(width=1).build((1, 8, 8), 10, stream(7, "weights", 0))
    faster = SGD(momentum=0.9).build(other, lr=0.5, weight_decay=0.0)

    put_tensors(tensors_of(net, rule), other, faster)

    assert faster.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(5),
        torch.tensor([0.1, -0.0, float("nan"), float("inf"), 1e-45]),
        torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.zeros(0, 3),
    ],
    ids=["count", "odd floats", "channels last", "empty"],
)
def test_a_tensor_comes_back_as_it_was(tensor: torch.Tensor) -> None:
    """Shape, type and every bit; a diverged stage's NaN too."""
    back = to_tensors(to_arrays({"a": tensor}))["a"]

    assert (back.shape, back.dtype) == (tensor.shape, tensor.dtype)
    assert back.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_arrays_lie_in_memory_in_the_order_of_their_shape() -> None:
    """A safetensors file takes an array's bytes as they lie; other orders would come back as other images."""
    odd = torch.randn(3, 2, generator=stream(7, "x")).T

    assert to_arrays({"a": odd})["a"].flags["C_CONTIGUOUS"]


def test_a_prefix_keeps_two_sets_of_names_apart() -> None:
    """A network may call a layer 'optimizer'."""
    arrays = to_arrays({"a": torch.tensor(1)}, "net/") | to_arrays({"a": torch.tensor(2)}, "optimizer/")

    assert to_tensors(arrays, "optimizer/") == {"a": torch.tensor(2)}


def test_a_checkpoint_of_another_network_is_refused() -> None:
    """Code that was changed without a new version must not go on from a half-fitting checkpoint."""
    net, rule = fresh(SGD())
    taken = tensors_of(net, rule)
    taken.pop("net/stem.weight")

    with pytest.raises(RuntimeError, match=r"stem\.weight"):
        put_tensors(taken, net, rule)
