"""Whatever goes wrong in a stage is its own: recorded with its settings, reported in one line, and tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import Stage
from orchestrator.errors import ConfigError, StoreError
from orchestrator.folder import FolderFiles
from orchestrator.seam import StageIO, Status
from orchestrator.store import Store
from orchestrator.worker import Handout, Options, Report, lost_report, run_stage
from tests.orchestrator.fake_trainer import Lab, Walk, run, two_rounds
from tests.orchestrator.odd_trainer import OUTCOME, Odd, run_odd

PARENT = two_rounds(lr=0.1, start="parent", seed=0)[0].parent


def fail(error: BaseException) -> Callable[[StageIO], Any]:
    """A trainer that raises."""

    def act(_io: StageIO) -> Any:
        raise error

    return act


def test_a_trainers_error_is_reported_and_recorded(store: Store, lab: Lab) -> None:
    """Whoever comes back in the morning must find what happened, with the settings."""
    lab.spoil("raise", 2)

    report = run(PARENT, store, lab)

    (row,) = store.stages().to_pylist()
    assert report.status is Status.FAILED
    assert report.error == row["error"] == "ValueError: made to fail at this place"
    assert (row["status"], row["lr"], row["epochs"], row["attempts"]) == ("failed", 0.5, 1, 1)
    text = store.files.read(f"tracebacks/{PARENT.key}.txt").decode()
    assert "in make_trouble" in text
    assert text.endswith("ValueError: made to fail\nat this place\n")


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), OSError("disk"), StoreError("s"), AssertionError()])
def test_whatever_a_trainer_raises_ends_only_its_stage(store: Store, error: BaseException) -> None:
    """One bad cell must not stop a grid of five hundred."""
    report = run_odd(store, fail(error))

    assert report.status is Status.FAILED
    assert type(error).__name__ in report.error


def test_a_node_that_may_not_use_the_store_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its credentials are missing: the stage's report must say which, and the node's worker must not end by it."""
    refuse = ConfigError("--store s3://made: set AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(Store, "lock", lambda *_: (_ for _ in ()).throw(refuse))

    report = run(PARENT, store)

    assert (report.status, report.error) == (Status.FAILED, f"orchestrator.errors.ConfigError: {refuse}")


def test_ctrl_c_is_no_failure(store: Store) -> None:
    """The second Ctrl-C means now; it must not be recorded as the trainer's error."""
    with pytest.raises(KeyboardInterrupt):
        run_odd(store, fail(KeyboardInterrupt()))

    assert store.stages().num_rows == 0
    assert not store.is_held(Stage(Odd()).key)


def noted(error: Exception) -> Exception:
    """`error` with a note, as libraries add them."""
    error.add_note("and a note")
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b\n\nc"), "ValueError: a b c"),
        (ValueError(), "ValueError"),
        (noted(ValueError("a")), "ValueError: a and a note"),
        (ValueError("half \ud800 a pair"), "ValueError: half ? a pair"),
        (ValueError("x" * 10_000), f"ValueError: {'x' * 488}..."),
    ],
)
def test_an_error_becomes_one_line_that_fits_a_table(store: Store, error: Exception, line: str) -> None:
    """Failures are counted by their text and shown in a terminal; a record that cannot be written is none."""
    assert run_odd(store, fail(error)).error == line
    assert store.stages()["error"].to_pylist() == [line]


@pytest.mark.parametrize("answer", [None, {"test_accuracy": 1}, replace(OUTCOME, status=Status.FAILED)])
def test_what_is_no_outcome_is_refused(store: Store, answer: Any) -> None:
    """A trainer's author forgets to return, or returns a failure as a result."""
    report = run_odd(store, lambda _: answer)

    assert "odd_trainer:train gave back" in report.error
    assert store.committed() == set()


@pytest.mark.parametrize("name", ["lr", "seed", "attempts", "config"])
def test_a_trainer_cannot_measure_what_the_config_decides(store: Store, name: str) -> None:
    """A row would say another learning rate than its key."""
    report = run_odd(store, lambda _: replace(OUTCOME, metrics={**OUTCOME.metrics, name: 1}))

    assert f"measured {name}, which is decided before it begins" in report.error


