"""Claims table: verdicts as a person reads them in a terminal; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TextIO

from orchestrator.claims import Finding, Verdict
from orchestrator.verdict import SENTENCES, Outcome

WIDTH = 160  # characters where there is no terminal that has a width
STYLES: Mapping[Outcome, str] = {
    Outcome.SUPPORTED: "green",
    Outcome.CONTRADICTED: "red",
    Outcome.NOT_DECIDED: "yellow",
    Outcome.NOT_RUN: "dim",
}


def write_claims(verdicts: Sequence[Verdict], out: TextIO) -> None:
    """Write each claim with its verdicts below it, then what the words mean; colours on a terminal only."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, width=None if out.isatty() else WIDTH)
    for number, same in groupby(verdicts, key=lambda verdict: verdict.number):
        for text, those in groupby(same, key=lambda verdict: f"{verdict.text} ({verdict.source})"):
            console.print(Text(f"Claim {number}: {text}", style="bold"))
            rows = list(those)
            if any(verdict.outcome is not Outcome.NOT_RUN for verdict in rows):
                console.print(grid(rows))
            else:
                console.print(Text("  " + "; ".join(dict.fromkeys(map(not_run, rows))), style="dim"))
            for note in dict.fromkeys(f"{v.sweep}: {v.note}" for v in rows if v.note):
                console.print(Text(f"  {note}"))
            console.print()
    meanings = "; ".join(f"{outcome}: {SENTENCES[outcome]}" for outcome in Outcome)
    console.print(Text(f"{meanings}. Several measures: all must be supported; one contradicts. {counted(verdicts)}"))


def not_run(verdict: Verdict) -> str:
    """One line for a claim without results."""
    return f"not run: warmgrid launch {verdict.sweep} ({verdict.data}; {verdict.model})"


def grid(verdicts: Sequence[Verdict]) -> object:
    """A table of one line for each measure of each verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, share in (("data, model", 5), ("measure", 8), ("ours (95 % interval)", 5), ("paper", 3), ("rule", 4)):
        table.add_column(name, ratio=share, overflow="fold")
    table.add_column("verdict", min_width=12, no_wrap=True)
    for verdict in verdicts:
        for place, finding in enumerate(verdict.findings):
            first = where(verdict) if not place else ""
            measure = f"{finding.measure}. {finding.note}" if finding.note else finding.measure
            cells = (first, measure, ours(finding), finding.paper_words, finding.rule)
            table.add_row(*map(Text, cells), Text(str(finding.outcome), style=STYLES[finding.outcome]))
        if len(verdict.findings) > 1:
            table.add_row(
                "", "", "", "", Text("all together"), Text(str(verdict.outcome), f"bold {STYLES[verdict.outcome]}")
            )
    return table


def where(verdict: Verdict) -> str:
    """Data set, model and other settings of a verdict."""
    return ", ".join(filter(None, (verdict.data, verdict.model, verdict.settings)))


def ours(finding: Finding) -> str:
    """Mean, interval and seeds: ``4.87 points [4.10, 5.64], 3 seeds``."""
    if finding.mean is None:
        return "-"
    ends = "" if finding.low is None or finding.high is None else f" [{short(finding.low)}, {short(finding.high)}]"
    unit = f" {finding.unit}" if finding.unit else ""
    return f"{short(finding.mean)}{unit}{ends}, {finding.seeds} {'seeds' if finding.seeds > 1 else 'seed'}"


def short(number: float) -> str:
    """A number to two decimals, large ones to none."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{round(number, 2) + 0.0:.2f}"


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each kind."""
    counts = {outcome: sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."
