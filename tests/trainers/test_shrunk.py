"""A shrunk stage measures the parent's network at smaller weights, with old or new statistics; it trains nothing."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.columns import STAGES
from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.seam import Outcome, Status
from orchestrator.stage import Stage
from orchestrator.tensors import decode_state, encode_state
from tests.trainers import made
from tests.trainers.made import FIRST, MemoryIO
from trainers import shrunk
from trainers.checkpoints import to_tensors
from trainers.evaluate import evaluate
from trainers.models import MLP, ResNet18
from trainers.seeds import stream
from trainers.shrunk import Shrunk, measure, reestimate_statistics
from trainers.splits import Splits, load_splits

if TYPE_CHECKING:
    from orchestrator.seam import State

RESNET = dataclasses.replace(FIRST, model=ResNet18(width=2), examples=60, evaluate_every=0)
ACCURACIES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


@pytest.fixture(scope="module")
def parent() -> Outcome:
    """A ResNet that was trained for three epochs."""
    return made.run(RESNET)


def config(**changes: Any) -> Shrunk:
    """The child of RESNET that is measured."""
    same = {name: getattr(RESNET, name) for name in ("data", "model", "seed", "examples")}
    return Shrunk(**{**same, "round": 1, "shrink": 0.5, **changes})


def splits() -> Splits:
    """The images of RESNET."""
    device = torch.device("cpu")
    return load_splits(RESNET.data, seed=RESNET.seed, examples=RESNET.examples, root=None, device=device)


def by_hand(parent: State, shrink: float) -> nn.Module:
    """The parent's network in training mode, its parameters shrunk one by one and its buffers as they were."""
    net = RESNET.model.build(RESNET.data.shape, RESNET.data.classes, stream(99, "other weights"))
    net.load_state_dict(to_tensors(parent))
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(shrink * weight)
    return net


def metrics(net: nn.Module) -> dict[str, float | None]:
    """What an evaluation of `net` measures on both splits."""
    x = splits()
    train = evaluate(net, RESNET.model.losses, x.train)
    test = evaluate(net, RESNET.model.losses, x.test)
    return {"train_loss": train[0], "train_accuracy": train[1], "test_loss": test[0], "test_accuracy": test[1]}


def test_frozen_at_shrink_1_it_is_the_parent(parent: Outcome) -> None:
    """The right end of the figure's curves is the trained network itself, to the last bit."""
    outcome = measure(config(shrink=1, statistics="frozen"), MemoryIO(parent.state))

    assert {n: outcome.metrics[n] for n in ACCURACIES} == {n: parent.metrics[n] for n in ACCURACIES}


@pytest.mark.parametrize("shrink", [0.0, 0.3, 0.9])
def test_frozen_shrinks_every_weight_and_no_buffer(parent: Outcome, shrink: float) -> None:
    """With running variances shrunk too, frozen statistics would hide the trap that they are shown for."""
    outcome = measure(config(shrink=shrink, statistics="frozen"), MemoryIO(parent.state))

    assert {n: outcome.metrics[n] for n in ACCURACIES} == metrics(by_hand(parent.state, shrink))


