"""The command line in this process: what it is told, and what it leaves. Not a test itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.cli import main

IN_PROCESS = ("--backend", "inprocess")


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code, and what it printed on either stream."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


Warmgrid = Callable[..., Ended]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Ended:
    """Run ``warmgrid`` with these words to its end."""
    monkeypatch.setattr(sys, "argv", ["warmgrid", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return Ended(ended.value.code or 0, *capsys.readouterr())
