"""Supervised training of one stage, top to bottom on one page (a torch module).

A row's training loss and accuracy are those of the epoch's batches as they were trained on, the
regularizer's part included (but L2's, which is left to the optimizer). All else is measured in
eval mode, with the model's loss alone. A loss that is NaN or infinite is None, and so is the
accuracy beside it; in an epoch's training, or of the final state, it makes the stage diverged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator.seam import Checkpoint, Outcome, StageIO, Status
from trainers.checkpoints import put_tensors, tensors_of, to_arrays
from trainers.evaluate import evaluate, measured
from trainers.examples import read_parent, stage_splits
from trainers.measurements import gradient_norms, weight_correlation
from trainers.seeds import stream
from trainers.splits import Splits
from trainers.stage_config import Supervised

if TYPE_CHECKING:
    from trainers.regularizers import LossFunction


def train(config: Supervised, io: StageIO) -> Outcome:
    """Run one stage to its end, from its start or from its last checkpoint.

    The same config gives the same bits on one kind of machine, however often it was interrupted:
    every draw comes from a stream named by seed, purpose, round and epoch, nothing is drawn from
    torch's global generator, and the optimizer of a new stage remembers nothing.

    Raises:
        ConfigError: the config needs a parent's state and the stage has none, or it does not fit.
        DataError: the images are missing, or not the published ones.
    """
    # Data: whole splits as tensors on the device, the training examples in the seed's fixed order, old ones first.
    checkpoint = io.load_checkpoint()
    parent, beside = read_parent(config, io)
    splits, chosen = stage_splits(config, io, parent, beside, checkpoint)
    device = splits.train_x.device
    old = config.old_examples

    # Network and starting weights: a fresh network of this round, overwritten by the init.
    losses = config.model.losses
    net = config.model.build(config.data.shape, config.data.classes, stream(config.seed, "weights", config.round))
    config.init.start(net, parent, stream(config.seed, "noise", config.round))
    net.to(device)
    start = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    batch_loss = config.regularizer.bound(net, parent, splits.train_x[:old], splits.train_y[:old], losses)
    optimizer = config.optimizer.build(net, config.lr, config.regularizer.weight_decay)

    # Resume: all that the remaining epochs depend on. Draws need nothing: each epoch opens its own streams.
    rows: list[dict[str, Any]] = []
    if checkpoint is not None:
        put_tensors(checkpoint.tensors, net, optimizer)
        rows = own_rows(config, checkpoint.facts["rows"])

    def resume_point() -> Checkpoint:
        return Checkpoint(tensors_of(net, optimizer) | to_arrays(chosen), {"rows": list(rows)})

    # Epochs: a row each; evaluation and checkpoints are not training.
    net.train()
    while (reason := reason_to_stop(config, rows)) is None:
        measured_epoch = train_epoch(config, net, batch_loss, optimizer, splits, epoch=len(rows) + 1)
        measured_epoch["train_seconds"] += rows[-1]["train_seconds"] if rows else 0.0
        rows.append(measured_epoch)
        if is_evaluated(config, rows):
            rows[-1]["test_loss"], rows[-1]["test_accuracy"] = evaluate(net, losses, splits.test_x, splits.test_y)
        io.end_epoch(rows[-1], resume_point)

    # Result: the final network on both splits.
    last = rows[-1]
    final: dict[str, Any] = {name: last[name] for name in ("test_loss", "test_accuracy")}
    final["train_loss"], final["train_accuracy"] = evaluate(net, losses, splits.train_x, splits.train_y)
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
            **final,
        },
        state=to_arrays(net.state_dict() | chosen),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        versions={"torch_version": torch.__version__},
        resume_point=resume_point,
    )


def train_epoch(
    config: Supervised,
    net: nn.Module,
    batch_loss: LossFunction,
    optimizer: torch.optim.Optimizer,
    splits: Splits,
    *,
    epoch: int,
) -> dict[str, Any]:
    """Train for one epoch; its row of the table `epochs`, with the seconds of this epoch alone.

    The host waits for the device at the end, where it reads the running sums.
    """
    began = time.perf_counter()
    device, where = splits.train_x.device, (config.round, epoch)
    order = torch.randperm(config.examples, generator=stream(config.seed, "order", *where)).to(device)
    batches = split_batches(order, config.batch_size)
    augments, changes, every = config.augmentation.changes, config.after_step.changes, config.gradient_norms_every
    if augments:
        variation = config.augmentation.numbers(config.examples, stream(config.seed, "augmentation", *where)).to(device)
    if changes:
        draw = stream(config.seed, "after_step", *where)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    norms: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    for step, batch in enumerate(batches, start=(epoch - 1) * len(batches)):
        x, y = splits.train_x.index_select(0, batch), splits.train_y.index_select(0, batch)
        if augments:
            x = config.augmentation.augmented(x, variation.index_select(0, batch))
        if every and step % every == 0:
            norms.append((step, *gradient_norms(net, config.model.losses, x, y, batch < config.old_examples)))
        loss, logits = batch_loss(net, x, y, config.model.losses)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()
        if changes:
            config.after_step.change(net, draw)
        loss_sum.add_(loss.detach(), alpha=len(batch))
        right += (logits.argmax(dim=1) == y).sum()
    train_loss, train_accuracy = measured(loss_sum.item() / config.examples, right.item() / config.examples)
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": None,
        "test_accuracy": None,
        "train_seconds": time.perf_counter() - began,
        "steps": epoch * len(batches),
        "examples": epoch * config.examples,
        **(norm_columns(norms) if every else {}),
    }


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


def norm_columns(norms: Sequence[tuple[int, torch.Tensor, torch.Tensor]]) -> dict[str, list[float]]:
    """The columns of `epochs` for gradient norms by step; without steps that lack old or new examples or diverged."""
    read = [(step, old.item(), new.item()) for step, old, new in norms]
    kept = [one for one in read if all(map(math.isfinite, one))]
    names = ("measured_steps", "old_gradient_norms", "new_gradient_norms")
    return {name: [float(one[place]) for one in kept] for place, name in enumerate(names)}


def reason_to_stop(config: Supervised, rows: list[dict[str, Any]]) -> str | None:
    """Why the stage ends after the epochs in `rows`, or None to go on; the same after a resume."""
    if rows and rows[-1]["train_loss"] is None:
        return "diverged"
    return config.stop.reason([row["train_accuracy"] for row in rows])


def is_evaluated(config: Supervised, rows: list[dict[str, Any]]) -> bool:
    """Whether the test split is measured after the last epoch in `rows`; always where the stage ends."""
    is_due = config.evaluate_every > 0 and len(rows) % config.evaluate_every == 0
    return is_due or reason_to_stop(config, rows) is not None


def split_batches(order: torch.Tensor, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Split `order` into pieces of `batch_size`; a last piece of one example joins the one before it.

    BatchNorm cannot normalise a single value, so with 8 x 8 images, where the last stage of a
    ResNet18 sees one pixel, a batch of one example would be an error.
    """
    sizes = [batch_size] * (len(order) // batch_size)
    rest = len(order) % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return torch.split(order, sizes)