def test_statistics_are_reestimated_for_the_shrunk_weights(parent: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimated before the shrink, or on the test images, they would be the statistics of something else."""
    monkeypatch.setattr(shrunk, "PIECE", 20)
    net = by_hand(parent.state, 0.3).train()
    mean, variance = statistics_by_hand(net, splits().train_x.split(20))

    reestimated = by_hand(parent.state, 0.3).eval()
    reestimate_statistics(reestimated, splits().train)

    np.testing.assert_allclose(reestimated.get_buffer("norm.running_mean"), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(reestimated.get_buffer("norm.running_var"), variance, rtol=1e-4)
    outcome = measure(config(shrink=0.3), MemoryIO(parent.state))
    assert {n: outcome.metrics[n] for n in ACCURACIES} == metrics(reestimated)


def statistics_by_hand(net: nn.Module, pieces: tuple[Tensor, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Averages over the pieces of mean and unbiased variance of what the first BatchNorm of `net` receives."""
    hidden = [net.get_submodule("stem")(x).detach().double().transpose(0, 1).flatten(1).numpy() for x in pieces]
    return np.mean([h.mean(1) for h in hidden], axis=0), np.mean([h.var(1, ddof=1) for h in hidden], axis=0)


def test_reestimation_touches_statistics_alone(parent: Outcome) -> None:
    """Weights that move, or a mode that stays, would make another network of it."""
    net = by_hand(parent.state, 0.3).eval()

    reestimate_statistics(net, splits().train)

    expected = by_hand(parent.state, 0.3)
    assert all(torch.equal(w, e) for w, e in zip(net.parameters(), expected.parameters(), strict=True))
    assert not any(layer.training for layer in net.modules())
    assert {int(n) for name, n in net.named_buffers() if name.endswith("num_batches_tracked")} == {1}


def test_no_piece_is_a_single_image(monkeypatch: pytest.MonkeyPatch, parent: Outcome) -> None:
    """BatchNorm cannot normalise one value, and a short last piece would weigh as much as the others."""
    monkeypatch.setattr(shrunk, "PIECE", 19)
    net, sizes = by_hand(parent.state, 1), []
    net.register_forward_pre_hook(lambda _net, args: sizes.append(len(args[0])))

    reestimate_statistics(net, splits().train.part(slice(58)))

    assert sizes == [15, 15, 14, 14]


def test_new_statistics_save_a_shrunk_resnet_where_frozen_ones_lose_it() -> None:
    """The trap of figure 6: measured with frozen statistics, the claim of figure 6 would look wrong."""
    source = dataclasses.replace(
        RESNET, data=dataclasses.replace(RESNET.data, limit=600), model=ResNet18(width=4), examples=400
    )
    trained = made.run(source)
    child = Shrunk(data=source.data, model=source.model, seed=source.seed, round=1, examples=400, shrink=0.5)

    new = measure(child, MemoryIO(trained.state)).metrics["test_accuracy"]
    frozen = measure(dataclasses.replace(child, statistics="frozen"), MemoryIO(trained.state)).metrics["test_accuracy"]

    assert (trained.metrics["test_accuracy"] or 0) > 0.6
    assert (new or 0) > 0.6
    assert (frozen or 1) < 0.5


def test_without_batchnorm_both_statistics_are_one() -> None:
    """A second pass over the images of an MLP would be for nothing."""
    parent = made.run(FIRST)
    child = config(model=FIRST.model, examples=FIRST.examples)

    one, other = (
        measure(dataclasses.replace(child, statistics=s), MemoryIO(parent.state)) for s in ("frozen", "reestimated")
    )

    assert one.metrics == other.metrics


def test_the_outcome_is_a_stage_that_trained_nothing(parent: Outcome) -> None:
    """Its seconds and epochs are summed with those of stages that did."""
    io = MemoryIO(parent.state)
    outcome = measure(config(), io)

    assert (outcome.status, outcome.stop_reason, outcome.epochs, outcome.state) == (Status.DONE, "measured", [], {})
    assert {n: v for n, v in outcome.metrics.items() if n not in ACCURACIES} == {
        "epochs": 0,
        "steps": 0,
        "examples_seen": 0,
        "train_seconds": 0.0,
    }
    assert (io.rows, outcome.device) == ([], "cpu")
    assert decode_state(encode_state(outcome.state)) == {}


def test_it_repeats_its_bits(parent: Outcome) -> None:
    """Nothing may be drawn, and nothing depend on the time of day."""
    one, other = (measure(config(), MemoryIO(parent.state)).metrics for _ in range(2))

    assert one == other


def test_the_parents_state_is_only_read(parent: Outcome) -> None:
    """Other children start from the same arrays."""
    before = {name: array.copy() for name, array in parent.state.items()}

    measure(config(), MemoryIO(parent.state))

    assert made.same_bits(parent.state, before)


def test_a_parent_of_nan_is_a_diverged_stage(parent: Outcome) -> None:
    """NaN predicts class 0 for every image; 0.1 in the figure would look like a weak network."""
    state = {**parent.state, "head.bias": np.full_like(parent.state["head.bias"], math.nan)}

    outcome = measure(config(), MemoryIO(state))

    assert (outcome.status, outcome.stop_reason) == (Status.DIVERGED, "diverged")
    assert {outcome.metrics[name] for name in ACCURACIES} == {None}


def test_infinite_on_one_split_it_has_no_numbers_at_all(parent: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a diverged stage's numbers would still be averaged."""
    answers = iter([(0.5, 0.9), (None, None)])
    monkeypatch.setattr("trainers.evaluate.evaluate", lambda *_: next(answers))

    outcome = measure(config(), MemoryIO(parent.state))

    assert outcome.status == Status.DIVERGED
    assert {outcome.metrics[name] for name in ACCURACIES} == {None}


def test_no_parent_and_a_parent_of_another_shape_are_errors(parent: Outcome) -> None:
    """A fresh network measured under the name of a trained one would be a wrong point in the figure."""
    with pytest.raises(ConfigError, match="there is none: give its Stage a parent"):
        measure(config(), MemoryIO(None))
    with pytest.raises(ConfigError, match="cannot start from this parent"):
        measure(config(model=MLP()), MemoryIO(parent.state))


def test_more_examples_than_there_are_is_an_error() -> None:
    """Better while the sweep is written than on a worker."""
    with pytest.raises(ConfigError, match=r"examples=61: .* has 60 training examples"):
        config(examples=61)


@pytest.mark.parametrize("wrong", [{"shrink": 1.1}, {"shrink": -0.1}, {"statistics": "old"}], ids=str)
def test_what_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    """A negative factor turns every prediction round."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"Shrunk: {name}="):
        config(**wrong)


def test_columns_are_columns_of_the_table() -> None:
    """Rows of the figure are found by them; the weights are those that ShrinkPerturb(shrink, 0) makes."""
    columns = config(statistics="frozen").stage_columns()

    assert {name: columns[name] for name in ("init", "shrink", "perturb", "statistics", "fraction", "examples")} == {
        "init": "shrunk",
        "shrink": 0.5,
        "perturb": 0.0,
        "statistics": "frozen",
        "fraction": 1.0,
        "examples": 60,
    }
    assert set(columns) <= {column.name for column in STAGES}


def test_a_stage_of_it_has_a_key_of_its_own() -> None:
    """Two shrinks under one key would be one point."""
    first = Stage(RESNET)
    keys = {Stage(config(**c), first).key for c in ({}, {"shrink": 0.4}, {"statistics": "frozen"}, {"examples": 30})}

    assert len(keys | {first.key}) == 5
    assert config().work() > 0
    assert parse_values("config", str(config())) == [config()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("statistics", ["reestimated", "frozen"])
def test_cuda_measures_what_the_cpu_measures(parent: Outcome, statistics: Any) -> None:
    """A figure may be finished on another kind of machine."""
    child = config(statistics=statistics)
    cpu, cuda = (measure(child, MemoryIO(parent.state, device=device)).metrics for device in ("cpu", "cuda"))
    torch.use_deterministic_algorithms(False)

    assert cuda["test_loss"] == pytest.approx(cpu["test_loss"], rel=1e-3)