def test_a_metric_without_a_column_is_a_failure(store: Store) -> None:
    """A measurement must not be dropped in silence."""
    report = run_odd(store, lambda _: replace(OUTCOME, metrics={**OUTCOME.metrics, "accuracy": 1.0}))

    assert "it has no column 'accuracy'" in report.error


@pytest.mark.parametrize("path", ["nowhere:train", "tests.orchestrator.fake_trainer:nothing", "tests.orchestrator"])
def test_a_trainer_that_cannot_be_found_is_a_failure(store: Store, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A slip in a user's config must not stop the worker."""
    monkeypatch.setattr(Odd, "trainer", path)

    assert run(Stage(Odd()), store).status is Status.FAILED


def test_a_config_with_a_wrong_column_is_recorded_without_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of a failure must not fail for the same reason."""
    columns = Walk.stage_columns
    monkeypatch.setattr(Odd, "stage_columns", lambda self: {**columns(self), "colour": "red", "lr": "fast"})

    report = run_odd(store, lambda _: OUTCOME)

    assert "it has no column 'colour'; lr='fast' is not a number" in report.error
    (row,) = store.stages().to_pylist()
    assert (row["lr"], row["batch_size"]) == (None, 1)


@pytest.mark.parametrize("folder", ["running", "checkpoints", "weights", "stages"])
def test_a_full_disk_is_a_report(store: Store, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Ray would start a worker that raises again and again, and train the stage each time."""
    put = FolderFiles._put

    def full(self: FolderFiles, name: str, *args: Any, **kwargs: Any) -> bool:
        if name.startswith((folder, "failures")):
            raise StoreError(f"cannot write {name}: No space left on device.")
        return put(self, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FolderFiles, "_put", full)
        report = run(PARENT, store)

    assert (report.status, report.row["lr"]) == (Status.FAILED, 0.5)
    assert f"cannot write {folder}/" in report.error
    assert store.committed() == set()
    assert run(PARENT, store).status is Status.DONE  # as soon as there is room


def lost(stage: Stage, store: Store) -> Report:
    """What the driver makes of a stage whose worker never answered."""
    return lost_report(Handout.of(stage), store, Options("t"), "its worker process died")


def test_a_stage_whose_workers_died_is_recorded_by_the_driver(store: Store, lab: Lab) -> None:
    """Else `status` would say for ever that it is about to go on."""
    lab.spoil("raise", 2)
    run(PARENT, store, lab)  # notes a first attempt

    report = lost(PARENT, store)

    (row,) = store.stages().to_pylist()
    assert (report.status, report.error) == (Status.FAILED, "its worker process died")
    assert (row["error"], row["attempts"], row["lr"]) == ("its worker process died", 1, 0.5)
    assert lost(Stage(Odd()), store).row["attempts"] == 0


def test_a_stage_that_was_committed_before_its_worker_died_is_done(store: Store) -> None:
    """A result that is paid for must not be reported as a failure, nor block its children."""
    first = run(PARENT, store)

    assert lost(PARENT, store) == first


def test_a_worker_that_only_seems_dead_is_left_alone(store: Store) -> None:
    """Its network was away; it may be about to commit."""
    with store.lock(PARENT.key):
        report = lost(PARENT, store)

    assert (report.status, report.row["lr"]) == (Status.FAILED, 0.5)
    assert store.stages().num_rows == 0


def test_a_store_that_cannot_be_told_of_a_dead_worker_says_both(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error out of the driver's bookkeeping would end the whole launch."""
    monkeypatch.setattr(Store, "lock", lambda *_, **__: fail(StoreError("cannot lock"))(store))

    assert lost(PARENT, store).error.startswith("its worker process died (and the store has no record of it: ")


def test_a_worker_that_would_give_another_key_refuses(store: Store) -> None:
    """Its code or data differ from the driver's; the result would be filed under a key that is not its own."""
    handout = replace(Handout.of(PARENT), key="f" * 16)

    report = run_stage(handout, store, Options("t"))

    assert f"stage {'f' * 16} would be {PARENT.key} on this worker" in report.error
    assert store.committed() == set()


def test_a_failure_that_cannot_be_recorded_says_both(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the disk's error would hide the trainer's."""
    monkeypatch.setattr(Store, "record_failure", lambda store, *_: fail(StoreError("cannot write"))(store))

    report = run_odd(store, fail(ValueError("of the trainer")))

    assert report.error.startswith("ValueError: of the trainer (and the store has no record of it: ")
