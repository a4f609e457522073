"""Supervised training of one stage, top to bottom on one page (a torch module).

A row's training loss and accuracy are those of the epoch's batches as they were trained on, the
regularizer's part included (but L2's, which is left to the optimizer). All else is measured in
eval mode, with the model's loss alone. A loss that is NaN or infinite is None, and so is the
accuracy beside it; in an epoch's training, or of the final state, it makes the stage diverged.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from orchestrator.errors import ConfigError
from orchestrator.seam import Checkpoint, Outcome, StageIO, Status
from trainers.checkpoints import put_tensors, tensors_of, to_arrays, to_tensors
from trainers.device import prepare_device
from trainers.evaluate import evaluate, measured
from trainers.seeds import stream
from trainers.splits import load_splits
from trainers.stage_config import Supervised


def train(config: Supervised, io: StageIO) -> Outcome:
    """Run one stage to its end, from its start or from its last checkpoint.

    The same config gives the same bits on one kind of machine, however often it was interrupted:
    every draw comes from a stream named by seed, purpose, round and epoch, nothing is drawn from
    torch's global generator, and the optimizer of a new stage remembers nothing.

    Raises:
        ConfigError: the init needs a parent's state and the stage has none, or it does not fit.
        DataError: the images are missing, or not the published ones.
    """
    # Data: whole splits as tensors on the device, the training examples in the seed's fixed order.
    device = prepare_device(io.device)
    splits = load_splits(config.data, seed=config.seed, examples=config.examples, root=io.data_root, device=device)

    # Network and starting weights: a fresh network of this round, overwritten by the init.
    losses = config.model.losses
    net = config.model.build(config.data.shape, config.data.classes, stream(config.seed, "weights", config.round))
    parent = io.parent_state() if config.init.needs_parent else {}
    if parent is None:
        raise ConfigError(f"{config.init} starts from a parent's weights, and there is none: give its Stage a parent.")
    config.init.start(net, to_tensors(parent), stream(config.seed, "noise", config.round))
    net.to(device)
    optimizer = config.optimizer.build(net, config.lr, config.regularizer.weight_decay)

    # Resume: all that the remaining epochs depend on. Draws need nothing: each epoch opens its own stream.
    rows: list[dict[str, Any]] = []
    if (checkpoint := io.load_checkpoint()) is not None:
        put_tensors(checkpoint.tensors, net, optimizer)
        rows = list(checkpoint.facts["rows"])

    # Epochs: the host waits for the device at the end of each, where it reads the running sums.
    net.train()
    while (reason := reason_to_stop(config, rows)) is None:
        began = time.perf_counter()
        epoch = len(rows) + 1
        order = torch.randperm(config.examples, generator=stream(config.seed, "order", config.round, epoch)).to(device)
        batches = split_batches(order, config.batch_size)
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        right = torch.zeros((), dtype=torch.int64, device=device)
        for batch in batches:
            x, y = splits.train_x.index_select(0, batch), splits.train_y.index_select(0, batch)
            loss, logits = config.regularizer.loss(net, x, y, losses)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch's own
            optimizer.step()
            loss_sum.add_(loss.detach(), alpha=len(batch))
            right += (logits.argmax(dim=1) == y).sum()
        train_loss, train_accuracy = measured(loss_sum.item() / config.examples, right.item() / config.examples)
        seconds = time.perf_counter() - began  # evaluation and checkpoints are not training
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "test_loss": None,
            "test_accuracy": None,
            "train_seconds": seconds + (rows[-1]["train_seconds"] if rows else 0.0),
            "steps": epoch * len(batches),
            "examples": epoch * config.examples,
        }
        rows.append(row)
        if is_evaluated(config, rows):
            row["test_loss"], row["test_accuracy"] = evaluate(net, losses, splits.test_x, splits.test_y)
        io.end_epoch(row, lambda: Checkpoint(tensors_of(net, optimizer), {"rows": list(rows)}))

    # Result: the final network on both splits.
    last = rows[-1]
    final: dict[str, Any] = {name: last[name] for name in ("test_loss", "test_accuracy")}
    final["train_loss"], final["train_accuracy"] = evaluate(net, losses, splits.train_x, splits.train_y)
    diverged = reason == "diverged" or None in final.values()
    if diverged:
        final = dict.fromkeys(final)
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
        state=to_arrays(net.state_dict()),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        versions={"torch_version": torch.__version__},
    )


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
