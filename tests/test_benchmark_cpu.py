"""The one benchmark: baselines do the work that ours does, rates count what was trained, goals are judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cpu, cpu_trainer, grids, sharing, tune_loop
from benchmarks.first_step import first_step_seconds
from benchmarks.grids import LARGE, SMALL, TINY, GridRun, settings_of, spread
from benchmarks.tables import Goal, exit_code, ratio
from benchmarks.throughput import MODELS, Ask, Window, flops_of, made_images, measured, meters, together
from orchestrator.plan import plan
from trainers.arrays import read_digits
from trainers.models import MLP
from trainers.optimizers import SGD

TWO_ROUNDS = tune_loop.Settings(seed=0, batch_size=16, lr=0.1, epochs=4, first_batch_size=16, first_lr=0.1)


def asked(loop: Any, **given: Any) -> Ask:
    """A short window of logistic regression."""
    return Ask(loop, "logistic", 64, 128, 0.06, **given)


# The baseline


def test_the_authors_loop_sees_the_images_that_we_see() -> None:
    """A baseline on other inputs would learn something else."""
    import torch

    from benchmarks.authors_loop import Items
    from trainers.splits import normalise

    images = made_images().first(3)
    theirs = torch.stack([Items(images)[place][0] for place in range(3)])
    mine = torch.empty_like(theirs)
    normalise(mine, torch.from_numpy(images.pixels.copy()))

    torch.testing.assert_close(theirs, mine)


def test_the_authors_loop_learns() -> None:
    """A loop that skipped its steps would be a fast baseline, or a slow one that nobody has."""
    import torch

    found = tune_loop.trained(TWO_ROUNDS, torch.device("cpu"))

    assert (found["rounds"], found["epochs"]) == (2, 8)
    assert found["test_accuracy"] > 0.85


def test_the_authors_loop_reads_several_numbers_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each of them waits for the device; that is a part of what is compared."""
    import torch

    from benchmarks.authors_loop import Counts, Items, default_optimizer, loader, network, steps

    read: list[None] = []
    plain = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: (read.append(None), plain(tensor))[1])
    net = network(MLP(), (1, 8, 8), 10, torch.device("cpu"))
    counts = Counts()
    batches = loader(Items(read_digits()), 16, 0, range(40))

    sizes = list(steps(net, batches, default_optimizer(SGD(), net, 0.1), counts))

    assert (sizes, counts.images) == ([16, 16, 8], 40)
    assert len(read) >= 3 * len(sizes)


# Images a second


@pytest.mark.parametrize("loop", ["ours", "authors"])
def test_a_rate_counts_the_images_of_its_window(loop: str) -> None:
    """Images of the warm-up, or of half an epoch, in the wrong place would flatter one side."""
    opened: list[None] = []

    rate = measured(asked(loop), lambda: opened.append(None))

    assert len(opened) == 1
    assert rate.images > 0
    assert rate.images % (128 if loop == "ours" else 64) == 0
    assert 0.05 <= rate.seconds < 10


def test_the_warm_up_is_not_in_the_window() -> None:
    """Its images counted without its seconds would make short windows the fastest."""
    opened: list[None] = []
    window = Window(asked("ours"), lambda: opened.append(None))

    window.end_epoch({}, lambda: pytest.fail("no checkpoint is due"))

    assert (len(opened), window.images) == (1, 0)


def test_a_window_without_a_warm_up_is_opened_first() -> None:
    """Where a step takes 20 s there is time for one."""
    opened: list[None] = []
    window = Window(asked("ours", warm_up=False), lambda: opened.append(None))
    assert len(opened) == 1

    window.end_epoch({}, lambda: pytest.fail("no checkpoint is due"))

    assert (len(opened), window.images) == (1, 128)


def test_ours_is_measured_at_the_precision_that_was_asked_for() -> None:
    """Float32 under the name of bf16 would hide what it costs."""
    assert asked("ours").config().precision == "fp32"
    assert asked("ours", precision="bf16").config().precision == "bf16"


def test_operations_are_those_of_the_layers() -> None:
    """The share of the bound is only as right as they are; forward products by SPEED.md's table."""
    forward = {"logistic": 30_720, "MLP": 318_200}
    first = {"logistic": 30_720, "MLP": 307_200}

    for name, products in forward.items():
        assert flops_of(name) == 2 * (3 * products - first[name])
    assert flops_of("ResNet18 narrow") == pytest.approx(6 * 35.0e6, rel=0.01)


