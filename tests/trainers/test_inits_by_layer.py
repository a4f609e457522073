"""Inits that treat layers apart: which tensors are the parent's, which are fresh, and which are mixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from trainers.inits import (
    Init,
    NewHead,
    PartialWarmStart,
    RandomInit,
    ShrinkLastLayer,
    ShrinkPerturb,
    WarmStart,
    layers_of,
)
from trainers.models import MLP, LinearSVM, Logistic, Model, ResNet18
from trainers.seeds import stream

State = dict[str, Tensor]

SHAPE = (1, 8, 8)
RESNET, PERCEPTRON = ResNet18(width=2), MLP(depth=2, width=5)
every_model = pytest.mark.parametrize("model", [RESNET, PERCEPTRON, MLP(depth=3, width=4, bias=False)], ids=str)


def trained(model: Model, classes: int = 10) -> State:
    """State of a parent: no tensor is like any fresh one, BatchNorm's statistics and counters included."""
    state = model.build(SHAPE, classes, stream(7, "weights", 0)).state_dict()
    return {name: tensor + 3 for name, tensor in state.items()}


def started(init: Init, model: Model, parent: State) -> tuple[State, State]:
    """States of a network of ten classes after `init`, and before it."""
    net = model.build(SHAPE, 10, stream(7, "weights", 1))
    fresh = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    init.start(net, parent, stream(7, "noise", 1))
    return net.state_dict(), fresh


def same(one: State, other: State) -> set[str]:
    """Names of tensors that are equal bit for bit."""
    return {name for name in one if name in other and torch.equal(one[name], other[name])}


def buffers(state: State) -> set[str]:
    """Names of BatchNorm's statistics and counters."""
    return {name for name in state if "running_" in name or "num_batches" in name}


@pytest.mark.parametrize(
    ("model", "count"),
    [(RESNET, 18), (PERCEPTRON, 3), (MLP(depth=4, width=3), 5), (Logistic(), 1), (LinearSVM(), 1)],
    ids=str,
)
def test_layers_are_counted_as_in_the_networks_name(model: Model, count: int) -> None:
    """ResNet-18: a sweep over 18 layers must end at the whole network."""
    assert len(layers_of(model.build(SHAPE, 10, stream(7, "weights", 0)))) == count


@every_model
def test_every_tensor_belongs_to_one_layer(model: Model) -> None:
    """A tensor of no layer would be fresh in every arm."""
    net = model.build(SHAPE, 10, stream(7, "weights", 0))

    names = [name for layer in layers_of(net) for name in layer]

    assert sorted(names) == sorted(net.state_dict())


def test_a_layer_has_its_batch_norm_and_what_is_added_to_it() -> None:
    """A projection that starts fresh beside a warm block would break what the block computes."""
    layers = layers_of(RESNET.build(SHAPE, 10, stream(7, "weights", 0)))
    modules = [list(dict.fromkeys(name.rpartition(".")[0] for name in layer)) for layer in layers]

    assert modules[0] == ["stem", "norm"]
    assert modules[5] == ["blocks.2.conv1", "blocks.2.norm1"]
    assert modules[6] == ["blocks.2.conv2", "blocks.2.norm2", "blocks.2.shortcut.0", "blocks.2.shortcut.1"]
    assert modules[17] == ["head"]


def test_the_first_layers_compute_what_the_parents_do() -> None:
    """The first layers are those nearest to the images: seven are the stem and three blocks, none of a fourth."""
    net, old = (RESNET.build(SHAPE, 10, stream(7, "weights", i)) for i in (1, 0))
    PartialWarmStart(7, keep_buffers=True).start(net, old.state_dict(), stream(7, "noise", 1))
    x = torch.rand(4, *SHAPE, generator=stream(7, "x"))

    kept, gone = (
        [net.get_submodule("blocks")[:n](net.stem(x)) - old.get_submodule("blocks")[:n](old.stem(x)) for n in ns]
        for ns in ((0, 1, 2, 3), (4, 5))
    )

    assert not any(difference.any() for difference in kept)
    assert all(difference.any() for difference in gone)


@pytest.mark.parametrize(("part", "warm"), [("first", {"1"}), ("last", {"5"})])
def test_one_end_of_a_perceptron_starts_warm(part: str, warm: set[str]) -> None:
    """The two ends are two experiments: features kept, or only what is read from them."""
    parent = trained(PERCEPTRON)

    net, fresh = started(PartialWarmStart(1, part=part), PERCEPTRON, parent)

    assert {name.split(".")[0] for name in same(net, parent)} == warm
    assert same(net, parent) | same(net, fresh) == net.keys()


@pytest.mark.parametrize("keep_buffers", [False, True])
@every_model
def test_all_layers_warm_are_a_warm_start(model: Model, keep_buffers: bool) -> None:
    """The end of the axis is the arm that it is compared with."""
    parent, count = trained(model), len(layers_of(model.build(SHAPE, 10, stream(7, "weights", 0))))

    whole, _ = started(WarmStart(keep_buffers=keep_buffers), model, parent)

    for part in ("first", "last"):
        net, _ = started(PartialWarmStart(count, part, keep_buffers), model, parent)
        assert same(net, whole) == whole.keys()


