"""What was logged while a stage ran is there afterwards, in bounds, and nobody else hears more or less for it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from orchestrator.errors import LeaseLost, StoreError
from orchestrator.files import log
from orchestrator.seam import Status
from orchestrator.stage_log import LINES, LONGEST, StageLog, kept_log, listening
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import Killed, Lab, run, two_rounds

STAGE = two_rounds(0.1, "fresh", 0)[0]
KEY = STAGE.key
ROOT = logging.getLogger()


def said(store: Store, key: str = KEY) -> list[str]:
    """The log's lines without their times."""
    return [line.split("Z ", 1)[1] for line in store.log_lines(key)]


@contextmanager
def heard_by(*handlers: logging.Handler) -> Iterator[None]:
    """With these handlers on the root logger and no other; with none, as in a worker's process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROOT, "handlers", list(handlers))
        yield


def test_a_committed_stage_has_a_log(store: Store, lab: Lab) -> None:
    """Begin, every epoch, every checkpoint and the end: what one looks for when a number is odd."""
    run(STAGE, store, lab)

    lines = said(store)
    assert lines[0].startswith("attempt 1 begins, process ")
    assert str(STAGE.config) in lines[0]
    assert [line.split(":")[0] for line in lines[1:-1:2]] == ["epoch 1", "epoch 2", "epoch 3"]
    assert "test_accuracy 0.25" in lines[1]
    assert lines[2:-1:2] == [f"checkpoint after epoch {epoch}" for epoch in (1, 2, 3)]
    assert lines[-1].startswith("done after 3 epochs, ")


def test_a_failed_stage_has_a_log(store: Store, lab: Lab) -> None:
    """Nobody sees a worker's output on a cluster that is gone."""
    lab.spoil("raise", 2)
    run(STAGE, store, lab)

    assert said(store)[-1].startswith("failed after ")
    assert "ValueError: made to fail" in said(store)[-1]


def test_a_stage_that_failed_before_its_first_epoch_says_so(store: Store, lab: Lab) -> None:
    """The number None is no number of epochs."""
    lab.spoil("raise", 1)
    run(STAGE, store, lab)

    assert re.match(r"failed after \d+\.\d s: ", said(store)[-1])


def test_a_stage_that_is_handed_back_has_a_log(store: Store, lab: Lab) -> None:
    """It may go on in a week, on another machine."""
    store.request_stop("t")
    run(STAGE, store, lab)

    assert said(store)[-1] == f"handed back: stage {KEY} stopped after epoch 1"


def test_a_second_attempt_keeps_the_lines_of_the_first(store: Store, lab: Lab) -> None:
    """Why the first one failed is what one wants to know, and its traceback is gone."""
    lab.spoil("raise", 2, times=1)
    for _ in range(2):
        run(STAGE, store, lab)

    lines = said(store)
    assert [line[:16] for line in lines if "begins" in line] == ["attempt 1 begins", "attempt 2 begins"]
    assert "goes on from its own checkpoint" in lines
    assert lines[-1].startswith("done")


def test_the_parent_that_is_read_is_named(store: Store, lab: Lab) -> None:
    """A warm start from the wrong network would show here."""
    child = two_rounds(0.1, "parent", 0)[0]
    for stage in (child.parent, child):
        run(stage, store, lab)

    assert f"reads the final state of its parent, stage {child.parent.key}" in said(store, child.key)


def test_a_log_is_bounded(store: Store) -> None:
    """A library that warns at every step must not fill the store."""
    told = StageLog()
    for number in range(10 * LINES):
        told.say(f"{number} {'x' * 10_000}")
    store.keep_log(KEY, told.lines)

    lines = store.log_lines(KEY)
    assert len(lines) == LINES
    assert lines[-1].split()[2] == str(10 * LINES - 1)
    assert max(map(len, lines)) <= LONGEST + len("2026-01-01 00:00:00Z ")


def test_what_libraries_log_from_info_on_is_kept() -> None:
    """A worker says nothing of itself elsewhere."""
    told, before = StageLog(), (ROOT.level, list(ROOT.handlers))
    with heard_by(), listening(told):
        logging.getLogger("some.library").info("cache at %s", "there")
        logging.getLogger("some.library").debug("too much")
        log.warning("of ours")

    assert [line.split("Z ", 1)[1] for line in told.lines] == [
        "INFO some.library: cache at there",
        "WARNING warmgrid: of ours",
    ]
    assert (ROOT.level, ROOT.handlers) == before


def test_what_a_live_view_has_taken_over_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal our own lines do not reach the root logger."""
    told = StageLog()
    monkeypatch.setattr(log, "propagate", False)
    with heard_by(), listening(told):
        log.warning("of ours")

    assert len(told.lines) == 1


def test_another_handler_hears_no_more_than_before() -> None:
    """A notebook would fill with other libraries' chatter whenever a stage runs."""
    heard = io.StringIO()
    with heard_by(logging.StreamHandler(heard)), listening(StageLog()):
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("trouble")

    assert heard.getvalue() == "trouble\n"


def test_warnings_are_still_printed_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """Python prints them only as long as there is no handler at all."""
    with heard_by(), listening(StageLog()):
        logging.getLogger("some.library").warning("trouble")
        logging.getLogger("some.library").info("chatter")

    assert capsys.readouterr().err == "trouble\n"


@pytest.mark.parametrize("end", [lambda: LeaseLost("gone"), Killed], ids=["lease lost", "killed"])
def test_who_has_lost_the_stage_writes_no_log(store: Store, end: Callable[[], BaseException]) -> None:
    """It would go over the log of the worker that has taken over."""
    with pytest.raises((LeaseLost, Killed)), kept_log(store, KEY, attempts=1):
        raise end()

    assert store.log_lines(KEY) == []


def test_a_full_store_commits_without_a_log(
    store: Store, lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hours of training must not be lost for a text."""
    write = store.files.write

    def full(name: str, data: bytes, *, durable: bool = True) -> None:
        if name.startswith("logs/"):
            raise StoreError("no space")
        write(name, data, durable=durable)

    monkeypatch.setattr(store.files, "write", full)

    assert run(STAGE, store, lab).status is Status.DONE
    assert f"log of stage {KEY} not kept. no space" in caplog.text


def test_a_log_outlives_the_running(store: Store, lab: Lab) -> None:
    """What a launch tidies up is what only a running stage needs."""
    store.check_format()
    run(STAGE, store, lab)
    store.tidy({KEY})
    store.compact()

    assert said(store)[-1].startswith("done")
