"""Every mistake on the command line gets one clear line and exit code 2, and nothing is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.orchestrator.command import IN_PROCESS, Warmgrid
from tests.orchestrator.fake_trainer import Lab

OWN = "from orchestrator import Sweep\nfrom tests.orchestrator.fake_trainer import two_rounds\n"
MISTAKES: list[tuple[str, str]] = [
    ("plan quickstrat", "no sweep 'quickstrat'. Did you mean quickstart?"),
    ("plan nowhere.py", "/nowhere.py: no such file."),
    ("plan torn.py", "/torn.py, line 3: '(' was never closed."),
    ("plan empty.py", "/empty.py: defines no `sweep = Sweep(...)`."),
    ("plan lacking.py", "no axis 'start', and the protocol needs it."),
    ("launch made.py --axis lrr=1", "made: no axis 'lrr'. Did you mean lr?"),
    ("launch made.py --axis lr", "Axis 'lr': write it as name=value,value."),
    ("launch made.py --axis lr=fast", "made: axis lr: 'fast': input should be a valid number."),
    ("launch made.py --axis start=warm", "made: axis start: 'warm': input should be 'fresh' or 'parent'."),
    ("launch made.py --seeds 2-0", "Seeds: '2-0' is no whole number"),
    ("launch made.py --seeds=-1", "Seeds: '-1' is no whole number"),
    ("launch quickstart --axis data=Nope", "Axis data: 'Nope' is no known setting."),
    ("launch quickstart --axis model=MLP(width=0)", "MLP: width=0: input should be greater than or equal to 1."),
    ("launch quickstart --axis first_fraction=2", "first_fraction=2: give a share of the training examples in (0, 1]."),
    ("launch quickstart --axis epochs=0", "axis epochs: 0: input should be greater than or equal to 1."),
    ("launch quickstart --axis limit=3", "Digits: limit=3: input should be greater than or equal to 6."),
    ("launch quickstart --axis lr=-1", "lr=-1: input should be greater than 0."),
    ("launch quickstart --axis init=MLP", "axis init: MLP(): input should be an instance of Init."),
    ("launch quickstart --axis data=digits", "'digits' is not spelt as the setting: write Digits"),
    ("launch made.py --data-root nowhere", "--data-root nowhere (or WARMGRID_DATA): no such folder."),
    ("launch made.py --data-root lab", "the made numbers are missing"),
    ("launch made.py --store ftp://host/store", "ftp://host/store"),
    ("launch made.py --store made.py", "--store made.py: is a file"),
    ("launch made.py --store made.py/sub", "made.py"),
    ("launch made.py --store=", "--store: the path is empty."),
    ("launch made.py --device gpu", "--device gpu: give cpu or cuda."),
    ("launch made.py --workers 2", "--backend inprocess runs one pack of stages, here"),
    ("plan made.py --address a:1", "--backend inprocess runs one pack of stages, here"),
    ("resume made", "no launch of 'made'"),
    ("status made --axis data=Unheard", "no launch of 'made'"),
    ("status ../made", "'../made' cannot name a sweep in a store"),
    ("figure made", "no store here"),
    ("query SELECT", "no store here"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gets_one_line_and_nothing_is_written(
    warmgrid: Warmgrid, tmp_path: Path, line: str, message: str
) -> None:
    """What, where, what to do; not a traceback, not half a store, and no worker that finds it after an hour."""
    Path("torn.py").write_text(f"{OWN}sweep = Sweep(")
    Path("empty.py").write_text(OWN)
    Path("lacking.py").write_text(f"{OWN}sweep = Sweep('', {{'lr': [1]}}, two_rounds, [0])")
    Path("lab").mkdir()
    Lab("lab").lose_data()
    before = set(tmp_path.rglob("*"))
    runs = line.split(maxsplit=1)[0] in ("plan", "launch", "resume")

    ended = warmgrid(*line.split(), *(IN_PROCESS if runs else ()))

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("warmgrid: ")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == before


def test_an_address_where_nobody_answers_writes_nothing(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """Ray itself would try for minutes, after the store was made."""
    ended = warmgrid("launch", "made.py", "--address", "127.0.0.1:9", "--store", str(tmp_path / "store"))

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("warmgrid: --address 127.0.0.1:9: no Ray cluster answers there")
    assert not (tmp_path / "store").exists()


def test_a_data_root_of_a_cluster_need_not_be_here(warmgrid: Warmgrid) -> None:
    """Only its nodes have the folder."""
    assert warmgrid("plan", "made.py", "--address", "head:6379", "--data-root", "/mnt/only/on/nodes").code == 0


@pytest.mark.parametrize("line", ["", "plan", "nonsense", "plan made.py --nonsense", "launch made.py --workers 0"])
def test_wrong_usage_gives_2(warmgrid: Warmgrid, line: str) -> None:
    """A script must not take it for a failed stage, which it would run again."""
    assert warmgrid(*line.split()).code == 2


def test_a_folder_that_may_not_be_read_gets_one_line(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system refuses is no bug of ours."""

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    ended = warmgrid("status", "made")

    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "/warmgrid-store/launches/made: Permission denied. Nothing was changed. Make it readable" in ended.err


def test_a_bug_of_ours_keeps_its_traceback(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned into a friendly line, nobody could mend it."""
    monkeypatch.setattr("orchestrator.plan.Plan.cells", property(lambda plan: 1 / plan))
    monkeypatch.setattr(sys, "argv", ["warmgrid", "plan", "made.py"])

    with pytest.raises(TypeError):
        main()
