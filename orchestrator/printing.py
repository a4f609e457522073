"""Printing: what plans, launches and stores look like on standard output, for people and as JSON; decides nothing.

What a store says is cleaned before a terminal gets it (`orchestrator.terminal.clean`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.request import Running, options_of
from orchestrator.terminal import clean, print_table

if TYPE_CHECKING:
    from orchestrator.doctor import Finding
    from orchestrator.estimate import Estimate
    from orchestrator.launch import Summary
    from orchestrator.plan import Plan
    from orchestrator.sweep import Sweep

MANY = 12  # lines of one kind that `status` prints
FEW = 3  # keys of blocked stages that it names
TOLD = {  # columns of its tables, and what counts there
    "done": ("done", "diverged"),
    "running": ("running",),
    "failed": ("failed", "blocked"),
    "pending": ("pending", "interrupted"),
}


def plan_facts(planned: Plan, estimate: Estimate) -> dict[str, Any]:
    """What ``plan --json`` prints; `estimate` from what the store has measured."""
    from orchestrator.totals import Sharing

    return {
        "cells": planned.cells,
        "trials": len(planned.trials),
        "stages": len(planned.stages),
        "stages_without_sharing": planned.stages_without_sharing,
        "done": planned.done,
        "to_run": len(planned.to_run),
        "estimated_seconds": estimate.total_seconds(planned.to_run, planned.follows),
        "sharing": Sharing.of(planned, estimate).facts(),
    }


def print_plan(sweep: Sweep, facts: dict[str, Any]) -> None:
    """The same for people."""
    from orchestrator.progress import duration

    seconds = facts["estimated_seconds"]
    cost = duration(seconds) if seconds is not None else "not known yet: nothing like some of them was measured"
    print(f"{sweep.name}: {sweep.source}")
    for name, values in sweep.axes.items():
        print(f"  {name}: {', '.join(map(str, values))}")
    print(f"{facts['cells']} cells x {len(sweep.seeds)} seeds = {facts['trials']} trials")
    print(f"{facts['stages']} stages, {facts['stages_without_sharing']} without sharing")
    print(sharing_text(facts["sharing"]))
    print(f"{facts['done']} done, {facts['to_run']} to run")
    print(f"work left, on one worker: {cost}")
    print(*facts.get("tree", []), sep="\n", end="\n" if "tree" in facts else "")


def sharing_text(facts: Mapping[str, Any]) -> str:
    """What sharing saves of a whole sweep: worker time where that is known, else examples and epochs alone."""
    from orchestrator.progress import duration

    saved, spent = facts["examples_saved"], facts["examples"]
    if facts["seconds_saved"] is not None:
        saved, spent = facts["seconds_saved"], facts["seconds"]
    if not saved:
        return "sharing saves nothing: no two trials have a stage, or the beginning of one, in common"
    share = f"{saved / (saved + spent):.0%}"
    if facts["seconds_saved"] is not None:
        return f"sharing saves {duration(saved)} of {duration(saved + spent)} of worker time ({share})"
    return (
        f"sharing saves {share} of the training, counted in examples times epochs at the most ({saved:,} of "
        f"{saved + spent:,}); hours are not known yet: nothing like some stages was measured"
    )


def print_end(summaries: Sequence[Summary], sweep: str, store: str | None, running: Running, as_json: bool) -> int:
    """Say how the launches of a sweep ended, and what to do next; their exit code."""
    from orchestrator.progress import duration
    from orchestrator.seam import Status

    code = max(summary.exit_code for summary in summaries)
    ends = (Status.DONE, Status.DIVERGED, Status.FAILED)
    counts = {str(status): sum(summary.count(status) for summary in summaries) for status in ends}
    known, ran = ({s.key for one in summaries for s in getattr(one.plan, of)} for of in ("stages", "to_run"))
    before, blocked = len(known - ran), sum(len(one.blocked) for one in summaries)
    seconds, interrupted = sum(one.seconds for one in summaries), any(one.interrupted for one in summaries)
    if as_json:
        facts = {"sweep": sweep, "done_before": before, **counts, "blocked": blocked, "seconds": seconds}
        print_json(facts | {"interrupted": interrupted, "exit_code": code})
    else:
        counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no stage had to run"
        behind = f", {blocked} blocked" if blocked else ""
        print(f"{sweep}: {counted}{behind}, {before} done before, in {duration(seconds)}.")
        again = f"warmgrid resume {sweep}{options_of(store, running)}"
        if code == 75:
            print(f"Interrupted. Go on with: {again}")
        elif code == 1:
            print(f"See what failed with: warmgrid status {sweep}{options_of(store)}. Try again with: {again}")
    return code


def print_status(facts: Mapping[str, Any]) -> None:
    """What ``status`` says to people; `facts` as `orchestrator.overview.overview` gives them."""
    print(f"{facts['sweep']}: {facts['stages']} stages in {facts['store']}")
    for status, count in facts["counts"].items():
        print(f"  {count:6d} {status}: {facts['sentences'][status]}")
    print_seconds(facts)
    print_axes(facts["per_axis"])
    listed("running", [f"{one['key']} {where(one)}: {one['settings']}" for one in facts["running"]])
    listed("waiting", [f"{one['key']} for another try {one['when']}: {one['error']}" for one in facts["waiting"]])
    again = [f"{one['key']} took {one['attempts']} attempts, is {one['status']}" for one in facts["attempts"]]
    listed("again", again)
    listed("happened", facts["happened"], newest_last=True)
    for group in facts["failures"][:MANY]:
        print(f"failed {group['count']} x: {clean(group['error'])}  (e.g. stage {group['key']})")
        listed("", [f"{one['key']}: {one['settings']}{behind(one)}" for one in group["stages"]])
    if more := facts["failures"][MANY:]:
        print(
            f"failed ... and {sum(one['count'] for one in more)} more, of {len(more)} other messages; all with --json"
        )


def print_seconds(facts: Mapping[str, Any]) -> None:
    """What was spent, saved by sharing, and is still to come."""
    from orchestrator.progress import duration

    at_end, left, workers = (facts[name] for name in ("seconds_saved_at_end", "seconds_left", "workers"))
    more = "" if at_end is None or not left else f", {duration(at_end)} in the end"
    saved = f"sharing saved {duration(facts['seconds_saved'])}{more} ({facts['stages_shared']} stages)"
    print(f"{duration(facts['wall_seconds'])} of worker time so far; {saved}")
    if left is None:
        print("time left: not known yet, nothing like some stages was measured")
    elif left:
        print(f"time left: {duration(left)} on {workers} worker{'s' if workers > 1 else ''}")


def print_axes(axes: Sequence[Mapping[str, Any]]) -> None:
    """How many stages each value of an axis needs, by status; axes with one value are left out."""
    rows = []
    for axis in axes:
        if len(axis["values"]) < 2:
            continue
        for value in axis["values"][:MANY]:
            rows.append([f"{axis['axis']}={axis_value(value['value'])}", *columns_of(value["counts"])])
        if more := len(axis["values"]) - MANY:
            rows += [[f"{axis['axis']}: {more} more, with --json", *[""] * len(TOLD)]] if more > 0 else []
    if rows:
        print_table(["stages by axis", *TOLD], rows)


def axis_value(value: Any) -> str:
    """One value of an axis; "any" where the axis makes no difference."""
    return "any" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def columns_of(counts: Mapping[str, int]) -> list[str]:
    """Counts by status in the columns TOLD: diverged stages are done, interrupted ones pending, blocked ones failed."""
    return [str(sum(counts.get(status, 0) for status in statuses)) for statuses in TOLD.values()]


def print_sweeps(facts: Sequence[Mapping[str, Any]], store: str) -> None:
    """What ``status`` without a name says to people: a line for each sweep of a store."""
    if not facts:
        print(f"{store}: no sweep was launched into this store yet. Start with: warmgrid launch quickstart")
        return
    print_table(["sweep", *TOLD], [[one["sweep"], *columns_of(one["counts"])] for one in facts])


def print_findings(findings: Iterable[Finding], as_json: bool) -> int:
    """What the doctor found, each line as it comes; its exit code."""
    found = []
    for one in findings:
        found.append(one)
        if not as_json:
            print(f"{one.level:5}{clean(one.what)}: {clean(one.says)}", flush=True)
            print(f"     -> {clean(one.todo)}\n" if one.todo else "", end="", flush=True)
    code = int(any(one.level == "bad" for one in found))
    if as_json:
        print_json({"findings": [asdict(one) for one in found], "exit_code": code})
    return code


def where(running: Mapping[str, Any]) -> str:
    """Who runs a stage, since when, and how far it is."""
    epoch = "no resume point yet" if running["epoch"] is None else f"epoch {running['epoch']} kept"
    return f"on {running['host']} since {running['since']}, attempt {running['attempts']}, {epoch}"


def behind(failed: Mapping[str, Any]) -> str:
    """What a failed stage holds up."""
    blocks = failed["blocks"]
    if not blocks:
        return ""
    more = ", ..." if len(blocks) > FEW else ""
    return f"; blocks {len(blocks)} stages: {', '.join(blocks[:FEW])}{more}"


def listed(title: str, lines: Sequence[str], *, newest_last: bool = False) -> None:
    """Some lines under one title, and how many more there are."""
    shown = lines[-MANY:] if newest_last else lines[:MANY]
    for line in map(clean, shown):
        print(f"{title} {line}" if title else f"  {line}")
    if more := len(lines) - len(shown):
        print(f"{title or ' '} ... and {more} {'before' if newest_last else 'more'}; all with --json")


def print_json(facts: Any) -> None:
    """`facts` as JSON, indented, on standard output."""
    print(json.dumps(facts, indent=1, default=str))
