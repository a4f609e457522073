"""Following a store costs what is new, and ends with what reading it anew would give."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.files import Files
from orchestrator.live import follow
from orchestrator.live.follow import Follower
from orchestrator.small import small_names
from orchestrator.store import Store
from tests.live.conftest import little, made, one_failed
from tests.orchestrator.made_store import commit, fill


class Counted:
    """A store's files that count how often a file is read."""

    def __init__(self, files: Files) -> None:
        self._files, self.reads = files, 0

    def read(self, name: str) -> bytes:
        self.reads += name != "warmgrid.json"
        return self._files.read(name)

    def __getattr__(self, name: str) -> object:
        return getattr(self._files, name)


def test_a_look_at_a_store_without_news_reads_no_file(filled: Store) -> None:
    """A page that is kept open for days over 10,000 stages must cost a look at the names, not at the rows."""
    follower = Follower(filled)
    follower.look()
    counted = Counted(filled.files)
    follower.store.files = follower.shelf.files = counted

    news = follower.look()

    assert (counted.reads, news.fresh, news.is_other) == (0, frozenset(), False)


def test_a_new_stage_is_told_once(store: Store) -> None:
    """A stage that is told twice counts twice; one that is never told is missing from the picture for ever."""
    last = fill(store, little(), lambda stage: made(stage) if stage.parent is None else None)[-1]
    follower = Follower(store)
    follower.look()

    commit(store, last, made(last))

    assert [follower.look().fresh for _ in range(2)] == [{last.key}, frozenset()]
    assert follower.row(last.key)["test_accuracy"] == made(last)["test_accuracy"]


def test_merging_files_is_no_news(filled: Store) -> None:
    """Whoever compacts a store while somebody looks would else let the picture flicker, or lose every dot."""
    follower = Follower(filled)
    before = follower.look().fresh

    filled.compact()
    news = follower.look()

    assert (news.fresh, news.is_other) == (frozenset(), False)
    assert follower.committed.keys() == before


def test_a_compacted_store_is_read_as_one_that_is_not(filled: Store) -> None:
    """A page that is opened after compaction must show the same rows as one that was opened before."""
    before = Follower(filled)
    before.look()

    filled.compact()
    after = Follower(filled)
    after.look()

    assert after.committed == before.committed
    assert len(after.cells) == len(before.cells)


def test_a_row_that_is_set_aside_is_shown_no_more(filled: Store) -> None:
    """A damaged result that stays on the page is believed."""
    follower = Follower(filled)
    key = min(follower.look().fresh)

    filled.files.set_aside(f"stages/{key}.parquet", "damaged")

    assert follower.look().is_other
    assert follower.row(key) is None


def test_a_failed_stage_that_is_done_now_is_no_failure(store: Store) -> None:
    """A page that goes on showing an error that is long mended sends people after it."""
    stages = fill(store, little(), one_failed())
    follower = Follower(store)
    follower.look()
    (key,) = follower.failed
    stage = next(stage for stage in stages if stage.key == key)

    commit(store, stage, made(stage))

    assert follower.look().fresh == {key}
    assert follower.failed == {}
    assert follower.row(key)["status"] == "done"


def test_a_failure_that_a_crash_left_beside_the_result_does_not_count(filled: Store) -> None:
    """A worker that dies just after its commit leaves the error of the attempt before."""
    (row, *_) = filled.sql("SELECT * FROM stages LIMIT 1").to_pylist()

    filled.record_failure(row["key"], {**row, "status": "failed", "error": "before"}, "made")
    follower = Follower(filled)
    follower.look()

    assert (follower.failed, follower.row(row["key"])["status"]) == ({}, "done")


def test_a_stage_that_is_committed_while_its_failure_is_read_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last stages of a sweep are the ones that failed before; half a minute without them looks like a loss."""
    stages = fill(store, little(), one_failed())
    (key,) = small_names(store.files, "failures")
    stage = next(stage for stage in stages if stage.key == key)
    follower = Follower(store)
    monkeypatch.setattr(follow, "small_names", then("failures", lambda: commit(store, stage, made(stage))))

    follower.look()

    assert follower.look().fresh == {key}


def test_files_that_are_merged_while_they_are_read_are_told(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is opened just when the store is compacted would stay empty for half a minute."""
    follower = Follower(filled)
    monkeypatch.setattr(follow, "small_names", then("stages", filled.compact))

    follower.look()
    follower.look()

    assert len(follower.committed) == 16


def then(folder: str, act: Callable[[], object]) -> Callable[[Files, str], set[str]]:
    """`small_names`, after the first of which for `folder` something happens."""
    acts = [act]

    def listed(files: Files, of: str) -> set[str]:
        found = small_names(files, of)
        if of == folder and acts:
            acts.pop()()
        return found

    return listed


def test_a_launch_that_comes_later_is_seen(filled: Store) -> None:
    """Someone who adds seeds to a sweep looks for them on the page that is open."""
    follower = Follower(filled)
    follower.look()

    fill(filled, little().replace({}, [1]), lambda _: None)

    assert follower.look().is_other
    assert {cell["seed"] for cell in follower.cells} == {0, 1}


def test_many_files_are_read_by_and_by(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page over ten thousand small files must show the first ones within a second, not nothing for a minute."""
    monkeypatch.setattr(follow, "MOST_FILES", 5)
    follower = Follower(filled)

    looks = [follower.look() for _ in range(4)]

    assert [len(news.fresh) for news in looks] == [5, 5, 5, 1]
    assert [news.is_more for news in looks] == [True, True, True, False]
