"""Online, repeat, transfer and shrink curve: which rounds there are, on which data, and what each starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage
from orchestrator.errors import ConfigError
from sweeps.protocols import online, repeat, shrink_curve, transfer
from trainers.data import CIFAR10, CIFAR100, SVHN, Digits, FashionMNIST
from trainers.inits import Init, NewHead, RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, LinearSVM, Logistic, Model, ResNet18
from trainers.optimizers import Adam
from trainers.regularizers import EWC, L2, NoRegularizer
from trainers.selection import InOrder, Margin
from trainers.stopping import Epochs

Protocol = Callable[..., Sequence[Stage]]
USUAL: dict[str, Any] = {
    "data": CIFAR10(),
    "model": ResNet18(),
    "init": WarmStart(),
    "lr": 0.001,
    "batch_size": 128,
    "stop": Epochs(9),
    "seed": 3,
}
NEEDED: dict[Protocol, dict[str, Any]] = {
    online: USUAL | {"per_round": 10_000},
    repeat: USUAL | {"rounds": 3},
    transfer: USUAL | {"source": CIFAR100()},
    shrink_curve: {name: value for name, value in USUAL.items() if name != "init"} | {"shrink": 0.5},
}
every_protocol = pytest.mark.parametrize("protocol", NEEDED, ids=lambda protocol: protocol.__name__)
both_inits = pytest.mark.parametrize("init", [WarmStart(), ShrinkPerturb(0.6, 0.01)], ids=str)


def trial(protocol: Protocol, **other: Any) -> list[Stage]:
    """The reported stages of a trial with some settings changed."""
    return list(protocol(**{**NEEDED[protocol], **other}))


def chained(stages: Sequence[Stage]) -> bool:
    """Whether each stage starts from the one before it, and the first one from nothing."""
    return [stage.parent for stage in stages] == [None, *stages[:-1]]


def test_the_papers_34_rounds() -> None:
    """1,000 examples a round, and 333 in the last one: the authors' code, and the axis of Figures 2 and 7."""
    sizes = [stage.config.examples for stage in trial(online, per_round=1000)]

    assert sizes == [*range(1000, 33_001, 1000), 33_333]


@given(st.integers(1, 1500), st.integers(1, 30), st.integers(6, 1797))
def test_every_round_has_new_examples_and_no_more_than_all(per_round: int, rounds: int, limit: int) -> None:
    """A round that adds nothing is a second run on the same data, and would be read as progress."""
    stages = trial(online, data=Digits(), per_round=per_round, rounds=rounds, limit=limit)
    sizes = [stage.config.examples for stage in stages]

    assert sizes == sorted(set(sizes))
    assert sizes[-1] == min(per_round * rounds, Digits(limit=limit).fit_size)
    assert [stage.config.round for stage in stages] == list(range(len(sizes)))


@both_inits
@pytest.mark.parametrize("protocol", [online, repeat])
def test_each_round_starts_from_the_last_one(protocol: Protocol, init: Init) -> None:
    """From an older one it would not have seen all that came between."""
    stages = trial(protocol, init=init)

    assert len(stages) > 2
    assert chained(stages)
    assert {stage.config.init for stage in stages[1:]} == {init}


@pytest.mark.parametrize("protocol", [online, repeat])
def test_random_inits_depend_on_no_other_round(protocol: Protocol) -> None:
    """With a parent they would wait for one another, and a cluster would stand still."""
    assert all(stage.parent is None for stage in trial(protocol, init=RandomInit()))


@pytest.mark.parametrize("protocol", [online, repeat])
def test_all_arms_begin_with_one_network(protocol: Protocol) -> None:
    """Curves that part at the first point show chance, and each arm would pay for its own."""
    arms = [{"init": init} for init in (RandomInit(), WarmStart(), ShrinkPerturb(0.6, 0.01))]
    if protocol is online:
        arms += [{"selection": Margin()}, {"regularizer": EWC(size=1.0)}]

    assert len({trial(protocol, **arm)[0] for arm in arms}) == 1


