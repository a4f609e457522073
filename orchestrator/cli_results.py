"""The commands that look at results, from query to report; `orchestrator.cli` adds them to the program."""

from __future__ import annotations

import enum
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import completion
from orchestrator.ask import Kind
from orchestrator.cli_options import AsJson, Axes, Elsewhere, Seeds, Small, StorePath, SweepName
from orchestrator.errors import ConfigError
from orchestrator.export import Target
from orchestrator.printing import print_json
from orchestrator.request import opened, prepare, source_of, sweep_name

if TYPE_CHECKING:
    from orchestrator.figures.results import Figure
    from orchestrator.sweep import Sweep

log = logging.getLogger("warmgrid")


class Format(enum.StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


Asked = Annotated[
    str,
    typer.Argument(
        metavar="SQL|SWEEP",
        help="One SELECT over stages, epochs, cells, results; or the name of a sweep.",
        autocompletion=completion.sweeps_of_store,
    ),
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="Of a sweep: rows that fit it, e.g. \"init='warm_start'\"."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="A,B",
        help="Of a sweep: these columns, or all. Default: what came out and axes that vary.",
    ),
]
Sort = Annotated[
    str | None, typer.Option("--sort", metavar="A,-B", help="Of a sweep: by these columns; with -, largest first.")
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Of a sweep: at most so many rows.")]
Table = Annotated[
    Kind | None, typer.Option("--table", help="Of a sweep: a row for each result, or for each of their epochs.")
]
AsFormat = Annotated[
    Format | None, typer.Option("--format", help="How rows are written. Default: as --output ends, else a table.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of standard output.")]


def query_command(  # noqa: PLR0913, PLR0917 - options are arguments
    asked: Asked,
    store: StorePath = None,
    where: Where = None,
    columns: Columns = None,
    sort: Sort = None,
    limit: Limit = None,
    table: Table = None,
    as_format: AsFormat = None,
    output: Output = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Print results of a sweep, or the rows of an SQL query.

    E.g. warmgrid query figure3 --where "init='warm_start' AND lr<0.1" --sort -test_accuracy --limit 20
    or warmgrid query "SELECT init, avg(test_accuracy) FROM results WHERE sweep = 'quickstart' GROUP BY init".
    All columns: warmgrid schema.
    """
    from orchestrator.ask import Question, ask
    from orchestrator.writing import check_output, form_of, write, write_file

    options = {"--where": where, "--columns": columns, "--sort": sort, "--limit": limit, "--table": table}
    sweep = named_in(asked, [name for name, value in options.items() if value is not None])
    if output is not None:
        check_output(output)
    form = form_of(json_or(as_format, as_json), output)
    if sweep is None:
        rows = opened(store).sql(asked)
    else:
        named, order = parted("--columns", columns), parted("--sort", sort)
        question = Question(sweep, table or Kind.RESULTS, where, named, order, limit)
        rows = ask(opened(store), question)
    write(rows, form, sys.stdout) if output is None else write_file(rows, form, output)


def named_in(asked: str, options: Sequence[str]) -> str | None:
    """The sweep that one word names; None for SQL, which is never one word.

    Raises:
        ConfigError: SQL, and `options` that only a sweep takes.
    """
    if re.fullmatch(r"\S+", asked):
        return sweep_name(asked)
    if options:
        raise ConfigError(f"{', '.join(options)}: not with SQL, which says it itself. Or name a sweep instead of SQL.")
    return None


def json_or(as_format: Format | None, as_json: bool) -> str | None:
    """The form that --format or --json ask for."""
    if as_json and as_format not in (None, Format.JSON):
        raise ConfigError(f"--json and --format {as_format}: give one of them.")
    return "json" if as_json else as_format and as_format.value


def parted(option: str, names: str | None) -> list[str]:
    """The names in a list with commas; none where the option is not given.

    Raises:
        ConfigError: the option is given, and names nothing.
    """
    found = [part.strip() for part in (names or "").split(",") if part.strip()]
    if names is not None and not found:
        raise ConfigError(f"{option} {names!r}: names no column. Leave it out, or say such as lr,test_accuracy.")
    return found


def schema_command(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLE", help="results, stages, epochs or cells. Default: all.", autocompletion=completion.tables
        ),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Say what can be queried: tables, columns, types, units.

    Each with one sentence; also the axes of the sweeps in the store, if there is one.
    """
    from dataclasses import asdict

    from orchestrator.schema_page import described, schema_text

    kept = opened(store)
    chosen = described(kept if store is not None or kept.check_readable() else None, table)
    print_json([asdict(one) for one in chosen]) if as_json else print(schema_text(chosen), end="")


def export_command(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="Default: all sweeps of the store.",
            autocompletion=completion.sweeps_of_store,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", "--output", "-o", metavar="PLACE", help="A file .parquet or .csv, or a folder of runs."),
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option("--format", help="What to write. Default: as PLACE ends. The last three make or fill a folder."),
    ] = None,
    table: Annotated[Kind, typer.Option("--table", help="Of a file: a row for each result, or epoch.")] = Kind.RESULTS,
    store: StorePath = None,
    as_json: AsJson = False,
    _elsewhere: Elsewhere = None,
) -> None:
    """Write results for other programs.

    One flat file, or for TensorBoard, MLflow or Weights & Biases a run for each committed result, offline. Exporting
    again replaces the file, and adds to a folder the runs that are not there.
    """
    from orchestrator.export import export, target_of

    if to is None:
        raise ConfigError("--to: say where, e.g. --to results.parquet, or --format tensorboard --to runs")
    chosen = target_of(target, to)
    facts = export(opened(store), None if sweep is None else sweep_name(sweep), to, chosen, table)
    if as_json:
        print_json(facts)
    elif "rows" in facts:
        print(f"{facts['export']}: {facts['rows']} rows")
    else:
        print(f"{facts['export']}: {facts['written']} runs written, {facts['there_before']} there before")


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


def claims_command(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="Default: all sweeps of ours.")] = None,
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


COMMANDS: dict[str, Callable[..., None]] = {
    "query": query_command,
    "schema": schema_command,
    "export": export_command,
    "figure": figure_command,
    "claims": claims_command,
    "report": report_command,
}
"""In the order in which the program's help names them."""
