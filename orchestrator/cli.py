"""The command ``warmgrid``: each command is one library call plus printing.

Exit codes: 0 all done, 1 some stage failed, 2 the request makes no sense, 75 interrupted and
resumable. Results go to standard output, progress and messages to standard error.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    with_running,
)
from orchestrator.errors import ConfigError, SweepError
from orchestrator.printing import plan_facts, print_end, print_json, print_plan, print_status
from orchestrator.request import BackendName, Running, asked_of, opened, prepare, source_of, sweep_name

if TYPE_CHECKING:
    from orchestrator.figures.results import Figure
    from orchestrator.launch import Summary
    from orchestrator.sweep import Sweep

CAPS = (
    "Any sweep of ours in minutes, by caps that it takes as axes: epochs=N, the most epochs of any stage; limit=N, the "
    "images of the data set used at all; data=Digits, the embedded data set. E.g. warmgrid launch figure3 "
    "--axis data=Digits --axis limit=600 --axis epochs=2 --seeds 0"
)
log = logging.getLogger("warmgrid")
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help looks alike and takes a quarter of a second longer to load
    help="Sweeps of warm-started neural network training: plan, launch, resume and query grids.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(enum.StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


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
    as_json: AsJson = False,
) -> None:
    """Say what a launch would run, share, and cost."""
    from orchestrator.launch import plan_sweep

    Running(backend, address, data_root=data_root)  # so that a launch's command line can be tried with plan first
    found, _ = prepare(sweep, axis, seeds, small)
    planned, estimate = plan_sweep(found.sweep, opened(store))
    facts = plan_facts(planned, estimate.total_seconds(planned.to_run, planned.follows))
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
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a sweep that this store was launched with.")],
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
    sweep: SweepName,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Count a sweep's stages by status; say what failed and happened.

    Those of all its launches; with --axis or --seeds, only of the launches that were given the same.
    """
    from orchestrator.overview import overview

    kept, name = opened(store), sweep_name(sweep)
    facts = overview(kept, name, *asked_of(kept, name, axis, seeds, small))
    if as_json:
        print_json(facts)
        return
    print_status(facts)


@app.command("query")
def query_command(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over stages, epochs, cells and results.")],
    store: StorePath = None,
    as_format: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of standard output.")] = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Print the rows of an SQL query over the results.

    E.g. warmgrid query "SELECT init, avg(test_accuracy) FROM results WHERE sweep = 'quickstart' GROUP BY init"
    """
    from orchestrator.query import write

    table = opened(store).sql(sql)
    form = Format.JSON if as_json else as_format
    if output is not None:
        with output.open("wb") as file:
            write(table, form.value, file)
    else:
        write(table, form.value, sys.stdout.buffer if form is Format.PARQUET else sys.stdout)


@app.command("figure")
def figure_command(
    sweep: SweepName,
    store: StorePath = None,
    axis: Axes = None,
    seeds: Seeds = None,
    small: Small = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: SWEEP.html.")] = None,
    png: Annotated[bool, typer.Option("--png", help="A PNG beside the page too; needs kaleido and Chromium.")] = False,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Draw a sweep's results as one HTML page.

    In the form that the sweep names, by default test accuracy against training time, one dot a model; the page needs
    no network. With --axis, --seeds or --small, only of the cells that a launch with these would have.
    """
    from orchestrator.figures.results import results_of
    from orchestrator.figures.style import write_html, write_png

    kept, name = opened(store), sweep_name(sweep)
    results = results_of(kept, name)
    if axis or seeds is not None or small:
        results = results.only(reported(prepare(source_of(kept, sweep), axis, seeds, small)[0].sweep))
    if not results.rows:
        raise ConfigError(f"{kept.root}: no results of {name!r} to draw yet. Run them with: warmgrid launch {sweep}")
    form, path = form_of(source_of(kept, sweep)), output or Path(f"{name}.html")
    drawn = form.draw(results)
    write_html(drawn, path)
    facts: dict[str, Any] = {"figure": str(path), "models": len(results.rows)}
    if png:
        facts["png"] = str(path.with_suffix(".png"))
        write_png(drawn, facts["png"])
    if as_json:
        print_json(facts)
        return
    if text := form.text(results):
        import rich

        rich.get_console().print(text, soft_wrap=True, highlight=False)
    print(*(facts[name] for name in ("figure", "png") if name in facts), sep="\n")


def reported(sweep: Sweep) -> set[str]:
    """Keys of the stages that `sweep` reports."""
    return {stage.key for trial in sweep.trials() for stage in trial.stages}


def form_of(source: str) -> Figure:
    """The form that a sweep names; a scatter if it names none, or if its file is gone, which is said."""
    from orchestrator.catalogue import find
    from orchestrator.figures.scatter import Scatter

    try:
        form = find(source).sweep.figure
    except ConfigError as error:
        log.warning("%s Drawn as a scatter, the form of sweeps that name none.", error)
        form = None
    return form or Scatter()


@app.command("claims")
def claims_command(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Default: all sweeps of ours.")] = None,
    store: StorePath = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Judge the paper's claims by the results.

    Each claim for each data set and model: our measure with its 95 % interval over seeds, the paper's number, the rule,
    and the verdict: supported, contradicted, not decided or not run.
    """
    from dataclasses import asdict

    from orchestrator.catalogue import find, names
    from orchestrator.claims import claims_of
    from orchestrator.claims_table import write_claims

    kept = opened(store)
    sweeps = [find(name).sweep for name in ([source_of(kept, sweep)] if sweep else names())]
    if not any(one.claims for one in sweeps):
        raise ConfigError(f"{sweep}: this sweep tests no claim. See all that are tested with: warmgrid claims")
    verdicts = claims_of(kept, sweeps)
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        write_claims(verdicts, sys.stdout)


@app.command("report")
def report_command(
    store: StorePath = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: report.html.")] = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Write all that a store holds as one HTML page.

    Claims with their verdicts, every sweep's figure and settings, worker time spent and saved by sharing, versions,
    failures; the page needs no network.
    """
    from orchestrator.report import report_of
    from orchestrator.report_page import write_report

    found, path = report_of(opened(store)), output or Path("report.html")
    write_report(found, path)
    print_json({"report": str(path), **found.facts}) if as_json else print(path)


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
    logging.basicConfig(
        level=logging.getLevelNamesMapping().get(level, logging.WARNING), format="warmgrid: %(message)s"
    )
    try:
        app()
    except (SweepError, OSError) as error:
        log.debug("raised here:", exc_info=True)
        print(f"warmgrid: {told(error)}", file=sys.stderr)
        sys.exit(2)


def told(error: SweepError | OSError) -> str:
    """What a user reads of `error`."""
    if isinstance(error, SweepError):
        return str(error)
    where = error.filename or "the system"
    return f"{where}: {error.strerror or error}. Check that the path is right and may be used, or give another."


if __name__ == "__main__":
    main()
