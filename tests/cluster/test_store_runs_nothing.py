"""A store is data: whoever looks into a foreign one runs no code from it, and nothing outside of it is touched."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator import Store
from orchestrator.errors import ConfigError, StoreError
from orchestrator.expressions import parse_axes, parse_values
from tests.orchestrator.command import Ended, Warmgrid, run
from tests.orchestrator.fake_trainer import SWEEP_FILE

ROOT = Path(__file__).parents[2]
LAUNCH = ("launch", "made.py", "--store", "s", "--backend", "inprocess", "--checkpoint-every", "0")
LOOKS = (
    ("status", "made", "--store", "s"),
    ("query", "SELECT count(*) FROM results JOIN epochs USING (key)", "--store", "s"),
    ("report", "--store", "s"),
    ("resume", "made", "--store", "s", "--backend", "inprocess"),
)
KINDS = ("cells", "epochs", "events", "launches", "stages", "warmgrid.json", "weights")
MADE_KINDS = {
    "checkpoints": "checkpoints/{key}/00000002",
    "failures": "failures/{key}.parquet",
    "leases": "leases/{key}/00000001-abc",
    "points": "points/{key}/00000002",
    "running": "running/{key}.json",
    "merged": "merged/stages-00000001-0123456789abcdef.parquet",
}
RUNS_CODE = {"eval", "exec", "compile", "__import__", "execfile"}
UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "cloudpickle"}
# What a driver tells its own workers, never a store's bytes.
WITH_RAY = {"ray_api.py", "ray_backend.py", "ray_gate.py", "ray_trial.py"}


class Bomb:
    """Pickled: a program that makes a file called `went_off` in the working directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("went_off"),)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made.py and the store `s` of its launch."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "made.py").write_text(SWEEP_FILE)
    words = [sys.executable, "-m", "orchestrator.cli", *LAUNCH]
    subprocess.run(words, check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder


@pytest.fixture
def warmgrid(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], forget: None
) -> Iterator[Warmgrid]:
    """Run a command in this process, in a copy of the folder `finished`; fail if a bomb went off."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    yield partial(run, monkeypatch, capsys)
    assert not Path("went_off").exists(), "code from the store was run"


@pytest.fixture
def forget() -> Iterator[None]:
    """Forget, after the test, the settings of sweep files that it loads."""
    from tests.orchestrator import conftest

    yield from conftest.forget_sweep_files.__wrapped__()


def looks(warmgrid: Warmgrid) -> list[Ended]:
    """What all commands that look at the store end with; none may break down."""
    return [warmgrid(*words) for words in LOOKS]


def test_the_bomb_would_go_off(warmgrid: Warmgrid) -> None:
    """Tests with a damp bomb hold nothing."""
    pickle.loads(pickle.dumps(Bomb()))

    assert Path("went_off").exists()
    Path("went_off").unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_in_place_of_a_file_is_never_run(warmgrid: Warmgrid, kind: str) -> None:
    """A store from a web page must be as harmless as a spreadsheet."""
    found = [path for path in Path("s").rglob("*") if path.is_file() and path.relative_to("s").parts[0] == kind]
    for path in found:
        path.write_bytes(pickle.dumps(Bomb()))

    assert found or kind == "events"
    looks(warmgrid)


@pytest.mark.parametrize("kind", MADE_KINDS)
def test_a_pickle_where_a_file_may_be_is_never_run(warmgrid: Warmgrid, kind: str) -> None:
    """Also where a half-finished launch leaves something, which resume goes on from."""
    keys = sorted(path.stem for path in Path("s/stages").iterdir())
    (Path("s/stages") / f"{keys[0]}.parquet").unlink()
    planted = Path("s", MADE_KINDS[kind].format(key=keys[0]))
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_bytes(pickle.dumps(Bomb()))

    looks(warmgrid)


def plant_sweep(path: Path) -> str:
    """A sweep file that would go off, and the words under which a store remembers it."""
    path.write_text(f"from pathlib import Path\n\nPath('went_off').touch()\n{SWEEP_FILE}")
    return str(path.absolute())


@pytest.mark.parametrize("is_link", [False, True])
def test_a_sweep_file_that_comes_with_the_store_is_never_run(warmgrid: Warmgrid, is_link: bool) -> None:
    """A store remembers which file a sweep came from; a foreign one could name a file that it brought along."""
    source = plant_sweep(Path("s/made.py"))
    if is_link:
        Path("beside").symlink_to("s")
        source = str(Path("beside/made.py").absolute())
    (recipe,) = Path("s/launches/made").iterdir()
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), "source": source}))

    ended = [warmgrid(*words) for words in (*LOOKS, ("figure", "made", "--store", "s"))]
    (reason,) = Path("s/set_aside").glob("launches-made-*.reason")

    assert ended[0].code == 2
    assert "lies in the store itself" in reason.read_text()


def test_a_launch_of_a_file_in_the_store_is_refused(warmgrid: Warmgrid) -> None:
    """It could never be resumed."""
    shutil.copy("made.py", "s/made.py")

    ended = warmgrid("launch", "s/made.py", "--store", "s", "--backend", "inprocess")

    assert (ended.code, "lies in the store itself" in ended.err) == (2, True)


def test_no_source_of_ours_runs_or_unpickles_what_it_reads() -> None:
    """One torch.load of a store's bytes would undo everything above."""
    found = [f"{path}:{line}" for path in sources() for line in runs_code(path)]

    assert found == []
    assert not hasattr(pa, "PyExtensionType")  # Arrow's old way to bring a pickle along in a schema


