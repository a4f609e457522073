"""The report is one page that loads nothing, shows everything, and can be found through from its top."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from orchestrator.catalogue import find
from orchestrator.figures.style import PAGE
from orchestrator.report import report_of
from orchestrator.report_page import POLICY, write_report
from orchestrator.store import Store
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.fake_trainer import made_sweep
from tests.orchestrator.made_store import fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a table, curves, and a user's own sweep, some of whose stages failed and whose file is gone."""
    folder = tmp_path_factory.mktemp("report")
    store = Store(str(folder / "store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for name in ("ewc", "figure1", "figure5"):
            sweep = find(name).sweep
            made = sweep.replace(sweep.small, (0, 1))
            fill(store, made, lambda stage: {"test_accuracy": 0.6 if stage.parent else 0.9})
        failing = {"status": "failed", "error": "E: <b>"}
        fill(store, made_sweep(start=["parent"]), lambda s: failing if s.parent else {}, str(folder / "made.py"))
    return store


@pytest.fixture(scope="module")
def page(filled: Store) -> str:
    """The page of that store."""
    path = Path(filled.root).parent / "new" / "report.html"
    write_report(report_of(filled), path)
    return path.read_text("utf-8")


def own(page: str) -> str:
    """The page without what plotly wrote."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_plotly_is_in_the_page_once(page: str) -> None:
    """It is 4 MB: twenty times would be no page that anyone opens, and without it nothing is drawn."""
    assert page.count("plotly.js v") == 1
    assert page.count("Plotly.newPlot(") == 2  # a table needs none, and a sweep that failed has nothing to draw


def test_the_page_asks_no_other_host(page: str) -> None:
    """It must work in a train, and tell nobody that it was read."""
    assert POLICY in page
    assert POLICY in PAGE
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", own(page))


def test_every_link_of_the_contents_leads_somewhere(page: str) -> None:
    """A page of twenty sweeps is used through its table of contents."""
    links = re.findall(r'href="#([^"]+)"', page)

    assert {"claims", "sweep-ewc", "sweep-figure1", "sweep-made", "cost", "versions", "failures"} <= set(links)
    assert all(page.count(f'id="{link}"') == 1 for link in links)


def test_a_tables_numbers_are_in_the_page(page: str) -> None:
    """90 % from random inits and 60 % from warm starts, over two seeds."""
    assert all(f"<td>{number} (0.0)" in page for number in ("90.0", "60.0", "30.0"))


def test_a_claim_stands_with_its_verdict_and_its_data_set(page: str) -> None:
    """A verdict without its data set would be read as the paper's."""
    rows = [row for row in re.findall(r"<tr>.*?</tr>", own(page)) if "figure1" in row]

    assert any("FashionMNIST" in row and 'class="verdict ' in row for row in rows)


def test_a_sweep_with_nothing_to_draw_says_so_and_the_rest_is_drawn(page: str) -> None:
    """One sweep that failed must not cost the report of all others."""
    section = page[page.index('id="sweep-made"') :]

    assert "nothing to draw" in section
    assert "E: &lt;b&gt;" in section


def test_the_page_knows_no_folder_but_the_stores(page: str, filled: Store) -> None:
    """Reports are shared; home folders are not."""
    told = own(page).replace(filled.root, "")

    assert str(Path(filled.root).parent) not in told
    assert "from made.py" in told


def test_the_command_writes_the_page_and_tells_its_facts(warmgrid: Warmgrid, filled: Store) -> None:
    """A script reads the counts; a person opens the page."""
    ended = warmgrid("report", "--store", filled.root, "--json")

    assert ended.code == 0
    assert Path("report.html").is_file()
    assert ended.facts["models"] == {"ewc": 12, "figure1": 4, "figure5": 10, "made": 4}
    assert ended.facts["failed"] == 4


def test_the_command_without_a_store_is_one_message(warmgrid: Warmgrid, tmp_path: Path) -> None:
    """No traceback, no empty page."""
    ended = warmgrid("report", "--store", str(tmp_path / "none"))

    assert ended.code == 2
    assert "no store here" in ended.err
    assert not Path("report.html").exists()
