"""Tensors come back bit for bit or not at all, and no byte of a store is ever run as code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StoreError
from orchestrator.seam import Checkpoint
from orchestrator.tensors import decode_state, digest, encode_state, open_checkpoint, seal_checkpoint

TYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint64", "bool", "complex64")
STATE = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bias": np.array([-0.0, np.inf, 1e-45, 3.0], np.float32),
    "batches_seen": np.array(7, np.int64),
}
FACTS = {"rows": [{"epoch": 1, "train_loss": 0.1, "test_loss": None}], "best": 1e-300}
CHECKPOINT = seal_checkpoint(Checkpoint(STATE, FACTS))


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "run")


def is_same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays agree in type, shape and every bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (2, 0, 3)])
def test_every_type_and_shape_comes_back_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    """A child would start from other weights than its parent ended with."""
    bits = np.random.default_rng(0).integers(0, 256, 8 * 6, dtype=np.uint8).tobytes()
    count = int(np.prod(shape))
    array = np.frombuffer(bits, name if name != "bool" else "uint8")[:count].astype(name).reshape(shape)

    assert is_same(decode_state(encode_state({"x": array}))["x"], array)


def test_names_come_back_in_any_order() -> None:
    """States are dictionaries: nothing may hang on their order."""
    state = decode_state(encode_state(STATE))

    assert set(state) == set(STATE)
    assert all(is_same(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("view", [np.asfortranarray, np.transpose, lambda a: a[:, ::2], lambda a: a[::-1], np.flipud])
def test_arrays_that_lie_otherwise_in_memory_come_back_too(view: Any) -> None:
    """Else safetensors writes the memory of such an array as it lies: other numbers come back, without a word."""
    array = view(np.arange(12, dtype=np.float32).reshape(3, 4))

    assert np.array_equal(decode_state(encode_state({"x": array}))["x"], array)


def test_what_comes_back_can_be_trained_on() -> None:
    """A network's tensors are changed in place."""
    decode_state(encode_state(STATE))["weight"][:] = 0


def test_the_same_tensors_are_the_same_bytes() -> None:
    """A stage that ran twice is told from one that came out differently by its bytes."""
    backwards = {name: STATE[name].copy() for name in reversed(STATE)}

    assert encode_state(backwards) == encode_state(STATE)
    assert digest(encode_state(backwards)) == digest(encode_state(STATE))
    assert encode_state({**STATE, "bias": -STATE["bias"]}) != encode_state(STATE)


@pytest.mark.parametrize("array", [np.array([1j]), np.array(["a"]), np.array([{}])])
def test_a_type_that_cannot_be_stored_is_named(array: np.ndarray) -> None:
    """The trainer's author must learn which tensor is wrong, not that some library failed."""
    with pytest.raises(StoreError, match="cannot be stored"):
        encode_state({"x": array})


def test_an_empty_state_is_a_state() -> None:
    """A trainer may keep nothing."""
    assert decode_state(encode_state({})) == {}


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 50, len(encode_state(STATE)) - 1])
def test_torn_tensors_are_refused(length: int) -> None:
    """Half of a network's weights must not become a starting point."""
    with pytest.raises(StoreError, match="not a whole safetensors file"):
        decode_state(encode_state(STATE)[:length])


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_with_one_kind_of_error(data: bytes) -> None:
    """Whatever lies in the folder must not stop a launch with an error that nobody expected."""
    for read in (decode_state, open_checkpoint):
        with pytest.raises(StoreError):
            read(data)


@given(st.integers(0, 8 * len(encode_state(STATE)) - 1))
def test_changed_tensors_raise_nothing_else(bit: int) -> None:
    """Their digest finds the change; until then, reading them may give numbers or a StoreError."""
    data = bytearray(encode_state(STATE))
    data[bit // 8] ^= 1 << bit % 8

    with contextlib.suppress(StoreError):
        decode_state(bytes(data))


def test_a_checkpoint_comes_back_bit_for_bit() -> None:
    """A resumed stage would end with other bits than a straight one."""
    checkpoint = open_checkpoint(CHECKPOINT)

    assert checkpoint.facts == FACTS
    assert set(checkpoint.tensors) == set(STATE)
    assert all(is_same(checkpoint.tensors[name], STATE[name]) for name in STATE)


@given(st.integers(0, 8 * len(CHECKPOINT) - 1))
def test_a_checkpoint_with_one_changed_bit_is_refused(bit: int) -> None:
    """A stage would go on from a network that never was."""
    data = bytearray(CHECKPOINT)
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(StoreError, match="torn or changed"):
        open_checkpoint(bytes(data))


@given(st.integers(0, len(CHECKPOINT) - 1))
def test_a_truncated_checkpoint_is_refused(length: int) -> None:
    """What a dying disk leaves must not be resumed from."""
    with pytest.raises(StoreError, match="torn or changed"):
        open_checkpoint(CHECKPOINT[:length])


def sealed(body: bytes) -> bytes:
    """`body` with a seal that fits."""
    return body + bytes.fromhex(digest(body))


@pytest.mark.parametrize("body", [b"", b"hello", encode_state(STATE), pickle.dumps(FACTS)])
def test_sealed_bytes_that_are_no_checkpoint_are_refused(body: bytes) -> None:
    """A fitting seal says that bytes are whole, not what they are."""
    with pytest.raises(StoreError):
        open_checkpoint(sealed(body))


def test_a_planted_pickle_is_not_loaded(tmp_path: Path) -> None:
    """A store may come from a stranger; reading it must not run what he wrote."""
    bomb = pickle.dumps(Bomb(tmp_path / "it-ran"))
    header = json.dumps({"__metadata__": {"facts": "{}"}}).encode()

    for data in (bomb, sealed(bomb), sealed(len(header).to_bytes(8, "little") + header + bomb)):
        for read in (decode_state, open_checkpoint):
            with pytest.raises(StoreError):
                read(data)

    assert not (tmp_path / "it-ran").exists()
    pickle.loads(bomb)
    assert (tmp_path / "it-ran").exists()  # the bomb does work


@pytest.mark.parametrize("metadata", [None, {"other": "1"}, {"facts": "{"}])
def test_sealed_tensors_without_facts_are_no_checkpoint(metadata: dict[str, str] | None) -> None:
    """Whoever wrote them was not warmgrid; the stage goes on from the checkpoint before."""
    from safetensors.numpy import save

    data = save(STATE, metadata)

    with pytest.raises(StoreError, match="without a checkpoint's facts"):
        open_checkpoint(data + hashlib.sha256(data).digest())
