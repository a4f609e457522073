"""The page's server keeps up with a store by itself, rests when nobody looks, and runs nobody's code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.live.follow import Follower
from orchestrator.live.overviews import MOST_LINES, MOST_STAGES, Overviews, shortened
from orchestrator.live.watch import Watch
from orchestrator.store import Store
from tests.live.conftest import little, made, one_failed, until
from tests.orchestrator.made_store import commit, fill

OWN = """
import pathlib
pathlib.Path(__file__).with_name("was_run").touch()
from orchestrator import Sweep
from tests.orchestrator.fake_trainer import two_rounds
sweep = Sweep("made up", {"lr": [0.1], "start": ["fresh", "parent"]}, two_rounds, [0])
"""


def told(watch: Watch, sweep: str = "quickstart", since: int = 0) -> dict[str, Any]:
    """News of a sweep once all of the store was read, and the overview was made."""

    def found() -> dict[str, Any] | None:
        news = watch.news(sweep, watch.news(sweep, "", 0)["life"], since)
        return news if news["is_whole"] and news.get("progress") else None

    return dict(until(found))


def test_a_stage_that_is_committed_is_told(store: Store) -> None:
    """The whole point of a live page."""
    last = fill(store, little(), lambda stage: made(stage) if stage.parent is None else None)[-1]
    with Watch(store.root) as watch:
        before = told(watch)["known"]

        commit(store, last, made(last))

        news = until(lambda: (found := told(watch, since=before))["known"] > before and found)
    assert [entry[1] for entry in news["models"]] == [last.key]


def test_a_store_in_a_bucket_is_shown(bucket: str, unsynced: None) -> None:
    """After the cluster is gone, what it wrote to S3 is looked at from a laptop."""
    store = Store(bucket)
    fill(store, little().replace({"lr": [0.01], "batch_size": [64]}, [0]), made)

    with Watch(bucket) as watch:
        news = told(watch)

    assert (news["counts"], news["progress"]["counts"]) == ({"done": 3}, {"done": 4})


def test_nobody_looks_when_nobody_asks(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page forgotten in a tab, over a bucket, would cost requests for months."""
    looks: list[Follower] = []
    monkeypatch.setattr(Follower, "look", looks.append)

    with Watch(filled.root):
        pass

    assert looks == []


def test_a_store_that_goes_away_is_said_and_comes_back(filled: Store, tmp_path: Path) -> None:
    """A network folder that is away for a minute must not end a page that was kept open for a week."""
    moved = tmp_path / "moved"
    with Watch(filled.root) as watch:
        count = told(watch)["known"]
        shutil.move(filled.root, moved)
        Path(filled.root).write_text("no folder")
        until(lambda: watch.news("quickstart", "", 0)["trouble"])
        Path(filled.root).unlink()
        shutil.move(moved, filled.root)

        until(lambda: not watch.news("quickstart", "", 0)["trouble"])
        until(lambda: watch.news("quickstart", "", 0)["known"] == count)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_that_ends_a_thread_is_said(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that stands still, and says that it is as of now, is believed."""
    monkeypatch.setattr(Overviews, "of", lambda *_: {}["status"])

    with Watch(filled.root) as watch:
        trouble = until(lambda: watch.news("quickstart", "", 0)["trouble"])

    assert "KeyError('status')" in trouble


def test_a_stage_that_descends_from_itself_has_an_end(filled: Store) -> None:
    """A store that somebody made up must not keep a thread of the server, and its memory, for ever."""
    watch = Watch(filled.root)
    rows = {key: {"key": key, "parent": parent} for key, parent in ("ab", "bc", "ca")}
    watch._follower.committed = rows

    assert [row["key"] for row in watch.lineage(rows["a"])[0]] == ["b", "c"]


def test_a_file_that_the_store_names_is_not_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store from somebody else names a path on this machine; opening a page must run nothing there."""
    launched = launched_from(tmp_path, store, monkeypatch)

    with Watch(store.root) as watch:
        note = told(watch, "made")["progress"]["note"]

    assert "is not run" in note
    assert not launched.with_name("was_run").exists()


def test_a_file_that_the_user_names_is_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's own sweep has its progress and claims as ours have."""
    launched = launched_from(tmp_path, store, monkeypatch)

    with Watch(store.root, str(launched)) as watch:
        progress = told(watch, "made")["progress"]

    assert progress["counts"] == {"done": 3}


def launched_from(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, and its sweep in the store; whether it was run since shows in a file beside it."""
    from orchestrator.catalogue import find

    path = folder / "made.py"
    path.write_text(OWN)
    fill(store, find(str(path)).sweep, source=str(path))
    path.with_name("was_run").unlink()
    return path


def test_failures_are_told_without_the_sweeps_file(store: Store) -> None:
    """Somebody else's store: what failed stands in it, whatever file made it."""
    fill(store, little(), one_failed(), source="/gone/quickstart.py")

    with Watch(store.root) as watch:
        progress = told(watch)["progress"]

    assert [(group["count"], len(group["stages"])) for group in progress["failures"]] == [(1, 1)]


def test_time_that_is_no_number_is_told_as_unknown(store: Store) -> None:
    """NaN is no JSON: one such row in a store would leave its page without any news."""
    fill(store, little(), lambda stage: {**made(stage), "wall_seconds": float("nan")})

    with Watch(store.root) as watch:
        progress = told(watch)["progress"]

    json.dumps(progress, allow_nan=False)
    assert progress["wall_seconds"] is None


def test_claims_of_a_foreign_file_are_refused(store: Store) -> None:
    """Judging a claim runs the file that states it."""
    fill(store, little(), made, source="/gone/quickstart.py")

    with Watch(store.root) as watch, pytest.raises(ConfigError, match="is not run"):
        watch.overviews.find("quickstart")


def test_long_lists_are_told_in_short() -> None:
    """A data set that is missing fails ten thousand stages alike; told every two seconds, that is the whole network."""
    stages = [{"key": str(n), "settings": "lr=0.1", "blocks": ["a"] * n} for n in range(1000)]
    failures = [{"error": "gone", "count": 1000, "key": "0", "stages": stages}]

    told_ = shortened(
        {"failures": failures, "running": stages, "happened": [str(n) for n in range(1000)], "events": []}
    )

    assert (len(told_["failures"][0]["stages"]), len(told_["running"])) == (MOST_STAGES, MOST_LINES)
    assert (told_["failures"][0]["count"], told_["failures"][0]["stages"][7]["blocks"]) == (1000, 7)
    assert told_["happened"][-1] == "999"
    assert "events" not in told_
