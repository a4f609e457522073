"""A sweep is asked by name, condition and columns; what is wrong is told in one line, and nothing breaks out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ask import Condition, Kind, Question, ask, axes_of, statement
from orchestrator.cli_results import COMMANDS
from orchestrator.columns import TABLE_SENTENCES
from orchestrator.errors import ConfigError
from orchestrator.schema import cells_table, to_bytes
from orchestrator.schema_page import described
from orchestrator.store import Store
from tests.orchestrator.asked import made, sweep
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.made_store import fill

AXES = ["init", "batch_size", "lr"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a made-up figure3: 2 seeds x (4 warm starts + 4 random inits), one failed, one diverged.

    And with another sweep, so that one can be taken for the other.
    """
    store = made(tmp_path_factory.mktemp("asked") / "warmgrid-store")
    fill(store, sweep("augmentation"))
    return store


def rows(store: Store, sweep: str | None = "figure3", **question: Any) -> list[dict[str, Any]]:
    """What a question gives, as records."""
    found: list[dict[str, Any]] = ask(store, Question(sweep, **question)).to_pylist()
    return found


def test_a_sweep_shows_what_came_out_and_its_axes(asked: Store) -> None:
    """Sixty columns are no table that anybody reads."""
    table = ask(asked, Question("figure3"))

    assert table.column_names[:3] == ["test_accuracy", "train_seconds", "epochs"]  # what fits into any terminal
    assert sorted(table.column_names[3:-3]) == sorted(AXES)
    assert table.column_names[-3:] == ["seed", "round", "status"]
    assert table.num_rows == 16


def test_the_rows_are_those_of_the_view(asked: Store) -> None:
    """The short way and SQL must never give two numbers for one model."""
    expected = asked.sql("SELECT * FROM results WHERE sweep = 'figure3' AND init = 'warm_start' AND lr < 0.05")

    assert ask(asked, Question("figure3", where="init='warm_start' AND lr<0.05", columns=["all"])).equals(expected)
    assert expected.num_rows == 4


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_puts_the_empty_last(asked: Store, descending: bool) -> None:
    """A failed stage at the top of "best first" is taken for the best."""
    name = "test_accuracy"

    found = [row[name] for row in rows(asked, sort=["-" * descending + name])]

    assert found[-1] is None
    assert found[:-1] == sorted(found[:-1], reverse=descending)


def test_several_columns_sort_one_after_the_other(asked: Store) -> None:
    """The best of each cell is what one looks for."""
    told = rows(asked, where="status = 'done'", sort=["lr", "-test_accuracy"])

    found = [(row["lr"], row["test_accuracy"]) for row in told]
    assert found == sorted(found, key=lambda pair: (pair[0], -pair[1]))


def test_a_limit_takes_the_first(asked: Store) -> None:
    """Twenty lines instead of ten thousand."""
    assert rows(asked, sort=["-test_accuracy"], limit=3) == rows(asked, sort=["-test_accuracy"])[:3]


@pytest.mark.parametrize(("kind", "tail"), [(Kind.RESULTS, ""), (Kind.EPOCHS, ", epoch")])
def test_ties_come_in_the_same_order_every_time(kind: Kind, tail: str) -> None:
    """A table that shuffles itself cannot be compared with yesterday's; DuckDB sorts large ones in several threads."""
    known = ["status", "sweep", "seed", "round", "key", "epoch"][: 5 + bool(tail)]

    sql = statement(Question("s", kind, columns=["key"], sort=["-status"]), known, [], None)

    assert sql.endswith(f'ORDER BY "status" DESC NULLS LAST, key, sweep, seed, round{tail}')


def test_epochs_have_their_settings_beside_them(asked: Store) -> None:
    """A curve is drawn by its setting, and ends where the stage ended."""
    columns, where = ["key", "test_accuracy"], "init = 'warm_start' AND lr = 0.1 AND status = 'done'"

    found = rows(asked, table=Kind.EPOCHS, where=f"{where} AND epoch = 4", columns=columns)

    assert found == rows(asked, where=where, columns=columns, sort=["key"]) != []


