"""The command line does what it says: help, exit codes, JSON, and a sweep's life from plan to figure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from orchestrator.cli import app
from orchestrator.spec import Spec
from orchestrator.store import Store
from tests.orchestrator.command import IN_PROCESS, Warmgrid
from tests.orchestrator.fake_trainer import SWEEP_FILE, Lab

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined] # typer's group
PLAN_KEYS = {"cells", "trials", "stages", "stages_without_sharing", "done", "to_run", "estimated_seconds", "sharing"}

SIZED = """
from orchestrator import Stage, Sweep
from orchestrator.spec import setting
from tests.orchestrator.fake_trainer import Numbers, Walk

@setting
class OwnNumbers(Numbers, kind="test_cli_own"):
    pass

def sized(lr: float, data: Numbers, seed: int) -> list[Stage]:
    return [Stage(Walk(lr=lr, seed=seed, data=data))]

sweep = Sweep("made up", {"lr": [0.1, 0.2], "data": [OwnNumbers()]}, sized, [0])
"""

QUARTER = """
from orchestrator import Sweep
from orchestrator.spec import setting
from sweeps.protocols import half_then_all
from trainers.data import Digits
from trainers.inits import Init, ShrinkPerturb, WarmStart
from trainers.models import MLP
from trainers.stopping import Epochs

@setting
class Quarter(Init, kind="test_cli_quarter"):
    part: float = 0.25
    needs_parent = True

    def start(self, net, parent, draw):
        ShrinkPerturb(shrink=self.part, perturb=0.0).start(net, parent, draw)

