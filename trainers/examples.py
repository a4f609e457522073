"""Examples: which of the images to fit a stage is trained on, and their splits on its device (a torch module).

Examples that were chosen by a network are part of a stage's state, beside its weights: its children go on from the
very same, and so does the stage itself after an interruption, be it on a machine that rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from orchestrator.errors import ConfigError
from orchestrator.seam import Checkpoint, StageIO
from trainers.checkpoints import to_tensors
from trainers.device import prepare_device
from trainers.seeds import stream
from trainers.splits import Splits, load_splits
from trainers.stage_config import Supervised

CHOSEN = "chosen/examples"  # int64 positions among the images to fit, in the order in which they were added
Tensors = dict[str, torch.Tensor]


def read_parent(config: Supervised, io: StageIO) -> tuple[Tensors, Tensors]:
    """The parent's weights and buffers, and what else is in its state, on the CPU; nothing where none is needed.

    Raises:
        ConfigError: the config needs a parent's state and the stage has none.
    """
    if not config.needs_parent:
        return {}, {}
    state = io.parent_state()
    if state is None:
        raise ConfigError(f"{config.init} starts from a parent's weights, and there is none: give its Stage a parent.")
    found = to_tensors(state)
    beside = {name: found.pop(name) for name in list(found) if name == CHOSEN}
    return found, beside


def stage_splits(
    config: Supervised, io: StageIO, weights: Tensors, beside: Tensors, checkpoint: Checkpoint | None
) -> tuple[Splits, Tensors]:
    """The splits of a stage on its device, and what of the choice belongs into its state.

    The training split begins with the parent's examples, where `config.old_examples` says how many these are.

    Args:
        weights: As `read_parent` gives them, and `beside` too.

    Raises:
        ConfigError: the parent was trained on another number of examples.
        DataError: the images are missing, or not the published ones.
    """
    device = prepare_device(io.device)
    asks = config.selection.needs_parent
    count = config.data.fit_size if asks else config.examples
    splits = load_splits(config.data, seed=config.seed, examples=count, root=io.data_root, device=device)
    if beside and config.old_examples and not asks:
        raise ConfigError(
            f"{config.selection} after a parent that chose its examples: the first {config.old_examples:,} of the "
            f"seed's order are not those it chose. Give both stages the same selection."
        )
    if not asks:
        return splits, {}
    if checkpoint is not None:
        chosen = to_tensors({CHOSEN: checkpoint.tensors[CHOSEN]})[CHOSEN]
    else:
        chosen = choose(config, splits, weights, beside)
    return Splits(splits.train.chosen(chosen.to(device)), splits.test), {CHOSEN: chosen}


def choose(config: Supervised, splits: Splits, weights: Tensors, beside: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The parent's examples and those that the selection adds to them, int64 on the CPU."""
    taken = beside.get(CHOSEN, torch.arange(config.old_examples))
    if len(taken) != config.old_examples:
        raise ConfigError(
            f"old_examples={config.old_examples}: the parent was trained on {len(taken):,} examples. Give that number."
        )
    net = config.model.build(config.data.shape, config.data.classes, stream(config.seed, "weights", config.round))
    net.load_state_dict(weights)
    net.to(splits.train.device)
    added = config.selection.choose(net, splits.train, taken, config.examples - config.old_examples)
    return torch.cat([taken, added.cpu()])
