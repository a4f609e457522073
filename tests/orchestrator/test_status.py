"""`warmgrid status` and `plan --tree` in the terminal: a store, a sweep and a stage at a glance, in plain text."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.printing import TOLD, print_status
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.command import IN_PROCESS, Warmgrid
from tests.orchestrator.fake_trainer import Lab, two_rounds

CHILD = two_rounds(0.1, "parent", 0)[0]


@pytest.fixture
def launched(warmgrid: Warmgrid, tmp_path: Path) -> Warmgrid:
    """After a launch in which the walks at 0.2 from parents failed."""
    Lab(tmp_path).spoil("raise", epoch=2, lr=0.2, start="parent")
    warmgrid("launch", "made.py", *IN_PROCESS, "--data-root", str(tmp_path), "--retries", "0")
    return warmgrid


def test_a_sweep_is_told_by_axis(launched: Warmgrid) -> None:
    """Which learning rate failed shows without a query."""
    lines = [line.split() for line in launched("status", "made").out.splitlines()]

    assert ["stages", "by", "axis", "done", "running", "failed", "pending"] in lines
    assert ["lr=0.1", "6", "0", "0", "0"] in lines
    assert ["lr=0.2", "4", "0", "2", "0"] in lines
    assert ["start=parent", "4", "0", "2", "0"] in lines


def test_a_sweep_is_told_with_its_seconds(launched: Warmgrid) -> None:
    """What it has cost, and what sharing was good for."""
    ended = launched("status", "made")
    seen = launched("status", "made", "--json").facts

    assert re.search(r"^0 s of worker time so far; sharing saved 0 s \(2 stages\)$", ended.out, re.MULTILINE)
    assert {"per_axis", "seconds_saved", "seconds_saved_at_end", "seconds_left", "workers"} <= set(seen)


def test_time_left_is_said_while_stages_wait(launched: Warmgrid) -> None:
    """It is the first question of whoever looks."""
    store = Store("warmgrid-store")
    store.files.delete(f"epochs/{CHILD.key}.parquet")

    assert re.search(r"^time left: \d+ s on 1 worker$", launched("status", "made").out, re.MULTILINE)


def test_all_sweeps_are_a_line_each(launched: Warmgrid) -> None:
    """Nobody remembers what was launched into last month's store."""
    lines = [line.split() for line in launched("status").out.splitlines()]

    assert lines == [["sweep", *TOLD], ["made", "8", "0", "2", "0"]]
    assert launched("status", "--json").facts == [{"sweep": "made", "stages": 10, "counts": {"done": 8, "failed": 2}}]


def test_a_sweep_whose_file_is_gone_hides_no_other(launched: Warmgrid, caplog: pytest.LogCaptureFixture) -> None:
    """One tidied-up folder must not keep the others from view."""
    Path("made.py").rename("other.py")
    launched("launch", "other.py", *IN_PROCESS)

    ended = launched("status", "--json")

    assert [(one["sweep"], one["stages"]) for one in ended.facts] == [("made", 0), ("other", 10)]
    assert "made.py: no such file" in caplog.text


def test_a_store_without_launches_says_so(warmgrid: Warmgrid) -> None:
    """An empty table looks like a fault."""
    Store("warmgrid-store").check_format()

    assert "no sweep was launched into this store yet" in warmgrid("status").out


def test_a_stage_is_told_by_the_beginning_of_its_key(launched: Warmgrid) -> None:
    """Settings, family, a chart and the log, on one screen."""
    out = launched("status", CHILD.key[:8]).out

    assert out.startswith(f"stage {CHILD.key}: done, is trained and committed\n")
    assert re.search(r"^  lr +0.1$", out, re.MULTILINE)
    assert re.search(rf"^  {CHILD.parent.key} done, test accuracy 0.2500: data=made", out, re.MULTILINE)
    assert re.search(r"^test_accuracy by epoch, 1 to 3\n  0.25 \|█+$", out, re.MULTILINE)
    assert re.search(r"^  \S+ \S+Z done after 3 epochs", out, re.MULTILINE)


def test_a_failed_stage_is_told_with_its_traceback(launched: Warmgrid) -> None:
    """It is why one asks."""
    out = launched("status", two_rounds(0.2, "parent", 0)[0].key).out

    assert "error: ValueError: made to fail at this place" in out
    assert re.search(r'^    File ".*fake_trainer.py"', out, re.MULTILINE)
    assert "test_accuracy by epoch" not in out


def test_a_stage_is_told_to_programs(launched: Warmgrid) -> None:
    """The whole log and curve, too."""
    seen = launched("status", CHILD.key, "--json").facts

    assert (seen["key"], len(seen["curve"])) == (CHILD.key, 3)
    assert len(seen["log"]) == len(["begins", "parent", "epoch 1", "epoch 2", "epoch 3", "done"])


@pytest.mark.parametrize("words", [("status", "--seeds", "0"), ("status", CHILD.key, "--axis", "lr=0.1")])
def test_options_that_choose_launches_need_a_sweep(launched: Warmgrid, words: tuple[str, ...]) -> None:
    """An option that does nothing is a wrong answer."""
    ended = launched(*words)

    assert ended.code == 2
    assert "choose launches of a sweep: name it" in ended.err


def test_a_stores_texts_cannot_move_the_cursor(launched: Warmgrid) -> None:
    """A store from elsewhere is hostile until proven otherwise."""
    store = Store("warmgrid-store")
    store.keep_log(CHILD.key, ["2026-01-01 00:00:00Z \x1b[2Jgone"])

    out = launched("status", CHILD.key).out
    assert "\\x1b[2Jgone" in out
    assert "\x1b" not in out


def test_a_stores_texts_cannot_move_the_cursor_in_messages(launched: Warmgrid) -> None:
    """A launch that a store remembers names a file, and a file's name may be anything."""
    (recipe,) = Path("warmgrid-store/launches/made").iterdir()
    text = json.dumps({**json.loads(recipe.read_text()), "source": "/\x1b[2Jgone.py"}, sort_keys=True, indent=1)
    recipe.unlink()
    recipe.with_name(f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json").write_text(text)

    err = launched("status", "made").err
    assert "/\\x1b[2Jgone.py: no such file" in err
    assert "\x1b" not in err


def test_many_messages_are_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep in which each stage fails in its own words would fill screens."""
    one = {"count": 2, "key": "k", "stages": []}
    nothing: dict[str, Any] = dict.fromkeys(("seconds_saved_at_end", "seconds_left", "workers"))
    facts = {"sweep": "made", "stages": 0, "store": "s", "counts": {}, "per_axis": [], "running": [], "waiting": []}
    facts |= {"attempts": [], "happened": [], "failures": [{**one, "error": f"e{i}"} for i in range(100)]}
    print_status({**facts, **nothing, "seconds_saved": 0.0, "stages_shared": 0, "wall_seconds": 0.0})

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 20
    assert lines[-1] == "failed ... and 176 more, of 88 other messages; all with --json"


def test_a_plan_shows_its_tree(launched: Warmgrid) -> None:
    """What is shared with what, and what is left to do."""
    ended = launched("plan", "made.py", "--tree")

    assert "-> 2 x init=parent; round=1; lr=0.1,0.2; seed=0,1 (4 in all) [2 done, 2 to run]" in ended.out.splitlines()
    assert launched("plan", "made.py", "--tree", "--json").facts["tree"] == ended.out.splitlines()[-3:]


def test_every_status_has_a_column() -> None:
    """A stage that is in no column would be missed by whoever adds them up."""
    assert sorted(map(str, Status)) == sorted(name for names in TOLD.values() for name in names)
