"""The files of a store are opened by what a user writes after --store, and say which process may still need them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import files as module
from orchestrator.bucket import BucketFiles
from orchestrator.errors import ConfigError
from orchestrator.files import DAY_S, HIDDEN, hidden_name, is_alive, is_left_over, machine, open_files
from orchestrator.folder import FolderFiles
from tests.orchestrator.fake_trainer import ROOT


def test_a_path_is_a_folder_and_a_url_is_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called "s3:" in the working directory would fill up unnoticed."""
    monkeypatch.chdir(tmp_path)

    assert open_files("store").root == str(tmp_path / "store")
    assert isinstance(open_files("~/store"), FolderFiles)
    assert isinstance(open_files("s3://bucket/store"), BucketFiles)
    with pytest.raises(ConfigError, match="a store is a path, s3://bucket/prefix or gs://bucket/prefix"):
        open_files("ftp://host/store")
    assert list(tmp_path.iterdir()) == []


def test_opening_a_bucket_loads_no_pyarrow() -> None:
    """Planning must feel instant, and most stores are folders."""
    code = (
        "import sys\n"
        "from orchestrator.files import open_files\n"
        "open_files('s3://bucket/store'), open_files('store')\n"
        "print('pyarrow' in sys.modules)\n"
    )

    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"


@pytest.mark.parametrize("name", ["stages/a.parquet", "top", "cells/a.b-c.1.parquet"])
def test_a_hidden_name_says_whose_it_is(name: str) -> None:
    """Without it nobody could tell rubbish from a write that goes on."""
    folder, _, last = hidden_name(name).rpartition("/")
    found = HIDDEN.fullmatch(last)

    assert folder == name.rpartition("/")[0]
    assert (found["machine"], int(found["pid"])) == (machine(), os.getpid())
    assert hidden_name(name) != hidden_name(name)


def test_a_hidden_file_is_left_over_once_its_writer_is_surely_dead() -> None:
    """To remove the half of a living writer fails its stage; to keep all halves fills the disk."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    mine, here = hidden_name("a"), f".{os.getpid()}."
    dead, elsewhere = mine.replace(here, f".{ended.pid}."), mine.replace(machine(), "other-0123abcd")

    assert [is_left_over(name, 5.0) for name in (mine, dead, elsewhere, ".nfs0001", "a")] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert [is_left_over(name, DAY_S + 1) for name in (mine, elsewhere, ".nfs0001")] == [True, True, False]


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 is root's, and may not be asked by others."""
    assert is_alive(1)

    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError))
    assert is_alive(1)


def test_machines_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of all machines are called localhost, and the numbers of their processes mean nothing to each other."""
    here = machine()
    monkeypatch.setattr(module.Path, "read_text", lambda _: "another boot")
    machine.cache_clear()
    there = machine()
    machine.cache_clear()

    assert here != there
    assert here.rpartition("-")[0] == there.rpartition("-")[0]
    assert "." not in here
