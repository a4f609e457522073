"""Stages keep to CUDA streams of their own, hand them on, and no further ahead of a card than they may."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.seam import run_to_end
from trainers import waiting
from trainers.waiting import AHEAD, Ahead, on_own_stream

CUDA = torch.device("cuda")


class Streams:
    """In place of CUDA's streams: which one is entered, and how many were made."""

    entered: Any = None
    made = 0

    def new(self, _device: object) -> object:
        """A stream."""
        self.made += 1
        return object()

    def replace(self, patch: pytest.MonkeyPatch) -> None:
        """Be CUDA's."""
        patch.setattr(torch.cuda, "Stream", self.new)
        patch.setattr(torch.cuda, "stream", self.stream)
        patch.setattr(waiting, "IDLE", [])

    @contextlib.contextmanager
    def stream(self, one: object) -> Iterator[None]:
        """Enter `one`."""
        before, self.entered = self.entered, one
        yield
        self.entered = before


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """In place of CUDA's streams."""
    made = Streams()
    made.replace(monkeypatch)
    return made


def test_each_stage_keeps_to_its_own_stream_within_its_turns(streams: Streams) -> None:
    """A neighbour's kernels in a stage's stream wait for it; in the middle of a capture they end in its graph."""
    within = list[tuple[str, object]]()

    def stage(name: str) -> Generator[bool, None, str]:
        for _ in range(3):
            within.append((name, streams.entered))
            yield True
        return name

    pack = [on_own_stream(stage(name), torch.device("cuda")) for name in "ab"]
    for turn in (0, 1, 1, 0, 1, 0):
        next(pack[turn])
        assert streams.entered is None

    assert len(set(within)) == len({stream for _, stream in within}) == 2
    assert [run_to_end(one) for one in pack] == ["a", "b"]


def test_a_stage_takes_the_stream_of_one_that_has_ended(streams: Streams) -> None:
    """A card's freed memory stays its stream's: on a new one each, the stages of a night fill the card."""

    def stage(fault: int = 1) -> Generator[bool, None, float]:
        yield True
        return 1 / fault

    ended, failed, closed = (on_own_stream(stage(fault), CUDA) for fault in (1, 0, 1))
    run_to_end(ended)
    with pytest.raises(ZeroDivisionError):
        run_to_end(failed)
    next(closed)
    closed.close()
    assert streams.made == 1

    pack = [on_own_stream(stage(), CUDA) for _ in range(3)]
    for one in pack:
        next(one)
    assert streams.made == 3


def test_a_stage_that_is_closed_leaves_at_once(streams: Streams) -> None:
    """What it holds, its seat among those that train, would be held until somebody collects garbage."""
    left = list[str]()

    def stage() -> Generator[bool, None, None]:
        try:
            yield True
        finally:
            left.append("left")

    inner = stage()
    one = on_own_stream(inner, CUDA)
    next(one)
    one.close()

    assert left == ["left"]


class Steps:
    """A device's work in place of CUDA's events: how many were asked for, and done."""

    asked = done = 0

    def event(self) -> Any:
        """After what was asked for so far."""
        self.asked += 1
        here = self.asked
        return SimpleNamespace(record=lambda: None, query=lambda: self.done >= here)


def test_the_host_is_only_some_steps_ahead_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose queue is full of a slow stage's steps holds the host, and with it the whole pack."""
    work, ahead = Steps(), Ahead(CUDA)
    monkeypatch.setattr(torch.cuda, "Event", work.event)
    for _ in range(AHEAD):
        assert list(ahead.room()) == []
    one_more = ahead.room()

    assert [next(one_more) for _ in range(3)] == [False] * 3
    work.done = 1
    assert list(one_more) == []
    assert next(ahead.room()) is False
