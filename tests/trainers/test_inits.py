"""Contract of every init, and the numbers of ShrinkPerturb."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.inits import (
    Init,
    NewHead,
    PartialWarmStart,
    RandomInit,
    ShrinkLastLayer,
    ShrinkPerturb,
    WarmStart,
    on_the_plane,
)
from trainers.models import MLP, ResNet18
from trainers.seeds import stream

NEEDED = {  # settings without a default, of members that have any
    "ShrinkPerturb": {"shrink": 0.4, "perturb": 0.1},
    "PartialWarmStart": {"layers": 1},
    "ShrinkLastLayer": {"shrink": 0.4, "perturb": 0.1},
    "NewHead": {"init": ShrinkPerturb(0.4, 0.1, noise="gaussian")},
}
MEMBERS = [made for made in Spec.members.values() if issubclass(made, Init) and made.__module__ == Init.__module__]
EXAMPLES = [made(**NEEDED.get(made.__name__, {})) for made in MEMBERS]
every_init = pytest.mark.parametrize("init", [*EXAMPLES, ShrinkPerturb(0.4, 0.1, noise="gaussian")], ids=str)

State = dict[str, torch.Tensor]


def network(value: float, width: int = 3) -> nn.Sequential:
    """A network with buffers, all weights set to `value`."""
    net = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    for weight in net.parameters():
        nn.init.constant_(weight, value)
    return net


def trained(value: float, width: int = 3) -> State:
    """Its state, with statistics that no fresh network has."""
    net = network(value, width)
    net[1].running_mean.fill_(9.0)
    net[1].num_batches_tracked.fill_(4)
    return net.state_dict()


def started(init: Init, round: int = 1) -> tuple[State, State]:
    """State of a ResNet18 after `init`, and its parent's state."""
    parent = ResNet18(width=4).build((1, 8, 8), 10, stream(7, "weights", 0))
    parent(torch.randn(8, 1, 8, 8, generator=stream(7, "x")))  # moves the running statistics
    net = ResNet18(width=4).build((1, 8, 8), 10, stream(7, "weights", round))
    init.start(net, parent.state_dict(), stream(7, "noise", round))
    return net.state_dict(), parent.state_dict()


