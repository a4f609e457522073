"""One stage is found by the beginning of its key, and all that the store knows of it is told."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.stage_view import find_key, is_key, stage_view
from orchestrator.store import Store
from orchestrator.worker import Handout, begin
from tests.orchestrator.fake_trainer import Lab, two_rounds
from tests.orchestrator.launches import go

CHILD = two_rounds(0.1, "parent", 0)[0]
PARENT = CHILD.parent
OTHER = two_rounds(0.2, "parent", 0)[0]


@pytest.fixture
def launched(store: Store, lab: Lab) -> Store:
    """A store with the made sweep, of which the second round of one learning rate and seed failed."""
    lab.spoil("raise", 2, lr=0.2, seed=0, start="parent")
    assert go(store, lab).exit_code == 1
    return store


def view(store: Store, stage: Any) -> dict[str, Any]:
    """What is told of `stage`."""
    return stage_view(store, stage.key)


def test_a_done_stage_is_told_with_settings_result_and_place(launched: Store) -> None:
    """What a dot of the scatter stands for."""
    seen = view(launched, CHILD)

    assert (seen["key"], seen["status"]) == (CHILD.key, "done")
    assert (seen["settings"]["lr"], seen["settings"]["init_text"], seen["settings"]["round"]) == (0.1, "parent", 1)
    assert (seen["result"]["test_accuracy"], seen["result"]["epochs"]) == (0.25, 3)
    assert {"host", "device", "attempts", "started_at", "finished_at", "warmgrid_version"} <= set(seen["ran"])
    assert not {value for part in ("settings", "result", "ran") for value in seen[part].values() if value is None}


def test_the_cells_that_report_a_stage_are_told(launched: Store) -> None:
    """Of a stage that many trials share, that is all of them."""
    (cell,) = view(launched, CHILD)["cells"]

    assert cell == {"sweep": "made", "lr": 0.1, "start": "parent", "seed": 0, "round": 1, "key": CHILD.key}
    assert view(launched, PARENT)["cells"] == []


def test_the_family_is_told_oldest_first(launched: Store) -> None:
    """Where the weights came from, and who went on with them."""
    assert [one["key"] for one in view(launched, CHILD)["lineage"]] == [PARENT.key, CHILD.key]
    parent = view(launched, PARENT)
    assert {one["key"]: one["status"] for one in parent["children"]} == {CHILD.key: "done", OTHER.key: "failed"}
    assert [one["key"] for one in parent["lineage"]] == [PARENT.key]
    assert parent["children"][0]["settings"].startswith("data=made, ")


def test_the_curve_has_every_epoch_in_order(launched: Store) -> None:
    """It is drawn as it comes."""
    curve = view(launched, CHILD)["curve"]

    assert [epoch["epoch"] for epoch in curve] == [1, 2, 3]
    assert curve[2] == {**curve[2], "train_accuracy": 0.5, "test_accuracy": 0.25, "train_seconds": 0.75}


def test_a_failed_stage_is_told_with_its_traceback_and_log(launched: Store) -> None:
    """What one needs to mend it, without a look into the store's folder."""
    seen = view(launched, OTHER)

    assert (seen["status"], seen["result"], seen["curve"]) == ("failed", {}, [])
    assert seen["error"] == "ValueError: made to fail at this place"
    assert "fake_trainer.py" in seen["traceback"]
    assert "failed after" in seen["log"][-1]


def test_a_running_stage_is_told_before_it_has_a_row(store: Store, lab: Lab) -> None:
    """Its worker's note says its settings and parent, so that no sweep need be planned for it."""
    store.check_format()
    with store.lock(CHILD.key):
        begin(Handout.of(CHILD), store)
        seen = view(store, CHILD)

    assert seen["status"] == "running"
    assert (seen["settings"]["lr"], seen["settings"]["init_text"]) == (0.1, "parent")
    assert {"host", "pid", "started_at"} <= set(seen["ran"])
    assert [one["key"] for one in seen["lineage"]] == [PARENT.key, CHILD.key]
    assert view(store, CHILD)["status"] == "interrupted"


def test_a_stage_that_waits_is_pending(launched: Store, lab: Lab) -> None:
    """All that is known of it is its cell."""
    launched.files.delete(f"epochs/{CHILD.key}.parquet")

    assert view(launched, CHILD)["status"] == "pending"


def test_a_key_is_found_by_its_beginning(launched: Store) -> None:
    """Sixteen digits are typed by nobody."""
    assert find_key(launched, CHILD.key[:6]) == CHILD.key
    assert find_key(launched, CHILD.key) == CHILD.key


def test_a_beginning_of_several_keys_names_them(launched: Store) -> None:
    """The user picks; a wrong stage's curve would be worse than none."""
    for end in ("01", "02"):
        launched.note_running(f"abcd0000000000{end}", {"attempts": 1})

    with pytest.raises(ConfigError, match="2 stages: abcd000000000001, abcd000000000002"):
        find_key(launched, "abcd")


@pytest.mark.parametrize(("asked", "said"), [("0123456", "no stage whose key begins"), ("abc", "4 to 16 of its hex")])
def test_a_key_that_is_none_is_named(launched: Store, asked: str, said: str) -> None:
    """A slip in a digit must not look like a stage without results."""
    with pytest.raises(ConfigError, match=said):
        find_key(launched, asked)


def test_a_sweep_whose_name_looks_like_a_key_is_a_sweep(launched: Store) -> None:
    """``status face`` of a user's face.py."""
    launched.files.write("launches/face/0.json", b"{}")

    assert not is_key(launched, "face")
    assert is_key(launched, "fade")
    assert not is_key(launched, "figure3")


def test_a_parent_that_is_no_key_is_told_as_it_is(store: Store) -> None:
    """What a damaged note calls a parent is text, and no part of a query."""
    store.check_format()
    note = {"attempts": 1, "wall_seconds": 0.0, "started_at": "2026-01-01T00:00:00+00:00", "parent": "it's"}
    store.note_running("ab" * 8, note)

    lineage = stage_view(store, "ab" * 8)["lineage"]
    assert [(one["key"], one["status"]) for one in lineage] == [("it's", "unknown"), ("ab" * 8, "interrupted")]
