"""Report page: a report as one HTML file that needs nothing else and asks no other host. Computes nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.claims import Finding, Verdict
from orchestrator.claims_table import counted, ours, where
from orchestrator.errors import ConfigError
from orchestrator.figures.grid import DASH
from orchestrator.figures.style import FONT, body
from orchestrator.figures.tables import ResultTable
from orchestrator.progress import duration
from orchestrator.report import Cost, Part, Report, file_of, without_folders
from orchestrator.seam import Status
from orchestrator.verdict import SENTENCES, Outcome

# Its policy lets the page load nothing, not even by mistake. plotly.js compiles functions for WebGL: unsafe-eval.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:"
)
STYLE = """
body { max-width: 1040px; margin: 0 auto; padding: 16px 20px 60px; background: #fff; color: #222;
       font: 14px/1.5 FONT; }
h1 { font-size: 24px; margin: 8px 0; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 10px; border-top: 2px solid #222; }
h3 { font-size: 16px; margin: 28px 0 2px; }
h4 { font-size: 14px; margin: 14px 0 0; }
p { margin: 4px 0 8px; }
.quiet, .paper { color: #6a6a6a; }
.paper { font-size: 12px; }
nav ul { margin: 4px 0; padding-left: 20px; }
nav ul ul { columns: 4 170px; }
a { color: #00578a; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0 14px; font-size: 13px; }
th, td { padding: 4px 10px; border-bottom: 1px solid #d8dadd; text-align: left; vertical-align: top;
         overflow-wrap: anywhere; }
thead th { border-bottom: 1px solid #222; vertical-align: bottom; }
table.grid th, table.grid td { overflow-wrap: normal; white-space: nowrap; }
table.grid td, table.grid thead th { text-align: center; }
table.grid tbody th { font-weight: normal; padding-left: 20px; }
table.grid .block th { background: #eceef1; font-weight: 600; padding-left: 6px; }
.gap td, .gap th { font-style: italic; }
.gap .paper { font-style: normal; }
.claims { table-layout: fixed; width: 100%; min-width: 860px; }
.claims .claim th { background: #eceef1; }
.verdict { white-space: nowrap; font-weight: 600; }
.supported { color: #006b4c; }
.contradicted { color: #b03a00; }
.not-decided { color: #7a5a00; }
.not-run { color: #6a6a6a; font-weight: normal; }
.figure { margin: 4px 0 8px; overflow: hidden; }
details { margin: 4px 0; }
summary { cursor: pointer; }
code { font-size: 12px; }
@media (max-width: 600px) { .modebar { display: none; } }
""".replace("FONT", FONT)


def write_report(report: Report, path: str | Path) -> None:
    """Write `report` as one page; plotly.js is in it once, if anything is drawn."""
    drawn, library = [], True
    for part in report.parts:
        text, used = part_html(part, library)
        drawn.append(text)
        library = library and not used
    sections = [
        header(report),
        contents(report),
        claims_html(report.verdicts),
        '<h2 id="sweeps">Sweeps</h2>',
        *drawn,
        cost_html(report),
        versions_html(report),
        failures_html(report.failures),
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page("warmgrid report", "\n".join(sections)), encoding="utf-8")


def page(title: str, inside: str) -> str:
    """A whole HTML page."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>{inside}</body></html>\n'


def header(report: Report) -> str:
    """Title and summary."""
    models = sum(len(part.results.rows) for part in report.parts)
    said = (
        f"{len(report.parts)} sweeps with {models:,} results, {spent(report.cost)}. Claims: {counted(report.verdicts)}"
    )
    store = html.escape(without_folders(report.store))
    return f"<h1>warmgrid report</h1><p>{html.escape(said)}</p><p class=quiet>Store: {store}</p>"


def contents(report: Report) -> str:
    """Table of contents."""
    sweeps = "".join(f"<li>{link(anchor(part), part.name)}</li>" for part in report.parts)
    ends = (("cost", "Cost"), ("versions", "Versions"), ("failures", "Failures"))
    last = "".join(f"<li>{link(at, name)}</li>" for at, name in ends)
    return (
        f"<nav><ul><li>{link('claims', 'Claims')}</li>"
        f"<li>{link('sweeps', 'Sweeps')}<ul>{sweeps}</ul></li>{last}</ul></nav>"
    )


def anchor(part: Part) -> str:
    """Where a sweep stands in the page."""
    return f"sweep-{part.name}"


def link(at: str, name: str) -> str:
    """A link within the page."""
    return f'<a href="#{html.escape(at)}">{html.escape(name)}</a>'


# Claims


def claims_html(verdicts: Sequence[Verdict]) -> str:
    """All verdicts, by claim."""
    if not verdicts:
        return '<h2 id="claims">Claims</h2><p>None of these sweeps states a claim.</p>'
    meanings = "; ".join(f"<b>{outcome}</b>: {SENTENCES[outcome]}" for outcome in Outcome)
    rows = []
    for text, same in groupby(verdicts, key=lambda verdict: f"{verdict.number}. {verdict.text} ({verdict.source})"):
        those = list(same)
        rows.append(f'<tr class="claim"><th colspan="6">{html.escape(text)}</th></tr>')
        rows += [row for verdict in those for row in verdict_rows(verdict)]
        notes = dict.fromkeys(f"{verdict.sweep}: {verdict.note}" for verdict in those if verdict.note)
        rows += [f'<tr><td colspan="6" class="quiet">{html.escape(note)}</td></tr>' for note in notes]
    widths = "".join(f'<col style="width:{width}%">' for width in (22, 26, 17, 10, 13, 12))
    named = ("data, model, settings", "measure", "ours (95 % interval)", "paper", "rule", "verdict")
    head = "".join(f"<th>{name}</th>" for name in named)
    table = f'<table class="claims"><colgroup>{widths}</colgroup><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'
    rule = f"{meanings}. Of several measures all must be supported; one contradicts."
    return f'<h2 id="claims">Claims</h2><p class="quiet">{rule}</p><div class="wide">{table}</div>'


def verdict_rows(verdict: Verdict) -> list[str]:
    """A line for each measure of a verdict; one in all if nothing was run."""
    place = ", ".join(filter(None, (where(verdict), verdict.sweep)))
    if verdict.outcome is Outcome.NOT_RUN:
        why = " ".join(dict.fromkeys(finding.note for finding in verdict.findings if finding.note))
        said = f"{place}. {why or f'Run it with: warmgrid launch {verdict.sweep}'}"
        return [f'<tr><td colspan="5" class="quiet">{html.escape(said)}</td>{outcome_cell(verdict.outcome)}</tr>']
    rows = [finding_row(finding, place if not number else "") for number, finding in enumerate(verdict.findings)]
    if len(verdict.findings) > 1:
        rows.append(f'<tr><td></td><td colspan="4">all together</td>{outcome_cell(verdict.outcome)}</tr>')
    return rows


def finding_row(finding: Finding, place: str) -> str:
    """One measure: what came out, what the paper has, the rule and the verdict."""
    note = f'<br><span class="quiet">{html.escape(finding.note)}</span>' if finding.note else ""
    cells = (place, finding.measure, ours(finding), finding.paper_words, finding.rule)
    told = [html.escape(cell) for cell in cells]
    told[1] += note
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in told)}{outcome_cell(finding.outcome)}</tr>"


def outcome_cell(outcome: Outcome) -> str:
    """A verdict."""
    return f'<td class="verdict {str(outcome).replace(" ", "-")}">{outcome}</td>'


# Sweeps


def part_html(part: Part, library: bool) -> tuple[str, bool]:
    """A sweep's section, and whether it holds a drawing, which brings plotly.js if `library` says so."""
    figure, is_drawn = figure_html(part, library)
    question = html.escape(part.question or (part.sweep.source if part.sweep else ""))
    note = f'<p class="quiet">{html.escape(part.note)}</p>' if part.note else ""
    text = f'<h3 id="{html.escape(anchor(part))}">{html.escape(part.name)}</h3><p>{question}</p>{note}{figure}'
    told = f"<p>{html.escape(counts(part))}</p>"
    return f"<section>{text}{told}{settings_html(part)}{failed_html(part.failures)}</section>", is_drawn


def figure_html(part: Part, library: bool) -> tuple[str, bool]:
    """The sweep's figure or table with its title, or what keeps it from being drawn; and whether it is a drawing."""
    try:
        if isinstance(part.figure, ResultTable):
            title, below = part.figure.head(part.results), part.figure.below(part.results)
            return f'{titles(title, below)}<div class="wide">{part.figure.html(part.results)}</div>', False
        drawn = part.figure.draw(part.results)
    except ConfigError as error:
        return f'<p class="quiet">{html.escape(without_folders(str(error)))}</p>', False
    meta = drawn.layout.meta
    inside = body(drawn, library)
    box = f'<div class="figure" style="height:{meta["height"]}px">{inside}</div>'
    return titles(meta["title"], meta["subtitle"]) + box, True


def titles(title: str, below: str) -> str:
    """Title and subtitle of a figure."""
    return f'<h4>{html.escape(title)}</h4><p class="quiet">{html.escape(below)}</p>'


def counts(part: Part) -> str:
    """How far a sweep is, and what it took."""
    statuses = [row["status"] for row in part.results.rows]
    told = [f"{statuses.count(status):,} {status}" for status in dict.fromkeys(statuses)]
    absent = part.results.planned - len(statuses)
    told += [f"{absent:,} not trained yet"] if absent > 0 else []
    return f"Models: {', '.join(told) or 'none'}. {spent(part.cost)}."


def spent(cost: Cost) -> str:
    """What training took."""
    saved = f"; sharing saved {duration(cost.saved)}" if cost.saved else ""
    return f"{cost.stages:,} stages, {duration(cost.spent)} of worker time{saved}"


def settings_html(part: Part) -> str:
    """Axes and seeds of each launch."""
    many = len(part.launches) > 1
    told = []
    for number, launch in enumerate(part.launches, start=1):
        rows = [(name, ", ".join(values)) for name, values in sorted(launch["axes"].items())]
        rows += [("seeds", ", ".join(map(str, launch["seeds"])))]
        replaced = f"; replaced: {', '.join(launch['overrides'])}" if launch["overrides"] else ""
        file = f", from {file_of(launch['source'])}" if launch["source"] != part.name else ""
        name = f"Settings{f' of launch {number}' if many else ''}{file}{replaced}"
        told.append(f"<details><summary>{html.escape(name)}</summary>{two_columns(rows)}</details>")
    return "".join(told)


def two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values, without folders of a machine."""
    told = (
        f'<tr><th scope="row">{html.escape(n)}</th><td>{html.escape(without_folders(v))}</td></tr>' for n, v in rows
    )
    return f"<table>{''.join(told)}</table>"


# The rest


def cost_html(report: Report) -> str:
    """Worker hours by sweep and in all."""
    head = "<tr><th>sweep</th><th>stages</th><th>worker time</th><th>saved by sharing</th></tr>"
    rows = [(part.name, part.cost) for part in report.parts] + [("all", report.cost)]
    told = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{cost.stages:,}</td><td>{duration(cost.spent)}</td>'
        f"<td>{duration(cost.saved)}</td></tr>"
        for name, cost in rows
    )
    why = (
        "A stage that several trials need is trained once; saved is what it would have taken again for each of the "
        "others, and of a stage that went on from the end of another one, the way to there. A stage of several sweeps "
        "counts in each of them, and once in all."
    )
    return f'<h2 id="cost">Cost</h2><p class="quiet">{why}</p><table><thead>{head}</thead>{told}</table>'


def versions_html(report: Report) -> str:
    """What trained the stages."""
    names = {"warmgrid_version": "warmgrid", "torch_version": "torch", "device": "device"}
    rows = [(names[column], listed(counts)) for column, counts in report.versions.items()]
    return f'<h2 id="versions">Versions</h2>{two_columns([*rows, ("hosts", str(report.hosts))])}'


def listed(counts: Mapping[str, int]) -> str:
    """Values, each with its count of stages."""
    return ", ".join(f"{value} ({count:,} stage{'s' if count > 1 else ''})" for value, count in counts.items()) or DASH


def failures_html(failures: Sequence[Mapping[str, Any]]) -> str:
    """All failures by error."""
    told = failed_html(failures) or "<p>None.</p>"
    return f'<h2 id="failures">Failures</h2>{told}'


def failed_html(failures: Sequence[Mapping[str, Any]]) -> str:
    """Failures by error; "" if there is none."""
    if not failures:
        return ""
    head = "<tr><th>failed stages</th><th>error</th><th>e.g.</th></tr>"
    rows = "".join(
        f"<tr><td>{one['count']:,}</td><td>{html.escape(one['error'])}</td><td><code>{html.escape(one['key'])}</code></td></tr>"
        for one in failures
    )
    return f"<p>Failed: {Status.FAILED.sentence}.</p><table><thead>{head}</thead>{rows}</table>"
