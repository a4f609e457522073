"""Compaction changes no row, loses none and doubles none, whoever reads, writes or dies meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator import compaction, folder, merged
from orchestrator.compaction import LEASE, Compaction
from orchestrator.errors import LeaseLost, StoreError
from orchestrator.folder import FolderFiles
from orchestrator.lease import Lease, hold
from orchestrator.merged import MergedName
from orchestrator.seam import Status
from orchestrator.shelf import Shelf
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Killed, Lab, made_sweep, names_of, result, run, two_rounds
from tests.orchestrator.launches import Watch, contents, go, results
from tests.orchestrator.made_rows import EPOCHS, filled, key_of, put, tables

CHILD = two_rounds(lr=0.1, start="parent", seed=0)[0]
PARENT = CHILD.parent


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four stages fill a merged file, and two a row group."""
    monkeypatch.setattr(merged, "MOST_NAMES", 4)
    monkeypatch.setattr(compaction, "GROUP_NAMES", 2)


def merged_names(store: Store, table: str = "") -> list[str]:
    """Names of the merged files."""
    return [name for name in store.files.list("merged") if name.startswith(table)]


def row_files(store: Store) -> list[str]:
    """Names of all files with rows."""
    return [name for name in names_of(store) if name.startswith(("stages/", "epochs/", "cells/", "merged/"))]


# What it does.


def test_every_row_is_what_it_was(store: Store, few: None) -> None:
    """A number that compaction changes is a number nobody measured."""
    keys = filled(store, range(11))
    before = tables(store)

    done = store.compact()

    assert tables(store) == tables(Store(store.root)) == before
    assert Store(store.root).committed() == set(keys)
    assert (done.files_before, done.files_after, done.stages) == (23, 7, 11)
    assert {name.split("/")[0] for name in row_files(store)} == {"merged"}


def test_merged_stages_are_found_one_by_one(store: Store, few: None) -> None:
    """Workers ask for single stages; one that is not found is trained again."""
    keys = filled(store, range(5))
    rows = {key: store.stage_row(key) for key in keys}

    store.compact()

    assert {key: Store(store.root).stage_row(key) for key in keys} == rows
    assert all(store.is_committed(key) for key in keys)
    assert store.load_state(keys[3])["w"].tolist() == [3.5, 3.5]
    assert not store.is_committed("f" * 16)
    assert store.find_row("f" * 16) is None


def test_a_second_compaction_changes_nothing(store: Store, few: None) -> None:
    """It may run as often as somebody likes."""
    filled(store, range(6))
    store.compact()
    before = contents(store)

    store.compact()

    assert contents(store) == before


def test_the_same_rows_become_the_same_bytes(tmp_path: Path, unsynced: None, few: None) -> None:
    """Two stores of one grid can be compared file by file."""
    made = []
    for name in "ab":
        store = Store(str(tmp_path / name))
        filled(store, range(6))
        store.compact()
        made.append({name: data for name, data in contents(store).items() if name.startswith("merged/")})

    assert made[0] == made[1]


def test_full_files_stay_and_the_last_one_grows(store: Store, few: None) -> None:
    """Else each compaction of a grid of days writes all of it again."""
    filled(store, range(6))
    store.compact()
    before = set(merged_names(store))
    for number in (6, 7, 8):
        put(store, number)

    store.compact()

    assert len(before & set(merged_names(store))) == 3  # a full pair, and the cells
    assert len(merged_names(store, "stages")) == 3
    assert len(store.stages()) == 9


def test_what_makes_no_committed_stage_stays_where_it_is(store: Store, few: None) -> None:
    """Epochs of a stage in mid-commit are about to get their row."""
    filled(store, range(3))
    store.files.delete(f"stages/{key_of(0)}.parquet")
    store.files.delete(f"epochs/{key_of(1)}.parquet")
    store.record_failure(key_of(7), {**store.stage_row(key_of(2)), "status": "failed"}, "made")

    store.compact()

    assert [name for name in row_files(store) if not name.startswith("merged/")] == [
        f"epochs/{key_of(0)}.parquet",
        f"stages/{key_of(1)}.parquet",
    ]
    assert store.files.list("failures") == [f"{key_of(7)}.parquet"]
    assert store.committed() == {key_of(2)}


