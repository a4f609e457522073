"""Named random streams: one seed, many independent generators, none shared."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, purpose: str, *where: int) -> torch.Generator:
    """Return a fresh CPU generator for one purpose of one trial.

    Streams do not disturb each other: drawing more noise never changes the data order, and a
    resumed epoch draws what it would have drawn. On a GPU too every draw is made with such a CPU
    generator and then moved, so that one seed means the same numbers on every device.

    Args:
        seed: The trial's seed.
        purpose: What is drawn, e.g. ``"weights"``, ``"noise"``, ``"order"``.
        where: Position the draw belongs to, e.g. the round and the epoch.
    """
    import torch

    address = (int(seed), purpose, tuple(map(int, where)))  # a numpy integer has another repr
    digest = hashlib.sha256(repr(address).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
