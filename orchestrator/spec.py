"""Spec: a frozen value that is at once a setting, its check, and what it does.

A new data set, model, init, regularizer, optimizer or stopping rule is one subclass in one file,
decorated with `setting`. It can be written in a sweep or on the command line at once.

    @setting
    class ShrinkPerturb(Init, kind="shrink_perturb"):
        shrink: Annotated[float, Field(ge=0, le=1)]
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from orchestrator.errors import ConfigError

T = TypeVar("T")
RULES = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


def plain(value: Any) -> Any:
    """Return a numpy scalar as the Python number it holds, anything else, arrays included, as it is."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def setting(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are checked against their annotations.

    Whole numbers become floats where a float is declared, so lr=1 and lr=1.0 are one setting.
    A wrong value raises a ConfigError that names the class, the field, the value and the rule.
    """
    made: Any = checked_dataclass(frozen=True, repr=False, config=RULES)(cls)
    check: Callable[..., None] = made.__init__

    def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - takes the place of one
        try:
            check(self, *map(plain, args), **{name: plain(v) for name, v in kwargs.items()})
        except ValidationError as error:
            raise ConfigError(explain(made, error)) from None

    __init__.__wrapped__ = check  # type: ignore[attr-defined]
    made.__init__ = __init__
    return made  # type: ignore[no-any-return]


def explain(cls: type, error: ValidationError) -> str:
    """One sentence for each wrong field of `cls`, then what a right call looks like."""
    fields = sorted((f for f in dataclasses.fields(cls) if f.init), key=lambda f: bool(f.kw_only))
    faults = []
    for fault in error.errors():
        where = fault["loc"][0] if fault["loc"] else "?"
        name = fields[where].name if isinstance(where, int) and where < len(fields) else str(where)
        if fault["type"] == "missing":
            faults.append(f"{name} is missing")
        elif isinstance(where, int) and where >= len(fields):
            faults.append(f"{fault['input']!r} is one value too many")
        elif name not in {f.name for f in fields}:
            faults.append(f"it has no setting {name!r}")
        else:
            faults.append(f"{name}={fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    known = ", ".join(f.name for f in fields) or "none"
    return f"{cls.__name__}: {'; '.join(dict.fromkeys(faults))}. Its settings: {known}."


@setting
class Spec:
    """Base of all settings.

    Class attributes:
        kind: Names the subclass in tables and keys, in snake case; never rename one.
        members: Every subclass that has a kind, by class name; what an expression may name.
        revision: Of the numbers that this setting gives, from 1. Raise it whenever the same setting gives others than
            before: stages with it then have new keys and are trained again, and all others keep theirs.
    """

    kind: ClassVar[str] = ""
    revision: ClassVar[int] = 1
    members: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not kind:
            return
        for taken in Spec.members.values():
            if (taken.kind == kind or taken.__name__ == cls.__name__) and not is_same(taken, cls):
                raise ConfigError(
                    f"{origin(cls)} with kind {kind!r}: {origin(taken)} with kind {taken.kind!r} exists already. "
                    f"Give the new class a name and a kind of its own."
                )
        cls.kind = kind
        Spec.members[cls.__name__] = cls

    def identity(self) -> dict[str, Any]:
        """What of this setting can change a result, by field name; the base of its key.

        A field declared with ``metadata={"later": True}`` is left out while it holds its default,
        so that a setting added after results exist does not change their keys; so is the first `revision`.
        """
        cls: Any = type(self)
        always, later = fields_of(cls)
        own = {name: getattr(self, name) for name in always}
        if self.revision > 1:
            own["revision"] = self.revision
        return own | {name: getattr(self, name) for name, default in later if getattr(self, name) != default}

    def columns(self, name: str) -> dict[str, Any]:
        """Flat table columns of this setting where it stands in the field or axis `name`.

        The kind under `name` itself, the constructor call under ``<name>_text``; members add their
        own, such as ShrinkPerturb's shrink and perturb.
        """
        return {name: self.kind, f"{name}_text": str(self)}

    def __repr__(self) -> str:
        """The call that makes this value, without what is at its default: ``MLP(width=64)``."""
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if is_given(self, f))
        return f"{type(self).__name__}({', '.join(given)})"


@functools.cache
def fields_of(cls: type[Spec]) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """Names of the fields of a setting that have been there from the start, and the later ones with their defaults."""
    fields = dataclasses.fields(cls)
    later = [f for f in fields if f.metadata.get("later")]
    return tuple(f.name for f in fields if f not in later), tuple((f.name, f.default) for f in later)


def is_given(value: Spec, field: dataclasses.Field[Any]) -> bool:
    """Whether a call must name `field` to make `value`."""
    return field.init and bool(getattr(value, field.name) != field.default)


def origin(cls: type) -> str:
    """The class by its module and name, as an error should call it."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_same(old: type, new: type) -> bool:
    """Whether `new` is `old` defined once more: its module was loaded again, or run as a script."""
    modules = {old.__module__, new.__module__}
    return old.__qualname__ == new.__qualname__ and (len(modules) == 1 or "__main__" in modules)


def field_later(default: Any) -> Any:
    """A field added after results exist; its default means "as before" and stays out of keys."""
    return dataclasses.field(default=default, metadata={"later": True})