def test_cells_keep_their_types(store: Store, few: None) -> None:
    """A width of 2 in one sweep is no text because another sweep has a width called two."""
    filled(store, range(1))
    for width in (2, "two", None, 3):
        store.record_launch(
            f"w{width}", {"source": "made"}, [{"sweep": "w", "width": width, "seed": 0, "round": 0, "key": "a"}]
        )
    before = store.sql("FROM cells").to_pylist()

    store.compact()

    assert store.sql("FROM cells").to_pylist() == before
    assert len(merged_names(store, "cells")) == 4
    assert store.files.list("cells") == []


def test_a_compacted_store_says_that_older_versions_cannot_read_it(store: Store) -> None:
    """They would find no stage, and train the whole grid again."""
    filled(store, range(2))
    assert store.files.read("warmgrid.json") == b'{"format": 1}'

    store.compact()

    assert store.files.read("warmgrid.json") == b'{"format": 2}'
    store.files.delete("warmgrid.json")
    store.check_format()
    assert store.files.read("warmgrid.json") == b'{"format": 2}'


def test_a_store_with_nothing_to_merge_is_left_alone(store: Store) -> None:
    """Other versions may go on using it."""
    store.check_format()
    before = contents(store)

    assert store.compact().files_after == 0
    assert contents(store) == before


def test_no_store_is_named(store: Store) -> None:
    """A mistyped path would seem to be done."""
    with pytest.raises(StoreError, match="no store here"):
        store.compact()


def test_other_tools_read_merged_files(store: Store) -> None:
    """Results must be readable where warmgrid is not installed."""
    filled(store, range(5))
    store.compact()

    frame = pd.read_parquet(next(Path(store.root, "merged").glob("stages-*")))

    assert sorted(frame["key"]) == sorted(map(key_of, range(5)))
    assert frame.set_index("key").loc[key_of(3), "lr"] == 3 / 7


# A running launch, and what is committed again.


def test_a_running_launch_is_not_disturbed(store: Store, lab: Lab, straight: list[Any], few: None) -> None:
    """Nobody stops a grid of days to tidy up its files."""
    watch = Watch(lambda _: store.compact())

    assert go(store, lab, watch=watch).exit_code == 0

    store.compact()
    assert [(row, weights) for weights, _, row in results_of(store)] == [(row, w) for w, _, row in straight]
    assert len(store.sql("FROM epochs")) == 30
    assert go(store, lab).plan.to_run == []


def results_of(store: Store) -> list[Any]:
    """As `results`, for a store whose epochs have no files of their own."""
    with pytest.MonkeyPatch.context() as patch:
        read = FolderFiles.read
        patch.setattr(FolderFiles, "read", lambda files, name: b"" if name.startswith("epochs/") else read(files, name))
        return results(store)


def test_launching_again_adds_nothing(store: Store, lab: Lab) -> None:
    """Launching twice equals launching once, compacted or not."""
    go(store, lab)
    store.compact()
    before = row_files(store)

    assert go(store, lab).plan.to_run == []
    assert row_files(store) == before


def test_lost_weights_come_back_and_the_merged_row_stays(store: Store) -> None:
    """The numbers stay those that were published."""
    store.check_format()
    run(PARENT, store)
    row = store.stage_row(PARENT.key)
    store.compact()
    store.files.delete(f"weights/{PARENT.key}.safetensors")

    report = run(PARENT, store)

    assert (report.status, store.stage_row(PARENT.key)) == (Status.DONE, row)
    assert store.files.list("stages") == store.files.list("epochs") == []


