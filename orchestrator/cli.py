"""The command ``warmgrid``: each command is one library call plus printing.

Exit codes: 0 all done, 1 some stage failed, 2 the request makes no sense, 75 interrupted and
resumable. Results go to standard output, progress and messages to standard error.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import typer

from orchestrator.cli_options import (
    Address,
    AsJson,
    Axes,
    BackendOption,
    DataRoot,
    Elsewhere,
    Seeds,
    Small,
    StorePath,
    SweepName,
    SweepOfStore,
    SweepOrStage,
    Tree,
    with_running,
)
from orchestrator.cli_results import COMMANDS as RESULT_COMMANDS
from orchestrator.cli_serve import serve_command
from orchestrator.errors import ConfigError, SweepError
from orchestrator.printing import (
    plan_facts,
    print_end,
    print_findings,
    print_json,
    print_plan,
    print_status,
    print_sweeps,
)
from orchestrator.request import BackendName, Running, asked_of, opened, prepare, sweep_name
from orchestrator.terminal import clean_lines

if TYPE_CHECKING:
    from orchestrator.launch import Summary

CAPS = (
    "Any sweep of ours in minutes, by caps that it takes as axes: epochs=N, the most epochs of any stage; limit=N, the "
    "images of the data set used at all; data=Digits, the embedded data set. E.g. warmgrid launch figure3 "
    "--axis data=Digits --axis limit=600 --axis epochs=2 --seeds 0"
)
log = logging.getLogger("warmgrid")
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help looks alike and takes a quarter of a second longer to load
    help="Sweeps of warm-started neural network training: plan, launch, resume and query grids.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("plan", epilog=CAPS)
def plan_command(
    sweep: SweepName,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    data_root: DataRoot = None,
    backend: BackendOption = BackendName.RAY,
    address: Address = None,
    tree: Tree = False,
    as_json: AsJson = False,
) -> None:
    """Say what a launch would run, share, and cost."""
    from orchestrator.launch import plan_sweep

    Running(backend, address, data_root=data_root)  # so that a launch's command line can be tried with plan first
    found, _ = prepare(sweep, axis, seeds, small)
    planned, estimate = plan_sweep(found.sweep, opened(store))
    facts = plan_facts(planned, estimate)
    if tree:
        from orchestrator.tree import tree_lines

        facts["tree"] = tree_lines(planned)
    if as_json:
        print_json(facts)
    else:
        print_plan(found.sweep, facts)


@app.command("launch", epilog=CAPS)
@with_running
def launch_command(
    sweep: SweepName,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    *,
    running: Running,
    as_json: AsJson = False,
) -> None:
    """Run every stage that the store lacks. Launching twice equals launching once."""
    found, axes = prepare(sweep, axis, seeds, small)
    summary = running.launch(found, opened(store), axes)
    raise typer.Exit(print_end([summary], found.sweep.name, store, running, as_json))


@app.command("resume")
@with_running
def resume_command(
    sweep: SweepOfStore,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    *,
    running: Running,
    as_json: AsJson = False,
) -> None:
    """Go on with the launches of a sweep that the store remembers.

    Each with the axes and seeds it was given then. With --axis or --seeds, only those that were given the same.
    """
    from orchestrator.launch import remembered

    kept, name = opened(store), sweep_name(sweep)
    summaries: list[Summary] = []
    for found, axes in remembered(kept, name, *asked_of(kept, name, axis, seeds, small)):
        summaries.append(running.launch(found, kept, axes))
        if summaries[-1].interrupted:
            break
    raise typer.Exit(print_end(summaries, name, store, running, as_json))


@app.command("status")
def status_command(
    asked: SweepOrStage = None,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Count a sweep's stages, say what failed; or show one stage.

    With seconds spent, saved by sharing and left, of all its launches; with --axis or --seeds, only of those that were
    given the same. Of a stage, by the first 4 or more digits of its key: settings, lineage, curve, machine and log. By
    itself: a line for each sweep.
    """
    from orchestrator.overview import overview, sweeps_overview
    from orchestrator.stage_text import print_stage
    from orchestrator.stage_view import find_key, is_key, stage_view

    kept = opened(store)
    if (asked is None or is_key(kept, asked)) and (axis or seeds is not None or small):
        raise ConfigError("--axis, --seeds and --small choose launches of a sweep: name it.")
    if asked is None:
        sweeps = sweeps_overview(kept)
        print_json(sweeps) if as_json else print_sweeps(sweeps, kept.root)
    elif is_key(kept, asked):
        stage = stage_view(kept, find_key(kept, asked))
        print_json(stage) if as_json else print_stage(stage)
    else:
        name = sweep_name(asked)
        facts = overview(kept, name, *asked_of(kept, name, axis, seeds, small))
        print_json(facts) if as_json else print_status(facts)


@app.command("doctor")
def doctor_command(
    store: StorePath = None,
    data_root: DataRoot = None,
    backend: BackendOption = BackendName.RAY,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Look whether machine, installation and store are fit.

    Each line is good, or says what to do; exit code 1 if something is bad. Ray is started, or joined at --address;
    with --backend inprocess it is left alone. Nothing is downloaded or mended.
    """
    from orchestrator.doctor import examine

    Running(backend, address, data_root=data_root)
    found = examine(opened(store), address, data_root, with_ray=backend is BackendName.RAY)
    raise typer.Exit(print_findings(found, as_json))


for _name, _command in RESULT_COMMANDS.items():
    app.command(_name)(_command)
app.command("serve")(serve_command)


@app.command("compact")
def compact_command(store: StorePath = None, as_json: AsJson = False) -> None:
    """Put the rows of many small files into a few, faster to query.

    Nothing else changes. Launches may go on meanwhile, and queries see each stage once. Versions of warmgrid before 0.2
    cannot open the store afterwards.
    """
    from dataclasses import asdict

    done = opened(store).compact()
    if as_json:
        print_json(asdict(done))
    else:
        print(
            f"{done.files_before} files with rows are {done.files_after} now; {done.stages} stages are in merged ones."
        )


def main() -> None:
    """Entry point: turn every error raised on purpose, and every refusal of the system, into one message and code 2.

    WARMGRID_LOG=DEBUG shows where it was raised.
    """
    level = os.environ.get("WARMGRID_LOG", "WARNING").upper()
    console, number = logging.StreamHandler(), logging.getLevelNamesMapping().get(level, logging.WARNING)
    console.setLevel(number)  # its own, as a stage's log asks libraries for more than is printed
    console.setFormatter(Cleaned("warmgrid: %(message)s"))
    logging.basicConfig(level=number, handlers=[console])
    try:
        app(prog_name="warmgrid")  # which completion goes by, however the program was started
    except (SweepError, OSError) as error:
        log.debug("raised here:", exc_info=True)
        print(f"warmgrid: {clean_lines(told(error))}", file=sys.stderr)
        sys.exit(2)


class Cleaned(logging.Formatter):
    """Messages that hold words of a store, without what could move a terminal's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        """All lines of one message."""
        return clean_lines(super().format(record))


def told(error: SweepError | OSError) -> str:
    """What a user reads of `error`."""
    if isinstance(error, SweepError):
        return str(error)
    where = error.filename or "the system"
    return f"{where}: {error.strerror or error}. Check that the path is right and may be used, or give another."


if __name__ == "__main__":
    main()