sweep = Sweep(
    source="an idea",
    protocol=half_then_all,
    axes={"data": [Digits(limit=60)], "model": [MLP()], "init": [WarmStart(), Quarter()], "lr": [0.1],
          "batch_size": [16], "stop": [Epochs(1)]},
    seeds=[0],
)
"""


# Help.


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(warmgrid: Warmgrid, name: str) -> None:
    """An option without a word is an option that nobody uses."""
    helped = warmgrid(name, "--help")
    text = " ".join(helped.out.split())

    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()).replace("- ", "-") in text.replace("- ", "-")
        assert all(option in text for option in parameter.opts if option.startswith("--"))
    assert helped.code == 0


def test_help_of_the_program_names_every_command(warmgrid: Warmgrid) -> None:
    """It is the first thing that a new user asks for."""
    helped = warmgrid("--help").out

    working = {"plan", "launch", "resume", "status", "doctor", "compact"}
    assert set(COMMANDS) == working | {"query", "schema", "export", "figure", "claims", "report", "serve"}
    assert all(re.search(rf"^  {name} +[A-Z].*[^.]\.$", helped, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", ["plan", "launch"])
def test_help_names_the_caps(warmgrid: Warmgrid, name: str) -> None:
    """Without them a sweep of the paper cannot be tried in minutes."""
    text = warmgrid(name, "--help").out

    assert all(cap in text for cap in ("epochs=N", "limit=N", "data=Digits"))


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """Half a second for --help, and nobody asks for it."""
    code = "import sys\nsys.argv = ['warmgrid', '--help']\nfrom orchestrator.cli import main\ntry: main()\n"
    code += "except SystemExit: print(*sys.modules)"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    loaded = set(printed.splitlines()[-1].split())
    assert "orchestrator.cli" in loaded
    heavy = {"pydantic", "rich", "numpy", "pandas", "pyarrow", "torch", "ray", "duckdb", "plotly", "filelock"}
    assert loaded & heavy == set()


# A sweep's life.


def test_a_plan_counts_what_a_launch_would_do(warmgrid: Warmgrid) -> None:
    """Other programs read it; a name or number changed breaks them."""
    planned = warmgrid("plan", "made.py", "--json")

    assert (planned.code, planned.err) == (0, "")
    assert planned.facts == {
        "cells": 4,
        "trials": 8,
        "stages": 10,
        "stages_without_sharing": 12,
        "done": 0,
        "to_run": 10,
        "estimated_seconds": None,
        "sharing": {"stages_saved": 2, "examples": 30, "examples_saved": 6, "seconds": None, "seconds_saved": None},
    }


def test_a_plan_for_people_says_the_same(warmgrid: Warmgrid) -> None:
    """Whoever reads it decides whether to spend a night of a cluster."""
    lines = warmgrid("plan", "made.py", "--axis", "lr=0.1").out.splitlines()

    assert lines == [
        "made: made up",
        "  lr: 0.1",
        "  start: fresh, parent",
        "2 cells x 2 seeds = 4 trials",
        "6 stages, 6 without sharing",
        "sharing saves nothing: no two trials have a stage, or the beginning of one, in common",
        "0 done, 6 to run",
        "work left, on one worker: not known yet: nothing like some of them was measured",
    ]


def test_a_plan_writes_nothing(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """Looking must not create an empty store in every folder."""
    before = set(tmp_path.rglob("*"))

    warmgrid("plan", "made.py")

    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == before


def test_a_launch_twice_is_a_launch_once(warmgrid: Warmgrid) -> None:
    """The second time nothing may be trained, nor counted again."""
    first, second = (warmgrid("launch", "made.py", *IN_PROCESS) for _ in range(2))

    assert (first.code, second.code) == (0, 0)
    assert re.fullmatch(r"made: 10 done, 0 done before, in \d+ s\.\n", first.out)
    assert re.fullmatch(r"made: no stage had to run, 10 done before, in \d+ s\.\n", second.out)
    assert warmgrid("query", "SELECT count(*) n FROM results", "--json").facts == [{"n": 8}]


def test_a_value_added_to_a_finished_grid_runs_its_own_stages_only(warmgrid: Warmgrid) -> None:
    """That is why there is a store."""
    warmgrid("launch", "made.py", *IN_PROCESS)

    added = warmgrid("launch", "made.py", *IN_PROCESS, "--axis", "lr=0.1,0.2,0.3", "--json").facts

    assert (added["done_before"], added["done"]) == (10, 4)


def test_what_was_measured_gives_an_estimate(warmgrid: Warmgrid) -> None:
    """None of it is known before the first launch, and then it is."""
    warmgrid("launch", "made.py", *IN_PROCESS, "--axis", "lr=0.1")

    planned = warmgrid("plan", "made.py", "--json").facts

    assert (planned["done"], planned["to_run"]) == (6, 4)
    assert planned["estimated_seconds"] > 0


def test_a_failed_stage_gives_1_and_says_what_to_do(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """A script that only looks at the exit code must see that cells are missing."""
    Lab(tmp_path).spoil("raise", epoch=1, lr=0.2, start="parent", seed=1)

    ended = warmgrid("launch", "made.py", *IN_PROCESS, "--data-root", str(tmp_path), "--store", "my store")

    assert ended.code == 1
    assert "failed: ValueError: made to fail" in ended.err
    assert ended.out.splitlines()[0].startswith("made: 9 done, 1 failed, 0 done before")
    again = f"warmgrid resume made --store 'my store' --data-root {tmp_path} --backend inprocess"
    see = "warmgrid status made --store 'my store'"
    assert ended.out.splitlines()[1] == f"See what failed with: {see}. Try again with: {again}"


def test_ctrl_c_gives_75_and_resume_goes_on(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """A batch system that is told 75 queues the launch again."""
    options = ("made.py", *IN_PROCESS, "--data-root", str(tmp_path))
    Lab(tmp_path).spoil("SIGINT", epoch=2, lr=0.1, start="parent", seed=0)

    stopped = warmgrid("launch", *options)
    Lab(tmp_path).mend()
    resumed = warmgrid("resume", *options)

    assert (stopped.code, resumed.code) == (75, 0)
    assert "Interrupted. Go on with: warmgrid resume made" in stopped.out
    assert "Stopping: running stages save a checkpoint" in stopped.err
    assert warmgrid("query", "SELECT count(*) n FROM results", "--json").facts == [{"n": 8}]


def test_the_status_counts_stages_and_names_failures(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """It is what one looks at in the morning."""
    Lab(tmp_path).spoil("raise", epoch=1, lr=0.5)
    warmgrid("launch", "made.py", *IN_PROCESS, "--data-root", str(tmp_path))

    ended = warmgrid("status", "made")

    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[0] == f"made: 10 stages in {tmp_path}/warmgrid-store"
    assert {"4 blocked: cannot run, because an ancestor failed", "4 done: is trained and committed"} <= set(lines)
    assert [line for line in lines if line.startswith("failed 2 x: ValueError: made to fail")]
    assert (
        sum(bool(re.match(r"[0-9a-f]{16}: .*lr=0.5, .*; blocks 2 stages: [0-9a-f]{16}, ", line)) for line in lines) == 2
    )


def test_the_status_tells_what_happened_in_the_night(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """Who was tried again, why, and who still runs where; all of it also for programs."""
    Lab(tmp_path).spoil("raise", epoch=2, lr=0.1, start="fresh", seed=0)
    warmgrid("launch", "made.py", *IN_PROCESS, "--data-root", str(tmp_path), "--retries", "1")
    kept = Store("warmgrid-store")
    kept.note_event("node_lost", sweep="made", node="n", name="far", keys=[], drained=False)

    printed, seen = warmgrid("status", "made").out, warmgrid("status", "made", "--json").facts

    assert re.search(r"^happened \d\d:\d\d: tried again after ValueError: .* \(now 1 failed\)$", printed, re.MULTILINE)
    assert re.search(r"^happened \d\d:\d\d: node far was lost$", printed, re.MULTILINE)
    assert re.search(r"^again [0-9a-f]{16} took 2 attempts, is failed$", printed, re.MULTILINE)
    assert [event["kind"] for event in seen["events"]] == ["retried", "node_lost"]
    assert {"running", "waiting", "attempts", "happened"} <= set(seen)


def test_resume_of_several_launches_counts_a_stage_once(warmgrid: Warmgrid) -> None:
    """Stages that two launches share would be counted as done before twice."""
    warmgrid("launch", "made.py", *IN_PROCESS)
    warmgrid("launch", "made.py", *IN_PROCESS, "--axis", "lr=0.1,0.3")

    assert warmgrid("resume", "made", *IN_PROCESS, "--json").facts["done_before"] == 14


@pytest.mark.parametrize("command", ["status", "resume"])
def test_a_launch_is_chosen_by_the_axes_it_was_given(warmgrid: Warmgrid, command: str) -> None:
    """Also by settings of the user's own, which are known only once the file is loaded."""
    Path("sized.py").write_text(SIZED)
    for size in (4, 5):
        assert warmgrid("launch", "sized.py", *IN_PROCESS, "--axis", f"data=OwnNumbers(size={size})").code == 0
    del Spec.members["OwnNumbers"]

    options = IN_PROCESS if command == "resume" else ()
    facts = warmgrid(command, "sized", "--axis", "data=OwnNumbers(size=4)", "--json", *options).facts

    assert facts.get("stages", facts.get("done_before")) == 2
    assert "no launch of 'sized' with" in warmgrid(command, "sized", "--axis", "data=OwnNumbers(size=6)", *options).err