def test_statistics_of_fresh_layers_are_never_kept() -> None:
    """The parent's means of other features would put a fresh layer out of its range."""
    parent = trained(RESNET)

    net, fresh = started(PartialWarmStart(1, keep_buffers=True), RESNET, parent)

    assert same(net, parent) & buffers(net) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert same(net, fresh) >= buffers(net) - {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


@pytest.mark.parametrize(("model", "layers"), [(RESNET, 19), (PERCEPTRON, 4), (Logistic(), 2)], ids=str)
def test_more_layers_than_there_are_is_an_error(model: Model, layers: int) -> None:
    """A whole warm start would be reported as a partial one."""
    with pytest.raises(
        ConfigError, match=rf"PartialWarmStart\(layers={layers}\): this network has {layers - 1} layers"
    ):
        started(PartialWarmStart(layers), model, trained(model))


def test_no_warm_layer_is_refused() -> None:
    """That is a random init, which needs no parent."""
    with pytest.raises(ConfigError, match="PartialWarmStart: layers=0"):
        PartialWarmStart(0)


@every_model
def test_only_the_last_layer_is_shrunk_and_perturbed(model: Model) -> None:
    """Shrunk below it too, it would be shrink-perturb, which does close the gap."""
    parent = trained(model)
    mixed, _ = started(ShrinkPerturb(0.5, 0.1), model, parent)
    warm, _ = started(WarmStart(), model, parent)

    net, fresh = started(ShrinkLastLayer(0.5, 0.1), model, parent)

    last = {name for name in net if name.split(".")[0] == list(net)[-1].split(".")[0]}
    assert last & same(net, mixed) == last
    assert last & same(net, warm) == set()
    assert same(net, warm) == net.keys() - last
    for name in last:
        torch.testing.assert_close(net[name], 0.5 * parent[name] + 0.1 * fresh[name])


@pytest.mark.parametrize("keep_buffers", [False, True])
def test_a_last_layer_left_as_it_is_makes_a_warm_start(keep_buffers: bool) -> None:
    """The end of the axis is the arm that it is compared with."""
    parent = trained(RESNET)
    warm, _ = started(WarmStart(keep_buffers), RESNET, parent)

    net, _ = started(ShrinkLastLayer(1, 0, keep_buffers), RESNET, parent)

    assert same(net, warm) == warm.keys()


@pytest.mark.parametrize(
    "inner", [WarmStart(keep_buffers=True), ShrinkPerturb(0.3, 1e-4), PartialWarmStart(2)], ids=str
)
@pytest.mark.parametrize("classes", [10, 3])
@every_model
def test_below_a_new_head_is_what_the_inner_init_makes(model: Model, classes: int, inner: Init) -> None:
    """The only difference to the arm without class change is the head, whatever classes the parent had."""
    parent = trained(model, classes)
    head = set(layers_of(model.build(SHAPE, 10, stream(7, "weights", 0)))[-1])
    expected, _ = started(inner, model, trained(model))

    net, fresh = started(NewHead(inner), model, parent)

    assert same(net, fresh) >= head
    assert same(net, expected) >= net.keys() - head


@pytest.mark.parametrize("model", [Logistic(), LinearSVM()], ids=str)
def test_a_network_that_is_all_head_starts_fresh(model: Model) -> None:
    """Stated in its docstring: a linear model has nothing to hand on to other classes."""
    net, fresh = started(NewHead(WarmStart()), model, trained(model, 3))

    assert same(net, fresh) == net.keys()


def test_a_new_head_hides_no_other_difference() -> None:
    """Images of another size or a wider network are no change of classes."""
    with pytest.raises(ConfigError, match=r"1.bias is \(6,\) there and \(5,\) in the new network"):
        started(NewHead(WarmStart()), PERCEPTRON, trained(MLP(depth=2, width=6)))


@pytest.mark.parametrize("inner", [RandomInit(), NewHead(WarmStart())], ids=str)
def test_a_new_head_on_what_has_one_is_refused(inner: Init) -> None:
    """One start under two names would be trained twice."""
    with pytest.raises(ConfigError, match="the head is fresh already"):
        NewHead(inner)


@pytest.mark.parametrize(
    "model", [ResNet18(width=2), MLP(), MLP(depth=1), MLP(bias=False), Logistic(), LinearSVM()], ids=str
)
def test_a_model_knows_its_layers(model: Model) -> None:
    """A plan is refused by that number, long before there is a network."""
    net = model.build((1, 8, 8), 3, stream(0, "weights"))

    assert model.layers == len(layers_of(net))
    assert model.has_batch_norm == any(True for _ in net.buffers())
