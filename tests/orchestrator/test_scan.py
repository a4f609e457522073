"""A query reads the bytes that it needs, believes none that changed, and sees each stage once, whatever goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import compaction, merged, parts, scan, spans
from orchestrator.columns import names
from orchestrator.errors import ConfigError, StoreError
from orchestrator.folder import FolderFiles
from orchestrator.query import run_all
from orchestrator.scan import Scan
from orchestrator.shelf import Shelf
from orchestrator.store import Store
from tests.orchestrator import made_rows
from tests.orchestrator.made_rows import EPOCHS, filled, key_of, put
from tests.s3 import Fault, Network, answer

LOSSES = "SELECT key, epoch, test_loss FROM epochs ORDER BY key, epoch"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four stages fill a merged file, and two a row group."""
    monkeypatch.setattr(merged, "MOST_NAMES", 4)
    monkeypatch.setattr(compaction, "GROUP_NAMES", 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which bytes of files are read from now on: name and number, in order."""
    found: list[tuple[str, int]] = []
    read, read_parts = FolderFiles.read, FolderFiles.read_parts

    def counted(files: FolderFiles, name: str) -> bytes:
        data = read(files, name)
        found.append((name, len(data)))
        return data

    def counted_parts(files: FolderFiles, name: str, parts: Any) -> list[bytes]:
        data = read_parts(files, name, parts)
        found.extend((name, len(part)) for part in data)
        return data

    monkeypatch.setattr(FolderFiles, "read", counted)
    monkeypatch.setattr(FolderFiles, "read_parts", counted_parts)
    return found


def groups_read(asked: list[tuple[str, int]], table: str) -> int:
    """How many parts of merged files of a table were read, besides the metadata at the end of each."""
    names_ = [name for name, _ in asked if name.startswith(f"merged/{table}")]
    return len(names_) - len(set(names_))


# What is read.


def test_a_column_of_the_stages_is_read_alone(store: Store, few: None, asked: list[tuple[str, int]]) -> None:
    """A scatter of 10,000 models needs four of sixty columns, and the configs are most of the bytes."""
    filled(store, range(4))
    store.compact()
    asked.clear()

    assert len(store.sql("SELECT test_accuracy FROM stages")) == 4

    assert groups_read(asked, "stages") == 2
    assert not [name for name, _ in asked if name.startswith("merged/epochs")]


@pytest.mark.parametrize(
    "condition",
    [
        "key = '{key}'",
        "key = '{key}' AND epoch <= 2",
        "key IN ('{key}', 'none')",
        "epoch BETWEEN 1 AND 2 AND key = '{key}'",
    ],
)
def test_one_learning_curve_is_read_from_its_row_group(
    store: Store, few: None, asked: list[tuple[str, int]], condition: str
) -> None:
    """One curve of 100,000 must not cost a reading of all."""
    filled(store, range(12))
    store.compact()
    asked.clear()

    rows = store.sql(f"SELECT test_loss FROM epochs WHERE {condition.format(key=key_of(5))}").to_pydict()

    assert rows["test_loss"][:2] == [5.0, 5 + 1 / 3]
    assert groups_read(asked, "epochs") <= 2  # the loss, and the epoch where that is asked for


def test_the_key_of_a_row_is_not_read(store: Store, few: None, asked: list[tuple[str, int]]) -> None:
    """It is in the metadata already, and would be the largest column of all."""
    keys = filled(store, range(4))
    store.compact()
    asked.clear()

    counted = store.sql("SELECT key, count(*) AS n FROM epochs GROUP BY key").to_pylist()

    assert {row["key"]: row["n"] for row in counted} == dict.fromkeys(keys, EPOCHS)
    assert groups_read(asked, "epochs") == 0


def test_metadata_are_read_once_by_a_store(store: Store, few: None, asked: list[tuple[str, int]]) -> None:
    """A page that asks every second must not read them every second."""
    filled(store, range(8))
    store.compact()
    before = store.sql(LOSSES)
    asked.clear()

    assert store.sql(LOSSES) == before
    read = [name for name, _ in asked if name.startswith("merged/epochs")]
    assert (len(read), len(set(read))) == (8, 2)  # two columns of two row groups of each file, and no metadata
    assert not [name for name, _ in asked if name.startswith("merged/stages")]


def test_small_files_of_stages_are_read_once_for_all_statements(store: Store, asked: list[tuple[str, int]]) -> None:
    """A figure asks three times, and 2,000 small files take four seconds each time."""
    filled(store, range(20))
    store.record_failure(key_of(30), {**store.stage_row(key_of(2)), "status": "failed"}, "made")
    asked.clear()

    counts = store.sql_all(["SELECT count(lr) AS n FROM results", "SELECT max(epoch) AS n FROM epochs", "FROM stages"])

    assert [len(counts[0]), counts[1]["n"].to_pylist(), len(counts[2])] == [1, [EPOCHS], 21]
    read = [name for name, _ in asked if name.startswith(("stages/", "failures/"))]
    assert len([name for name in read if name.startswith("stages/")]) == 20


def test_who_asks_for_few_rows_does_not_wait_for_all(store: Store, few: None, asked: list[tuple[str, int]]) -> None:
    """To look at the first ten of 35 million rows is how people begin."""
    filled(store, range(40))
    store.compact()
    reading = Scan(store.files, Shelf(store.files)).epochs(["test_loss"])
    asked.clear()

    assert len(next(reading)) == 2 * EPOCHS

    reading.close()
    assert groups_read(asked, "epochs") < 12  # of 20


def test_memory_holds_a_few_row_groups_at_most() -> None:
    """35 million epochs do not fit, and one at a time would leave a processor idle."""
    begun: list[int] = []
    rows = scan.ahead(lambda number: begun.append(number) or number, range(100))

    for number in range(100):
        assert next(rows) == number
        assert len(begun) <= number + 1 + scan.AHEAD
    assert list(rows) == []


def test_files_of_before_are_read_by_whole_row_groups(
    store: Store, few: None, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their digests cover no less, and one that is sound is read once."""
    filled(store, range(4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged, "CHUNK_DIGITS", 0)
        store.compact()
    asked.clear()

    assert len(store.sql("SELECT test_accuracy FROM stages")) == 4
    sizes = [size for name, size in asked if name.startswith("merged/stages")]
    assert len(sizes) == 3
    assert sum(sizes[1:]) == Shelf(store.files).glances("stages")[0].groups[-1].end


def test_a_bucket_is_asked_for_a_small_part(bucket: str, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in S3 is read through a wire: to fetch all of it for one curve takes minutes, and costs money."""
    monkeypatch.setattr(compaction, "GROUP_NAMES", 2)
    monkeypatch.setattr(made_rows, "EPOCHS", 2000)
    for module, name in ((parts, "LAST"), (spans, "GAP")):  # as small against these files as they are against real ones
        monkeypatch.setattr(module, name, getattr(module, name) // 16)
    store, noise = Store(bucket), random.Random(0)
    measured = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    commit = store.commit
    monkeypatch.setattr(
        store,
        "commit",
        lambda key, row, epochs, state: commit(
            key, row, [{**epoch, **{name: noise.random() for name in measured}} for epoch in epochs], state
        ),
    )
    filled(store, range(12))
    store.compact()
    whole = sum(store.files.size(f"merged/{name}") for name in store.files.list("merged") if "epochs" in name)
    read = {}
    for sql, rows in {
        "SELECT lr, test_accuracy FROM results": 12,
        f"SELECT epoch, test_loss FROM epochs WHERE key = '{key_of(7)}'": 2000,
    }.items():
        before = network.answered
        assert len(Store(bucket).sql(sql)) == rows
        read[sql] = network.answered - before

    assert whole > 700_000
    assert max(read.values()) < whole / 5, (read, whole)


# What is believed.


def test_no_changed_byte_of_what_a_query_reads_is_believed(store: Store, few: None) -> None:
    """A loss that changed by one bit looks like any other; who reads one column must be as safe as who reads all."""
    filled(store, range(4))
    store.compact()
    (name,) = [name for name in store.files.list("merged") if name.startswith("epochs")]
    path, before = Path(store.root, "merged", name), store.sql(LOSSES).to_pylist()
    data, noticed = path.read_bytes(), 0
    for at in range(4, len(data), 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        rows = Store(store.root).sql(LOSSES).to_pylist()
        assert rows in (before, before[: 2 * EPOCHS], before[2 * EPOCHS :], []), at
        noticed += rows != before
        for other in store.files.list("merged"):
            if other.startswith("epochs"):
                store.files.delete(f"merged/{other}")

    assert noticed > 5


@pytest.mark.parametrize("older", [False, True])
def test_a_damaged_column_is_named_and_costs_a_row_group(
    store: Store, few: None, older: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files of before there were digests of columns are covered too."""
    if older:
        monkeypatch.setattr(merged, "CHUNK_DIGITS", 0)
    keys = sorted(filled(store, range(4)))
    store.compact()
    spoil(store, "epochs", "test_loss")

    found = store.sql(LOSSES)["key"].to_pylist()

    assert sorted(set(found)) == keys[2:]
    assert "1 of 2 row groups are damaged: of 4 stages 2 are lost, the others go on in merged/epochs" in caplog.text
    assert Store(store.root).sql(LOSSES)["key"].to_pylist() == found
    assert len(store.files.list("set_aside")) == 2


def spoil(store: Store, table: str, column: str) -> None:
    """Change a byte of a column in the first row group of the only merged file of a table."""
    (name,) = [name for name in store.files.list("merged") if name.startswith(table)]
    (index,) = Shelf(store.files).glances(table)
    place = [one.partition(":")[0] for one in index.columns].index(column)
    begin, end = merged.chunk_span(index.footer.row_group(0).column(place))
    path = Path(store.root, "merged", name)
    data = bytearray(path.read_bytes())
    data[(begin + end) // 2] ^= 4
    path.write_bytes(data)


def test_a_damaged_column_in_a_store_that_cannot_be_written_is_left_out(
    store: Store, few: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The repair fails, and the query must neither believe the damage nor look for ever."""
    keys = sorted(filled(store, range(4)))
    store.compact()
    spoil(store, "stages", "lr")
    refuse = StoreError("no space left")
    monkeypatch.setattr(FolderFiles, "write", lambda *_, **__: (_ for _ in ()).throw(refuse))

    for _ in range(2):
        assert store.sql("SELECT key, lr FROM stages")["key"].to_pylist() == keys[2:]
    assert "no space left" in caplog.text


def test_a_merged_file_of_a_newer_program_is_not_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old program that moves new results away makes somebody train them again."""
    filled(store, range(2))
    store.compact()
    monkeypatch.setattr("orchestrator.schema.VERSION", 0)

    with pytest.raises(ConfigError, match="Install the warmgrid that wrote it"):
        Scan(store.files, Shelf(store.files)).stages(["lr"])
    assert store.files.list("set_aside") == []


def test_what_goes_wrong_while_rows_are_read_is_said_as_it_is(
    bucket: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB's own words for it are about a stream of batches, and tell nobody what to do."""
    store = Store(bucket)
    filled(store, range(2))
    store.compact()
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    refused = Fault(instead=answer("403 Forbidden", body))
    network.fault = lambda request: refused if request.startswith("GET") and "merged/epochs" in request else None

    with pytest.raises(StoreError, match=r"cannot read .*merged/epochs-.*Check AWS_ACCESS_KEY_ID"):
        store.sql(LOSSES)


def test_what_goes_wrong_before_a_statement_is_said_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two launches that list one cell make a query compare results first; that, too, ended in DuckDB's own words."""
    filled(store, range(2))
    for axes in ({}, {"depth": 1}):
        cell = {"sweep": "again", "seed": 0, "round": 0, "key": key_of(1), **axes}
        store.record_launch("again", {"source": "again", "axes": axes}, [cell])
    refuse = StoreError("cannot read it: ask again.")
    monkeypatch.setattr(Scan, "stages", lambda *_: (_ for _ in ()).throw(refuse))

    with pytest.raises(StoreError, match="cannot read it: ask again"):
        store.sql("FROM cells")


# What goes on meanwhile.


@pytest.mark.parametrize("when", range(1, 9))
def test_files_that_are_merged_while_they_are_read_change_nothing(
    store: Store, few: None, when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch merges its files by itself: a curve must not lose points, or have them twice, for that."""
    filled(store, range(6))
    store.compact()
    for number in range(6, 9):
        put(store, number)
    before, count = store.sql(LOSSES), 0

    def merged_meanwhile(read: Callable[..., Any]) -> Callable[..., Any]:
        def merge_first(files: FolderFiles, name: str, *rest: Any) -> Any:
            nonlocal count
            count += name.startswith(("epochs", "merged/epochs"))
            if count == when:
                patch.undo()
                put(store, 9)
                Store(store.root).compact()
            return read(files, name, *rest)

        return merge_first

    with pytest.MonkeyPatch.context() as patch:
        for method in ("read", "read_parts"):
            patch.setattr(FolderFiles, method, merged_meanwhile(getattr(FolderFiles, method)))
        rows = Store(store.root).sql(LOSSES)

    assert count == when
    assert rows == before
    assert store.files.list("epochs") == []


def test_tables_of_one_statement_speak_of_the_same_stages(store: Store) -> None:
    """A stage that ends between two tables would have epochs and no result."""
    filled(store, range(2))
    reading = Scan(store.files, Shelf(store.files))
    put(store, 5)

    assert len(reading.stages(["lr"])) == 2
    assert sum(map(len, reading.epochs(["epoch"]))) == 2 * EPOCHS


def test_statements_of_one_call_speak_of_the_same_stages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report's table and its text must agree."""
    filled(store, range(2))
    stages = Scan.stages

    def and_then_one_ends(reading: Scan, *given: Any) -> Any:
        found = stages(reading, *given)
        put(store, 5)
        return found

    monkeypatch.setattr(Scan, "stages", and_then_one_ends)

    one, other = run_all(store.files, ["SELECT count(*) AS n FROM stages", "SELECT count(*) AS n FROM stages"])

    assert one == other


def test_a_stage_with_a_damaged_row_has_no_epochs(store: Store) -> None:
    """Without its row it is not committed, and will run again."""
    keys = filled(store, range(2))
    store.files.write(f"stages/{keys[0]}.parquet", b"torn")

    assert set(store.sql("SELECT key FROM epochs")["key"].to_pylist()) == {keys[1]}


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_table_has_the_columns_that_are_asked_for_in_their_order(store: Store, is_merged: bool) -> None:
    """DuckDB takes columns by their place: swapped, a loss would be called an accuracy."""
    filled(store, range(3))
    if is_merged:
        store.compact()
    reading = Scan(store.files, Shelf(store.files))
    for table, whole in (("stages", reading.stages), ("epochs", lambda columns: next(reading.epochs(columns)))):
        asked = list(names(table))[::-3]
        assert whole(asked).column_names == asked
