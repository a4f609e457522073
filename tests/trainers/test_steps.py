"""A step that is captured over places that stay gives the plain page's bits; what a CPU can show of it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.errors import InterruptedStage
from orchestrator.seam import Outcome
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, second
from tests.trainers.test_resume import check_same, variants
from tests.trainers.test_supervised import Waits
from trainers import supervised
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.inits import WarmStart
from trainers.models import ResNet18
from trainers.optimizers import SGD, Adam
from trainers.stage_config import Supervised
from trainers.steps import EAGER, Captured, Run, can_capture
from trainers.stopping import Epochs
from trainers.supervised import train

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BUSY = replace(FIRST, model=ResNet18(width=2), optimizer=Adam(), augmentation=CropFlipJitter(), stop=Epochs(6))


def again(run: Run) -> Run:
    """In place of a graph: a replay calls the function that was captured; like a graph, it keeps nothing alive."""
    captured = weakref.ref(run)

    def replay() -> None:
        run = captured()
        assert run is not None, "a graph would read memory that was given back"
        run()

    return replay


def captured(config: Supervised, capture: Callable[[Run], Run] = again, io: MemoryIO | None = None) -> Outcome:
    """Train `config` as on CUDA with graphs, each made by `capture`."""
    io = io or MemoryIO()
    io.cuda_graphs = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "can_capture", lambda config, _: can_capture(config, CUDA))
        patch.setattr(supervised, "Captured", partial(Captured, capture=capture))
        return train(config, io)


@pytest.mark.parametrize("config", [*variants(), BUSY], ids=str)
def test_captured_steps_give_the_bits_of_plain_ones(config: Supervised) -> None:
    """How a step is launched is an option, in no key."""
    check_same(captured(config), run(config))


def test_captured_steps_train_a_resumed_stage_to_the_same_bits() -> None:
    """Its first steps are eager ones again, in the middle of its way."""
    io = TakenAwayIO()
    io.epoch = 3
    with pytest.raises(InterruptedStage):
        captured(BUSY, io=io)

    check_same(captured(BUSY, io=MemoryIO(saved=io.saved)), run(BUSY))


def test_one_graph_for_full_batches_and_one_for_the_rest() -> None:
    """30 examples in steps of 8: 24 and 6. A capture an epoch would cost more than it saves."""
    captures = []

    captured(replace(FIRST, stop=Epochs(9)), lambda run: captures.append(1) or again(run))  # type: ignore[func-returns-value]

    assert len(captures) == 2


def test_a_replay_looks_up_its_examples_itself() -> None:
    """A graph has no arguments: one that was given its batch would train on the same one for ever."""
    order, nowhere, seen = torch.arange(20), torch.full((20,), -1), list[list[int]]()
    launch = Captured(lambda batch: seen.append(batch.tolist()), order, capture=again)

    for epoch in range(3):
        order.copy_(torch.arange(20) + 100 * epoch)
        for batch in torch.split(order if epoch == 0 else nowhere, 5):
            launch(batch)

    assert seen == [[*range(at, at + 5)] for at in (0, 5, 10, 15, 100, 105, 110, 115, 200, 205, 210, 215)]


class Places:
    """Addresses of everything that a step reads or writes, step by step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def note(self, training: Any) -> None:
        """Look at the places of `training`; the gradients' are the graph's own."""
        tensors = [training.order, training.sums, *training.net.state_dict().values()]
        tensors += [] if training.variation is None else [training.variation]
        tensors += [one for memory in training.optimizer.state.values() for one in memory.values() if one is not None]
        self.seen.append(tuple(tensor.data_ptr() for tensor in tensors))


@pytest.mark.parametrize(
    "config", [BUSY, replace(FIRST, optimizer=SGD(momentum=0.9), stop=Epochs(6), evaluate_every=2)], ids=str
)
def test_what_a_step_reads_and_writes_stays_at_its_place(config: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph knows addresses alone: a tensor that is made anew each epoch leaves it with the first epoch's."""
    places, step = Places(), supervised.Training.step
    monkeypatch.setattr(supervised.Training, "step", lambda self, batch: (places.note(self), step(self, batch)))

    run(config)

    assert len(places.seen) == 24
    assert len(set(places.seen[EAGER:])) == 1


class Asked(TorchDispatchMode):
    """Notes the operations of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# Besides those at which the host waits: what copies numbers of Python's to the device (lift_fresh, of torch.tensor),
# what draws, and what deterministic CUDA makes a sort of.
NOT_IN_A_GRAPH = {*Waits.NAMES, "lift_fresh", "uniform_", "normal_", "bernoulli_", "random_", "randperm"}
NOT_IN_A_GRAPH |= {"scatter", "scatter_add", "scatter_add_", "index_put", "index_put_", "index_add", "sort"}


@pytest.mark.parametrize("config", [one for one in variants() if can_capture(one, CUDA)], ids=str)
def test_a_step_asks_for_nothing_that_a_graph_cannot_hold(config: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that fails fails the stage, on a card that nobody had when the step was written."""
    asked, step = Asked(), supervised.Training.step

    def step_watched(self: Any, batch: torch.Tensor) -> None:
        with asked:
            step(self, batch)

    monkeypatch.setattr(supervised.Training, "step", step_watched)
    run(replace(config, stop=Epochs(1)))

    assert "index_select" in asked.names
    assert not asked.names & NOT_IN_A_GRAPH


def test_what_cannot_be_captured_runs_eagerly_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """An option that is dropped without a word makes somebody tune what is not there."""
    caplog.set_level(logging.INFO)
    norms = second(init=WarmStart(), old_examples=30, gradient_norms_every=2)
    noisy = replace(FIRST, after_step=ShrinkPerturbEachStep(shrink=0.99, perturb=0.01))

    assert [can_capture(c, d) for c, d in ((FIRST, CUDA), (FIRST, CPU), (noisy, CUDA), (norms, CUDA))] == [
        True,
        False,
        False,
        False,
    ]
    for text, why in zip(caplog.messages, ["on a cpu", "draws on the CPU", "gradient norms"], strict=True):
        assert why in text


def test_without_the_option_nothing_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is off until it was measured on a card."""
    monkeypatch.setattr(supervised, "can_capture", lambda *_: True)
    monkeypatch.setattr(supervised, "Captured", lambda *_: pytest.fail("captured"))

    run(FIRST)
