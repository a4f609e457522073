"""Every command, statement and program in docs/results.md runs, and gives the same with and without warmgrid."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.store import Store
from tests.orchestrator import asked
from tests.orchestrator.command import Warmgrid, run
from tests.orchestrator.made_store import fill

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BARE = "Without warmgrid"
SECTIONS = dict(SECTION.findall(PAGE.read_text(encoding="utf-8")))
BLOCKS = [(name, kind, code) for name, text in SECTIONS.items() for kind, code in BLOCK.findall(text)]
COMMANDS = [line for _, kind, code in BLOCKS if kind == "sh" for line in code.splitlines()]
STATEMENTS = [code for _, kind, code in BLOCKS if kind == "sql"]
PROGRAMS = [code for name, kind, code in BLOCKS if kind == "python" and name != BARE]
FILES, *READERS = [code for name, kind, code in BLOCKS if kind == "python" and name == BARE]
READ = """
import json, os, sys, warnings
import pyarrow
warnings.simplefilter("error")
for name in ("orchestrator", "trainers", "sweeps"):
    sys.modules[name] = None  # importing it is an error now
files, readers, folders = json.load(sys.stdin)

def summary(table):
    kind = type(table).__module__.split(".")[0].lstrip("_")
    arrow = {"pandas": lambda: pyarrow.Table.from_pandas(table), "polars": lambda: table.to_arrow(),
             "pyarrow": lambda: table}.get(kind, lambda: table.to_arrow_table())()
    told = arrow.select([name for name in ("key", "epoch", "test_accuracy") if name in arrow.column_names]).to_pylist()
    is_epochs = "epoch" in arrow.column_names
    rows = sorted([row["key"], row.get("epoch") if is_epochs else 0, row["test_accuracy"]] for row in told)
    single = [row for row, after in zip(rows, [*rows[1:], None]) if row != after]
    return [None if kind == "pyarrow" else len(rows), single]

told = []
for folder in folders:
    os.chdir(folder)
    for code in readers:
        names = {}
        exec(files + code, names)
        told.append({name: summary(names[name]) for name in ("stages", "epochs", "results") if name in names})
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a store of the same results each: in small files, compacted, and half of both with rows twice."""
    folder = tmp_path_factory.mktemp("page")
    found = {}
    for name, place in asked.kinds(folder / "made").items():
        found[name] = folder / name
        found[name].mkdir()
        place.rename(found[name] / "warmgrid-store")
    return found


@pytest.fixture
def warmgrid(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Warmgrid:
    """Run a command beside the store."""
    monkeypatch.setenv("WARMGRID_STORE", str(folders["small"] / "warmgrid-store"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: run(monkeypatch, capsys, *words)


def test_the_page_has_something_of_each_kind() -> None:
    """Else the tests below would pass on an empty page."""
    assert min(len(COMMANDS), len(STATEMENTS), len(PROGRAMS), len(READERS)) > 0
    assert {kind for _, kind, _ in BLOCKS} == {"sh", "sql", "python"}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(warmgrid: Warmgrid, line: str) -> None:
    """What is copied from the page must not fail."""
    name, *words = shlex.split(line)

    ended = warmgrid(*words)

    assert (name, ended.code, ended.err) == ("warmgrid", 0, "")


@pytest.mark.parametrize("sql", STATEMENTS)
def test_every_statement_gives_rows(folders: dict[str, Path], sql: str) -> None:
    """A recipe that answers nothing is none."""
    assert Store(str(folders["small"] / "warmgrid-store")).sql(sql).num_rows > 0


def test_the_mean_over_seeds_is_over_seeds(tmp_path: Path) -> None:
    """Two first learning rates under one name would count as seeds, and make the interval a third too small."""
    store = Store(str(tmp_path / "store"))
    fill(store, asked.sweep("figure3"))

    assert set(store.sql(STATEMENTS[0])["seeds"].to_pylist()) == {2}


@pytest.mark.parametrize("code", PROGRAMS)
def test_every_program_runs(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """What is copied from the page must not fail."""
    monkeypatch.chdir(folders["small"])
    names: dict[str, pd.DataFrame] = {}

    exec(code, names)  # noqa: S102 - our own page

    assert len(names["frame"]) > len(names["best"]) > 0


def test_bare_readers_see_what_warmgrid_sees(folders: dict[str, Path]) -> None:
    """Results must outlive this program: pandas, polars, duckdb and pyarrow read them where it is not installed.

    In every kind of store, also where a compaction was killed and rows are there twice.
    """
    asked_for = json.dumps([FILES, READERS, list(map(str, folders.values()))])

    ended = subprocess.run([sys.executable, "-c", READ], input=asked_for, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    told, (small, *_) = json.loads(ended.stdout), folders.values()
    assert len(told) == len(folders) * len(READERS)
    for name, expected in {name: rows_of(small, name) for name in ("stages", "epochs", "results")}.items():
        found = [one[name] for one in told if name in one]
        assert [rows for _, rows in found] == [unique(expected)] * len(found), name
        assert {count for count, _ in found} - {None} == {len(expected)}, name  # pyarrow alone drops no row by itself


def rows_of(folder: Path, table: str) -> list[list[object]]:
    """Key, epoch or 0, and accuracy of each committed row, as warmgrid gives them."""
    failed, epoch = ("", "epoch") if table == "epochs" else (" WHERE status <> 'failed'", "0 AS epoch")
    sql = f"SELECT key, {epoch}, test_accuracy FROM {table}{failed} ORDER BY ALL"
    return [list(row.values()) for row in Store(str(folder / "warmgrid-store")).sql(sql).to_pylist()]


def unique(rows: list[list[object]]) -> list[list[object]]:
    """Sorted rows without those that are there again."""
    return [row for row, after in zip(rows, [*rows[1:], None], strict=True) if row != after]