def test_an_axis_called_epoch_is_not_taken_for_the_epoch(store: Store) -> None:
    """A curve over its own setting is a vertical line."""
    (key, *_) = (stage.key for stage in fill(store, sweep("augmentation")))
    cells = [{"sweep": "own", "epoch": 77 + seed, "seed": seed, "round": 0, "key": key} for seed in (0, 1)]
    store.files.write("cells/a.parquet", to_bytes(cells_table(cells)))

    table = ask(store, Question("own", Kind.EPOCHS, where="epoch < 77", sort=["epoch"]))

    assert table.column_names.count("epoch") == 1
    assert [(row["epoch"], row["axis_epoch"]) for row in table.to_pylist()] == [
        (epoch, axis) for epoch in (1, 2, 3, 4) for axis in (77, 78)
    ]


def test_epochs_come_whole_and_in_order(asked: Store) -> None:
    """A line through shuffled points is a scribble."""
    found = [(row["key"], row["epoch"]) for row in rows(asked, table=Kind.EPOCHS, columns=["key", "epoch"])]

    assert found == sorted(found)
    assert len(found) == 4 * 15


def test_a_condition_may_ask_other_tables(asked: Store) -> None:
    """Who was ever better than so much is a question about epochs."""
    found = rows(asked, where="key IN (SELECT key FROM epochs WHERE test_accuracy > 0.5)", columns=["test_accuracy"])

    assert len(found) == sum(row["test_accuracy"] > 0.5 for row in rows(asked, where="status = 'done'"))


def test_a_condition_may_have_names_of_its_own(asked: Store) -> None:
    """A function over the measured steps has a name for each; it is no column, and no mistake."""
    where = "len(list_filter(measured_steps, lambda step: step > 10)) > 0 AND seed = 0 AND lr < 0.05"

    assert {row["epoch"] for row in rows(asked, table=Kind.EPOCHS, where=where, columns=["epoch"])} == {2, 3, 4}


