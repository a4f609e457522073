"""The trainer page: the paper's loop, from the right start, to the right end, with rows that say what happened."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.errors import ConfigError, InterruptedStage
from orchestrator.seam import Outcome, Status
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, same_bits, second, watched, without_times
from trainers import examples, shares, supervised
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.checkpoints import to_arrays, to_tensors
from trainers.evaluate import evaluate, evaluation
from trainers.inits import Init, RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, LinearSVM, ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.regularizers import L2, Adversarial
from trainers.seeds import stream
from trainers.splits import Splits, load_splits
from trainers.stage_config import Supervised
from trainers.stopping import Epochs, Stop, TrainAccuracy
from trainers.supervised import split_batches, train

SMALL_RESNET = replace(FIRST, model=ResNet18(width=2))


def splits_of(config: Supervised) -> Splits:
    """The images that `config` sees."""
    device = torch.device("cpu")
    return load_splits(config.data, seed=config.seed, examples=config.examples, root=None, device=device)


def final_net(config: Supervised, outcome: Outcome) -> nn.Module:
    """The trained network, in eval mode."""
    net = config.model.build(config.data.shape, config.data.classes, stream(0, "anything"))
    net.load_state_dict(to_tensors(outcome.state))
    return net.eval()


# The paper's loop


def test_it_is_the_papers_loop() -> None:
    """Written out once more, with nothing of the page's but the order of the images."""
    config = replace(FIRST, optimizer=SGD(momentum=0.9), regularizer=L2(size=0.01))
    outcome = run(config)
    images, net = splits_of(config), MLP(width=8).build((1, 8, 8), 10, stream(3, "weights", 0))
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for epoch in (1, 2, 3):
        order, losses, right = torch.randperm(30, generator=stream(3, "order", 0, epoch)).tolist(), [], 0
        for batch in (order[0:8], order[8:16], order[16:24], order[24:30]):
            logits = net(images.train_x[batch])
            rule.zero_grad()
            functional.cross_entropy(logits, images.train_y[batch]).backward()
            losses += functional.cross_entropy(logits, images.train_y[batch], reduction="none").tolist()
            right += int((logits.argmax(dim=1) == images.train_y[batch]).sum())
            rule.step()
        assert outcome.epochs[epoch - 1]["train_loss"] == pytest.approx(sum(losses) / 30, rel=1e-6)
        assert outcome.epochs[epoch - 1]["train_accuracy"] == right / 30

    assert same_bits(outcome.state, to_arrays(net.state_dict()))


def test_the_last_row_measures_the_final_network_on_the_held_out_third() -> None:
    """A test accuracy that is a training accuracy has misled more than one paper."""
    outcome, images = run(SMALL_RESNET), splits_of(SMALL_RESNET)
    logits = final_net(SMALL_RESNET, outcome)(images.test_x)

    assert len(images.test_y) == 30
    for measured in (outcome.epochs[-1], outcome.metrics):
        assert measured["test_loss"] == pytest.approx(functional.cross_entropy(logits, images.test_y).item())
        assert measured["test_accuracy"] == (logits.argmax(dim=1) == images.test_y).double().mean().item()


def test_the_final_training_values_are_of_the_final_network() -> None:
    """A running mean over the last epoch lags behind; the stage's columns say `at its end`."""
    config = replace(SMALL_RESNET, regularizer=Adversarial(size=0.1))
    outcome, images = run(config), splits_of(config)
    logits = final_net(config, outcome)(images.train_x)

    assert outcome.metrics["train_loss"] == pytest.approx(functional.cross_entropy(logits, images.train_y).item())
    assert outcome.metrics["train_accuracy"] == (logits.argmax(dim=1) == images.train_y).double().mean().item()


def test_the_networks_loss_is_the_models_own() -> None:
    """An SVM that is trained on cross entropy is a logistic regression."""
    config = replace(FIRST, model=LinearSVM(), batch_size=30, stop=Epochs(1))
    net = LinearSVM().build((1, 8, 8), 10, stream(3, "weights", 0))
    images = splits_of(config)

    expected = LinearSVM().losses(net(images.train_x), images.train_y).mean().item()

    assert run(config).epochs[0]["train_loss"] == pytest.approx(expected)


def test_counts_go_on_from_epoch_to_epoch() -> None:
    """Figures are drawn over steps and examples too."""
    rows = run(FIRST).epochs

    assert [(row["epoch"], row["steps"], row["examples"]) for row in rows] == [(1, 4, 30), (2, 8, 60), (3, 12, 90)]


