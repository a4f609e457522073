"""The stage tree fits on a screen, whatever its size, and every stage is counted in it."""

from __future__ import annotations

import re
from typing import Any

from orchestrator import Stage
from orchestrator.plan import Plan, plan
from orchestrator.sweep import Trial
from orchestrator.tree import tree_lines
from tests.orchestrator.fake_trainer import Walk, made_sweep


def chains(rounds: int, seeds: int = 1, *, turns: bool = False) -> Plan:
    """A plan of `seeds` chains of so many warm-started rounds; with `turns`, every other round is a fresh start."""
    trials = []
    for seed in range(seeds):
        stage = Stage(Walk(seed=seed))
        for number in range(1, rounds):
            start: Any = "fresh" if turns and number % 2 == 0 else "parent"
            stage = Stage(Walk(seed=seed, round=number, start=start), stage)
        trials.append(Trial({}, seed, [stage]))
    return plan(trials)


def total(lines: list[str]) -> int:
    """How many stages the lines tell of."""
    return sum(int(count.replace(",", "")) for line in lines for count in re.findall(r"([\d,]+) (?:done|to run)", line))


def test_equal_branches_are_one_line() -> None:
    """Ten stages by hand: two shared first rounds with two walks each, and four fresh walks."""
    lines = tree_lines(plan(made_sweep().trials()))

    assert sorted(lines[:2] if "->" not in lines[1] else [lines[0], lines[2]]) == [
        "2 x init=fresh; round=0; lr=0.5; seed=0,1 [2 to run]",
        "4 x init=fresh; round=1; lr=0.1,0.2; seed=0,1 [4 to run]",
    ]
    below = next(line for line in lines if line.startswith("->"))
    assert below == "-> 2 x init=parent; round=1; lr=0.1,0.2; seed=0,1 (4 in all) [4 to run]"
    assert lines.index(below) == 1 + next(i for i, line in enumerate(lines) if "round=0" in line)


def test_what_is_done_is_told_apart() -> None:
    """A resume's cost is what is left, not what there is."""
    trials = made_sweep().trials()
    done = {stage.key for trial in trials for stage in trial.stages if trial.seed == 0}

    lines = tree_lines(plan(trials, done))

    assert sum("2 done, 2 to run" in line for line in lines) == 2
    assert total(lines) == 10


def test_rounds_are_one_line_a_chain() -> None:
    """A hundred rounds of an online protocol would be a hundred lines."""
    lines = tree_lines(chains(100, seeds=5))

    assert lines == [
        "5 x init=fresh; round=0; seed=0-4 [5 to run]",
        "-> 1 x chain of 99: init=parent; round=1-99; seed=0-4 (495 in all) [495 to run]",
    ]


def test_branches_of_other_shapes_are_other_lines() -> None:
    """A trial that is a round short would be hidden behind its neighbours."""
    trials = [*chains(3).trials, Trial({}, 1, [Stage(Walk(seed=1, round=1, start="parent"), Stage(Walk(seed=1)))])]

    lines = tree_lines(plan(trials))

    assert sum(line.startswith("1 x init=fresh") for line in lines) == 2
    assert sum("chain of 2" in line for line in lines) == 1


def test_a_tree_has_no_more_lines_than_asked_for() -> None:
    """Ten thousand stages that are all different must not scroll the plan away."""
    lines = tree_lines(chains(2_000, turns=True), most=20)

    assert len(lines) == 21
    assert lines[-1].startswith("... and 1980 more lines. Fewer: --axis")


def test_many_values_are_told_by_number_and_range() -> None:
    """A line with 40 learning rates is no short form."""
    lines = tree_lines(plan(made_sweep(lr=[i / 100 for i in range(1, 41)]).trials()))

    assert all("lr: 40 values, 0.01 to 0.4" in line for line in lines if "round=1" in line)