def equal(one: State, other: State) -> bool:
    """Whether two states are equal bit for bit, signs of zero included."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and torch.equal(one[name].signbit(), other[name].signbit()) for name in one
    )


def test_all_inits_are_found() -> None:
    """A contract over an empty list holds."""
    kinds = {"random_init", "warm_start", "shrink_perturb", "partial_warm_start", "shrink_last_layer", "new_head"}

    assert kinds <= {member.kind for member in MEMBERS}


@every_init
def test_start_leaves_the_parent_alone(init: Init) -> None:
    """Several children read one parent, so no child may write to it, nor may its training."""
    parent, net = trained(5.0), network(1.0)
    before = {name: tensor.clone() for name, tensor in parent.items()}

    init.start(net, parent, stream(7, "noise", 1))
    for tensor in net.state_dict().values():
        tensor.add_(1)

    assert equal(parent, before)


@every_init
def test_start_is_repeatable_and_apart_from_the_global_generator(init: Init) -> None:
    """A stage that starts twice, on two workers, must start from the same bits."""
    before = torch.get_rng_state()
    first, _ = started(init)
    second, _ = started(init)

    assert equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@every_init
def test_weights_stay_learnable(init: Init) -> None:
    """A tensor that lost its place in the graph or the optimizer would never move again."""
    net = network(1.0)
    held = list(net.parameters())

    init.start(net, trained(5.0), stream(7, "noise", 1))

    assert all(
        now is then and now.requires_grad and now.is_leaf for now, then in zip(net.parameters(), held, strict=True)
    )


@every_init
def test_an_init_says_where_it_lies_on_the_plane(init: Init) -> None:
    """Figures place every row by shrink and perturb, whatever the init is called."""
    columns = init.columns("init")

    assert columns.keys() == {"init", "init_text", "shrink", "perturb"}
    assert (columns["init"], columns["init_text"]) == (init.kind, str(init))


@pytest.mark.parametrize(
    ("init", "place"),
    [
        (RandomInit(), (0, 1)),
        (WarmStart(), (1, 0)),
        (ShrinkPerturb(shrink=0.4, perturb=0.1), (0.4, 0.1)),
        (NewHead(ShrinkPerturb(shrink=0.4, perturb=0.1)), (0.4, 0.1)),
        (PartialWarmStart(3), (None, None)),
        (ShrinkLastLayer(shrink=0.4, perturb=0.1), (None, None)),
    ],
    ids=str,
)
def test_the_authors_place_the_inits_so(init: Init, place: tuple[float, float]) -> None:
    """Their README: warm start is (1, 0), random init (0, 1). What treats layers apart has no place of its own."""
    columns = init.columns("init")

    assert (columns["shrink"], columns["perturb"]) == place


@pytest.mark.parametrize(
    "init",
    [
        RandomInit(),
        WarmStart(keep_buffers=True),
        ShrinkPerturb(0.6, 0.01, noise="gaussian", keep_buffers=True),
        PartialWarmStart(3, part="last", keep_buffers=True),
        ShrinkLastLayer(0.6, 0.01),
        NewHead(PartialWarmStart(3)),
    ],
    ids=str,
)
def test_an_init_is_written_as_it_is_read(init: Init) -> None:
    """The text in the tables must make the same init on the command line."""
    assert parse_values("init", str(init)) == [init]


def test_random_init_leaves_the_fresh_network() -> None:
    """The random arm must not see its parent, if it has one."""
    net = network(1.0)

    RandomInit().start(net, trained(5.0), stream(7, "noise", 1))

    assert equal(net.state_dict(), network(1.0).state_dict())


@pytest.mark.parametrize("value", [5.0, 1e-40, -0.0])
def test_warm_start_copies_the_weights_and_resets_the_statistics(value: float) -> None:
    """As the authors do; statistics of old data would be a second, unnamed difference between the arms."""
    net = network(1.0)

    WarmStart().start(net, trained(value), stream(7, "noise", 1))

    assert equal(net.state_dict(), network(value).state_dict())


@pytest.mark.parametrize("init", [WarmStart(keep_buffers=True), ShrinkPerturb(1, 0, keep_buffers=True)], ids=str)
def test_kept_buffers_make_a_warm_start_the_parent(init: Init) -> None:
    """The reproductions' reading: the network goes on exactly as it ended."""
    net, parent = started(init)

    assert equal(net, parent)


def test_warm_start_is_the_corner_of_full_shrink_and_no_noise() -> None:
    """If (1, 0) were another network, the plane of Figure 8 would have a false corner."""
    assert equal(started(WarmStart())[0], started(ShrinkPerturb(shrink=1, perturb=0))[0])


def test_random_init_is_the_corner_of_no_shrink_and_full_noise() -> None:
    """If (0, 1) were another network, the plane of Figure 8 would have a false corner."""
    assert equal(started(RandomInit())[0], started(ShrinkPerturb(shrink=0, perturb=1))[0])


@pytest.mark.parametrize(
    ("place", "init"),
    [
        ((0, 1), RandomInit()),
        ((1, 0), WarmStart()),
        ((0.6, 0.01), ShrinkPerturb(0.6, 0.01)),
        ((0, 0), ShrinkPerturb(0, 0)),
    ],
    ids=str,
)
def test_the_corners_of_a_heat_map_are_the_arms_of_other_sweeps(place: tuple[float, float], init: Init) -> None:
    """Under another name they would be trained once more."""
    assert on_the_plane(*place) == init


def test_no_shrink_leaves_nothing_of_a_diverged_parent() -> None:
    """0 times NaN is NaN: one diverged parent would leave the corner of random init empty."""
    net = network(1.0)

    ShrinkPerturb(shrink=0, perturb=1).start(net, trained(float("nan")), stream(7, "noise", 1))

    assert equal(net.state_dict(), network(1.0).state_dict())


