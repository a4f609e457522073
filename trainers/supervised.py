"""Supervised training of one stage, top to bottom on one page (a torch module).

A row's training loss and accuracy are those of the epoch's batches as they were trained on, the
regularizer's part included (but L2's, which is left to the optimizer). All else is measured in
eval mode, with the model's loss alone. A loss that is NaN or infinite is None, and so is the
accuracy beside it; in an epoch's training, or of the final state, it makes the stage diverged.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator.seam import Checkpoint, Outcome, StageIO, Status, Turns, run_to_end
from trainers.checkpoints import put_tensors, tensors_of, to_arrays
from trainers.device import prepare_device
from trainers.evaluate import evaluation, mean, measurement
from trainers.examples import read_parent, stage_splits
from trainers.measurements import gradient_norms, weight_correlation
from trainers.precision import check_precision, products, rounding
from trainers.seeds import stream
from trainers.shares import SoloTime, timed
from trainers.splits import Split
from trainers.stage_config import Supervised
from trainers.steps import Captured, Launch, can_capture
from trainers.waiting import Ahead, fill, on_own_stream, read

if TYPE_CHECKING:
    from trainers.regularizers import LossFunction


def train(config: Supervised, io: StageIO) -> Outcome:
    """Run one stage to its end in one go; see `page`."""
    return run_to_end(turns(config, io))


def turns(config: Supervised, io: StageIO) -> Turns:
    """The same by turns, beside other stages; on CUDA on a stream of its own."""
    return (yield from on_own_stream(page(config, io), prepare_device(io.device)))


def page(config: Supervised, io: StageIO) -> Turns:
    """Run one stage to its end, from its start or from its last checkpoint; a turn is a step, or a batch evaluated.

    The same config gives the same bits on one kind of machine, however often it was interrupted and whoever took
    turns beside it: every draw comes from a stream named by seed, purpose, round and epoch, nothing is drawn from
    torch's global generator, and the optimizer of a new stage remembers nothing.

    Raises:
        ConfigError: the config needs a parent's state and the stage has none, or it does not fit.
        DataError: the images are missing, or not the published ones.
    """
    # Data: whole splits on the device, the training examples in the seed's fixed order, old ones first.
    checkpoint = io.load_checkpoint()
    parent, beside = read_parent(config, io)
    splits, chosen = stage_splits(config, io, parent, beside, checkpoint)
    device = splits.train.device
    check_precision(config.precision, device)

    # Network and starting weights: a fresh network of this round, overwritten by the init.
    losses = config.model.losses
    net = config.model.build(config.data.shape, config.data.classes, stream(config.seed, "weights", config.round))
    config.init.start(net, parent, stream(config.seed, "noise", config.round))
    net.to(device)
    start = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    batch_loss = config.regularizer.bound(net, parent, splits.train.part(slice(config.old_examples)), losses)
    optimizer = config.optimizer.build(net, config.lr, config.regularizer.weight_decay)

    # Resume: all that the remaining epochs depend on. Draws need nothing: each epoch opens its own streams.
    rows: list[dict[str, Any]] = []
    solo = SoloTime(device)
    if checkpoint is not None:
        put_tensors(checkpoint.tensors, net, optimizer)
        rows = own_rows(config, checkpoint.facts["rows"])
        solo.seconds = checkpoint.facts.get("solo_step_seconds")

    def resume_point() -> Checkpoint:
        facts = {"rows": list(rows), "solo_step_seconds": solo.seconds}
        return Checkpoint(tensors_of(net, optimizer) | to_arrays(chosen), facts)

    # Epochs: a row each, whose numbers leave the device together; evaluation and checkpoints are not training.
    net.train()
    training = Training(config, net, batch_loss, optimizer, splits.train)
    launch = Captured(training.step, training.order) if io.cuda_graphs and can_capture(config, device) else None
    test_sums = torch.zeros(2, dtype=torch.float64, device=device)
    while (reason := reason_to_stop(config, rows)) is None:
        epoch = len(rows) + 1
        norms, seconds = yield from timed(solo.watched(training.epoch(epoch, launch), training.full_steps), device)
        if due := is_due(config, epoch):
            yield from evaluation(net, losses, splits.test, config.precision, test_sums.zero_())
        numbers = yield from read(torch.cat([training.sums, test_sums, *norms.values()]))
        rows.append(training.row(epoch, numbers, norms))
        rows[-1]["train_seconds"] = seconds() + (rows[-2]["train_seconds"] if epoch > 1 else 0.0)
        if due:
            rows[-1] |= columns("test", *mean(numbers[2], numbers[3], examples=len(splits.test)))
        elif reason_to_stop(config, rows) is not None:
            rows[-1] |= columns("test", *(yield from measurement(net, losses, splits.test, config.precision)))
        io.end_epoch(rows[-1], resume_point)

    # Result: the final network on both splits.
    last = rows[-1]
    final: dict[str, Any] = {name: last[name] for name in ("test_loss", "test_accuracy")}
    final |= columns("train", *(yield from measurement(net, losses, splits.train, config.precision)))
    diverged = reason == "diverged" or None in final.values()
    if diverged:
        final = dict.fromkeys(final)
    final["weight_correlation"] = None if diverged else weight_correlation(start, net)
    return Outcome(
        status=Status.DIVERGED if diverged else Status.DONE,
        stop_reason="diverged" if diverged else reason,
        epochs=rows,
        metrics={
            "epochs": len(rows),
            "steps": last["steps"],
            "examples_seen": last["examples"],
            "train_seconds": last["train_seconds"],
            "solo_step_seconds": solo.step_seconds(last["train_seconds"], last["steps"]),
            **final,
        },
        state=to_arrays(net.state_dict() | chosen),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        versions={"torch_version": torch.__version__},
        resume_point=resume_point,
    )


class Training:
    """The steps of one stage; what they read and write lies at the same places on the device from first to last.

    Attributes:
        order: int64 [n], the epoch's order of the training examples.
        variation: float32 [n, D], the epoch's numbers for the augmentation, by example; None where it needs none.
        sums: float64 [2], loss and hits of the epoch so far, over its examples.
        full_steps: How many steps an epoch begins with that are all of one size.
    """

    def __init__(
        self,
        config: Supervised,
        net: nn.Module,
        batch_loss: LossFunction,
        optimizer: torch.optim.Optimizer,
        split: Split,
    ) -> None:
        self.config, self.net, self.batch_loss, self.optimizer, self.split = config, net, batch_loss, optimizer, split
        self.order = torch.arange(config.examples, device=split.device)
        self.variation: torch.Tensor | None = None
        self.sums = torch.zeros(2, dtype=torch.float64, device=split.device)
        self.loss_sum, self.right = self.sums[0], self.sums[1]
        sizes = batch_sizes(config.examples, config.batch_size)
        self.full_steps, self.steps = sizes.count(sizes[0]), len(sizes)
        self.ahead = Ahead(split.device)

    def epoch(self, number: int, launch: Launch | None = None) -> Generator[bool, None, dict[int, torch.Tensor]]:
        """Train for epoch `number`, from 1, a turn a step.

        Args:
            launch: Takes the place of `step`: runs it otherwise, with the same result.

        Returns:
            Gradient norms of old and of new examples, [2] on the device, by the step before which they were taken.
        """
        config, where, launch = self.config, (self.config.round, number), launch or self.step
        fill(self.order, torch.randperm(config.examples, generator=stream(config.seed, "order", *where)))
        if config.augmentation.changes:
            self.vary(config.augmentation.numbers(config.examples, stream(config.seed, "augmentation", *where)))
        if changes := config.after_step.changes:
            draw = stream(config.seed, "after_step", *where)
        self.sums.zero_()
        norms: dict[int, torch.Tensor] = {}
        every = config.gradient_norms_every
        batches = split_batches(self.order, config.batch_size)
        for step, batch in enumerate(batches, start=(number - 1) * len(batches)):
            yield from self.ahead.room()
            if every and step % every == 0:
                norms[step] = self.norms(batch)
            launch(batch)
            if changes:
                config.after_step.change(self.net, draw)
            yield True
        return norms

    def step(self, batch: torch.Tensor) -> None:
        """Train on the examples at the positions `batch`. The host waits for nothing, so a CUDA graph can hold it."""
        config = self.config
        x, y = self.examples(batch)
        with products(config.precision):
            with rounding(config.precision, x.device):
                loss, logits = self.batch_loss(self.net, x, y, config.model.losses)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch's own
            self.optimizer.step()
        self.loss_sum.add_(loss.detach(), alpha=len(batch))
        self.right.add_((logits.argmax(dim=1) == y).sum())

    def examples(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of the training examples at the positions `batch`, varied as this epoch varies them."""
        x, y = self.split.batch(batch)
        if self.variation is not None:
            x = self.config.augmentation.augmented(x, self.variation.index_select(0, batch))
        return x, y

    def vary(self, numbers: torch.Tensor) -> None:
        """Let the augmentation have this epoch's numbers."""
        if self.variation is None:
            self.variation = numbers.to(self.split.device)
        else:
            fill(self.variation, numbers)

    def norms(self, batch: torch.Tensor) -> torch.Tensor:
        """The gradient norms of the old and of the new examples of `batch`, [2]."""
        x, y = self.examples(batch)
        with products(self.config.precision):
            is_old = batch < self.config.old_examples
            return torch.stack(gradient_norms(self.net, self.config.model.losses, x, y, is_old))

    def row(self, epoch: int, numbers: Sequence[float], norms: Mapping[int, torch.Tensor]) -> dict[str, Any]:
        """The row of the table `epochs`, from `numbers`: sums of training, of the test split, and all norms."""
        config, examples = self.config, self.config.examples
        return {
            "epoch": epoch,
            **columns("train", *mean(numbers[0], numbers[1], examples=examples)),
            **columns("test", None, None),
            "train_seconds": 0.0,
            "steps": epoch * self.steps,
            "examples": epoch * examples,
            **(norm_columns(list(norms), numbers[4:]) if config.gradient_norms_every else {}),
        }