def test_other_bits_on_the_second_run_replace_the_merged_row(
    store: Store, lab: Lab, few: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that speaks of other weights than those stored is a false result."""
    filled(store, range(3))
    run(PARENT, store)
    store.compact()
    store.files.delete(f"weights/{PARENT.key}.safetensors")
    lab.spoil("diverge", 2)

    report = run(PARENT, store, lab)

    for _ in range(2):  # before the next compaction and after it
        fresh = Store(store.root)
        assert (report.status, fresh.stage_row(PARENT.key)["epochs"]) == (Status.DIVERGED, 2)
        assert fresh.load_state(PARENT.key)["steps"] == 20
        assert len(fresh.sql(f"FROM epochs WHERE key = '{PARENT.key}'")) == 2
        assert sorted(fresh.stages()["key"].to_pylist()) == sorted([*map(key_of, range(3)), PARENT.key])
        store.compact()
    assert len([name for name in store.files.list("set_aside") if PARENT.key in name]) == 4  # row, epochs, two reasons


def test_a_small_file_that_changed_since_it_was_merged_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the newer result."""
    filled(store, range(2))
    newer = store.files.read(f"stages/{key_of(0)}.parquet") + b"newer"
    write = Compaction._write
    left = [newer]  # once: what is written after the rows were deleted would hide that they were

    def write_and_change(*given: Any) -> None:
        write(*given)
        if left:
            store.files.write(f"stages/{key_of(0)}.parquet", left.pop())

    monkeypatch.setattr(Compaction, "_write", write_and_change)

    store.compact()

    assert store.files.list("stages") == [f"{key_of(0)}.parquet"]


# Others at the same time.


def test_one_compaction_at_a_time(store: Store) -> None:
    """Two would write everything twice."""
    filled(store, range(2))
    before = row_files(store)

    with hold(store.files, LEASE), pytest.raises(StoreError, match="another process compacts this store"):
        store.compact()

    assert row_files(store) == before


def test_a_compaction_that_lost_its_lease_deletes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It slept, another one has taken over, and knows better what is needed."""
    filled(store, range(2))
    before = row_files(store)
    monkeypatch.setattr(Lease, "check", lambda *_, **__: (_ for _ in ()).throw(LeaseLost("made")))

    with pytest.raises(StoreError, match=r"made\. Nothing is lost, and nothing more was merged\. Compact again"):
        store.compact()

    assert row_files(store) == before


def test_a_list_taken_while_files_are_replaced_is_taken_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may show neither the old file nor the new one, and a thousand stages would seem to be lost."""
    filled(store, range(2))
    store.compact()
    whole, lists = store.files.list("merged"), [[whole] for whole in store.files.list("merged")]
    monkeypatch.setattr(FolderFiles, "list", lambda *_: lists.pop() if lists else whole)

    assert len(Shelf(store.files).listed()) == 3


def test_what_was_merged_later_goes_first(store: Store) -> None:
    """A stage that was committed again would keep its first, wrong numbers."""
    names = [MergedName("stages", generation, f"{9 - generation}" * 32) for generation in (2, 3, 1)]
    for name in names:
        store.files.write(name.path, b"")

    assert [name.generation for name in Shelf(store.files).listed()] == [3, 2, 1]


def test_what_is_merged_while_committed_stages_are_read_is_not_missed(store: Store, few: None) -> None:
    """A thousand stages would be counted as missing, and handed out again."""
    keys = filled(store, range(3))
    looking, read = Store(store.root), FolderFiles.read

    def merged_before(files: FolderFiles, name: str) -> bytes:
        if name.startswith("stages/"):
            patch.undo()
            store.compact()
        return read(files, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderFiles, "read", merged_before)
        assert looking.committed() == set(keys)

    assert store.files.list("stages") == []


def test_a_store_in_a_bucket_is_compacted_too(bucket: str, few: None) -> None:
    """Each small file there costs a request of a reader, and money."""
    store = Store(bucket)
    keys = filled(store, range(5))
    before = tables(store)

    done = store.compact()
    put(store, 5)

    assert (done.files_before, done.files_after, done.stages) == (11, 5, 5)
    assert store.files.list("stages") == store.files.list("epochs") == [f"{key_of(5)}.parquet"]
    assert store.compact().stages == 6
    assert store.files.list("stages") == store.files.list("epochs") == store.files.list("leases") == []
    assert Store(bucket).committed() == {*keys, key_of(5)}
    after = tables(Store(bucket))
    assert [row for row in after["stages"] if row["key"] != key_of(5)] == before["stages"]
    assert [row for row in after["epochs"] if row["key"] != key_of(5)] == before["epochs"]
    assert after["cells"] == before["cells"]


def test_a_merged_file_that_goes_while_it_is_read_is_looked_for_again(store: Store, few: None) -> None:
    """Between list and read another compaction may have put its rows elsewhere."""
    keys = filled(store, range(3))
    store.compact()
    asked = []

    def replaced(files: FolderFiles, name: str, parts: Any) -> list[bytes]:
        if name.startswith("merged/stages"):
            asked.append(name)
            if len(asked) == 2:  # first its metadata, then its rows
                put(store, 9)
                Store(store.root).compact()
        return read(files, name, parts)

    read = FolderFiles.read_parts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderFiles, "read_parts", replaced)
        found = Store(store.root).stages()["key"].to_pylist()

    assert found == sorted(keys)  # number 9 came when this reading had begun
    assert asked[0] == asked[1] != asked[2]
    assert not store.files.exists(asked[0])


