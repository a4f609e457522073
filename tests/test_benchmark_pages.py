"""Large figures work in a real browser: their buttons and hovering too, and what is measured of them is a movement."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import pages
from benchmarks.pages import PROGRAMS, Page, chromium, frames, loaded, measured, models, table
from orchestrator.figures.scatter import Scatter
from orchestrator.figures.style import WEBGL, write_html

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MADE = models(WEBGL)
needs_chromium = pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"no {' or no '.join(PROGRAMS)} here")
FIGURE = "const figure = document.querySelector('.plotly-graph-div');"


# Moves the mouse to the eighth dot; another one may lie over it.
HOVER = """
const {xaxis, yaxis, _size} = figure._fullLayout, {x, y} = figure._fullData[0], box = figure.getBoundingClientRect();
const at = {clientX: box.left + _size.l + xaxis.d2p(x[7]), clientY: box.top + _size.t + yaxis.d2p(y[7])};
const send = more => figure.querySelector('.nsewdrag').dispatchEvent(
  new MouseEvent('mousemove', {bubbles: true, view: window, ...at, ...more}));
send({}); send({clientX: at.clientX + 1});
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that shows a scatter drawn by WebGL."""
    pytest.importorskip("selenium")
    folder = tmp_path_factory.mktemp("pages")
    write_html(Scatter("Made").draw(MADE), folder / "figure.html")
    with chromium(folder / "profile") as browser:
        loaded(browser, folder / "figure.html")
        yield browser


@needs_chromium
def test_a_button_moves_all_dots(opened: Chrome) -> None:
    """Steps under the title seconds are a wrong figure that looks right."""
    opened.find_elements("css selector", ".updatemenu-button")[1].click()

    shown = opened.execute_script(f"{FIGURE} return [...figure._fullData[0].x]")
    steps = [row["steps"] for row in MADE.rows if row["init"] == "random_init"]
    assert (shown, opened.execute_script(f"{FIGURE} return figure.layout.xaxis.title.text")) == (
        *(steps, "training steps"),
    )


@needs_chromium
def test_hovering_over_a_dot_names_its_model(opened: Chrome) -> None:
    """A dot with another model's key sends people to the wrong stage."""
    from selenium.webdriver.support.ui import WebDriverWait

    opened.execute_script(f"{FIGURE} {HOVER}")

    label = WebDriverWait(opened, 20).until(lambda page: page.find_elements("css selector", ".hovertext .nums"))[0]
    text = label.get_attribute("data-unformatted")
    (row,) = (row for row in MADE.rows if text.endswith(f"key {row['key']}"))
    for fact in (f"accuracy {100 * row['test_accuracy']:.2f} %", f"lr {row['lr']:g}", f"{row['steps']:,} steps"):
        assert f"{fact}<br>" in text or f"{fact}, " in text


@needs_chromium
def test_the_page_says_nothing_to_the_console(opened: Chrome) -> None:
    """What a browser complains about is drawn wrong, or not at all, in the next one."""
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]


@needs_chromium
@pytest.mark.parametrize("kind", ["pan", "zoom"])
def test_frames_are_measured_while_the_figure_moves(kind: str, opened: Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that stands still is always smooth."""
    monkeypatch.setattr(pages, "STEPS", 5)
    before = opened.execute_script(f"{FIGURE} return figure._fullLayout.xaxis.range")

    times = frames(opened, kind)

    assert len(times) == 5
    assert opened.execute_script(f"{FIGURE} return figure._fullLayout.xaxis.range") != before


@needs_chromium
def test_a_page_that_does_not_open_is_no_fast_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst page would otherwise be missing in the table."""
    monkeypatch.setattr(pages, "LIMIT_S", 3)
    monkeypatch.setattr(pages, "write_html", lambda _, path: path.write_text("<p>no figure"))

    page = measured("empty", lambda: None, tmp_path, 1)

    assert (page.load_ms, page.errors) == ([math.inf], ["not within 3 s"])


def test_the_table_tells_slow_frames_beside_usual_ones() -> None:
    """One frame in twenty that takes a second is what people feel."""
    times: dict[str, Any] = {kind: [10.0] * 18 + [500.0] * 2 for kind in pages.MOVES}

    row = table([Page("made", 1.0, 5.0, [400.0, 300.0], times, [], 0.5)]).splitlines()[-1]

    assert row == "| made | 1.00 | 5.0 | 300 | 10 (500) | 10 (500) | 10 (500) | 0.5 |"