def columns(split: str, loss: float | None, accuracy: float | None) -> dict[str, float | None]:
    """What was measured on a split, as columns of the tables."""
    return {f"{split}_loss": loss, f"{split}_accuracy": accuracy}


def own_rows(config: Supervised, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a checkpoint as this stage would have made them.

    A stage that went this way before and ended earlier has measured the test split at its end, where this one may
    not be due to.
    """
    own: list[dict[str, Any]] = []
    for row in rows:
        own.append(dict(row))
        if not is_evaluated(config, own):
            own[-1] |= {"test_loss": None, "test_accuracy": None}
    return own


def norm_columns(steps: Sequence[int], norms: Sequence[float]) -> dict[str, list[float]]:
    """The columns of `epochs` for gradient norms by step; without steps that lack old or new examples or diverged.

    Args:
        norms: Of the old and of the new examples, in turns.
    """
    read_norms = zip(map(float, steps), norms[::2], norms[1::2], strict=True)
    kept = [one for one in read_norms if all(map(math.isfinite, one))]
    names = ("measured_steps", "old_gradient_norms", "new_gradient_norms")
    return {name: [one[place] for one in kept] for place, name in enumerate(names)}


def reason_to_stop(config: Supervised, rows: list[dict[str, Any]]) -> str | None:
    """Why the stage ends after the epochs in `rows`, or None to go on; the same after a resume."""
    if rows and rows[-1]["train_loss"] is None:
        return "diverged"
    return config.stop.reason([row["train_accuracy"] for row in rows])


def is_evaluated(config: Supervised, rows: list[dict[str, Any]]) -> bool:
    """Whether the test split is measured after the last epoch in `rows`; always where the stage ends."""
    return is_due(config, len(rows)) or reason_to_stop(config, rows) is not None


def is_due(config: Supervised, epoch: int) -> bool:
    """Whether the test split is measured after this epoch, wherever the stage ends."""
    return config.evaluate_every > 0 and epoch % config.evaluate_every == 0


def split_batches(order: torch.Tensor, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Split `order` into the batches of an epoch; see `batch_sizes`."""
    return torch.split(order, batch_sizes(len(order), batch_size))


def batch_sizes(examples: int, batch_size: int) -> list[int]:
    """Sizes of the batches of an epoch: `batch_size`, and a rest; a rest of one example joins the batch before it.

    BatchNorm cannot normalise a single value, so with 8 x 8 images, where the last stage of a
    ResNet18 sees one pixel, a batch of one example would be an error.
    """
    sizes = [batch_size] * (examples // batch_size)
    rest = examples % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes
