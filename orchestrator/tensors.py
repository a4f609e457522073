"""Tensors as bytes: safetensors, never pickles, so that reading a store cannot run code from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DamageError, StoreError
from orchestrator.seam import Checkpoint

if TYPE_CHECKING:
    from orchestrator.seam import State

SEAL_BYTES = 32  # a checkpoint ends with the SHA-256 of what comes before
LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header, little-endian


def digest(data: bytes) -> str:
    """SHA-256 of `data`, hex."""
    return hashlib.sha256(data).hexdigest()


def encode_state(state: State, facts: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file of `state`; the same bytes for the same tensors. `facts` go into its header.

    Raises:
        StoreError: a tensor is of a kind that safetensors has no name for, such as complex128 or objects.
    """
    import numpy as np  # here, so that planning does without it
    from safetensors import SafetensorError
    from safetensors.numpy import save

    # In the order of C: safetensors writes another array's memory as it lies, and reads other numbers back.
    tensors = {name: np.asarray(state[name], order="C") for name in sorted(state)}
    metadata = {"facts": json.dumps(facts, sort_keys=True)} if facts is not None else None
    try:
        return save(tensors, metadata)
    except SafetensorError as error:
        kinds = ", ".join(sorted({str(array.dtype) for array in tensors.values()}))
        raise StoreError(f"tensors of {kinds} cannot be stored: {error}") from None


def decode_state(data: bytes) -> State:
    """The tensors of a safetensors file.

    Raises:
        DamageError: `data` is torn or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamageError(f"not a whole safetensors file ({error})") from None


def seal_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Bytes of a checkpoint, with a seal that `open_checkpoint` verifies."""
    data = encode_state(checkpoint.tensors, checkpoint.facts)
    return data + hashlib.sha256(data).digest()


def open_checkpoint(data: bytes) -> Checkpoint:
    """The checkpoint in `data`.

    Raises:
        DamageError: the seal does not fit: torn, truncated or changed; or what is sealed is no checkpoint.
    """
    body, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if hashlib.sha256(body).digest() != seal:
        raise DamageError("a torn or changed checkpoint")
    tensors = decode_state(body)
    header = json.loads(body[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "little")])
    try:
        return Checkpoint(tensors, json.loads(header["__metadata__"]["facts"]))
    except (ValueError, KeyError):
        raise DamageError("sealed tensors without a checkpoint's facts") from None
