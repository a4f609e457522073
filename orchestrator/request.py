"""Request: what a command line asks for, turned from texts into sweep, store and backend; runs and prints nothing.

Loads nothing heavy by itself, so that ``warmgrid --help`` is instant.
"""

from __future__ import annotations

import contextlib
import enum
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.backend import Backend
    from orchestrator.catalogue import Found
    from orchestrator.launch import Summary
    from orchestrator.store import Store
    from orchestrator.sweep import Sweep


class BackendName(enum.StrEnum):
    """What executes stages."""

    RAY = "ray"
    INPROCESS = "inprocess"


@dataclass(frozen=True)
class Running:
    """How stages are to be executed, as the command line gives it."""

    backend: BackendName = BackendName.RAY
    address: str | None = None
    workers: int | None = None
    cpus_per_stage: float = 1.0
    gpus_per_stage: float | None = None
    data_root: str | None = None
    device: str | None = None
    checkpoint_every: float = 60.0
    retries: int = 2
    hang_after: float = 1800.0
    cuda_graphs: bool = False
    pack_size: int = 1

    def __post_init__(self) -> None:
        if self.device not in (None, "cpu", "cuda"):
            raise ConfigError(f"--device {self.device}: give cpu or cuda.")
        if self.device == "cpu" and self.gpus_per_stage:
            raise ConfigError(f"--device cpu --gpus-per-stage {self.gpus_per_stage:g}: GPUs that nothing would use.")
        if self.device == "cpu" and self.cuda_graphs:
            raise ConfigError("--device cpu --cuda-graphs: a graph of CUDA's that nothing would use.")
        if self.hang_after <= self.checkpoint_every:
            raise ConfigError(
                f"--hang-after {self.hang_after:g}: a stage is heard of every --checkpoint-every "
                f"{self.checkpoint_every:g} s at best. Give more than that, and more than its longest epoch takes."
            )
        if self.backend is BackendName.INPROCESS and (self.address or (self.workers or 1) > 1):
            raise ConfigError("--backend inprocess runs one pack of stages, here: leave out --address and --workers.")
        if self.data_root is not None and not self.address and not Path(self.data_root).is_dir():
            raise ConfigError(
                f"--data-root {self.data_root} (or WARMGRID_DATA): no such folder. Give the one that holds data sets."
            )

    def launch(self, found: Found, store: Store, axes: dict[str, list[Any]]) -> Summary:
        """Run what is missing of `found`, with progress on standard error."""
        from orchestrator.launch import launch
        from orchestrator.progress import Progress

        return launch(
            found.sweep,
            store,
            lambda: self.make_backend(found),
            Progress(),
            source=found.source,
            overrides=axes,
            options=self.options,
            is_local=self.address is None,
        )

    @property
    def options(self) -> dict[str, Any]:
        """Those of `orchestrator.worker.Options`."""
        return {
            "data_root": None if self.data_root is None else str(Path(self.data_root).absolute()),
            "device": self.device,
            "checkpoint_every_s": self.checkpoint_every,
            "retries": self.retries,
            "hang_after_s": self.hang_after,
            "cuda_graphs": self.cuda_graphs,
            "pack_size": self.pack_size,
        }

    def make_backend(self, found: Found) -> Backend:
        """The backend; imports ray only if it is needed."""
        if self.backend is BackendName.INPROCESS:
            from orchestrator.backend import InProcessBackend

            return InProcessBackend()
        from orchestrator.ray_backend import RayBackend

        return RayBackend(self.address, self.workers, self.cpus_per_stage, self.gpus_per_stage, found.module)


def opened(store: str | None) -> Store:
    """The store that --store names; an empty name, as of an unset variable, is none."""
    from orchestrator.store import open_store

    if store == "":
        raise ConfigError("--store: the path is empty. Name a folder, or leave the option out.")
    return open_store(store)


def prepare(
    sweep: str, axis: Sequence[str] | None, seeds: str | None, small: bool = False
) -> tuple[Found, dict[str, list[Any]]]:
    """Find the sweep and replace its axes and seeds as asked."""
    from orchestrator.catalogue import find

    found = find(sweep)  # first, because it makes the settings known that axes may name
    axes, numbers = parsed(axis, seeds)
    if small:
        axes, numbers = in_small(found.sweep, axes, numbers)
    return replace(found, sweep=found.sweep.replace(axes, numbers)), axes


def in_small(
    sweep: Sweep, axes: dict[str, list[Any]], seeds: list[int] | None
) -> tuple[dict[str, list[Any]], list[int]]:
    """The axes and seeds of the sweep's small version; what is asked for by name goes before it.

    Raises:
        ConfigError: the sweep has none.
    """
    if not sweep.small:
        raise ConfigError(f"{sweep.title}: no small version. Cap it yourself: --axis data=Digits --axis epochs=2")
    small = {name: list(values) for name, values in sweep.small.items()}
    return {**small, **axes}, list(sweep.small_seeds) if seeds is None else seeds


def asked_of(
    store: Store, name: str, axis: Sequence[str] | None, seeds: str | None, small: bool = False
) -> tuple[dict[str, list[Any]], list[int] | None]:
    """The axes and seeds by which launches are chosen; the sweeps that were launched say which settings there are."""
    from orchestrator.catalogue import find

    loaded: list[Sweep] = []
    for source in dict.fromkeys(recipe["source"] for recipe in store.launches(name)):
        with contextlib.suppress(ConfigError):  # `remembered` says what is wrong with a launch's file
            loaded.append(find(source).sweep)
    if not loaded:
        return {}, None
    asked = parsed(axis, seeds)
    return in_small(loaded[-1], *asked) if small else asked


def parsed(axis: Sequence[str] | None, seeds: str | None) -> tuple[dict[str, list[Any]], list[int] | None]:
    """The values of --axis and --seeds."""
    from orchestrator.expressions import parse_axes, parse_seeds

    return parse_axes(axis or []), None if seeds is None else parse_seeds(seeds)


def source_of(store: Store, sweep: str) -> str:
    """What finds the sweep: its own words, or of a user's sweep given by name the file that it was launched from."""
    sources = [recipe["source"] for recipe in store.launches(sweep_name(sweep))]
    return sweep if sweep.endswith(".py") or sweep in sources or not sources else str(sources[-1])


def sweep_name(sweep: str) -> str:
    """Name of a sweep that is given by its name or its file; checked, so that it can stand in a path or in SQL."""
    from orchestrator.store import file_name

    return file_name(Path(sweep).stem if sweep.endswith(".py") else sweep)


def options_of(store: str | None, running: Running | None = None) -> str:
    """The options that the next command needs to find what this one found, and to run it as this one did."""
    given = {"--store": store}
    if running is not None:
        given |= {"--data-root": running.data_root, "--address": running.address, "--device": running.device}
        gpus, workers = running.gpus_per_stage, running.workers
        given |= {"--gpus-per-stage": None if gpus is None else f"{gpus:g}"}
        given |= {"--workers": None if workers is None else str(workers)}
        given |= {"--pack-size": str(running.pack_size) if running.pack_size > 1 else None}
        given["--backend"] = running.backend.value if running.backend is not BackendName.RAY else None
    return "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)
