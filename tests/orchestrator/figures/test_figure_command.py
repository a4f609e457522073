"""`warmgrid figure` draws a sweep in the form that it names, as a page and a picture, and prints what the form says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.command import IN_PROCESS, Warmgrid
from tests.orchestrator.fake_trainer import SWEEP_FILE

FORM = """
import dataclasses
from orchestrator.figures.curves import ACCURACY, Curves

class Spoken(Curves):
    def text(self, results):
        return f"[bold]{len(results.rows)} models[/bold]"

sweep = dataclasses.replace(sweep, figure=Spoken("My form", "lr", "learning rate", [ACCURACY], arm=["start"]))
"""


@pytest.fixture
def drawn(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> Warmgrid:
    """A launched sweep that names a form; kaleido draws no real picture."""
    Path("made.py").write_text(SWEEP_FILE + FORM)
    warmgrid("launch", "made.py", *IN_PROCESS)
    kaleido = pytest.importorskip("kaleido")
    monkeypatch.setattr(kaleido, "calc_fig_sync", lambda *_, **__: b"PNG")
    return warmgrid


def test_a_sweep_is_drawn_in_the_form_that_it_names(drawn: Warmgrid) -> None:
    """Figure 8 as a scatter answers another question."""
    drawn("figure", "made")

    assert "<title>My form" in Path("made.html").read_text()


def test_what_the_form_says_is_printed_before_the_path(drawn: Warmgrid) -> None:
    """A table is read where it is asked for; markup must not be."""
    assert drawn("figure", "made").out == "8 models\nmade.html\n"


def test_a_png_is_beside_the_page(drawn: Warmgrid) -> None:
    """Under the same name, or the two are soon of different days."""
    assert drawn("figure", "made", "--png", "-o", "new/my.html").out.endswith("new/my.html\nnew/my.png\n")

    assert Path("new/my.png").read_bytes() == b"PNG"


def test_json_is_all_that_programs_get(drawn: Warmgrid) -> None:
    """Text before it cannot be parsed."""
    facts: Any = drawn("figure", "made", "--png", "--json").facts

    assert facts == {"figure": "made.html", "png": "made.png", "models": 8}


def test_a_sweep_without_a_file_is_still_drawn(drawn: Warmgrid, caplog: pytest.LogCaptureFixture) -> None:
    """A store outlives the file that filled it; that the form is another one must be said."""
    Path("made.py").unlink()

    ended = drawn("figure", "made")

    assert ended.code == 0
    assert "Drawn as a scatter" in caplog.text
    assert "<title>made" in Path("made.html").read_text()