READER = """
import sys
from collections import Counter
from pathlib import Path
from orchestrator.store import Store
from orchestrator.table import load
from tests.orchestrator.made_rows import EPOCHS, key_of
store = Store(sys.argv[2])
for _ in range(5):
    print("about to read", flush=True)
    least = int(Path(sys.argv[1], "done").read_text())
    stages, cells = load(store.files, "stages"), load(store.files, "cells")
    keys, epochs = set(stages["key"].to_pylist()), Counter(load(store.files, "epochs", stages)["key"].to_pylist())
    assert len(stages) == len(keys) == len(epochs) >= least, (len(stages), len(keys), len(epochs), least)
    assert set(epochs.values()) == {EPOCHS} and len(cells) == 20, (epochs, len(cells))
    assert len(store.committed()) >= least
    assert all(store.is_committed(key_of(i)) and store.find_row(key_of(i)) for i in range(0, least, 7))
"""
COMPACTOR = """
import sys
from pathlib import Path
from orchestrator import compaction, merged
from orchestrator.store import Store
merged.MOST_NAMES, compaction.GROUP_NAMES = 8, 3
while not Path(sys.argv[1], "stop").exists():
    Store(sys.argv[2]).compact()
"""


def test_readers_and_writers_go_on_during_compactions(store: Store, tmp_path: Path) -> None:
    """A stage that a reader sees twice, or not at all, is a wrong mean; one that is overwritten is lost."""
    filled(store, range(20))
    (tmp_path / "done").write_text("20")
    reader, compactor = (
        subprocess.Popen([sys.executable, "-c", code, tmp_path, store.root], cwd=ROOT, stdout=subprocess.PIPE)
        for code in (READER, COMPACTOR)
    )
    number = 20
    for _ in reader.stdout:
        for _ in range(9):
            put(store, number)
            number += 1
        (tmp_path / "now").write_text(str(number))
        (tmp_path / "now").rename(tmp_path / "done")
    (tmp_path / "stop").touch()
    for other in (reader, compactor):
        other.communicate()

    assert (reader.returncode, compactor.returncode) == (0, 0)
    store.compact()
    assert store.committed() == set(map(key_of, range(number)))
    assert len(tables(store)["epochs"]) == number * EPOCHS


def steps_of(act: Callable[[], Any], at: int = -1) -> int:
    """How many steps `act` takes in the store's folder; at step number `at` the process dies."""
    count = 0

    def on_step(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > at >= 0:
            raise Killed  # for good: what would clean up after it is dead too

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "on_step", on_step)
        act()
    return count


def test_a_compaction_that_dies_anywhere_loses_and_doubles_nothing(tmp_path: Path, unsynced: None, few: None) -> None:
    """A kill -9 while files are merged and deleted is the most dangerous one."""
    made = Store(str(tmp_path / "made"))
    filled(made, range(3))
    made.compact()
    for number in range(3, 6):
        put(made, number)
    before = tables(made)
    undisturbed = Store(str(shutil.copytree(made.root, tmp_path / "undisturbed")))
    count = steps_of(undisturbed.compact)
    for at in range(0, count, 6):
        store = Store(str(shutil.copytree(made.root, tmp_path / f"store{at}")))
        with pytest.raises(Killed):
            steps_of(store.compact, at)
        assert tables(Store(store.root)) == before

        Store(store.root).compact()

        assert tables(Store(store.root)) == before
        assert digests(store) == digests(undisturbed)
    assert count > 80


def digests(store: Store) -> list[str]:
    """What says which rows are in which files, merged or not."""
    names = [MergedName.of(name.removeprefix("merged/")) for name in row_files(store) if "/." not in name]
    return sorted(f"{name.table} {name.digest}" if name else "a small file" for name in names)


# Damage.


def flipped(store: Store, name: str, at: int) -> None:
    """Flip one bit."""
    path = Path(store.root, name)
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << at % 8
    path.write_bytes(data)