def test_metrics_are_the_counts_of_the_last_row() -> None:
    """Two tables that disagree make a user distrust both."""
    outcome = run(FIRST)

    counts = {name: outcome.metrics[name] for name in ("epochs", "steps", "examples_seen", "train_seconds")}
    last = outcome.epochs[-1]
    assert counts == {"epochs": 3, "steps": 12, "examples_seen": 90, "train_seconds": last["train_seconds"]}
    assert (outcome.device, outcome.versions) == ("cpu", {"torch_version": torch.__version__})


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17, 24])
@pytest.mark.parametrize("size", [1, 2, 8, 30])
def test_batches_are_the_whole_order(count: int, size: int) -> None:
    """A dropped rest is another training set; BatchNorm cannot take a rest of one."""
    order = torch.randperm(count, generator=stream(7, "x"))

    batches = split_batches(order, size)

    assert torch.equal(torch.cat(batches), order)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 in (size, count) or 1 < len(batches[-1]) <= size + 1


def test_a_batchnorm_network_trains_with_one_example_left_over() -> None:
    """33 examples in batches of 8: torch refuses a last batch of one, and the sweep has a hole there."""
    assert run(replace(SMALL_RESNET, examples=33)).epochs[-1]["steps"] == 12


# The start


@pytest.mark.parametrize("model", [MLP(width=8), ResNet18(width=2)], ids=str)
def test_a_warm_start_begins_where_its_parent_ended(model: Any) -> None:
    """Anything else would measure the damage of a faulty copy."""
    first = replace(FIRST, model=model)
    parent = run(first)
    config = second(first, init=WarmStart(keep_buffers=True))

    start = watched(config, parent.state).start

    images, net = splits_of(config), final_net(config, replace(parent, state=start))
    assert same_bits(start, parent.state)
    assert evaluate(net, model.losses, images.test)[1] == parent.metrics["test_accuracy"]


def test_an_init_starts_from_the_fresh_network_of_its_round() -> None:
    """Noise that is the parent's own first weights, or a random init from the parent's, is another experiment."""
    parent = run(FIRST).state
    fresh = to_arrays(MLP(width=8).build((1, 8, 8), 10, stream(3, "weights", 1)).state_dict())

    mixed = watched(second(init=ShrinkPerturb(shrink=0.5, perturb=0.25)), parent).start

    assert same_bits(watched(second(init=RandomInit()), parent).start, fresh)
    assert same_bits(mixed, {name: parent[name] * 0.5 + fresh[name] * 0.25 for name in fresh})


def test_gaussian_noise_is_drawn_apart_from_the_fresh_weights() -> None:
    """One stream for both would repeat the same numbers in another law."""
    init = ShrinkPerturb(shrink=0.0, perturb=1.0, noise="gaussian")
    start = watched(second(init=init), run(FIRST).state).start

    noise = torch.randn(8, 64, generator=stream(3, "noise", 1)).numpy()
    assert same_bits({"1.weight": start["1.weight"]}, {"1.weight": noise})


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam()], ids=str)
def test_a_child_inherits_no_memory_of_the_optimizer(optimizer: Optimizer) -> None:
    """Inherited momentum would be a second kind of warm start."""
    first = replace(FIRST, optimizer=optimizer)
    parent = run(first).state

    assert watched(second(first, init=WarmStart()), parent).memory == {}


@pytest.mark.parametrize("init", [WarmStart(), ShrinkPerturb(shrink=0.4, perturb=0.1)], ids=str)
def test_a_stage_without_the_parent_it_needs_is_refused(init: Init) -> None:
    """Trained from a fresh network instead, it would be filed under warm starts."""
    with pytest.raises(ConfigError, match=r"(WarmStart|ShrinkPerturb)\(.*\) starts from a parent's weights.* parent"):
        run(second(init=init))


def test_a_random_init_does_not_ask_for_a_parent() -> None:
    """A first round has none, and a later one must not depend on it."""
    io = MemoryIO()
    io.parent_state = lambda: pytest.fail("asked")  # type: ignore[method-assign]

    assert train(FIRST, io).status == Status.DONE


def test_a_parent_of_another_shape_is_refused() -> None:
    """Half a network taken over is no warm start."""
    with pytest.raises(ConfigError, match=r"1\.bias is \(8,\) there and \(9,\)"):
        run(second(init=WarmStart(), model=MLP(width=9)), run(FIRST).state)


# The end


