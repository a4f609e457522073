"""What happened to workers and tries is kept, in order, and costs no launch."""

from __future__ import annotations

import pytest

from orchestrator.errors import StoreError
from orchestrator.folder import FolderFiles
from orchestrator.store import Store


def test_events_come_back_in_order(store: Store) -> None:
    """Whoever comes back in the morning reads what happened in the night."""
    for key in "bac":
        store.note_event("retried", key=key, launch="t", failures=1)

    events = store.events()

    assert [(event["key"], event["kind"], event["launch"]) for event in events] == [(k, "retried", "t") for k in "bac"]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_a_store_without_events_has_none(store: Store) -> None:
    """Most stores."""
    assert store.events() == []


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"kind": "retried"}', b"\xff"])
def test_what_is_no_event_is_set_aside(store: Store, data: bytes) -> None:
    """A torn file must not hide the other ones."""
    store.note_event("retried", key="a")
    store.files.write("events/00000000T000000.000000-00000000.json", data)

    assert [event["key"] for event in store.events()] == ["a"]
    assert len([name for name in store.files.list("set_aside") if not name.endswith(".reason")]) == 1


def test_a_full_store_costs_the_event_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The launch that would tell of a full disk must not end by telling it."""

    def full(*_: object, **__: object) -> None:
        raise StoreError("cannot write: No space left on device.")

    monkeypatch.setattr(FolderFiles, "write", full)

    store.note_event("retried", key="a")

    assert "No space left on device." in caplog.text
    assert "'key': 'a'" in caplog.text
