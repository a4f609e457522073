"""What a sweep is said to cost is what its stages add up to: nothing twice, nothing left out, nothing guessed.

And what stages cost beside their training is measured with all processes that take part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cost import Cost, Group, cost_table, loads, summed
from benchmarks.noop import SWEEP_FILE
from benchmarks.overhead import Failed, Run, measured, table
from orchestrator import catalogue
from orchestrator.backend import InProcessBackend
from orchestrator.launch import launch
from orchestrator.plan import Plan, plan
from orchestrator.store import Store
from tests.orchestrator.launches import Watch
from trainers.inits import Init, RandomInit, WarmStart
from trainers.optimizers import SGD, Adam
from trainers.stopping import Epochs, TrainAccuracy

HALF, WHOLE = 16_666, 33_333  # CIFAR-10 less the held-out third


def planned(name: str, **axes: Sequence[Any]) -> Plan:
    """The stages of one seed of a sweep, with these values in place of its own."""
    return plan(catalogue.find(name).sweep.replace(axes, seeds=[0]).trials())


def speeds(of: Plan, **images_per_s: float) -> Mapping[Group, float]:
    """Made throughput of every group, by the kind of its optimizer."""
    return {load.group: images_per_s[load.group.optimizer] for load in loads(of)}


def cost(name: str, **axes: Sequence[Any]) -> Cost:
    """What that would cost at one image a second, with SGD as with Adam."""
    of = planned(name, **axes)
    return summed(name, of, speeds(of, sgd=1, adam=1))


def test_a_stage_that_goes_on_from_another_counts_only_the_rest() -> None:
    """Figure 4's 70 first rounds are one run of 350 epochs; counted apart they would be 36 runs."""
    found = cost("figure4", first_epochs=[5, 10, 20], stop=[TrainAccuracy(cap=100)])

    assert found.most_examples == pytest.approx(HALF * 20 + 4 * WHOLE * 100)


def test_a_stage_without_epochs_costs_nothing() -> None:
    """Figure 6 measures each network at many factors; its price is that of the few it trains."""
    found = cost("figure6")

    assert (found.training, found.most_examples) == (5, 5 * WHOLE * 500)
    assert found.stages > found.training


def test_every_stage_counts_at_the_throughput_of_its_own_group() -> None:
    """One throughput for all would misprice a grid of batch sizes several times."""
    of = planned("figure1", optimizer=[SGD(), Adam()], stop=[Epochs(10)])

    found = summed("figure1", of, speeds(of, sgd=100, adam=400))

    each = (HALF + 2 * WHOLE) * 10 / 3600
    assert found.most_hours == pytest.approx(each / 100 + each / 400)


@pytest.mark.parametrize(("setting", "values"), [("batch_size", [16, 128]), ("optimizer", [SGD(), Adam()])])
def test_what_decides_throughput_parts_the_groups(setting: str, values: Sequence[Any]) -> None:
    """A group measured at one batch size would stand for another."""
    of = planned("figure1", **{setting: values})

    assert len({load.group for load in loads(of)}) == 2


def test_a_fixed_number_of_epochs_is_both_expected_and_the_most() -> None:
    """There is no doubt about figure 1's 350 epochs."""
    found = cost("figure1")

    assert (found.known, found.expected_hours) == (3, found.most_hours)


@pytest.mark.parametrize(
    ("init", "examples"), [(RandomInit(), WHOLE * 145), (WarmStart(), HALF * 155 + WHOLE * 65)], ids=str
)
def test_the_papers_epochs_are_expected_in_the_papers_setting(init: Init, examples: int) -> None:
    """Half-data run, warm start and random init take unequally long; confused, the budget is wrong by half."""
    found = cost("figure1", init=[init], stop=[TrainAccuracy()])

    assert found.expected_hours * 3600 == pytest.approx(examples)


@pytest.mark.parametrize(
    ("setting", "value"), [("optimizer", Adam()), ("lr", 0.01), ("batch_size", 64), ("stop", TrainAccuracy(0.9))]
)
def test_nothing_is_expected_of_another_setting(setting: str, value: Any) -> None:
    """The paper's epochs say nothing of another optimizer; a number there would be made up."""
    found = cost("figure1", **{"stop": [TrainAccuracy()], setting: [value]})

    assert (found.known, found.expected_text()) == (0, "not known")


def test_a_warm_start_from_a_short_first_round_is_not_the_papers() -> None:
    """Figure 1's 65 epochs follow a half-data run that had converged."""
    found = cost("figure4", first_epochs=[5])

    assert (found.training, found.known) == (3, 2)


def test_the_table_says_which_stages_its_expectation_is_of() -> None:
    """Read as the whole sweep's, the price of two stages would be a fraction of the truth."""
    row = cost_table([Cost("a", 4, 3, 2, 2.5e9, 120.0, 7.0)]).splitlines()[-1]

    assert row == "| a | 4 | 2.50 | 120 | 7.00 for 2 of 3 stages |"


def test_stages_that_train_nothing_are_committed_all_the_same(tmp_path: Path) -> None:
    """Stages that fail at once would make warmgrid look fast."""
    file, store = tmp_path / "overhead.py", Store(str(tmp_path / "store"))
    file.write_text(SWEEP_FILE.format(n=3))

    summary = launch(catalogue.find(str(file)).sweep, store, InProcessBackend, Watch(), source=str(file))

    assert (summary.exit_code, len(summary.reports), store.stages().num_rows) == (0, 3, 3)


def test_a_run_is_measured_with_the_processes_that_it_starts(tmp_path: Path) -> None:
    """A worker's CPU seconds are most of what a stage costs."""
    burn = "import time\nwhile time.process_time() < 1: pass"
    word = f"import subprocess, sys; open('left', 'w').write('1234'); subprocess.run([sys.executable, '-c', {burn!r}])"

    run = measured("made", 1, ["-c", f"import os; os.chdir({str(tmp_path)!r}); {word}"], tmp_path)

    assert (run.files, run.bytes) == (1, 4)
    assert run.cpu_s["daemons"] > 0.2  # looked at twice a second
    assert run.peak_mib > 1


def test_a_run_that_fails_is_no_measurement(tmp_path: Path) -> None:
    """A command that fails at once would be the fastest of all."""
    with pytest.raises(Failed, match="made to fail"):
        measured("made", 1, ["-c", "raise ValueError('made to fail')"], tmp_path)


def test_the_table_of_overheads_says_how_many_were_run() -> None:
    """A cost a stage from 24 trials must not pass for one from 10,000."""
    runs = [Run("made", 4, wall, {"driver": 1, "workers": 2, "daemons": 1}, 5, 8, 4096, 0.5) for wall in (1, 2, 6)]

    head, _, row = table(runs).splitlines()

    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert (cells["n"], cells["rounds"], cells["wall s"]) == ("4", "3", "2.0 [1.0-6.0]")
    assert (cells["CPU ms a stage"], cells["files"], cells["KiB a stage"]) == ("1000.0 [1000.0-1000.0]", "8", "1.0")
