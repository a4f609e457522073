"""Every part of a stage reaches its training, with the right images, weights and streams: that of a plain loop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from orchestrator.errors import ConfigError
from tests.trainers.made import FIRST, run, same_bits, second, watched
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.checkpoints import to_arrays, to_tensors
from trainers.examples import CHOSEN
from trainers.fisher import fisher_diagonal
from trainers.inits import RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP
from trainers.regularizers import EWC
from trainers.seeds import stream
from trainers.selection import Margin
from trainers.splits import Splits, load_splits
from trainers.stopping import Epochs

if TYPE_CHECKING:
    from orchestrator.seam import State

SELECTING: dict[str, Any] = {"selection": Margin(), "init": WarmStart(), "stop": Epochs(1)}


@pytest.fixture(scope="module")
def parent() -> State:
    """Final state of a first round on 30 examples."""
    return run(FIRST).state


def images() -> Splits:
    """All 60 images to fit, the first round's 30 in front."""
    return load_splits(FIRST.data, seed=3, examples=60, root=None, device=torch.device("cpu"))


def network(state: State) -> nn.Module:
    """An MLP in training mode with these weights."""
    net = MLP(width=8).build((1, 8, 8), 10, stream(0, "anything"))
    net.load_state_dict({name: tensor for name, tensor in to_tensors(state).items() if name != CHOSEN})
    return net


def batches(examples: int, round: int, epoch: int = 1) -> list[list[int]]:
    """Positions of an epoch's batches of eight."""
    order = torch.randperm(examples, generator=stream(3, "order", round, epoch)).tolist()
    return [order[start : start + 8] for start in range(0, examples, 8)]


