"""Streams of one seed are repeatable, independent, and the same for ever."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from trainers.seeds import stream

ADDRESSES = [
    (7, "weights", 0),
    (7, "weights", 1),
    (7, "noise", 0),
    (8, "weights", 0),
    (7, "weights"),
    (7, "order", 0, 1),
]


def test_a_stream_repeats() -> None:
    """A resumed stage must draw what it would have drawn."""
    first, second = (torch.randn(1000, generator=stream(7, "weights", 0)) for _ in range(2))

    assert torch.equal(first, second)


def test_streams_of_two_addresses_are_independent() -> None:
    """ShrinkPerturb's noise must not be the weights that its parent started from."""
    draws = torch.stack([torch.randn(1000, generator=stream(*address)) for address in ADDRESSES])

    correlations = torch.corrcoef(draws) - torch.eye(len(ADDRESSES))

    assert correlations.abs().max() < 0.15  # 4.7 standard deviations


def test_positions_are_told_apart_digit_by_digit() -> None:
    """Round 1, epoch 12 would repeat the order of round 11, epoch 2 if numbers were only written one after another."""
    places = itertools.product((1, 11, 111), (1, 2, 11, 12))

    seeds = [stream(7, "order", *place).initial_seed() for place in places]

    assert len(set(seeds)) == 12


def test_streams_never_change() -> None:
    """If this fails, stored results can no longer be trained again: raise the trainer's version, or undo the change."""
    assert stream(7, "weights", 0).initial_seed() == 7449585635693462571
    assert stream(0, "order", 2, 35).initial_seed() == 4777772072588302255


def test_a_numpy_integer_is_its_number() -> None:
    """Seeds out of np.arange would train other networks than the same seeds written down."""
    assert stream(np.int64(7), "weights", np.int32(1)).initial_seed() == stream(7, "weights", 1).initial_seed()


def test_the_global_generator_is_left_alone() -> None:
    """A user's own seed, and a test's, must not move because a stream was opened."""
    before = torch.get_rng_state()

    torch.randn(3, generator=stream(7, "weights", 0))

    assert torch.equal(torch.get_rng_state(), before)
