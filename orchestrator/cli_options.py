"""Options of the command line: what each takes, and says of itself in ``--help``; declared once for all commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Signature, signature
from typing import Annotated, Any

import typer

from orchestrator import completion
from orchestrator.request import BackendName, Running

SweepName = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="Name of a sweep, or path of your own .py file.",
        autocompletion=completion.sweeps,
    ),
]
SweepOfStore = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="Name of a sweep that this store was launched with.",
        autocompletion=completion.sweeps_of_store,
    ),
]
SweepOrStage = Annotated[
    str | None,
    typer.Argument(
        metavar="[SWEEP|STAGE]",
        help="Name of a sweep, or a stage's key or how it begins. Default: all sweeps of the store.",
        autocompletion=completion.sweeps_and_stages,
    ),
]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PLACE",
        help="A folder, or s3://bucket/prefix with the usual AWS variables. Default: WARMGRID_STORE, else "
        "./warmgrid-store.",
    ),
]
DataRoot = Annotated[
    str | None,
    typer.Option("--data-root", metavar="FOLDER", envvar="WARMGRID_DATA", help="Where data sets are looked for first."),
]
Axes = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        metavar="NAME=V1,V2",
        help="Replace an axis. Values: numbers, strings, or settings such as 'ShrinkPerturb(shrink=0.4, perturb=0.1)'.",
        autocompletion=completion.axes,
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="0-2", help="Replace the seeds: 0-2 or 0,3,5.")]
Small = Annotated[
    bool, typer.Option("--small", help="The sweep's own small version: its form within minutes on 2 cores, no GPU.")
]
Tree = Annotated[bool, typer.Option("--tree", help="The stage tree too, in short: equal branches are one line.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]
BackendOption = Annotated[BackendName, typer.Option("--backend", help="What executes stages.")]
Address = Annotated[str | None, typer.Option("--address", metavar="HOST:PORT", help="A running Ray cluster to join.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Stages at once, at most. Default: one per core; on a cluster, all it has room for, and up to 1,000 on "
        "one that grows by itself.",
    ),
]
Cpus = Annotated[float, typer.Option("--cpus-per-stage", min=0, help="Cores that a stage asks of Ray.")]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-stage",
        min=0,
        help="GPUs of a stage, e.g. 0.25 or 1. Default: 0.25 where there are any. A stage that runs out of device "
        "memory is tried again with twice as much.",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda. Default: cuda where there is one.")]
Elsewhere = Annotated[
    str | None,
    typer.Option(
        "--data-root",
        "--backend",
        "--address",
        metavar="ANY",
        help="Taken, so that one set of options fits every command; only plan, launch and resume look at it.",
    ),
]
CheckpointEvery = Annotated[
    float, typer.Option("--checkpoint-every", min=0, metavar="SECONDS", help="Between two resume points of a stage.")
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries", min=0, help="How often a stage that raises is tried again, from its last resume point, ever later."
    ),
]
HangAfter = Annotated[
    float,
    typer.Option(
        "--hang-after",
        min=1,
        metavar="SECONDS",
        help="After so long without a resume point a worker counts as hung: it is killed, and its stage tried again.",
    ),
]

PackSize = Annotated[
    int,
    typer.Option(
        "--pack-size",
        min=1,
        help="Stages that train in one process by turns, sharing its part of a GPU. Not measured on a card yet, so 1 "
        "by default; on a CPU more than 1 gains nothing.",
    ),
]
CudaGraphs = Annotated[
    bool,
    typer.Option(
        "--cuda-graphs/--no-cuda-graphs",
        help="Capture a step on CUDA once and launch it as one graph. Not measured on a card yet, so off by default.",
    ),
]


def running_of(  # noqa: PLR0913, PLR0917 - one argument an option
    data_root: DataRoot = None,
    backend: BackendOption = BackendName.RAY,
    address: Address = None,
    workers: Workers = None,
    cpus_per_stage: Cpus = 1.0,
    gpus_per_stage: Gpus = None,
    device: Device = None,
    checkpoint_every: CheckpointEvery = 60.0,
    retries: Retries = 2,
    hang_after: HangAfter = 1800.0,
    cuda_graphs: CudaGraphs = False,
    pack_size: PackSize = 1,
) -> Running:
    """The options of every command that trains."""
    return Running(
        backend,
        address,
        workers,
        cpus_per_stage,
        gpus_per_stage,
        data_root,
        device,
        checkpoint_every,
        retries,
        hang_after,
        cuda_graphs,
        pack_size,
    )


def with_running(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer sees it: with the options of `running_of` in place of its argument `running`."""
    ours, theirs = signature(running_of, eval_str=True), signature(command, eval_str=True)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in ours.parameters}
        command(**given, running=running_of(**options))

    before = [option for name, option in theirs.parameters.items() if name != "running"]
    options = [*before[:-1], *ours.parameters.values(), before[-1]]  # --json stays the last
    run.__signature__ = Signature(options)  # type: ignore[attr-defined] # what `inspect.signature` gives
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run
