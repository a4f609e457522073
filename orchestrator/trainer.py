"""Trainer: finds the function that a config names, and says of what it raised whether another try may help."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ConfigError, DamageError, StoreError, SweepError


def load_trainer(path: str) -> Callable[[Any, Any], Any]:
    """The function at the dotted path ``package.module:function``.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
        ConfigError: it has no such function.
    """
    module, _, function = path.partition(":")
    trainer: Callable[[Any, Any], Any] | None = getattr(importlib.import_module(module), function, None)
    if trainer is None:
        raise ConfigError(f"trainer {path!r}: {module} has no function {function!r}. Give package.module:function.")
    return trainer


def may_pass(error: BaseException) -> bool:
    """Whether a stage that raised `error` may do better if it is tried again as it is.

    A store may be away or full for a while; damage in it stays, and so does what is wrong with a request.
    """
    is_away = isinstance(error, StoreError) and not isinstance(error, DamageError)
    return is_away or not isinstance(error, SweepError | ImportError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no memory left, which every library says in its own way; torch is not imported for it."""
    text = str(error)
    names = ("out of memory" in text.lower(), "ALLOC_FAILED" in text, type(error).__name__ == "OutOfMemoryError")
    return isinstance(error, RuntimeError) and any(names)
