"""A selection adds examples that no round has used: the next of the order, or those with the smallest margins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from tests.trainers.made import same_bits
from trainers.checkpoints import to_arrays
from trainers.evaluate import BATCH
from trainers.models import MLP, ResNet18
from trainers.seeds import stream
from trainers.selection import InOrder, Margin, Selection
from trainers.splits import Split

MEMBERS = [
    member
    for member in Spec.members.values()
    if issubclass(member, Selection) and member.__module__ == Selection.__module__
]
every_selection = pytest.mark.parametrize("selection", [member() for member in MEMBERS], ids=str)

TAKEN = torch.tensor([7, 3, 20, 0])
NONE = torch.tensor([], dtype=torch.int64)
SHAPE = (1, 8, 8)


def images(examples: int = 30) -> Tensor:
    """Made inputs of an order of images to fit."""
    return torch.rand(examples, *SHAPE, generator=stream(7, "x")) * 2 - 1


def split(x: Tensor) -> Split:
    """These images, and labels that nobody may read."""
    return Split(x, torch.full((len(x),), -1, device=x.device))


def network() -> nn.Module:
    """A network with opinions: its weights are ten times those of a fresh one."""
    net = MLP(width=8).build(SHAPE, 4, stream(7, "weights", 0))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(10)
    return net


def logits_as_images(rows: list[list[float]]) -> tuple[nn.Module, Tensor]:
    """A network whose logits are its pixels, and the images that give `rows`."""
    return nn.Flatten(), torch.tensor(rows)[:, None, None, :]


def order_by_hand(logits: np.ndarray, taken: list[int]) -> list[int]:
    """The pool by margin and then by position, by Python's sort of numpy's softmax."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = np.sort(p / p.sum(axis=1, keepdims=True), axis=1)
    margins = p[:, -1] - p[:, -2]
    return sorted((i for i in range(len(logits)) if i not in taken), key=lambda i: (margins[i], i))


def test_all_selections_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"in_order", "margin"} <= {member.kind for member in MEMBERS}


@every_selection
@pytest.mark.parametrize("count", [0, 1, 26])
def test_only_examples_of_the_pool_are_chosen_and_each_once(selection: Selection, count: int) -> None:
    """An example that is used already would not be new, and the round would be smaller than its number."""
    chosen = selection.choose(network(), split(images()), TAKEN, count)

    assert (chosen.dtype, chosen.shape, chosen.device) == (torch.int64, (count,), TAKEN.device)
    assert len(set(chosen.tolist()) - set(TAKEN.tolist())) == count
    assert set(chosen.tolist()) <= set(range(30))


@every_selection
def test_more_than_is_left_is_refused(selection: Selection) -> None:
    """A round that silently came out smaller would stand in the figure at the wrong place."""
    with pytest.raises(ConfigError, match="cannot add 27 examples: of 30 to fit, 4 are used and 26 left"):
        selection.choose(network(), split(images()), TAKEN, 27)


@every_selection
def test_a_selection_is_written_as_it_is_read(selection: Selection) -> None:
    """The text in the tables must make the same selection on the command line."""
    assert parse_values("selection", str(selection)) == [selection]
    assert selection.columns("selection") == {"selection": selection.kind, "selection_text": str(selection)}


def test_in_order_goes_on_where_the_rounds_before_ended() -> None:
    """All rounds of a passive trial are prefixes of one order; only then are two inits compared on the same images."""
    assert InOrder().choose(network(), split(images()), torch.arange(5), 3).tolist() == [5, 6, 7]
    assert InOrder().choose(network(), split(images()), TAKEN, 4).tolist() == [1, 2, 4, 5]


def test_in_order_asks_no_network() -> None:
    """A random init with it has no parent, whose network it could ask."""
    assert not InOrder.needs_parent
    assert Margin.needs_parent


@pytest.mark.parametrize("count", [3, 26])
def test_the_smallest_margins_come_first(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest margins are the examples that the network learns least from."""
    monkeypatch.setitem(BATCH, "cpu", 8)
    logits = network()(images()).detach().double().numpy()

    chosen = Margin().choose(network(), split(images()), TAKEN, count)

    assert chosen.tolist() == order_by_hand(logits, TAKEN.tolist())[:count]


def test_it_is_the_difference_of_shares_not_of_logits() -> None:
    """Between logits, three close rivals count as little as two, and the order is another one."""
    net, x = logits_as_images([[0.0, 1.0, -50.0], [0.0, 1.05, 0.0]])  # 0.46 and 0.38; between logits 1 and 1.05

    assert Margin().choose(net, split(x), NONE, 2).tolist() == [1, 0]


def test_equal_margins_stay_in_order() -> None:
    """Whatever a sort does with equals, on one device or another, must not decide which images are used."""
    net, x = logits_as_images([[1.0, 0.0]] * 200)

    assert Margin().choose(net, split(x), TAKEN, 196).tolist() == InOrder().choose(net, split(x), TAKEN, 196).tolist()


def test_certain_predictions_still_differ() -> None:
    """In float32 all margins above 1 - 6e-8 are 1, and a network at 99 % would be asked in vain."""
    net, x = logits_as_images([[30.0, 0.0], [20.0, 0.0], [25.0, 0.0]])

    assert Margin().choose(net, split(x), NONE, 3).tolist() == [1, 2, 0]


def test_margins_of_nan_come_last() -> None:
    """Where exactly a diverged network has no opinion, the order must still be one and the same."""
    net, x = logits_as_images([[math.nan, 0.0], [9.0, 0.0], [math.nan, math.nan]])

    assert Margin().choose(net, split(x), NONE, 3).tolist() == [1, 0, 2]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_asked_in_eval_mode_and_left_as_it_was(training: bool) -> None:
    """In training mode BatchNorm would learn from the pool, and an answer would depend on its neighbours."""
    net = ResNet18(width=2).build(SHAPE, 4, stream(7, "weights", 0))
    net(images(16))
    logits = net.eval()(images()).detach().double().numpy()
    net.train(training)
    before = to_arrays(net.state_dict())

    chosen = Margin().choose(net, split(images()), TAKEN, 26)

    assert chosen.tolist() == order_by_hand(logits, TAKEN.tolist())
    assert same_bits(to_arrays(net.state_dict()), before)
    assert {layer.training for layer in net.modules()} == {training}
    assert all(weight.grad is None for weight in net.parameters())


def test_no_graph_is_kept() -> None:
    """Gradients of a whole pool fill the memory of a small GPU."""
    net, graphs = network(), []
    net.register_forward_hook(lambda _net, _args, logits: graphs.append(logits.requires_grad))

    Margin().choose(net, split(images()), TAKEN, 3)

    assert graphs == [False]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_chooses_what_the_cpu_chooses() -> None:
    """Equal margins and positions on another device must not confuse it."""
    net, x = logits_as_images([[float(i % 7), 0.0] for i in range(3000)])

    assert (
        Margin().choose(net.cuda(), split(x.cuda()), TAKEN, 999).equal(Margin().choose(net.cpu(), split(x), TAKEN, 999))
    )
    assert Margin().choose(net.cuda(), split(x.cuda()), TAKEN.cuda(), 9).device.type == "cuda"
