"""A launch runs what the store lacks and nothing else, checks before it writes, and says how it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.errors import ConfigError, DataError, StoreError
from orchestrator.launch import Summary, launch, plan_sweep
from orchestrator.seam import Status
from orchestrator.store import Store
from orchestrator.worker import Report
from tests.orchestrator.fake_trainer import ROOT, Lab, Numbers, Walk, made_sweep, names_of, two_rounds, two_rounds_of
from tests.orchestrator.launches import Watch, contents, go, no_backend, results, stage_keys

STAGES = sorted(stage_keys(made_sweep()))
HEAVY = ("torch", "torchvision", "pandas", "ray", "duckdb", "sklearn", "plotly", "scipy")

# What runs.


def test_a_launch_trains_every_stage_once(store: Store, lab: Lab, straight: list[Any]) -> None:
    """The trials that share a first round must not train it each."""
    watch = Watch()

    summary = go(store, lab, watch=watch)

    assert (summary.exit_code, summary.count(Status.DONE), len(lab.trained), len(set(lab.trained))) == (0, 10, 10, 10)
    assert watch.told == ["begin", *["done"] * 10, "end"]
    assert results(store) == straight


def test_launching_twice_trains_nothing_and_needs_no_backend(store: Store, lab: Lab) -> None:
    """Starting Ray to find that nothing is left would take longer than a user waits."""
    go(store, lab)
    before, watch = contents(store), Watch()

    summary = launch(made_sweep(), store, no_backend, watch, source="made")

    assert (summary.exit_code, summary.plan.done, summary.reports) == (0, 10, [])
    assert watch.told == []
    assert contents(store) == before


def test_a_grown_axis_trains_only_the_new_cells(store: Store, lab: Lab) -> None:
    """Adding a learning rate to a finished grid must cost only that."""
    go(store, lab)
    before = len(lab.trained)

    go(store, lab, made_sweep(lr=[0.1, 0.2, 0.3]))

    assert len(lab.trained[before:]) == 4
    assert all("lr=0.3" in trained for trained in lab.trained[before:])


def test_two_sweeps_train_a_shared_stage_once(store: Store, lab: Lab) -> None:
    """Whatever sweep asks first pays."""
    go(store, lab, made_sweep("one", lr=[0.1]))
    go(store, lab, made_sweep("two", lr=[0.1, 0.2]))

    assert len(set(lab.trained)) == len(lab.trained) == 10
    assert store.sql("SELECT count(*) AS n FROM results GROUP BY sweep ORDER BY n")["n"].to_pylist() == [4, 8]


def test_a_parent_whose_weights_were_lost_runs_again_for_a_new_child(store: Store, lab: Lab) -> None:
    """Else growing a grid would need every weight ever trained."""
    go(store, lab)
    rows = {name: store.files.read(f"stages/{name}") for name in store.files.list("stages")}
    store.files.delete_folder("weights")

    summary = go(store, lab, made_sweep(lr=[0.1, 0.3]))

    assert (summary.exit_code, summary.count(Status.DONE)) == (0, 2 + 4)
    assert {name: store.files.read(f"stages/{name}") for name in rows} == rows


def test_cells_are_recorded_before_anything_runs(store: Store, lab: Lab) -> None:
    """A figure of an unfinished sweep shows what is there."""
    seen = []
    watch = Watch(lambda _: seen.append(store.sql("SELECT count(*) AS n FROM cells")["n"].to_pylist()))

    go(store, lab, watch=watch)

    assert seen == [[8]] * 10


def test_a_launch_tidies_up_after_a_worker_that_died_in_its_commit(store: Store, lab: Lab) -> None:
    """Nobody else would: the stage is never run again."""
    go(store, lab)
    store.note_running(STAGES[0], {})
    store.files.write(f"checkpoints/{STAGES[0]}/00000001", b"")

    go(store, lab)

    assert not store.noted()
    assert not [name for name in names_of(store) if name.startswith("checkpoints")]


# What is checked first.


def test_missing_data_are_found_before_anything_is_written(store: Store, lab: Lab) -> None:
    """Five hundred workers would each find out, and the store would remember a launch that never was."""
    lab.lose_data()

    with pytest.raises(DataError, match="the made numbers are missing"):
        launch(made_sweep(), store, no_backend, Watch(), source="made", options={"data_root": str(lab.folder)})

    assert not Path(store.root).exists()
    assert lab.trained == []


def test_missing_data_leave_an_existing_store_as_it_was(store: Store, lab: Lab) -> None:
    """The grid that is there stays the grid that was asked for."""
    go(store, lab)
    before = contents(store)
    lab.lose_data()

    with pytest.raises(DataError):
        go(store, lab, made_sweep(lr=[0.9]))

    assert contents(store) == before


def test_data_of_finished_stages_need_not_be_there(store: Store, lab: Lab) -> None:
    """Results are asked for on a laptop without the images."""
    go(store, lab)
    lab.lose_data()

    assert go(store, lab).exit_code == 0


def test_workers_elsewhere_look_for_data_themselves(store: Store, lab: Lab) -> None:
    """A cluster's nodes have the images, and the user's laptop has not."""
    lab.lose_data()

    assert go(store, lab, is_local=False).exit_code == 0


def test_each_data_set_is_checked_once(store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading CIFAR for each of five hundred stages would take an hour."""
    checked: list[Any] = []
    monkeypatch.setattr(Numbers, "check", lambda self, root: checked.append((self.size, root)))

    axes = {"data": [Numbers(3), Numbers(4)], "lr": [0.1], "start": ["fresh", "parent"]}
    go(store, lab, Sweep("made up", axes, two_rounds_of, [0, 1], "made"))

    assert checked == [(3, str(lab.folder)), (4, str(lab.folder))]