def test_a_damaged_small_file_is_set_aside_first(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Merged with the others, it would pass for sound."""
    keys = filled(store, range(3))
    flipped(store, f"stages/{keys[1]}.parquet", 5000)

    store.compact()

    assert store.committed() == {keys[0], keys[2]}
    assert f"stages/{keys[1]}.parquet: not a sound Parquet file" in caplog.text
    assert store.files.list("epochs") == [f"{keys[1]}.parquet"]


@pytest.mark.parametrize("table", ["stages", "epochs"])
def test_a_flipped_bit_costs_one_row_group(
    store: Store, few: None, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand stages to train again, for one bit, would be a month."""
    keys = sorted(filled(store, range(4)))
    store.compact()
    (name,) = merged_names(store, table)
    flipped(store, f"merged/{name}", 700)

    rows = tables(store)[table]

    assert {row["key"] for row in rows} == set(keys[2:])
    assert Store(store.root).committed() == set(keys[2:])
    assert "1 of 2 row groups are damaged: of 4 stages 2 are lost, the others go on in merged/" in caplog.text
    assert len(merged_names(store, table)) == 1
    assert not store.files.exists(f"merged/{name}")


@pytest.mark.parametrize("table", ["stages", "epochs"])
def test_what_was_lost_comes_back_and_is_merged_again(
    store: Store, few: None, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After the repair nothing must tell that there was damage."""
    filled(store, range(6))
    before = tables(store)
    store.compact()
    name = merged_names(store, table)[0]
    flipped(store, f"merged/{name}", 700)

    tables(store)  # finds the damage
    lost = {number for number in range(6) if not store.is_committed(key_of(number))}
    store.compact()
    for number in lost:
        put(store, number)
    store.compact()

    assert lost
    assert tables(Store(store.root)) == before
    assert "a small file" not in digests(store)


def test_a_row_whose_epochs_are_lost_is_kept_for_its_next_run(store: Store, few: None) -> None:
    """It says what bits the stage ended with: without it, nobody can tell that the next run ends with the same."""
    keys = filled(store, range(4))
    store.compact()
    rows = {key: store.stage_row(key) for key in keys}
    for name in merged_names(store, "epochs"):
        store.files.delete(f"merged/{name}")

    Store(store.root).compact()

    assert Store(store.root).committed() == set()
    assert {key: Store(store.root).find_row(key) for key in keys} == rows


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda data: data[:-1], lambda data: data[:900], None],
    ids=["empty", "shorter", "torn", "changed"],
)
def test_a_merged_file_without_sound_metadata_is_set_aside_whole(
    store: Store, few: None, damage: Callable[[bytes], bytes] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be trusted must not count, and must not stop a query."""
    keys = filled(store, range(6))
    store.compact()
    name = merged_names(store, "stages")[0]
    path = Path(store.root, "merged", name)
    path.write_bytes(damage(path.read_bytes()) if damage else path.read_bytes()[:-100] + bytes(100))

    left = Store(store.root).stages()["key"].to_pylist()

    assert set(left) < set(keys)
    assert left
    assert "its metadata are torn or changed, so that it cannot be known how many stages it held" in caplog.text
    assert name not in merged_names(store)


def test_no_flipped_bit_of_a_merged_file_goes_unnoticed(store: Store, few: None) -> None:
    """Every byte is covered: a changed number looks like any other."""
    filled(store, range(4))
    store.compact()
    for file in merged_names(store):
        name, data = MergedName.of(file), store.files.read(f"merged/{file}")
        whole = len(merged.index_of(name, data).groups)
        for at in range(0, len(data), 7):
            changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            assert sound_groups(name, changed) < whole, at


def sound_groups(name: MergedName, data: bytes) -> int:
    """How many row groups would count."""
    try:
        return sum(group.is_sound(data) for group in merged.index_of(name, data).groups)
    except StoreError:
        return 0


def test_a_damaged_file_in_a_store_that_cannot_be_written_is_read_as_far_as_it_goes(
    store: Store, few: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Setting it aside without writing what is sound would lose the rest too."""
    keys = sorted(filled(store, range(4)))
    store.compact()
    (name,) = merged_names(store, "stages")
    flipped(store, f"merged/{name}", 700)
    refuse = StoreError("no space left")
    monkeypatch.setattr(FolderFiles, "write", lambda *_, **__: (_ for _ in ()).throw(refuse))

    assert store.stages()["key"].to_pylist() == keys[2:]
    assert merged_names(store, "stages") == [name]
    assert "no space left" in caplog.text


def test_another_programs_files_in_the_folder_are_left_alone(store: Store) -> None:
    """A user's own export there is no damage."""
    filled(store, range(2))
    store.compact()
    store.files.write("merged/stages.parquet", b"mine")

    assert len(Store(store.root).stages()) == 2
    assert store.files.read("merged/stages.parquet") == b"mine"


def test_the_made_sweep_is_what_these_tests_say(store: Store) -> None:
    """The fixtures' own promise: the made sweep has ten stages, and a stage's result is found before compaction."""
    run(PARENT, store)

    assert len({stage.key for trial in made_sweep().trials() for one in trial.stages for stage in one.lineage()}) == 10
    assert result(store, PARENT.key)[2]["status"] == "done"
