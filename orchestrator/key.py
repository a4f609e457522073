"""Content address of a stage: canonical JSON of everything that can change its result.

Two stages with one key are the same computation and are run once. Names of machines, paths,
worker counts and log intervals never enter a key.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, plain

PLAIN = (str, int, bool, type(None))
KEY_DIGITS = 16  # 64 bits: with 10**5 stages, a collision has probability about 3e-10


def canonical(value: Any) -> Any:
    """Reduce a config to JSON types, the same for equal configs in every process.

    A setting becomes its `kind` and its identity. 1 and 1.0, -0.0 and 0, a numpy scalar and the
    number it holds, an enum and its value, a list and a tuple have one form each; the order of a
    mapping's names does not matter.

    Raises:
        ConfigError: `value` holds something that has no canonical form, e.g. NaN, a lambda or a set.
    """
    return value if type(value) in PLAIN else reduced(value)  # most of what a config holds is what it is


def reduced(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """`canonical` of what may not be its own canonical form."""
    if type(value) is float and math.isfinite(value):  # it and settings first: they are most of what is left
        return int(value) if value.is_integer() else value
    if isinstance(value, Spec):
        return {"kind": own_kind(value), **canonical(value.identity())}
    value = plain(value)
    if isinstance(value, enum.Enum):
        return canonical(value.value)
    if isinstance(value, dict | Mapping) and all(isinstance(name, str) for name in value):
        return {name: canonical(value[name]) for name in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ConfigError(
        f"{value!r} of type {type(value).__name__} cannot be part of a config: "
        f"use a setting, a finite number, a string, or a tuple of these."
    )


def own_kind(value: Spec) -> str:
    """The kind given to exactly this class; one taken over from its base would give both one key.

    Raises:
        ConfigError: the class was defined without a kind.
    """
    cls = type(value)
    if not vars(cls).get("kind"):
        raise ConfigError(f'{cls.__name__} has no kind of its own: write class {cls.__name__}(..., kind="...").')
    return value.kind


def canonical_text(value: Any) -> str:
    """JSON text of `canonical(value)`, names sorted, without blanks."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(*parts: Any) -> str:
    """Hash `parts` in order; each is reduced by `canonical` first. Hex, KEY_DIGITS long."""
    return hashlib.sha256(canonical_text(parts).encode()).hexdigest()[:KEY_DIGITS]