def test_a_condition_stays_one_within_the_sweep(asked: Store) -> None:
    """OR binds less than AND: without brackets another sweep's models would be counted."""
    assert {row["sweep"] for row in rows(asked, where="seed = 0 OR true", columns=["sweep"])} == {"figure3"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lr < 0.1; DROP TABLE stages", "more than one condition"),
        ("lr < 0.1; SELECT 1", "more than one condition"),
        ("true UNION SELECT * FROM stages", "more than one condition"),
        ("true ORDER BY lr", "more than one condition"),
        ("true LIMIT 1", "more than one condition"),
        ("true GROUP BY lr", "more than one condition"),
        ("true) OR (true", "syntax error"),
        ("(lr < 0.1", "syntax error"),
        ("init = 'warm", "unterminated"),
        ("", "syntax error"),
        ("lr <", "syntax error"),
        ("lr < $1", "a placeholder"),
        ("lr < ?", "a placeholder"),
        ("key IN (SELECT key FROM '{path}')", "Permission"),
        ("key IN (SELECT content FROM read_text('{path}'))", "Permission"),
        ("lrr < 0.1", "no column 'lrr'; nearest: lr"),
        ("init = warm_start", "Text goes in single quotes: 'warm_start'"),
        ('init = "warm_start"', "Text goes in single quotes: 'warm_start'"),
    ],
)
def test_a_condition_cannot_break_out(asked: Store, tmp_path: Path, where: str, message: str) -> None:
    """It is copied from a colleague's message, and must not read a user's files or change the store."""
    path = tmp_path / "private.csv"
    path.write_text("key\nswordfish\n")

    with pytest.raises(ConfigError, match=message) as caught:
        ask(asked, Question("figure3", where=where.format(path=path)))

    assert "swordfish" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_condition_is_told_as_it_was_understood() -> None:
    """A comment at its end must not swallow the rest of the statement."""
    assert Condition.of("lr < 0.1 -- small").sql == "((lr < 0.1))"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"columns": ["lr", "test_acuracy"]}, "--columns: no column 'test_acuracy'; nearest: test_accuracy"),
        ({"sort": ["-tset_accuracy"]}, "--sort: no column 'tset_accuracy'; nearest: test_accuracy"),
        ({"columns": ["xyzzy"]}, "no column 'xyzzy'. All: warmgrid schema."),
        ({"table": Kind.EPOCHS, "columns": ["wall_seconds"]}, "--columns: no column 'wall_seconds'"),
        ({"columns": "lr"}, r"columns='lr': give a list of names, such as \['lr'\]"),
        ({"sort": "-lr"}, r"sort='-lr': give a list"),
        ({"limit": 0}, "--limit 0: give the most rows"),
        ({"columns": ["all", "lr"]}, "all stands alone"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(asked: Store, question: dict[str, Any], message: str) -> None:
    """Nobody knows sixty names by heart."""
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        rows(asked, **question)


@pytest.mark.parametrize("name", ["figur3", *TABLE_SENTENCES])
def test_a_sweep_that_is_not_there_is_told_with_those_that_are(asked: Store, name: str) -> None:
    """An empty table would be taken for "nothing came out"."""
    with pytest.raises(ConfigError, match=r"no sweep.*figure3"):
        rows(asked, name)


def test_a_sweep_that_has_only_begun_has_no_rows(store: Store) -> None:
    """It is there, and waiting is all there is to do."""
    fill(store, sweep("augmentation"), lambda _: None)

    assert rows(store, "augmentation") == []


@pytest.mark.parametrize("now", ["current_timestamp", "CURRENT_DATE", "now()"])
def test_a_condition_may_ask_for_the_time(asked: Store, now: str) -> None:
    """What came out since yesterday; to SQL's grammar these are columns."""
    found = rows(asked, where=f"finished_at < {now}", columns=["key"])

    assert len(found) == asked.sql("FROM results WHERE sweep = 'figure3' AND finished_at IS NOT NULL").num_rows


@pytest.mark.parametrize("kind", Kind)
def test_a_table_may_be_named_in_text(asked: Store, kind: Kind) -> None:
    """In a notebook nobody imports an enum; rows of the other table would pass for these."""
    assert rows(asked, table=str(kind)) == rows(asked, table=kind)


def test_a_table_of_no_name_is_refused() -> None:
    """As above, for a slip of the pen."""
    with pytest.raises(ConfigError, match=r"no table .epoch.\. Say results or epochs"):
        Question("figure3", table="epoch")  # type: ignore[arg-type]


def test_names_may_be_written_in_any_case(asked: Store) -> None:
    """SQL knows no case, so neither does this."""
    assert len(rows(asked, where="LR < 0.05", columns=["Test_Accuracy"])) == 8


def test_settings_that_differ_within_a_kind_are_shown_in_full(store: Store) -> None:
    """Two shrink-perturbs under one name would be averaged in the reader's head."""
    twice = "ShrinkPerturb(shrink=0.4, perturb=0.1),ShrinkPerturb(shrink=0.6, perturb=0.1)"
    asked = sweep("figure3", f"init=WarmStart(),{twice}")
    fill(store, asked)

    axes = axes_of(store.sql("SELECT * FROM cells"))

    assert "init_text" in axes
    assert not {"init", "shrink", "perturb", "model", "stop"} & set(axes)


def test_an_axis_that_a_setting_brings_elsewhere_is_shown(store: Store) -> None:
    """Figure 6 is about the factor on the weights; without it nine of its rows look alike."""
    fill(store, sweep("figure6", "model=MLP()"))

    found = ask(store, Question("figure6")).select(["shrink", "seed"]).to_pylist()

    assert len({tuple(row.values()) for row in found}) == len(found)


def test_a_store_in_a_bucket_is_asked_the_same(bucket: str, store: Store) -> None:
    """Results of a cluster stay in the bucket, and are looked at from a laptop."""
    far, few = Store(bucket), sweep("augmentation")
    for one in (far, store):
        fill(one, few)

    assert ask(far, Question("augmentation")).equals(ask(store, Question("augmentation")))
    assert described(far, "results") == described(store, "results")


# Whole tables.


@pytest.mark.parametrize("table", TABLE_SENTENCES)
def test_a_whole_table_comes_as_sql_gives_it(asked: Store, table: str) -> None:
    """Two ways to the same numbers must not differ in a row or a type."""
    expected = asked.sql(f"SELECT * FROM {table}")

    assert asked.to_arrow(table).equals(expected)
    assert asked.to_arrow(table, ["key"]).column_names == ["key"]
    assert asked.to_pandas(table, ["key"])["key"].to_list() == expected["key"].to_pylist()


def test_a_frame_can_be_written_into(asked: Store) -> None:
    """The first thing that is done with a frame is to add and mend columns; Arrow's own memory is read-only."""
    frame = asked.to_pandas("epochs", ["key", "epoch", "test_accuracy"])

    frame.loc[0, ["key", "epoch", "test_accuracy"]] = ["mine", 7, 0.25]

    assert frame.loc[0].to_list() == ["mine", 7, 0.25]


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("stage", None, "no table 'stage'"),
        ('x"; DROP', None, 'x"; DROP'),
        ("epochs", ["lr"], "no column 'lr'"),
        ("epochs", "key", "give a list of names"),
    ],
)
def test_what_is_no_table_or_column_is_named(asked: Store, table: str, columns: list[str] | None, message: str) -> None:
    """A name from a script's argument must reach nothing else."""
    with pytest.raises(ConfigError, match=message):
        asked.to_arrow(table, columns)


