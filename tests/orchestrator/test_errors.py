"""Errors raised on purpose can be told from bugs, and cross process borders whole."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from orchestrator import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


def test_the_drawn_tree_is_the_tree() -> None:
    """Who reads the drawing and catches StoreError must catch what stands under it."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for indent, name in re.findall(r"^( *)([A-Z]\w+)(?: {2}.*)?$", errors.__doc__ or "", re.MULTILINE):
        above[len(indent) // 4 :] = [name]
        drawn[name] = above[-2] if len(above) > 1 else ""

    real = {cls.__name__: cls.__base__.__name__ if cls.__base__ in CLASSES else "" for cls in CLASSES}
    assert drawn == real


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_comes_back_from_a_worker_whole(cls: type[BaseException]) -> None:
    """An error that cannot be pickled reaches the driver as a crash of Ray's."""
    error = pickle.loads(pickle.dumps(cls("lr=-1: must be positive")))

    assert (type(error), str(error)) == (cls, "lr=-1: must be positive")


def test_a_stop_on_request_is_not_swallowed_as_an_error() -> None:
    """A trainer's `except Exception` would otherwise train on after the node was told to go."""
    assert not issubclass(errors.InterruptedStage, Exception)
