"""A report counts what a store holds, once each, and tells nothing about the machine it was made on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator.catalogue import find
from orchestrator.errors import ConfigError, StoreError
from orchestrator.figures.results import Tables, results_of
from orchestrator.report import Report, cost_of, report_of, without_folders
from orchestrator.store import Store, open_store
from orchestrator.sweep import Sweep
from tests.orchestrator.fake_trainer import made_sweep
from tests.orchestrator.made_store import fill


def ours(name: str = "ewc") -> Sweep:
    """A sweep of ours at its small size, one seed."""
    sweep = find(name).sweep
    return sweep.replace(sweep.small, (0,))


def part(report: Report, name: str) -> object:
    """What the report tells of one sweep."""
    return next(one for one in report.parts if one.name == name)


def test_every_sweep_of_the_store_is_told(store: Store, sweep_file: Path) -> None:
    """A sweep that is left out is work that nobody sees."""
    fill(store, ours())
    fill(store, made_sweep(), source=str(sweep_file))

    report = report_of(store)

    assert [one.name for one in report.parts] == ["ewc", "made"]
    assert [one.sweep is not None for one in report.parts] == [True, True]


def test_results_are_those_that_a_figure_reads_alone(store: Store) -> None:
    """The report reads all tables once; its figures must show what `warmgrid figure` shows."""
    fill(store, ours(), lambda stage: None if stage.config.init.kind == "random_init" and stage.config.round else {})

    mine, alone = report_of(store).parts[0].results, results_of(store, "ewc")

    assert mine.missing == alone.missing != ""
    assert (mine.rows, mine.stages, mine.planned) == (alone.rows, alone.stages, alone.planned)
    assert {key: mine.epochs[key] for key in mine.epochs} == {key: alone.epochs[key] for key in alone.epochs}


def test_what_sharing_saved_is_what_the_others_would_have_trained_again(store: Store) -> None:
    """Four walks from two parents of 10 s: 12 stages without sharing, 10 with it."""
    fill(store, made_sweep())

    cost = report_of(store).cost

    assert (cost.stages, cost.spent, cost.saved) == (10, 100.0, 20.0)


def test_sharing_between_sweeps_is_saved_once_for_all(store: Store) -> None:
    """Figure 2's rounds are Figure 7's: the second sweep cost nothing."""
    fill(store, made_sweep())
    fill(store, dataclasses.replace(made_sweep(), name="again"))

    report = report_of(store)

    assert [one.cost.spent for one in report.parts] == [100.0, 100.0]
    assert (report.cost.spent, report.cost.saved) == (100.0, 140.0)


def test_a_failed_stage_saves_nothing() -> None:
    """Its seconds are spent; that it was not tried once for each trial is no gain."""
    stages = {"a": {"parent": None, "wall_seconds": 5.0, "status": "failed"}}

    assert cost_of([frozenset("a"), frozenset("a")], stages, {"a"}).saved == 0


def test_the_way_that_another_stage_had_gone_is_saved_too() -> None:
    """Of a stage of 10 epochs that went on from one of 8, only the last two took its worker's time."""
    made = {"parent": None, "status": "done", "epochs": 8, "wall_seconds": 8.0}
    stages = {"a": made, "b": {**made, "epochs": 10, "continued_from": 8, "wall_seconds": 2.0, "train_seconds": 5.0}}

    cost = cost_of([frozenset("a"), frozenset("b")], stages, {"a", "b"})

    assert (cost.spent, cost.saved) == (10.0, 4.0)


def test_a_lineage_ends_where_a_parent_is_not_there() -> None:
    """A half-finished sweep has children whose parents' rows were set aside."""
    assert Tables(open_store("nowhere"), {}, {}, {"b": {"parent": "a"}}).lineage("b") == ["b"]


def test_a_sweep_whose_file_is_gone_is_drawn_as_a_scatter(store: Store, tmp_path: Path) -> None:
    """Results outlive the file that asked for them."""
    fill(store, made_sweep(), source=str(tmp_path / "lost" / "made.py"))

    (one,) = report_of(store).parts

    assert one.sweep is None
    assert "…/made.py: no such file" in one.note
    assert len(one.figure.draw(one.results).data) > 0


def test_failures_are_told_by_error_without_folders(store: Store) -> None:
    """The same fault 4 times is one fault; where a machine keeps its data is nobody's business."""
    error = "FileNotFoundError: /made/up/data/cifar.bin"
    fill(store, made_sweep(), lambda stage: {"status": "failed", "error": error} if stage.parent else {})

    (failure,) = report_of(store).failures

    assert (failure["count"], failure["error"]) == (4, "FileNotFoundError: …/cifar.bin")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("OSError: '/a/b c/d.bin'", "OSError: '…/b c/d.bin'"),
        (r"C:\Users\me\x.npy is torn", "…/x.npy is torn"),
        ("3/4 of https://host/a/b and a/b/c", "3/4 of https://host/a/b and a/b/c"),
        ("ArrayFile(path='/srv/data/mine.npz')", "ArrayFile(path='…/mine.npz')"),
    ],
)
def test_only_the_last_part_of_a_path_is_told(text: str, told: str) -> None:
    """Shares and addresses stay as they are."""
    assert without_folders(text) == told


def test_claims_of_sweeps_that_were_not_launched_are_not_run(store: Store) -> None:
    """A report that is silent on them would seem to have tested all."""
    fill(store, made_sweep())

    verdicts = report_of(store).verdicts

    assert {verdict.number for verdict in verdicts} == set(range(1, 17))
    assert {str(verdict.outcome) for verdict in verdicts} == {"not run"}


def test_versions_devices_and_hosts_are_counted(store: Store) -> None:
    """Two versions of torch in one table are two experiments; how many machines there were is told, not which."""
    fill(store, made_sweep(), lambda stage: {"torch_version": "9.9", "host": "b"} if stage.parent else {})

    report = report_of(store)

    assert report.versions["torch_version"] == {"2.15.0": 6, "9.9": 4}
    assert report.hosts == 2


def test_a_folder_without_launches_is_named(store: Store) -> None:
    """A mistyped --store must not become an empty report."""
    with pytest.raises(StoreError, match="no store here"):
        report_of(store)
    store.check_format()
    with pytest.raises(ConfigError, match="no sweep was launched"):
        report_of(store)