# The command.


@pytest.fixture
def command(warmgrid: Warmgrid, asked: Store, monkeypatch: pytest.MonkeyPatch) -> Warmgrid:
    """Run a command that finds the store of these tests."""
    monkeypatch.setenv("WARMGRID_STORE", asked.root)
    return warmgrid


def test_the_command_asks_the_same(command: Warmgrid, asked: Store) -> None:
    """What the README shows is what runs."""
    words = ("--where", "init='warm_start' AND lr<0.1", "--columns", "lr,batch_size,test_accuracy")
    ended = command("query", "figure3", *words, "--sort", "-test_accuracy", "--limit", "2", "--json")

    where, columns = "init='warm_start' AND lr<0.1", ["lr", "batch_size", "test_accuracy"]
    assert ended.facts == rows(asked, where=where, columns=columns, sort=["-test_accuracy"], limit=2)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_may_be_left_out_stands_in_one_pair_of_brackets(warmgrid: Warmgrid, name: str) -> None:
    """`[[SWEEP]]` makes one wonder what is to be typed."""
    assert "[[" not in warmgrid(name, "-h").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("SELECT 1", "--limit", "3"), "--limit: not with SQL"),
        (("FROM results", "--where", "true", "--sort", "lr"), "--where, --sort: not with SQL"),
        (("figure3", "--columns", ""), "--columns '': names no column"),
        (("figure3", "--sort", ", "), "--sort ', ': names no column"),
        (("figure3", "--output", "nowhere/x.csv"), "nowhere/x.csv: there is no folder nowhere"),
        (("figure3", "--output", "x.pdf"), "x.pdf: its name does not say in which form"),
        (("figure3", "--output", "x.csv", "--format", "json"), "x.csv: the name says csv, and --format json"),
        (("figure3", "--output", "."), "is a folder"),
        (("figure3", "--json", "--format", "csv"), "--json and --format csv"),
        (("figure3", "--output", "/dev/null", "--format", "csv"), "no ordinary file"),
        (("figure3", "--store", "nothing"), "no store here"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    command: Warmgrid, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    """An hour's query must not end with "no such folder"."""
    before = set(tmp_path.iterdir())

    ended = command("query", *words)

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_the_form_follows_the_name_of_the_file(command: Warmgrid) -> None:
    """A table for people in a file called .csv is read by no program."""
    for name in ("x.csv", "x.json", "x.parquet", "x.txt"):
        assert command("query", "figure3", "--columns", "lr", "--limit", "1", "--output", name).code == 0

    assert Path("x.csv").read_text().splitlines()[0] == "lr"
    assert Path("x.json").read_text().startswith("[")
    assert Path("x.parquet").read_bytes().startswith(b"PAR1")
    assert Path("x.txt").read_text().splitlines()[0].split() == ["lr"]


def test_a_query_that_fails_leaves_the_file_as_it_was(command: Warmgrid, tmp_path: Path) -> None:
    """Yesterday's table is worth more than half of today's."""
    Path("x.csv").write_text("yesterday")

    ended = command("query", "SELECT error('boom') FROM range(1)", "--output", "x.csv")

    assert (ended.code, Path("x.csv").read_text()) == (2, "yesterday")
    assert [path.name for path in tmp_path.glob(".*")] == []
