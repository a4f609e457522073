"""Catalogue: finds a sweep by its name in sweeps/, or in a user's own Python file."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from orchestrator.errors import ConfigError
from orchestrator.store import file_name
from orchestrator.sweep import Sweep, raised_at

PACKAGE = "sweeps"  # one file per item of the paper; a package of ours that this one never imports by statement
NO_SWEEPS = ("protocols",)  # modules of the package that define none


@dataclasses.dataclass(frozen=True)
class Found:
    """A sweep and where it came from.

    Attributes:
        source: What finds it again: its name, or the absolute path of its file.
        module: The user's file as a module, or None for one of ours.
    """

    sweep: Sweep
    source: str
    module: ModuleType | None


def names() -> list[str]:
    """Names of all sweeps in the package, sorted."""
    package = importlib.import_module(PACKAGE)
    found = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return sorted(name for name in found if name not in NO_SWEEPS and not name.startswith("_"))


def find(source: str) -> Found:
    """The sweep called `source`, or the one in the Python file at that path.

    Raises:
        ConfigError: there is none, or the file is not a sweep.
    """
    if source.endswith(".py") or "/" in source:
        return from_file(Path(source))
    known = names()
    if source not in known:
        near = difflib.get_close_matches(source, known, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"no sweep {source!r}.{hint} There are {', '.join(known)}; or give the path of a .py file.")
    return Found(named(importlib.import_module(f"{PACKAGE}.{source}"), source), source, None)


def from_file(path: Path) -> Found:
    """The sweep that the user's own file defines as ``sweep``.

    The file travels to workers on other machines, what it imports does not: that must be installed there.

    Raises:
        ConfigError: there is no such file, it raises, or it defines no sweep.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give the name of a sweep ({', '.join(names())}) or a path to one.")
    if path.stem in names():
        ours = importlib.import_module(f"{PACKAGE}.{path.stem}")
        if path.resolve() == Path(ours.__file__ or "").resolve():
            return find(path.stem)
        raise ConfigError(f"{path}: there is a sweep {path.stem} already, and a store would mix them. Rename the file.")
    name = f"warmgrid_sweep_{file_name(path.stem).replace('-', '_').replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file. Give one whose name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename}, line {error.lineno}: {error.msg}.") from error
    except ModuleNotFoundError as error:
        hint = "What a sweep's file imports must be installed, or on PYTHONPATH, for workers too."
        raise ConfigError(f"{raised_at(error, str(path))}. {hint}") from error
    except Exception as error:
        raise ConfigError(raised_at(error, str(path))) from error
    return Found(named(module, path.stem), str(path), module)


def named(module: ModuleType, name: str) -> Sweep:
    """The module's ``sweep``, with its name.

    Raises:
        ConfigError: it has none.
    """
    sweep = getattr(module, "sweep", None)
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"{module.__file__}: defines no `sweep = Sweep(...)`. See sweeps/quickstart.py for one.")
    return dataclasses.replace(sweep, name=name)
