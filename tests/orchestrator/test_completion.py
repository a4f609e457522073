"""The shell offers what there is: commands, options, sweeps, axes, keys; at once, and never a message."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import completion
from orchestrator.store import Store
from tests.orchestrator.command import IN_PROCESS, Warmgrid
from tests.orchestrator.fake_trainer import ROOT, two_rounds

SHELLS = ("bash", "zsh", "fish")
HEAVY = {"torch", "ray", "duckdb", "pyarrow", "pandas", "plotly", "rich", "numpy"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a command ``warmgrid``, as an installation has it."""
    command = tmp_path / "bin" / "warmgrid"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom orchestrator.cli import main\nmain()\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return command.parent


def surroundings(program: Path, **more: str) -> dict[str, str]:
    """The environment of a shell that finds the command."""
    path = f"{program}{os.pathsep}{os.environ['PATH']}"
    detect = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **detect, **more}


def offered(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What the program offers for the end of a command line, as bash asks it."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_WARMGRID_COMPLETE", "complete_bash")
    ended = warmgrid()
    monkeypatch.delenv("_WARMGRID_COMPLETE")
    assert (ended.code, ended.err) == (0, "")
    return ended.out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("warmgrid pla", ["plan"]),
        ("warmgrid plan figure1", ["figure1", "figure10", "figure11"]),
        ("warmgrid plan ma", ["made.py"]),
        ("warmgrid plan made.py --axis ", ["lr=", "start=", "epochs="]),
        ("warmgrid plan figure3 --axis first_b", ["first_batch_size="]),
        ("warmgrid launch quickstart --see", ["--seeds"]),
        ("warmgrid plan figure3 --backend in", ["inprocess"]),
        ("warmgrid plan nothing_so_called --axis ", []),
    ],
)
def test_a_word_is_completed(
    warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    """Names of axes are long, and a wrong one costs a look into the sweep's file."""
    assert offered(warmgrid, monkeypatch, line) == expected


def test_sweeps_and_keys_of_the_store_are_completed(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key has 16 digits."""
    warmgrid("launch", "made.py", *IN_PROCESS, "--store", "there")
    key = two_rounds(0.1, "fresh", 0)[0].key

    assert offered(warmgrid, monkeypatch, "warmgrid status --store there ma") == ["made"]
    assert offered(warmgrid, monkeypatch, f"warmgrid status --store there {key[:6]}") == [key]
    assert offered(warmgrid, monkeypatch, "warmgrid resume --store there ") == ["made"]
    assert offered(warmgrid, monkeypatch, "warmgrid resume ") == []


def test_keys_of_a_compacted_store_are_completed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows are in merged files then, which take too long to open."""
    key = "ab" * 8
    store.files.write(f"weights/{key}.safetensors", b"")
    monkeypatch.setenv("WARMGRID_STORE", store.root)

    line = SimpleNamespace(params={})

    assert completion.stages(line, "aba") == [key]
    assert completion.stages(line, "a") == []


def test_a_store_that_is_none_offers_nothing(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback in the middle of a command line helps nobody."""
    Path("file").touch()

    assert offered(warmgrid, monkeypatch, "warmgrid status --store file abc") == []


def test_paths_are_completed_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of the user's own is a file somewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("idea/quarter.py", "idea/.hidden.py", "idea/notes.txt", "idea/more/deep.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert completion.files("id") == ["idea/"]
    assert completion.files("idea/") == ["idea/more/", "idea/quarter.py"]
    assert completion.files(f"{tmp_path}/idea/q") == [f"{tmp_path}/idea/quarter.py"]
    assert completion.files("nowhere/x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_its_script(program: Path, shell: str) -> None:
    """One that asks the program, by its name."""
    shown = subprocess.run(
        ["warmgrid", "--show-completion", shell], env=surroundings(program), capture_output=True, text=True, check=True
    ).stdout

    assert f"_WARMGRID_COMPLETE=complete_{shell}" in shown


def test_bash_completes(program: Path, tmp_path: Path) -> None:
    """The script, the program and the shell together, as a user has them."""
    script = (
        "source <(warmgrid --show-completion bash); COMP_WORDS=(warmgrid plan figure1); COMP_CWORD=2; "
        'complete -p warmgrid >/dev/null && _warmgrid_completion warmgrid; printf "%s " "${COMPREPLY[@]}"'
    )

    ended = subprocess.run(
        ["bash", "-c", script], env=surroundings(program), capture_output=True, text=True, check=True
    )

    assert ended.stdout.split() == ["figure1", "figure10", "figure11"]


def test_completion_loads_nothing_heavy(program: Path, tmp_path: Path) -> None:
    """A key press that takes a second is pressed again."""
    code = (
        "import sys\nsys.argv = ['warmgrid']\nfrom orchestrator.cli import main\n"
        "try: main()\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    line = {"COMP_WORDS": "warmgrid plan figure3 --axis ", "COMP_CWORD": "4", "_WARMGRID_COMPLETE": "complete_bash"}

    ended = subprocess.run(
        [sys.executable, "-c", code], env=surroundings(program, **line), capture_output=True, text=True, check=True
    )

    assert "lr=" in ended.stdout.split()
    assert not HEAVY & set(ended.stderr.split())
