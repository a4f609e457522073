"""Which file may import which: the arrows of the layout, and what planning must never load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "orchestrator": ("orchestrator",),
    "trainers": ("trainers", "orchestrator.errors", "orchestrator.spec", "orchestrator.seam"),
    "sweeps": ("sweeps", "orchestrator", "trainers"),
}
HEAVY = (
    *("duckdb", "fastapi", "pandas", "plotly", "pyarrow", "ray", "scipy", "sklearn", "starlette", "torch"),
    *("torchvision", "uvicorn"),
)
MAY_LOAD = {  # at module level; these modules are themselves imported inside functions only
    "orchestrator/ray_api.py": {"ray"},
    "trainers/networks.py": {"torch"},
    "trainers/splits.py": {"torch"},
    "trainers/supervised.py": {"torch"},
    "trainers/steps.py": {"torch"},
    "trainers/waiting.py": {"torch"},
    "trainers/checkpoints.py": {"torch"},
    "trainers/evaluate.py": {"torch"},
    "trainers/examples.py": {"torch"},
    "trainers/fisher.py": {"torch"},
    "trainers/measurements.py": {"torch"},
}
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
LIGHT = ["orchestrator", "orchestrator.cli", *(f"sweeps.{p.stem}" for p in sorted((ROOT / "sweeps").glob("[!_]*.py")))]
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def here(path: Path) -> str:
    """The file as the tables above name it."""
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> set[str]:
    """Modules that the statements under `tree` import."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Simple statements that run when the module is imported: not those of functions, nor for type checkers only."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from executed(statement.orelse)
            continue
        inner = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]
        yield from executed(inner) if inner else [statement]


@every_file
def test_imports_follow_the_arrows(path: Path) -> None:
    """The orchestrator that knows a network, or a trainer that knows the store, cannot be changed alone."""
    allowed = PACKAGES[here(path).split("/")[0]]

    ours = {name for name in imported(ast.parse(path.read_text())) if name.split(".")[0] in PACKAGES}

    assert {name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)} == set()


@every_file
def test_ray_is_known_to_one_file(path: Path) -> None:
    """Ray's interfaces change between releases; one file must be all there is to mend."""
    roots = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}

    assert "ray" not in roots or here(path) == "orchestrator/ray_api.py"


@every_file
def test_importing_a_module_loads_no_heavy_package(path: Path) -> None:
    """A plan that first loads torch takes seconds, and nobody looks at plans any more."""
    tree = ast.parse(path.read_text())

    roots = {name.split(".")[0] for statement in executed(tree.body) for name in imported(statement)}

    assert roots & set(HEAVY) <= MAY_LOAD.get(here(path), set())


def test_the_command_line_and_all_sweeps_load_no_heavy_package() -> None:
    """The same through every module that they import in turn, as a user's process sees it."""
    code = (
        "import importlib, json, sys\nloaded = {}\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        f"    for heavy in {HEAVY}:\n"
        "        if heavy in sys.modules: loaded.setdefault(heavy, name)\n"
        "print(json.dumps(loaded))"
    )

    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {}, "heavy package: first module that loads it"


@every_file
def test_modules_are_named_by_what_they_hold(path: Path) -> None:
    """A module called utils collects what nobody finds again."""
    assert not SAYS_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)