def test_a_launch_whose_file_is_gone_does_not_hide_the_others(warmgrid: Warmgrid) -> None:
    """One tidied-up folder must not stop the resume of everything else."""
    Path("there").mkdir()
    Path("there/made.py").write_text(SWEEP_FILE)
    for words in (("made.py",), ("there/made.py", "--axis", "lr=0.5")):
        warmgrid("launch", *words, *IN_PROCESS)
    Path("there/made.py").unlink()

    assert warmgrid("status", "made", "--seeds", "0-1", "--json").facts["stages"] == 10
    assert "there/made.py: no such file" in warmgrid("status", "made", "--axis", "lr=0.5").err


def test_a_query_is_written_as_asked(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """Tables for people, CSV and JSON for programs, a file where one is named."""
    warmgrid("launch", "made.py", *IN_PROCESS)
    sql = "SELECT lr, count(*) n FROM results GROUP BY lr ORDER BY lr"

    assert warmgrid("query", sql).out.split() == ["lr", "n", "0.1", "4", "0.2", "4"]
    assert warmgrid("query", sql, "--format", "csv").out == "lr,n\n0.1,4\n0.2,4\n"
    assert warmgrid("query", sql, "--format", "json").facts == [{"lr": 0.1, "n": 4}, {"lr": 0.2, "n": 4}]
    assert warmgrid("query", sql, "--format", "csv", "--output", "out.csv").out == ""
    assert (tmp_path / "out.csv").read_text() == "lr,n\n0.1,4\n0.2,4\n"


@pytest.mark.parametrize("sweep", ["made.py", "made"])
def test_a_figure_shows_the_cells_that_are_asked_for(warmgrid: Warmgrid, sweep: str) -> None:
    """A grid of four inits is read best two at a time; a user's sweep is found by its name too."""
    warmgrid("launch", "made.py", *IN_PROCESS)

    asked = warmgrid("figure", sweep, "--axis", "lr=0.2", "--seeds", "1", "--json")

    assert asked.facts["models"] == 2
    assert "no results of 'made'" in warmgrid("figure", sweep, "--axis", "lr=0.7").err


def test_a_figure_is_a_page(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """One file that can be sent to a colleague."""
    warmgrid("launch", "made.py", *IN_PROCESS)

    named = warmgrid("figure", "made")
    asked = warmgrid("figure", "made", "--json", "--output", "my.html")

    assert (named.code, named.out) == (0, "made.html\n")
    assert asked.facts == {"figure": "my.html", "models": 8}
    assert "<html" in (tmp_path / "my.html").read_text()


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("plan", "made.py"), PLAN_KEYS),
        (("launch", "made.py", *IN_PROCESS), {"sweep", "done_before", "done", "failed", "interrupted", "exit_code"}),
        (("resume", "made", *IN_PROCESS), {"sweep", "done_before", "done", "failed", "interrupted", "exit_code"}),
        (("status", "made"), {"sweep", "store", "stages", "counts", "failures"}),
        (("figure", "made"), {"figure", "models"}),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_json_can_be_read_by_programs(warmgrid: Warmgrid, words: tuple[str, ...], keys: set[str]) -> None:
    """Standard output holds one JSON object and nothing else; progress goes to standard error."""
    warmgrid("launch", "made.py", *IN_PROCESS)

    assert keys <= set(warmgrid(*words, "--json").facts)


def test_a_users_own_file_with_its_own_init_works_from_any_folder(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """A researcher's idea is one class in one file, not a change of this package; here it is really trained."""
    Path("idea").mkdir()
    Path("idea/quarter.py").write_text(QUARTER)
    options = ("--store", f"{tmp_path}/store")

    assert warmgrid("plan", "idea/quarter.py", *options, "--json").facts["to_run"] == 3
    assert warmgrid("launch", f"{tmp_path}/idea/quarter.py", *options, *IN_PROCESS, "--json").facts["done"] == 3
    os.chdir("idea")
    more = ("--axis", "init=Quarter(part=0.5)")
    assert warmgrid("launch", "quarter.py", *options, *more, *IN_PROCESS, "--json").facts["done"] == 1
    os.chdir("/")
    assert warmgrid("resume", "quarter", *options, *more, *IN_PROCESS, "--json").facts["done_before"] == 2
    assert warmgrid("status", "quarter", *options, "--json").facts["counts"] == {"done": 4}
    assert warmgrid("figure", "quarter", *options, "--output", f"{tmp_path}/f.html", "--json").facts["models"] == 3
