"""figure3 is the paper's Figure 3: all batch sizes and learning rates of both rounds, and a plan that shares rounds."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from orchestrator import Stage
from orchestrator.cli import main
from orchestrator.plan import plan
from orchestrator.schedule import Schedule
from sweeps.figure3 import sweep
from tests.orchestrator.trees import Simulation
from trainers.inits import RandomInit, WarmStart

SIZES, RATES = [16, 32, 64, 128], [0.001, 0.01, 0.1]


def test_its_plan_counts_what_is_promised() -> None:
    """504 stages where 900 would run without sharing: the saving is the reason for stages."""
    made = plan(sweep.trials())

    assert (made.cells, len(made.trials), len(made.stages), made.stages_without_sharing) == (156, 468, 504, 900)


def test_the_command_line_counts_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    """An outside check reads these numbers."""
    monkeypatch.setattr(sys, "argv", ["warmgrid", "plan", "figure3", "--json", "--store", f"{tmp_path}/none"])
    with pytest.raises(SystemExit) as ended:
        main()

    assert not ended.value.code
    assert json.loads(capsys.readouterr().out) == {
        "cells": 156,
        "trials": 468,
        "stages": 504,
        "stages_without_sharing": 900,
        "done": 0,
        "to_run": 504,
        "estimated_seconds": None,
        "sharing": {
            "stages_saved": 396,
            "examples": 8_099_910_000,  # of all epochs, at the caps
            "examples_saved": 3_299_868_000,
            "seconds": None,
            "seconds_saved": None,
        },
    }


def test_its_stages_are_36_first_and_468_second_rounds() -> None:
    """12 x 3 shared first rounds, 144 x 3 warm starts, 12 x 3 random inits (Ash & Adams 2020, section 3.1)."""
    configs = [stage.config for stage in plan(sweep.trials()).stages]

    count = Counter((config.round, type(config.init)) for config in configs)

    assert count == {(0, RandomInit): 36, (1, WarmStart): 432, (1, RandomInit): 36}


def test_both_rounds_take_every_batch_size_and_learning_rate() -> None:
    """A combination left out may be the one that closes the gap."""
    stages = [stage for stage in plan(sweep.trials()).stages if stage.parent]
    pairs = {(s.config.batch_size, s.config.lr, s.parent.config.batch_size, s.parent.config.lr) for s in stages}

    assert pairs == {(b, r, first_b, first_r) for b in SIZES for r in RATES for first_b in SIZES for first_r in RATES}


def test_a_random_init_belongs_to_no_first_round() -> None:
    """Its cells name no first-round setting; otherwise each random model would be drawn twelve times."""
    cells = [trial.cell for trial in sweep.trials() if trial.cell["init"] == RandomInit()]

    assert {(cell["first_lr"], cell["first_batch_size"]) for cell in cells} == {(None, None)}
    assert len(cells) == 12 * 3


def test_a_warm_start_has_all_of_its_settings() -> None:
    """A merged warm start would hide a model."""
    cells = [trial.cell for trial in sweep.trials() if trial.cell["init"] == WarmStart()]

    assert all(value is not None for cell in cells for value in cell.values())
    assert len(cells) == 144 * 3


@pytest.mark.parametrize("workers", [2, 16, 64])
def test_its_stages_keep_a_cluster_busy(workers: int) -> None:
    """Within 3 % of what no schedule can beat, though a batch of 16 takes eight times as long as one of 128."""
    stages = plan(sweep.trials()).stages

    def seconds(stage: Stage) -> float:
        return stage.config.work() / stage.config.batch_size

    schedule = Schedule(stages, seconds)
    makespan = Simulation(schedule, seconds, schedule.finish).run(workers).makespan

    chain = max(sum(map(seconds, stage.lineage())) for stage in stages)
    assert makespan <= 1.03 * max(sum(map(seconds, stages)) / workers, chain)