def sources() -> list[Path]:
    """All of our Python files that are no tests."""
    return sorted(path for name in ("orchestrator", "trainers", "sweeps") for path in (ROOT / name).rglob("*.py"))


def runs_code(path: Path) -> list[int]:
    """Lines of `path` that could run what they are given, or unpickle it."""
    return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if is_dangerous(node, path.name)]


def is_dangerous(node: ast.AST, name: str) -> bool:
    """Whether a node runs or unpickles something."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = {alias.name.split(".")[0] for alias in node.names} | {str(getattr(node, "module", "")).split(".")[0]}
        return bool(modules & UNPICKLES) and name not in WITH_RAY
    if not isinstance(node, ast.Call):
        return False
    words = ast.unparse(node.func).split(".")
    if words[-1] == "load" and words[0] in ("np", "numpy"):
        return not any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)
    return words[0] in RUNS_CODE or words[-2:] == ["torch", "load"] or words[-2:] == ["builtins", "eval"]


@pytest.mark.parametrize(
    "text", ["eval('1')", "torch.load(p)", "np.load(p)", "import pickle", "from dill import loads"]
)
def test_the_source_check_finds_what_it_looks_for(tmp_path: Path, text: str) -> None:
    """A check that finds nothing holds nothing."""
    path = tmp_path / "module.py"
    path.write_text(text)

    assert runs_code(path) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('went_off').touch()",
        "open('went_off','w')",
        "[x for x in ().__class__.__base__.__subclasses__()]",
        "(lambda: 1)()",
        "Digits.__init__.__globals__",
        "f'{open}'",
    ],
)
def test_what_a_user_types_is_read_and_never_run(warmgrid: Warmgrid, text: str) -> None:
    """An axis value copied from a chat is data too."""
    with pytest.raises(ConfigError):
        parse_values("lr", text)
    assert warmgrid(*LAUNCH, "--axis", f"lr={text}").code == 2
    assert warmgrid(*LAUNCH, "--seeds", text).code == 2
    with pytest.raises(ConfigError):
        parse_axes([f"{text}=1"])


SQL = (
    "COPY (SELECT 1) TO '{out}'",
    "COPY stages FROM '{secret}'",
    "ATTACH '{out}'",
    "INSTALL httpfs",
    "LOAD '{secret}'",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "CREATE MACRO f() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "PREPARE p AS SELECT 1",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE COPY stages TO '{out}'",
    "IMPORT DATABASE '{out}'",
    "VACUUM",
    "USE memory",
    "FROM read_csv('{secret}')",
    "FROM sniff_csv('{secret}')",
    "FROM read_json('{secret}')",
    "FROM read_parquet('s/stages/*.parquet')",
    "FROM parquet_metadata('s/stages/*.parquet')",
    "FROM query('FROM read_text(''{secret}'')')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "WITH x AS (FROM '{secret}') FROM x",
    "PIVOT (FROM read_text('{secret}')) ON filename USING count(*)",
    "FROM 'https://localhost/x.csv'",
    "FROM glob('/etc/*')",
    "SELECT getenv('HOME')",
)


@pytest.mark.parametrize("sql", SQL)
def test_sql_reads_the_tables_and_nothing_else(warmgrid: Warmgrid, sql: str) -> None:
    """A query from a web page must neither write nor read what is not the store's."""
    Path("secret").write_text("swordfish\n")
    before = sorted(map(str, Path().rglob("*")))

    ended = warmgrid("query", sql.format(out="out", secret=Path("secret").absolute()), "--store", "s")

    assert (ended.code, ended.out) == (2, "")
    assert "swordfish" not in ended.err
    assert sorted(map(str, Path().rglob("*"))) == before


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's, with a file."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "00000001").write_text("mine")
    return folder


@pytest.mark.parametrize("inside", ["checkpoints", "weights", "stages", "stages/sub"])
def test_a_link_that_leads_out_of_the_store_is_not_followed(store_path: Path, outside: Path, inside: str) -> None:
    """A foreign store must not make us write over, or tidy away, the user's own files."""
    link = store_path / inside
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    files = Store(str(store_path)).files

    for change in (
        lambda: files.write(f"{inside}/00000001", b"other"),
        lambda: files.write_once(f"{inside}/new", b"other"),
        lambda: files.delete(f"{inside}/00000001"),
        lambda: files.delete_folder(inside),
        lambda: files.set_aside(f"{inside}/00000001", "made up"),
    ):
        with pytest.raises(StoreError, match="leads out of the store"):
            change()

    assert {path.name: path.read_text() for path in outside.iterdir()} == {"00000001": "mine"}


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(store_path: Path, outside: Path) -> None:
    """The same for single files."""
    (store_path / "weights").mkdir(parents=True)
    (store_path / "weights" / "a").symlink_to(outside / "00000001")

    Store(str(store_path)).files.write("weights/a", b"new")

    assert (outside / "00000001").read_text() == "mine"
    assert (store_path / "weights" / "a").read_bytes() == b"new"


def test_a_store_behind_a_link_is_a_store(tmp_path: Path, outside: Path) -> None:
    """Where the folder itself lies, its owner decides."""
    (tmp_path / "link").symlink_to(outside)
    files = Store(str(tmp_path / "link")).files

    files.write("weights/a", b"new")

    assert (outside / "weights" / "a").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\0b", ".x", "", "x/../../y", "~", "a\nb"])
def test_no_sweep_can_be_called_what_leads_out_of_the_store(store_path: Path, name: str) -> None:
    """Names of sweeps come from files of others."""
    with pytest.raises(StoreError):
        Store(str(store_path)).record_launch(name, {"source": "made"}, [{"sweep": name}])

    assert not store_path.exists()