@pytest.mark.parametrize("protocol", [online, repeat])
def test_arms_are_compared_round_by_round(protocol: Protocol) -> None:
    """Another round is another stream of weights and orders: two differences at once."""
    warm, cold = (
        [(s.config.round, s.config.examples) for s in trial(protocol, init=i)] for i in (WarmStart(), RandomInit())
    )

    assert warm == cold


@pytest.mark.parametrize("init", [RandomInit(), WarmStart()], ids=str)
def test_a_selecting_round_asks_the_last_model(init: Init) -> None:
    """Also from a random init, which keeps nothing of the last model but what it chose."""
    stages = trial(online, init=init, selection=Margin())

    assert chained(stages)
    assert [stage.config.selection for stage in stages] == [InOrder(), Margin(), Margin(), Margin()]
    assert [stage.config.old_examples for stage in stages] == [0, 10_000, 20_000, 30_000]


def test_random_selection_is_the_plain_sweep() -> None:
    """Figure 2's stages serve as the arm beside margin sampling."""
    assert trial(online, selection=InOrder()) == trial(online)
    assert {stage.config.old_examples for stage in trial(online)} == {0}


def test_a_penalty_is_in_every_round_and_consolidation_in_all_but_the_first() -> None:
    """The first round has nothing to hold on to, and a random init never has."""
    l2, ewc = L2(size=0.1), EWC(size=1.0)

    assert {stage.config.regularizer for stage in trial(online, regularizer=l2)} == {l2}
    assert [stage.config.regularizer for stage in trial(online, regularizer=ewc)] == [NoRegularizer(), ewc, ewc, ewc]
    assert trial(online, regularizer=ewc)[2].config.old_examples == 20_000
    assert trial(online, init=RandomInit(), regularizer=ewc) == trial(online, init=RandomInit())


def test_repeating_adds_no_data() -> None:
    """Rounds of one number would have one order of examples and one noise, again and again."""
    configs = [stage.config for stage in trial(repeat, rounds=10)]

    assert [(config.round, config.examples) for config in configs] == [(n, 33_333) for n in range(10)]


def test_a_transfer_goes_from_all_of_one_set_to_a_part_of_the_other() -> None:
    """The fraction is that of the target, from the front of the seed's order (Ash & Adams 2020, section 4.2)."""
    (target,) = trial(transfer, source=SVHN(), fraction=0.1)
    source = target.parent

    assert (target.config.data, target.config.examples, target.config.round) == (CIFAR10(), 3333, 1)
    assert (source.config.data, source.config.examples, source.config.round) == (SVHN(), 48_838, 0)
    assert (source.config.init, source.parent) == (RandomInit(), None)


@both_inits
def test_the_last_layer_is_new_where_classes_differ(init: Init) -> None:
    """Weights of 100 outputs fit no 10; with 10 classes on both sides the paper's text keeps them."""
    (other,), (same,) = trial(transfer, init=init), trial(transfer, init=init, source=SVHN())

    assert other.config.init == NewHead(init)
    assert same.config.init == init


def test_a_random_init_is_the_same_whatever_the_source() -> None:
    """It is one curve of Figure 9 in both panels of its target, and paid for once."""
    sources = [CIFAR100(), SVHN()]

    assert len({tuple(trial(transfer, init=RandomInit(), source=source)) for source in sources}) == 1
    assert trial(transfer, init=RandomInit())[0].parent is None


def test_from_a_set_to_itself_there_is_no_transfer() -> None:
    """The axes list all three sets on both sides; the other six pairs are the paper's."""
    assert trial(transfer, source=CIFAR10()) == []