@pytest.mark.parametrize(
    ("stop", "reason", "epochs"),
    [
        (Epochs(1), "epochs", 1),
        (Epochs(5), "epochs", 5),
        (TrainAccuracy(target=0.1, cap=9), "train_accuracy", 1),
        (TrainAccuracy(window=3, tolerance=1.0, floor=0.0, cap=9), "plateau", 3),
        (TrainAccuracy(target=1.0, cap=4, window=0), "cap", 4),
    ],
    ids=str,
)
def test_a_stage_ends_by_its_rule(stop: Stop, reason: str, epochs: int) -> None:
    """Time to 99 % is a result of the paper; an epoch more or less is another one."""
    outcome = run(replace(FIRST, stop=stop))

    assert (outcome.status, outcome.stop_reason, len(outcome.epochs)) == (Status.DONE, reason, epochs)


@pytest.mark.parametrize("model", [MLP(width=8), ResNet18(width=2)], ids=str)
def test_how_often_the_test_split_is_measured_changes_only_what_is_shown(model: Any) -> None:
    """A look at the held-out third must not move the weights, nor the epoch that training ends in."""
    each, never, third = (run(replace(FIRST, model=model, stop=Epochs(7), evaluate_every=every)) for every in (1, 0, 3))

    measured = [[row["epoch"] for row in o.epochs if row["test_accuracy"] is not None] for o in (each, never, third)]
    assert measured == [[1, 2, 3, 4, 5, 6, 7], [7], [3, 6, 7]]
    for other in (never, third):
        assert same_bits(other.state, each.state)
        assert without_times(other)[1] == without_times(each)[1]
        assert [training(row) for row in other.epochs] == [training(row) for row in each.epochs]


def training(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of training, without the time."""
    return {name: row[name] for name in ("epoch", "train_loss", "train_accuracy", "steps", "examples")}


def test_rows_are_complete_when_they_are_reported() -> None:
    """A live page shows them at once, and a checkpoint keeps them."""
    io = MemoryIO()

    assert train(FIRST, io).epochs == io.rows


# The time


class Clock:
    """A clock that only `pass_` moves."""

    now = 0.0

    def pass_(self, seconds: float, result: Any = None) -> Any:
        self.now += seconds
        return result


class SlowIO(TakenAwayIO):
    """Asking for the parent and saving take long."""

    clock: Clock

    def end_epoch(self, *args: Any) -> None:
        self.clock.pass_(1000)
        super().end_epoch(*args)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowIO:
    """A world in which a batch takes 1 s, and everything that is no training at least 10."""
    io, clock = SlowIO(), Clock()
    io.clock = clock
    plain = type(FIRST.regularizer).loss
    monkeypatch.setattr(shares, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(type(FIRST.regularizer), "loss", lambda *args: clock.pass_(1, plain(*args)))
    monkeypatch.setattr(examples, "load_splits", lambda *a, **k: clock.pass_(10, load_splits(*a, **k)))
    monkeypatch.setattr(supervised, "evaluation", lambda *args: clock.pass_(100, evaluation(*args)))
    return io


def test_training_time_is_that_of_steps_alone(slow: SlowIO) -> None:
    """Figures 2, 3, 7 and 8 are drawn over it; a slow disk or a frequent evaluation must not show there."""
    outcome = train(FIRST, slow)

    assert [row["train_seconds"] for row in outcome.epochs] == [4, 8, 12]
    assert outcome.metrics["train_seconds"] == 12


def test_training_time_goes_on_after_a_resume(slow: SlowIO) -> None:
    """A stage that was interrupted often would look like a fast one."""
    slow.epoch = 2
    with pytest.raises(InterruptedStage):
        train(FIRST, slow)

    assert [row["train_seconds"] for row in train(FIRST, slow).epochs] == [4, 8, 12]


class Waits(TorchDispatchMode):
    """Counts the operations at which the host must wait for the device: numbers read, shapes that depend on values."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in self.NAMES
        return func(*args, **(kwargs or {}))


BUSY: list[dict[str, Any]] = [
    {"regularizer": L2(size=0.01)},
    {"regularizer": Adversarial(size=0.1)},
    {"augmentation": CropFlipJitter(), "after_step": ShrinkPerturbEachStep(shrink=0.99, perturb=0.01)},
]


@pytest.mark.parametrize("settings", BUSY, ids=str)
@pytest.mark.parametrize("model", [LinearSVM(), ResNet18(width=2)], ids=str)
def test_the_host_does_not_wait_within_an_epoch(model: Any, settings: dict[str, Any]) -> None:
    """On a GPU each wait leaves it idle; ten a step made the authors' loop as slow as the host."""
    counts = []
    for batch_size in (30, 5, 2):
        config = replace(FIRST, model=model, batch_size=batch_size, stop=Epochs(1), **settings)
        with Waits() as waits:
            run(config)
        counts.append(waits.count)

    assert counts[0] > 0
    assert len(set(counts)) == 1