def test_shrink_perturb_mixes_by_its_two_factors() -> None:
    """0.4 * 5 + 0.1 * 1 = 2.1 in every learnable tensor, BatchNorm's and biases included; statistics start fresh."""
    net = network(1.0)

    ShrinkPerturb(shrink=0.4, perturb=0.1).start(net, trained(5.0), stream(7, "noise", 1))

    for weight in net.parameters():
        torch.testing.assert_close(weight.detach(), torch.full_like(weight, 2.1))
    assert not net[1].running_mean.any()
    assert net[1].num_batches_tracked == 0


def test_gaussian_noise_has_one_scale_for_all_layers() -> None:
    """The paper's equation: what is left after the shrunk parent is N(0, perturb**2) in every layer."""
    net, parent = (MLP().build((1, 8, 8), 10, stream(7, "weights", i)) for i in (1, 0))
    old = parent.state_dict()

    ShrinkPerturb(shrink=0.4, perturb=0.1, noise="gaussian").start(net, old, stream(7, "noise", 1))

    for name, weight in net.named_parameters():
        noise = weight.detach() - 0.4 * old[name]
        if noise.numel() >= 1000:
            assert noise.std().item() == pytest.approx(0.1, rel=0.05)
            assert abs(noise.mean().item()) < 0.1 * 5 / noise.numel() ** 0.5
            assert abs(torch.corrcoef(torch.stack([noise.flatten(), old[name].flatten()]))[0, 1]) < 0.15


def test_gaussian_noise_is_drawn_anew_for_every_tensor() -> None:
    """One draw for all tensors would disturb all layers in one direction."""
    net = network(0.0, width=3)

    ShrinkPerturb(shrink=0.0, perturb=1.0, noise="gaussian").start(net, trained(5.0), stream(7, "noise", 1))

    drawn = torch.cat([weight.detach().flatten() for weight in net.parameters()])
    assert len(drawn.unique()) == len(drawn)


def test_noise_of_two_rounds_is_independent() -> None:
    """Noise that repeats every round would pull an online run towards one fixed network."""
    init = ShrinkPerturb(shrink=0.0, perturb=1.0, noise="gaussian")
    first, second = (started(init, round)[0]["stem.weight"].flatten() for round in (1, 2))

    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.6  # 36 numbers: 3.5 standard deviations


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (trained(5.0, width=4), r"0.bias is \(4,\) there and \(3,\) in the new network"),
        ({n: t for n, t in trained(5.0).items() if n != "1.bias"}, r"1.bias is absent there and \(3,\) in the new"),
        ({**trained(5.0), "2.bias": torch.zeros(1)}, r"2.bias is \(1,\) there and absent in the new network"),
        ({}, r"0.bias is absent there and \(3,\) in the new network"),
    ],
    ids=["another shape", "one missing", "one too many", "empty"],
)
@pytest.mark.parametrize(
    "init", [WarmStart(), ShrinkPerturb(0.4, 0.1), PartialWarmStart(1), ShrinkLastLayer(0.4, 0.1)], ids=str
)
def test_a_parent_that_does_not_fit_is_named(init: Init, parent: State, message: str) -> None:
    """A warm start from half a parent would be called a warm start."""
    net = network(1.0)

    with pytest.raises(ConfigError, match=message):
        init.start(net, parent, stream(7, "noise", 1))

    assert equal(net.state_dict(), network(1.0).state_dict())


@pytest.mark.parametrize("settings", [{"shrink": 1.1}, {"shrink": -0.1}, {"perturb": -0.1}, {"noise": "uniform"}])
def test_factors_out_of_range_are_refused(settings: dict[str, object]) -> None:
    """A shrink above 1 inflates the network."""
    name = next(iter(settings))

    with pytest.raises(ConfigError, match=f"ShrinkPerturb: {name}="):
        ShrinkPerturb(**{"shrink": 0.4, "perturb": 0.1, **settings})