@pytest.mark.parametrize(
    ("source", "data", "model"),
    [
        (CIFAR10(), Digits(), ResNet18()),  # other channels
        (Digits(), FashionMNIST(), MLP()),  # other pixels
        (Digits(), FashionMNIST(), Logistic()),
        (Digits(), FashionMNIST(), LinearSVM()),
    ],
    ids=str,
)
def test_images_that_no_network_fits_both_of_are_refused(source: Any, data: Any, model: Model) -> None:
    """At the plan, before the source has been trained for hours."""
    with pytest.raises(ConfigError, match=r"Give sets of one shape"):
        trial(transfer, source=source, data=data, model=model)


def test_a_convolutional_network_asks_for_equal_channels_alone() -> None:
    """The two embedded grey sets make the figure's form testable."""
    assert len(trial(transfer, source=Digits(), data=FashionMNIST())) == 1


@given(st.floats(0, 1, exclude_min=True), st.integers(6, 1797))
def test_a_fraction_of_the_target_is_an_example_or_more(fraction: float, limit: int) -> None:
    """A stage without data cannot be trained."""
    (target,) = trial(transfer, source=FashionMNIST(), data=Digits(), fraction=fraction, limit=limit)

    assert 1 <= target.config.examples <= target.config.data.fit_size


def test_a_shrink_curve_measures_one_network_at_every_shrink() -> None:
    """Another network a point would be a scatter, no curve."""
    measured = [trial(shrink_curve, shrink=shrink)[0] for shrink in (0.0, 0.5, 1.0)]

    assert [stage.config.shrink for stage in measured] == [0.0, 0.5, 1.0]
    assert len({stage.parent for stage in measured}) == 1
    assert {stage.config.examples for stage in measured} == {measured[0].parent.config.examples} == {33_333}


@pytest.mark.parametrize("model", [MLP(), Logistic(), LinearSVM()], ids=str)
def test_statistics_make_no_difference_where_there_are_none(model: Model) -> None:
    """The two would be one measurement, twice, under two names."""
    both = [trial(shrink_curve, model=model, statistics=which)[0] for which in ("reestimated", "frozen")]

    assert len(set(both)) == 1


def test_a_resnet_is_measured_with_the_statistics_asked_for() -> None:
    """Frozen ones belong to weights that are no more; the paper's claim holds with re-estimated ones alone."""
    both = [trial(shrink_curve, statistics=which)[0] for which in ("reestimated", "frozen")]

    assert [stage.config.statistics for stage in both] == ["reestimated", "frozen"]


def test_what_starts_on_all_of_the_data_is_one_stage_for_all_protocols() -> None:
    """Figures 6 and 9 and the iterated sweep share their most expensive stage."""
    firsts = {
        trial(repeat)[0],
        trial(shrink_curve)[0].parent,
        trial(transfer, source=CIFAR10(), data=SVHN())[0].parent,
    }

    assert len(firsts) == 1


@every_protocol
def test_both_caps_reach_every_stage(protocol: Protocol) -> None:
    """One stage that is not capped takes the hours that the caps should save."""
    stages = {each for stage in trial(protocol, epochs=2, limit=600) for each in stage.lineage()}

    assert {stage.config.data.total for stage in stages} == {600}
    assert {s.config.stop.most_epochs for s in stages if hasattr(s.config, "stop")} == {2}
    assert max(stage.config.examples for stage in stages) == 400


@every_protocol
def test_no_cap_is_no_change(protocol: Protocol) -> None:
    """Results of the full sweep must not move because caps exist."""
    assert trial(protocol, epochs=None, limit=None) == trial(protocol) == trial(protocol, epochs=9, limit=100_000)


@every_protocol
@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.5), ("batch_size", 7), ("model", MLP()), ("optimizer", Adam(beta1=0.5)), ("precision", "bf16")],
    ids=str,
)
def test_settings_reach_every_training(protocol: Protocol, name: str, value: object) -> None:
    """A source, or a first round, that is trained otherwise answers another question."""
    stages = {each for stage in trial(protocol, **{name: value}) for each in stage.lineage()}

    assert {getattr(stage.config, name) for stage in stages if hasattr(stage.config, "stop")} == {value}
