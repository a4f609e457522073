"""The sweeps carry all sixteen claims, and each is judged on the columns that its sweep really has."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalogue import find, names
from orchestrator.claims import COUNT, Verdict, verdicts_of
from orchestrator.columns import SETTINGS, STAGES
from orchestrator.figures.results import Results
from orchestrator.sweep import Sweep
from orchestrator.verdict import Outcome

SWEEPS = {name: find(name).sweep for name in names()}
CARRY = {name: sweep for name, sweep in SWEEPS.items() if sweep.claims}
CARRIED = {
    "figure1": {1},
    "table1": {2, 3},
    "figure2": {4},
    "figure3": {5},
    "figure11": {6},
    "figure4": {7},
    "regularization": {8},
    "figure5": {9},
    "figure6": {10},
    "figure7": {11},
    "figure8": {12},
    "noise": {13},
    "partial": {13},
    "last_layer_shrink": {13},
    "figure9": {14},
    "step_shrink": {15},
    "augmentation": {16},
}
MEASURED = ("train_accuracy", "test_accuracy", "weight_correlation")
PLANNED = {column.name for column in STAGES} - set(SETTINGS) - {"key"}


def made(sweep: Sweep) -> Results:
    """Results of every cell of a sweep as the view `results` shows them, with measurements that are made up."""
    rows, stages, epochs = [], {}, {}
    for trial in sweep.trials():
        for stage, cell in zip(trial.stages, trial.rows(sweep.name), strict=True):
            known = {column.name: None for column in STAGES} | stage.config.stage_columns()
            known |= {"key": stage.key, "parent": stage.parent.key if stage.parent else None, "status": "done"}
            known |= {name: 0.5 + len(rows) % 7 / 100 + trial.seed / 1000 for name in MEASURED}
            known["train_seconds"] = 1.0 + len(rows) % 7 + trial.seed
            stages[stage.key] = known
            norms = {"new_gradient_norms": [2.0 + len(rows) % 5], "old_gradient_norms": [1.0]}
            epochs[stage.key] = [{"epoch": number, **norms} for number in range(1, 6)]
            rows.append({**known, **axis_columns(cell)} | {"key": stage.key})
    columns = dict.fromkeys(name for row in rows for name in row)
    return Results(sweep.name, [{name: row.get(name) for name in columns} for row in rows], stages, len(rows), epochs)


def axis_columns(cell: dict[str, Any]) -> dict[str, Any]:
    """A row of `cells` as the view takes it: settings it decides, other axes under a name of their own."""
    renamed = {
        f"axis_{name}" if name in PLANNED and name not in ("seed", "round") else name: value
        for name, value in cell.items()
    }
    return {name: value for name, value in renamed.items() if value is not None or name not in SETTINGS}


@pytest.fixture(scope="module", params=["whole", "small"])
def verdicts(request: pytest.FixtureRequest) -> dict[str, list[Verdict]]:
    """Verdicts on made results of every sweep that has claims, as it is and at its small size, of two seeds."""
    axes = {name: {} if request.param == "whole" else sweep.small for name, sweep in CARRY.items()}
    return {name: verdicts_of(made(sweep.replace(axes[name], [0, 1])), sweep) for name, sweep in CARRY.items()}


def test_every_claim_is_carried_by_its_sweep() -> None:
    """A claim without a sweep is never tested, and the table does not list it."""
    assert {name: {claim.number for claim in sweep.claims} for name, sweep in CARRY.items()} == CARRIED
    assert set().union(*CARRIED.values()) == set(range(1, COUNT + 1))


@pytest.mark.parametrize("name", CARRY)
def test_every_part_finds_its_cells(name: str, verdicts: dict[str, list[Verdict]]) -> None:
    """A misspelt column or init would read "not run" for ever, whatever is run."""
    findings = [finding for one in verdicts[name] for finding in one.findings]

    assert [one.measure for one in findings if one.outcome is Outcome.NOT_RUN or one.seeds < 2] == []


def test_not_a_part_is_without_words(verdicts: dict[str, list[Verdict]]) -> None:
    """What a reader sees must say what was measured, by which rule."""
    for found in verdicts.values():
        for one in found:
            assert one.text
            assert one.source
            assert all(finding.measure and finding.rule for finding in one.findings)


@pytest.mark.parametrize("name", CARRY)
def test_a_sweep_that_never_ran_names_what_it_would_run(name: str) -> None:
    """Listed with its data set and model, a claim can be asked for."""
    found = verdicts_of(Results(name, []), CARRY[name])

    assert all(one.outcome is Outcome.NOT_RUN and one.data and one.model for one in found)


def test_table1_has_the_papers_gaps() -> None:
    """A typing slip would compare our number with another cell's."""
    (claim, *_) = SWEEPS["table1"].claims

    gaps = {tuple(one.cells.columns.values()): one.number for one in claim.parts[0].paper}

    assert gaps["CIFAR10()", "resnet18", "sgd"] == 4.5
    assert gaps["SVHN()", "mlp", "adam"] == 7.3
    assert len(gaps) == 12