def test_a_config_that_fits_no_table_is_refused_before_anything_is_written(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in a user's config would show after the first stage's hours of training."""
    columns = Walk.stage_columns
    monkeypatch.setattr(Walk, "stage_columns", lambda self: {**columns(self), "colour": "red", "lr": "fast"})

    with pytest.raises(ConfigError, match=r"Walk\(.*no column 'colour'; lr='fast' is not a number"):
        go(store, lab)

    assert not Path(store.root).exists()


def test_a_store_of_a_later_version_is_refused_and_left_alone(store: Store, lab: Lab) -> None:
    """Planning would set aside all that it cannot read."""
    go(store, lab)
    store.files.write("warmgrid.json", b'{"format": 3}')
    before = contents(store)

    for act in (lambda: go(store, lab), lambda: plan_sweep(made_sweep(), store)):
        with pytest.raises(StoreError, match="Update warmgrid"):
            act()

    assert contents(store) == before


# Failures.


def test_a_failed_stage_blocks_only_its_descendants(store: Store, lab: Lab) -> None:
    """One bad first round must not cost the night's other results."""
    lab.spoil("raise", 1, seed=0, round=0)
    watch = Watch()

    summary = go(store, lab, watch=watch)

    assert (summary.exit_code, summary.count(Status.FAILED), summary.count(Status.DONE)) == (1, 1, 7)
    assert sorted(watch.blocked) == sorted(summary.blocked)
    assert sorted(summary.blocked) == sorted(two_rounds(lr, "parent", 0)[0].key for lr in (0.1, 0.2))


def test_the_next_launch_tries_what_failed_again(store: Store, lab: Lab, straight: list[Any]) -> None:
    """A mended machine or trainer must be all that it takes."""
    lab.spoil("raise", 2, seed=0, round=0)
    go(store, lab)
    lab.mend()

    summary = go(store, lab)

    assert (summary.exit_code, summary.count(Status.DONE)) == (0, 3)
    assert results(store) == straight


def test_a_diverged_parent_has_children(store: Store, lab: Lab) -> None:
    """Divergence is a result; what a child makes of it is one, too."""
    lab.spoil("diverge", 2, seed=0, round=0)

    summary = go(store, lab)

    assert (summary.exit_code, summary.count(Status.DIVERGED), summary.count(Status.DONE)) == (0, 1, 9)


@pytest.mark.parametrize(
    ("statuses", "blocked", "interrupted", "code"),
    [
        ([], [], False, 0),
        ([Status.DONE, Status.DIVERGED], [], False, 0),
        ([Status.DONE, Status.FAILED], [], False, 1),
        ([Status.DONE], ["a"], False, 1),
        ([Status.FAILED, Status.INTERRUPTED], ["a"], True, 75),
    ],
)
def test_the_exit_code_says_how_it_ended(
    statuses: list[Status], blocked: list[str], interrupted: bool, code: int
) -> None:
    """Scripts go on, or try again, by this number."""
    reports = [Report(str(i), status) for i, status in enumerate(statuses)]

    assert Summary(None, reports, blocked, interrupted).exit_code == code


# Cost.


def loaded(sweep_file: Path, store: Store, lab: Lab, command: str) -> list[str]:
    """Which heavy packages a process has loaded after it ran a command."""
    code = (
        "import sys\n"
        "from orchestrator import cli\n"
        f"sys.argv = ['', '{command}', '{sweep_file}', '--store', '{store.root}', '--data-root', '{lab.folder}']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('loaded', *(name for name in {(*HEAVY, 'pyarrow')} if name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1].split()[1:]


def test_a_launch_with_nothing_to_run_loads_nothing_heavy(store: Store, lab: Lab, sweep_file: Path) -> None:
    """It has to end before a user wonders what it does; torch alone takes seconds, and so does Ray."""
    go(store, lab, source=str(sweep_file))

    assert loaded(sweep_file, store, lab, "launch") == ["pyarrow"]


def test_a_plan_of_a_new_store_loads_nothing_at_all(store: Store, lab: Lab, sweep_file: Path) -> None:
    """Looking before one leaps must cost nothing."""
    assert loaded(sweep_file, store, lab, "plan") == []