def test_processes_measure_together() -> None:
    """One that starts when the other has ended has a core, and its memory, to itself."""
    with meters(1) as made:
        (speed,) = together(made, "ceiling", precision="fp32", seconds=0.05)

    assert speed > 0.1


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which has torch already."""

    def answers(made: Sequence[None], what: str, **given: Any) -> list[Any]:
        one = {"rate": lambda: asdict(measured(Ask(**given), lambda: None)), "ceiling": lambda: 100.0}
        one["flops"] = lambda: {name: flops_of(name) for name in MODELS}
        return [one[what]() for _ in made]

    @contextmanager
    def none(count: int) -> Iterator[list[None]]:
        yield [None] * count

    monkeypatch.setattr(cpu_trainer, "together", answers)
    monkeypatch.setattr(cpu_trainer, "meters", none)


@pytest.mark.usefixtures("in_process")
def test_the_quick_benchmark_leaves_its_figures_and_its_tables(tmp_path: Path) -> None:
    """Whoever runs it for 15 minutes must find at its end what the README shows."""
    code = cpu.main(["--quick", "--parts", "trainer", "--output", str(tmp_path)])

    facts, text = json.loads((tmp_path / "cpu.json").read_text()), (tmp_path / "cpu.md").read_text()
    assert code == 0
    rates = facts["trainer"]["rates"]["logistic, 128"]
    assert set(rates) == set(cpu_trainer.EVERY)
    assert all(rate > 0 for found in rates.values() for rate in found)
    assert [goal["verdict"] for goal in facts["goals"]][2] == "not measured"
    assert all(f"| {case.name} |" in text for case in cpu_trainer.QUICK_CASES)


def test_every_model_and_batch_size_is_measured() -> None:
    """One that is left out cannot be slow."""
    asked_for = {(model, size) for model in MODELS for size in (16, 32, 64, 128, 512)}

    assert {(case.model, case.batch_size) for case in cpu_trainer.CASES} == asked_for


def test_a_goal_is_judged_round_by_round_by_the_faster_precision() -> None:
    """A slow minute of the machine must touch both sides of a ratio."""
    case = cpu_trainer.Case("logistic", 128, 1280)
    found = cpu_trainer.Found([case])
    rates = {cpu_trainer.ALONE: [100.0, 50.0, 100.0], cpu_trainer.TWO: [1000.0, 500.0, 1100.0]}
    found.rates[case.name] = rates | {cpu_trainer.HALF: [1700.0, 800.0, 1500.0]}

    goal, *others = cpu_trainer.trainer_goals(found)

    assert (goal.reached, goal.verdict) == (16.0, "met")
    assert "bf16" in goal.what
    assert {other.verdict for other in others} == {"not measured"}


# Tables


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal("x", 16, 16.0), "met"),
        (Goal("x", 16, 15.9), "missed"),
        (Goal("s", 0.03, 0.03, at_most=True), "met"),
        (Goal("s", 0.03, 0.031, at_most=True), "missed"),
        (Goal("x", 16, None), "not measured"),
    ],
)
def test_a_goal_says_whether_it_was_reached(goal: Goal, verdict: str) -> None:
    """A miss that reads as met is the worst that a benchmark can do."""
    assert goal.row()[-1] == goal.verdict == verdict
    assert exit_code([goal]) == (verdict == "missed")


def test_ratios_are_of_the_same_round() -> None:
    """A ratio of medians hides that both sides drifted."""
    found = ratio([10, 40, 90], [10, 20, 30])

    assert (found.values, found.text(1)) == ((1, 2, 3), "2.0 [1.0-3.0]")


# Grids


@pytest.mark.parametrize(("grid", "stages", "alone"), [(SMALL, 24, 36), (LARGE, 504, 900)])
def test_grids_are_figure_3s_tree(grid: grids.Grid, stages: int, alone: int) -> None:
    """Another tree shares more or less, and the comparison with Tune with it."""
    planned = grid.planned()

    assert (len(planned.stages), planned.stages_without_sharing) == (stages, alone)


def test_tune_runs_the_trials_that_we_run() -> None:
    """Trials with fewer rounds, or one cell many times, would be another grid."""
    planned = SMALL.planned()

    given = [settings_of(trial, SMALL.epochs) for trial in planned.trials]

    assert len(set(given)) == len(planned.trials) == 20
    assert sum(len(one.rounds) for one in given) == planned.stages_without_sharing
    assert {(one.batch_size, one.lr) for one in given} == {(16, 0.01), (16, 0.1), (64, 0.01), (64, 0.1)}


def test_a_part_of_the_trials_is_spread_over_the_grid() -> None:
    """The first twelve trials all have batches of 16, the slowest."""
    trials = list(range(468))

    assert spread(trials, 12) == list(range(0, 468, 39))  # type: ignore[arg-type, comparison-overlap]
    assert spread(trials, None) == trials  # type: ignore[arg-type, comparison-overlap]


def test_rates_of_a_part_are_those_of_its_trials() -> None:
    """Twelve trials in a minute are no 504 stages in a minute."""
    part = GridRun("Tune", 500, 100, 10, 18, 70.0, 60.0, 50.0, None, None, 80.0, 300.0)

    assert (part.trained_an_hour, part.stages_an_hour) == (18 * 60, 50 * 60)


def test_a_grid_is_launched_and_its_stages_timed() -> None:
    """A launch that failed at once would be the fastest."""
    run = grids.warmgrid(TINY, backend="inprocess")

    assert (run.stages, run.trials_run, run.trained) == (3, 2, 3)
    assert 0 < run.work_s < run.wall_s
    assert 0 < (run.train_s or 0) < run.stage_s
    assert 0 < (run.first_s or 0) < run.wall_s


def test_tune_trains_with_the_authors_loop() -> None:
    """The baseline of the grids, for real: its trials, on Ray."""
    run = grids.tune(tune_loop.REUSED, TINY, 1)

    assert (run.trials, run.trials_run) == (2, 1)
    assert run.trained in (1, 2)
    assert 0 < run.stage_s < run.work_s < run.wall_s


def test_energy_is_of_whole_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cores' own counter is a part of the processor's: both would count twice."""
    for name, microjoules in (("intel-rapl:0", 3e6), ("intel-rapl:0:0", 2e6), ("intel-rapl:1", 4e6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{microjoules:.0f}\n")
    monkeypatch.setattr(grids, "COUNTERS", tmp_path)

    assert (grids.joules(), grids.joules(5.0), grids.joules(9.0)) == (7.0, 2.0, None)


def made_grid(who: str, trained: int, seconds: float) -> list[GridRun]:
    """Half of the trials of a made grid of 20 stages, of ours all."""
    run = 10 if who == grids.OURS else 5
    return [GridRun(who, 20, 10, run, trained, seconds, seconds, 1.0, None, None, 1.0, 1.0)]


def test_the_grids_goal_is_of_stages_that_were_trained() -> None:
    """Tune trains first rounds again; a goal that did not count them would be met by sharing alone."""
    theirs = grids.TUNE[tune_loop.DEFAULTS]
    runs = {
        f"20 stages, {grids.OURS}": made_grid(grids.OURS, 20, 10.0),
        f"20 stages, {theirs}": made_grid(theirs, 18, 90.0),
    }

    goal = cpu.grid_goal(runs)

    assert goal.reached == pytest.approx(2.0 / 0.2)
    assert f"| 20 stages, {theirs} | 5 of 10 | 18 |" in cpu.grids_text(runs)


def test_the_first_step_is_timed_from_the_launch() -> None:
    """What a user waits for before anything is trained."""
    assert 0.5 < first_step_seconds(backend="inprocess") < 60


# Sharing


@pytest.mark.parametrize("name", list(sharing.SHORT))
def test_trials_that_are_apart_have_no_stage_in_common(name: str) -> None:
    """Stages shared by oversight would make sharing look worthless."""
    trials = sharing.short(name, "apart").trials()

    found = plan(trials)

    assert (
        len(found.stages)
        == found.stages_without_sharing
        == plan(sharing.short(name, "shared").trials()).stages_without_sharing
    )
    assert not found.follows


def test_sharing_changes_no_network_and_says_what_it_saves() -> None:
    """A stage that went on from another one's end must be the stage that starts by itself."""
    runs: dict[str, Any] = {
        way: sharing.launched("figure4", way, is_tiny=True, backend="inprocess") for way in sharing.WAYS
    }
    shared, apart = (runs[way][0] for way in sharing.WAYS)

    assert runs["shared"][1] == runs["apart"][1]
    assert len(runs["apart"][1]) == 3
    assert (shared.stages, apart.stages) == (5, 5)
    assert shared.saved_s > 0
    assert apart.saved_s == pytest.approx(0.0, abs=1e-6)