def norm(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Length of the gradient of the mean loss."""
    slopes = torch.autograd.grad(functional.cross_entropy(net(x), y), list(net.parameters()))
    return float(torch.cat([slope.flatten() for slope in slopes]).norm())


def test_gradients_are_measured_of_the_parents_examples_and_of_the_others(parent: State) -> None:
    """Old and new mixed up would turn Figure 5 upside down."""
    rows = run(second(init=WarmStart(), old_examples=30, gradient_norms_every=3, stop=Epochs(2)), parent).epochs
    net, all_ = network(parent), images()
    rule, step = torch.optim.SGD(net.parameters(), lr=0.1), 0
    for row in rows:
        measured = []
        for batch in batches(60, 1, row["epoch"]):
            halves = [i for i in batch if i < 30], [i for i in batch if i >= 30]
            if step % 3 == 0 and all(halves):
                measured.append([step, *(norm(net, all_.train_x[half], all_.train_y[half]) for half in halves)])
            rule.zero_grad()
            functional.cross_entropy(net(all_.train_x[batch]), all_.train_y[batch]).backward()
            rule.step()
            step += 1
        found = zip(row["measured_steps"], row["old_gradient_norms"], row["new_gradient_norms"], strict=True)
        assert list(map(list, found)) == [pytest.approx(one, rel=1e-4) for one in measured]


def test_images_and_weights_are_varied_by_the_epochs_own_streams() -> None:
    """The same crops in every epoch, or an image with its neighbour's, would be another augmentation."""
    augmentation, after_step = CropFlipJitter(), ShrinkPerturbEachStep(shrink=0.99, perturb=0.01)
    outcome = run(replace(FIRST, round=2, augmentation=augmentation, after_step=after_step))
    net, all_ = MLP(width=8).build((1, 8, 8), 10, stream(3, "weights", 2)), images()
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in (1, 2, 3):
        numbers = augmentation.numbers(30, stream(3, "augmentation", 2, epoch))
        draw = stream(3, "after_step", 2, epoch)
        for batch in batches(30, 2, epoch):
            x = augmentation.augmented(all_.train_x[batch], numbers[batch])
            rule.zero_grad()
            functional.cross_entropy(net(x), all_.train_y[batch]).backward()
            rule.step()
            after_step.change(net, draw)

    assert same_bits(outcome.state, to_arrays(net.state_dict()))


def test_consolidation_looks_at_the_parents_examples_alone(parent: State) -> None:
    """With the new ones among them it would hold what was never learnt."""
    outcome = run(second(init=WarmStart(), old_examples=30, regularizer=EWC(size=5.0), stop=Epochs(1)), parent)
    net, all_, start = network(parent), images(), to_tensors(parent)
    fisher = fisher_diagonal(net, start, all_.train_x[:30])
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    for batch in batches(60, 1):
        loss = functional.cross_entropy(net(all_.train_x[batch]), all_.train_y[batch])
        for name, weight in net.named_parameters():
            loss = loss + 2.5 * (fisher[name] * (weight - start[name]) ** 2).sum()
        rule.zero_grad()
        loss.backward()
        rule.step()

    for name, weight in net.state_dict().items():
        assert outcome.state[name] == pytest.approx(weight.numpy(), abs=1e-5)


@pytest.mark.parametrize("init", [RandomInit(), WarmStart(), ShrinkPerturb(shrink=0.5, perturb=0.5)], ids=str)
def test_the_correlation_is_with_the_weights_that_the_stage_started_from(init: Any, parent: State) -> None:
    """With the parent's, a shrunk and perturbed network would seem to have forgotten before its first step."""
    seen = watched(second(init=init), parent)

    states = seen.start, seen.outcome.state
    start, end = (np.concatenate([state[name].ravel() for name in parent]) for state in states)
    assert seen.outcome.metrics["weight_correlation"] == pytest.approx(np.corrcoef(start, end)[0, 1], abs=1e-6)


def smallest_margins(state: State, taken: list[int], count: int) -> list[int]:
    """The `count` of the other images to fit about which a network hesitates most."""
    p = network(state)(images().train_x).detach().double().softmax(dim=1).sort(dim=1).values
    pool = [i for i in range(60) if i not in taken]
    return sorted(pool, key=lambda i: float(p[i, -1] - p[i, -2]))[:count]


def test_a_selecting_round_adds_to_what_its_parent_used(parent: State) -> None:
    """Rounds that forget their parents' choice would train on some images never and on others twice as often."""
    second_round = run(second(examples=45, old_examples=30, **SELECTING), parent)
    third_round = run(second(round=2, examples=52, old_examples=45, **SELECTING), second_round.state)

    chosen = [*range(30), *smallest_margins(parent, list(range(30)), 15)]
    assert second_round.state[CHOSEN].tolist() == chosen
    chosen += smallest_margins(second_round.state, chosen, 7)
    assert third_round.state[CHOSEN].tolist() == chosen


def test_a_selecting_round_trains_on_what_it_chose(parent: State) -> None:
    """A choice that is filed and not trained on would make active learning look like passive."""
    outcome = run(second(examples=45, old_examples=30, **SELECTING), parent)
    net, all_, chosen = network(parent), images(), torch.from_numpy(outcome.state[CHOSEN])
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    for batch in batches(45, 1):
        rule.zero_grad()
        functional.cross_entropy(net(all_.train_x[chosen[batch]]), all_.train_y[chosen[batch]]).backward()
        rule.step()

    assert same_bits(outcome.state, to_arrays(net.state_dict()) | {CHOSEN: chosen.numpy()})


def test_a_selecting_random_init_keeps_nothing_but_the_choice(parent: State) -> None:
    """The random arm of active learning asks the last model, and starts from fresh weights."""
    seen = watched(second(examples=45, old_examples=30, **SELECTING | {"init": RandomInit()}), parent)

    fresh = MLP(width=8).build((1, 8, 8), 10, stream(3, "weights", 1))
    assert same_bits(seen.start, to_arrays(fresh.state_dict()))
    assert seen.outcome.state[CHOSEN].tolist()[30:] == smallest_margins(parent, list(range(30)), 15)


def test_another_number_of_old_examples_than_the_parents_is_refused(parent: State) -> None:
    """The first 45 of the order are not the parent's 30 and its choice."""
    chosen = run(second(examples=45, old_examples=30, **SELECTING), parent).state

    with pytest.raises(ConfigError, match="old_examples=30: the parent was trained on 45 examples"):
        run(second(round=2, examples=60, old_examples=30, **SELECTING), chosen)


def test_a_plain_child_of_a_choice_is_refused_where_old_examples_count(parent: State) -> None:
    """The first 45 of the order would be drawn as the old ones, and they are not."""
    chosen = run(second(examples=45, old_examples=30, **SELECTING), parent).state
    child = second(round=2, examples=60, old_examples=45, init=WarmStart(), gradient_norms_every=1)

    with pytest.raises(ConfigError, match="are not those it chose"):
        run(child, chosen)
