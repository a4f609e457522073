"""A sweep is found by its name, or by the path of a user's own file from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalogue import find, names
from orchestrator.errors import ConfigError, SweepError
from orchestrator.spec import Spec

SWEEPS = Path(__file__).parents[2] / "sweeps"
OWN = """
from orchestrator import Sweep
from orchestrator.spec import setting
from orchestrator import Stage
from tests.orchestrator.fake_trainer import Numbers, Walk


@setting
class OwnNumbers(Numbers, kind="test_catalogue_own"):
    pass


def protocol(data: Numbers, seed: int) -> list[Stage]:
    return [Stage(Walk(data=data, seed=seed))]


sweep = Sweep(source="mine", axes={"data": [OwnNumbers(size=3)]}, protocol=protocol, seeds=[0])
"""


pytestmark = pytest.mark.usefixtures("forget_sweep_files")


def written(path: Path, text: str) -> str:
    """The path of a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_every_file_of_the_package_is_a_sweep() -> None:
    """A sweep that is not found by its name is not run."""
    files = {path.stem for path in SWEEPS.glob("*.py")} - {"__init__", "protocols"}

    assert set(names()) == files
    assert [find(name).sweep.name for name in names()] == names()


def test_a_sweep_of_ours_has_no_module_of_its_own() -> None:
    """Workers import it; only a user's file must travel to them."""
    found = find("quickstart")

    assert (found.source, found.module) == ("quickstart", None)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("quickstrat", "Did you mean quickstart? There"), ("xyzzy", "no sweep 'xyzzy'. There are active, augmentation")],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, hint: str) -> None:
    """The user should not have to look into our package."""
    with pytest.raises(ConfigError) as caught:
        find(name)

    assert hint in str(caught.value)
    assert "quickstart, regularization" in str(caught.value)


@pytest.mark.parametrize("source", ["mine.py", "./mine.py", "../here/mine.py", "{}/here/mine.py"])
def test_a_file_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Its absolute path is remembered, so that it can be resumed from anywhere."""
    path = written(tmp_path / "here" / "mine.py", OWN)
    monkeypatch.chdir(tmp_path / "here")

    found = find(source.format(tmp_path))

    assert found.sweep.name == "mine"
    assert Path(found.source).is_absolute()
    assert Path(found.source).samefile(path)


def test_keys_do_not_depend_on_the_file(tmp_path: Path) -> None:
    """Moving or renaming one's file must not train everything again."""
    here, there = (find(written(tmp_path / name, OWN)).sweep for name in ("a/mine.py", "b/mine.py"))
    other = find(written(tmp_path / "mine.py", OWN)).sweep

    assert {sweep.trials()[0].stages[0].key for sweep in (here, there, other)} == {here.trials()[0].stages[0].key}


def test_settings_of_the_file_are_known_by_their_names(tmp_path: Path) -> None:
    """--axis data=OwnNumbers(size=4) must find the user's own class."""
    find(written(tmp_path / "mine.py", OWN))

    assert Spec.members["OwnNumbers"].kind == "test_catalogue_own"


def test_what_lies_beside_a_file_is_not_imported(tmp_path: Path) -> None:
    """It would be found here and not by the workers, hours later; the message says what to do."""
    written(tmp_path / "size_beside_it.py", "SIZE = 7")

    with pytest.raises(ConfigError, match=r"mine.py, line 1: .*No module named 'size_beside_it'. What a sweep's file"):
        find(written(tmp_path / "mine.py", f"from size_beside_it import SIZE\n{OWN}"))


FAULTS = {
    "x = (": "line 1: '(' was never closed.",
    "x = 1\ny = x / 0": "line 2: ZeroDivisionError: division by zero",
    "import nowhere_at_all": "line 1: ModuleNotFoundError: No module named 'nowhere_at_all'",
    "\nfrom trainers.models import MLP\nMLP(width=0)": "line 3: MLP: width=0: input should be greater than",
    "x = 1": "mine.py: defines no `sweep = Sweep(...)`. See sweeps/quickstart.py for one.",
    "sweep = 1": "mine.py: defines no `sweep = Sweep(...)`. See sweeps/quickstart.py for one.",
}


@pytest.mark.parametrize(("text", "message"), FAULTS.items(), ids=list(FAULTS.values()))
def test_a_fault_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """A traceback through our planner does not help to find it."""
    with pytest.raises(ConfigError) as caught:
        find(written(tmp_path / "mine.py", text))

    assert str(caught.value).startswith(str(tmp_path / "mine.py"))
    assert message in str(caught.value)


@pytest.mark.parametrize("source", ["nowhere.py", "./nowhere", "~/nowhere-at-all.py", "./"])
def test_a_file_that_is_not_there_is_named(source: str) -> None:
    """With what could have been meant instead."""
    with pytest.raises(ConfigError, match=r"^/.*: no such file. Give the name of a sweep \(active, augmentation, "):
        find(source)


def test_a_file_must_be_python(tmp_path: Path) -> None:
    """A settings file of another program is not read as one."""
    with pytest.raises(ConfigError, match=r"grid.yaml: not a Python file. Give one whose name ends in .py."):
        find(written(tmp_path / "grid.yaml", "sweep: 1"))


def test_a_name_that_cannot_stand_in_a_table_is_refused(tmp_path: Path) -> None:
    """The file's name becomes the sweep's, in file names and in SQL."""
    with pytest.raises(SweepError, match="'my sweep' cannot name a sweep"):
        find(written(tmp_path / "my sweep.py", OWN))


def test_a_file_named_like_a_sweep_of_ours_is_refused(tmp_path: Path) -> None:
    """A store would mix its cells with ours, under one name."""
    path = tmp_path / "quickstart.py"
    path.write_text("")

    with pytest.raises(ConfigError, match=r"quickstart\.py: there is a sweep quickstart already.*Rename the file"):
        find(str(path))


def test_a_sweep_of_ours_is_found_by_its_path_too() -> None:
    """Readers of the code give the file that they look at."""
    assert find("sweeps/quickstart.py").source == "quickstart"
