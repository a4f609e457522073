"""What happened in a night is told in a few sentences, nothing twice and nothing left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.happened import is_sound, sentences

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def event(kind: str, minutes: float = 0, **facts: Any) -> dict[str, Any]:
    """Something that happened so many minutes after one o'clock in the night."""
    when = datetime(2026, 5, 4, 1, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    return {"kind": kind, "time": when.isoformat(), **facts}


def told(*events: dict[str, Any], now: datetime = NOW) -> list[str]:
    """The sentences; stages a and b are done since, all others are running."""
    return sentences(events, lambda key: "done" if key in "ab" else "running", now)


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    """Be where it is the same time as everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_a_lost_node_is_one_sentence_with_its_stages() -> None:
    """Its workers' deaths are the same event, and what a user wants to know is whether the stages are safe."""
    deaths = [event("worker_died", 3, key=key, node="n1", name="far") for key in "abc"]
    lost = event("node_lost", 4, node="n1", name="far", keys=["a", "b", "c"], drained=False)

    assert told(*deaths, lost) == ["01:04: node far was lost with 3 stages, tried again (now 2 done, 1 running)"]


def test_other_deaths_on_that_node_are_told() -> None:
    """Those of an hour before were no fault of the node's end."""
    early = event("worker_died", -60, key="a", node="n1", name="far")
    elsewhere = event("worker_died", 4, key="a", node="n2", name="near")
    lost = event("node_lost", 4, node="n1", name="far", keys=["a"], drained=True)

    assert told(early, elsewhere, lost) == [
        "00:00: a worker on far died; its stage was tried again (now 1 done)",
        "01:04: a worker on near died; its stage was tried again (now 1 done)",
        "01:04: node far was taken away with 1 stage, tried again (now 1 done)",
    ]


def test_like_events_are_counted_together() -> None:
    """Two hundred retries for one reason are one line, and each of their stages counts once."""
    retries = [event("retried", minutes, key=key, error="ValueError: x") for minutes, key in enumerate("aabc")]

    assert told(*retries, event("retried", key="d", error="KeyError")) == [
        "01:00 to 01:03: 4 times tried again after ValueError: x (now 2 done, 1 running)",
        "01:00: tried again after KeyError (now 1 running)",
    ]


@pytest.mark.parametrize(
    ("kind", "facts", "says"),
    [
        ("node_added", {"node": "n", "name": "far"}, "node far joined"),
        ("node_draining", {"node": "n", "name": "far"}, "node far was about to be taken away"),
        ("node_lost", {"node": "n", "name": "far", "keys": []}, "node far was lost"),
        ("hung", {"key": "a", "host": "far", "seconds": 9}, "a worker on far made no progress for 9 s"),
        ("answer_lost", {"key": "a"}, "the answer of a worker that had committed was lost"),
        ("handed_back", {"key": "a", "name": "far"}, "a worker on far had to leave, and handed its stage back"),
        ("not_begun", {"key": "a"}, "another one took its place"),
        ("lease lost", {"key": "a"}, "was given to another, and wrote nothing"),
        ("tune_stopped", {"error": "E"}, "Ray Tune stopped and was started again: E"),
        ("out_of_memory", {"key": "a", "gpus": 0.25, "again_gpus": 0.5}, "again with 0.5: --gpus-per-stage 0.5 spares"),
        ("out_of_memory", {"key": "a", "gpus": 1, "again_gpus": None}, "take a smaller batch_size or model"),
        ("something_new", {"key": "a"}, "something_new"),
    ],
)
def test_every_kind_has_its_words(kind: str, facts: dict[str, Any], says: str) -> None:
    """What a later version notes is named at least."""
    (line,) = told(event(kind, **facts))

    assert says in line


def test_another_day_is_said() -> None:
    """A sweep runs for weeks; 01:00 of which night?"""
    assert told(event("node_added", node="n", name="far"), now=NOW + timedelta(days=1))[0].startswith(
        "2026-05-04 01:00"
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"time": "yesterday"},
        {"time": "2026-05-04T01:00:00"},
        {"key": ["a"]},
        {"keys": "a", "kind": "node_lost", "node": "n"},
        {"keys": [["a"]], "kind": "node_lost", "node": "n"},
        {"again_s": "soon"},
        {"error": {}},
        {"kind": "out_of_memory", "gpus": "all"},
    ],
)
def test_what_a_disk_or_a_hand_has_changed_is_not_told(facts: dict[str, Any]) -> None:
    """One flipped bit in a night's notes must not keep `status` from telling the rest."""
    sound = event("retried", key="a", error="E", again_s=1.5)

    assert is_sound(sound)
    assert not is_sound({**sound, **facts})
