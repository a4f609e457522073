"""What is said of the columns is what the tables have, in the terminal, as JSON and in docs/results.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.columns import TABLE_SENTENCES, TABLES, TYPES
from orchestrator.errors import ConfigError
from orchestrator.schema_page import columns_of, described, renewed
from orchestrator.store import Store
from tests.orchestrator.asked import made, sweep
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.made_store import fill

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize("table", TABLE_SENTENCES)
def test_every_column_is_described_in_its_order_with_its_type(store: Store, table: str) -> None:
    """A column that nobody describes is a number of unknown unit."""
    store.check_format()

    found = store.sql(f"DESCRIBE {table}").to_pylist()

    assert [(c.name, TYPES[c.type][0]) for c in columns_of(table)] == [
        (row["column_name"], row["column_type"]) for row in found
    ]


def test_the_words_of_the_types_are_those_of_the_files() -> None:
    """The page says how a column reads in other tools."""
    from orchestrator.schema import arrow_type

    arrow = {word: str(arrow_type(word)) for word in TYPES}

    assert arrow.pop("time") == "timestamp[us, tz=UTC]"
    assert arrow.pop("numbers") == "list<element: double>"
    said = {"string": "string", "int64": "int64", "double": "float64", "bool": "bool"}
    assert {word: said[type_] for word, type_ in arrow.items()} == {word: TYPES[word][1] for word in arrow}


def test_the_page_is_not_stale() -> None:
    """Run python -m orchestrator.schema_page docs/results.md if this fails."""
    text = PAGE.read_text(encoding="utf-8")

    assert renewed(text) == text


def test_a_page_without_marks_is_refused() -> None:
    """Else the tables would silently not be there."""
    with pytest.raises(ConfigError, match="no marks"):
        renewed("# Results\n")


def test_axes_are_told_with_the_sweeps_that_have_them(store: Store) -> None:
    """An axis of one sweep is null in the others, and nobody knows why."""
    made(Path(store.root))
    fill(store, sweep("augmentation"))

    axes = {one.column: one.sweeps for one in described(store, "results") if one.sweeps}

    assert axes["first_lr"] == ("figure3",)
    assert set(axes["axis_stop"]) == {"augmentation", "figure3"}
    assert "lr" not in axes


def test_the_command_works_without_a_store(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """It is how one learns what there will be."""
    before = set(tmp_path.iterdir())

    text, facts = warmgrid("schema").out, warmgrid("schema", "epochs", "--json").facts

    assert all(f"\n{table}: " in f"\n{text}" for table in TABLE_SENTENCES)
    assert [one["column"] for one in facts] == [column.name for column in TABLES["epochs"]]
    assert facts[1] | {"sentence": ""} == {
        "table": "epochs", "column": "epoch", "type": "integer", "unit": "epochs", "sentence": "", "sweeps": []
    }  # fmt: skip
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [(("stage",), "no table 'stage'; nearest: stages"), (("--store", "nothing"), "no store here")],
)
def test_a_wrong_table_or_store_is_named(warmgrid: Warmgrid, words: tuple[str, ...], message: str) -> None:
    """A store that was asked for and is not there must not be answered in general."""
    ended = warmgrid("schema", *words)

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
