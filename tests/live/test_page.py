"""The page in a real browser: what people do with it works, and nothing goes wrong or out that they do not see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from orchestrator.catalogue import find
from orchestrator.plan import plan
from orchestrator.store import Store
from tests.live.conftest import HOSTILE, Served, little, made, one_failed, until
from tests.orchestrator.command import IN_PROCESS
from tests.orchestrator.fake_trainer import SWEEP_FILE
from tests.orchestrator.made_store import commit, fill

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).parents[2]
DOTS = """
const dots = (document.getElementById('plot').data ?? []).filter((trace) => trace.uid.startsWith('dots'));
return dots.reduce((count, trace) => count + trace.x.length, 0)
"""
PLACE = """
const plot = document.getElementById('plot'), trace = plot.data[1], {xaxis, yaxis} = plot._fullLayout;
const box = plot.getBoundingClientRect();
return [xaxis._offset + xaxis.d2p(trace.x[0]) - box.width / 2, yaxis._offset + yaxis.d2p(trace.y[0]) - box.height / 2,
        trace.customdata[0]]
"""


class Page:
    """The page as somebody in front of it uses it."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def open(self, link: str, address: str = "#sweep=quickstart") -> Page:
        """Wait until the scatter is drawn."""
        self.browser.get(link + address)
        until(lambda: self.run("return document.getElementById('plot').data !== undefined"), "the scatter")
        until(lambda: " of " in self.text("headline"), "the progress")
        return self

    def run(self, script: str, *given: Any) -> Any:
        """What a script gives."""
        return self.browser.execute_script(script, *given)

    def find(self, css: str) -> WebElement:
        """The first element."""
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def text(self, id_: str) -> str:
        """What stands in an element."""
        return str(self.run("return document.getElementById(arguments[0]).innerText", id_))

    def click(self, css: str) -> None:
        """Click on it, wherever it is."""
        until(lambda: clicked(self, css), f"a click on {css}")

    @property
    def dots(self) -> int:
        """How many are in the scatter."""
        return int(self.run(DOTS))

    @property
    def rows(self) -> int:
        """How many are in the table of models."""
        return int(self.run("return document.querySelectorAll('#models tbody tr[data-id]').length"))

    def told_detail(self, words: str) -> None:
        """Wait until the detail says this."""
        until(lambda: words in self.text("detail"), f"the detail with {words!r}")

    def check_quiet(self, link: str) -> None:
        """Fail if anything was said on the console, or asked of another host."""
        said = [entry["message"] for entry in self.browser.get_log("browser")]
        assert [text for text in said if "GL Driver Message" not in text] == []  # how fast a made-up GPU is
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        hosts = {urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))}
        assert hosts == {urlsplit(link).netloc}


def clicked(page: Page, css: str) -> bool:
    """Whether it could be clicked: not if it is not there yet, or drawn anew just now."""
    try:
        page.run("arguments[0].scrollIntoView({block: 'center'})", page.find(css))
        page.find(css).click()
    except (NoSuchElementException, StaleElementReferenceException):
        return False
    return True


@pytest.fixture
def page(browser: Chrome) -> Page:
    """Nothing is open yet."""
    return Page(browser)


def test_it_opens_quietly(page: Page, store: Store, served: Served) -> None:
    """An error on the console is something that somebody does not see; another host is a leak."""
    fill(store, little(), one_failed())
    link = served(store)

    page.open(link, "")  # of the one sweep that there is, unasked

    until(lambda: page.text("headline") == "15 of 16 stages", "the count of stages")
    assert (page.dots, page.rows) == (11, 12)
    for tab in ("failures", "claims", "sql", "models"):
        page.click(f"#{tab}-tab")
    page.check_quiet(link)


def test_it_waits_for_the_first_launch(page: Page, store: Store, served: Served) -> None:
    """Whoever opens the page before the sweep starts sees the sweep once it does, without a reload."""
    store.check_format()
    link = served(store)
    page.browser.get(link)
    until(lambda: page.text("headline") == "Nothing was launched yet", "an empty page")

    fill(store, little(), made)

    until(lambda: page.dots == 12, "the dots")
    page.check_quiet(link)


def test_the_scatter_keeps_to_its_place(page: Page, filled: Store, served: Served) -> None:
    """Words below the picture come after it was drawn; they must not lie over its legend."""
    page.open(served(filled))
    until(lambda: page.text("left") == "all done", "all that moves the scatter")

    ends = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]]"

    until(lambda: page.run(ends, "#plot .legend", "bottom") <= page.run(ends, "#shown", "top"), "room for the words")


def test_a_filter_narrows_dots_and_table_and_survives_a_reload(page: Page, filled: Store, served: Served) -> None:
    """A link to a filtered view must show the filtered view."""
    page.open(served(filled))

    page.click("#filters input[data-facet=batch_size][data-value='16']")
    until(lambda: (page.dots, page.rows) == (6, 6), "half of the models")
    page.browser.refresh()

    until(lambda: page.run("return document.getElementById('plot').data !== undefined") and page.dots == 6, "the same")
    page.click("#clear")
    until(lambda: page.rows == 12, "all models")


def test_a_click_on_a_dot_tells_all_about_it(page: Page, filled: Store, served: Served) -> None:
    """The question after every surprising dot is: what is this one?"""
    page.open(served(filled))
    until(lambda: page.text("left") == "all done", "all that moves the scatter")
    right, down, _ = page.run(PLACE)

    place = ActionChains(page.browser).move_to_element_with_offset(page.find("#plot"), round(right), round(down))
    place.pause(0.2).click().perform()

    for words in ("Learning curve", "batch size", "Where and when", "Lineage"):
        page.told_detail(words)
    assert page.run("return document.querySelector('.curve').data.length") == 2


def test_the_keyboard_is_enough(page: Page, filled: Store, served: Served) -> None:
    """Dots cannot be reached without a mouse, so the table must do all that they do."""
    page.open(served(filled))
    page.run("document.querySelector('#models tbody tr').focus()")

    page.browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.told_detail("Learning curve")
    until(lambda: page.run("return document.activeElement.id") == "detail-head", "the detail's head")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)

    assert page.run("return document.activeElement === document.querySelector('#models tbody tr:nth-child(2)')")


def test_escape_goes_back_to_where_the_first_detail_came_from(page: Page, filled: Store, served: Served) -> None:
    """Who follows a lineage by keyboard would else be thrown back to the top of the page."""
    page.open(served(filled))
    page.run(
        "[...document.querySelectorAll('#models tbody tr')].find((row) => /warm start/.test(row.innerText)).focus()"
    )
    row = page.browser.switch_to.active_element

    row.send_keys(Keys.ENTER)
    page.told_detail("Lineage")
    before = page.text("detail-body")
    page.find(".tree button").send_keys(Keys.ENTER)
    until(lambda: page.text("detail-body") != before and page.run("return document.activeElement.id") == "detail-head")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)

    assert page.browser.switch_to.active_element == row


def test_a_detail_that_is_read_stays_as_it_is(page: Page, store: Store, served: Served) -> None:
    """While a sweep runs there is news every second; what somebody scrolled to or marked must not jump away."""
    last = plan(little().trials()).stages[-1]
    fill(store, little(), lambda stage: None if stage.key == last.key else made(stage))
    page.open(served(store))
    page.click("#models tbody tr")
    page.told_detail("Learning curve")
    page.run("document.querySelector('#detail-body').firstChild.id = 'marked'")

    commit(store, last, made(last))

    until(lambda: page.dots == 12, "the new dot")
    asked = "return performance.getEntriesByType('resource').filter((one) => one.name.includes('api/stages')).length"
    until(lambda: page.run(asked) > 1, "the detail's news")
    page.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert page.run("return document.getElementById('marked') !== null")


def test_the_chosen_model_is_marked_in_the_table(page: Page, filled: Store, served: Served) -> None:
    """Of many lines alike, the one whose detail is shown must be seen."""
    page.open(served(filled))

    page.click("#models tbody tr")
    page.told_detail("Learning curve")

    assert page.run("return getComputedStyle(document.querySelector('#models [aria-current]')).boxShadow") != "none"


def test_a_link_that_somebody_made_up_opens_the_page(page: Page, filled: Store, served: Served) -> None:
    """What stands in a link is anybody's text, and every object has a toString."""
    link = served(filled)

    page.open(link, "#sweep=quickstart&cost=toString&only.__proto__=a&model=nope&colour=constructor")

    assert page.dots == 12


def test_a_stage_appears_while_a_sweep_runs(page: Page, store: Store, served: Served, tmp_path: Path) -> None:
    """The scatter fills in by itself; who has zoomed in and chosen a model keeps both."""
    path = tmp_path / "made.py"
    path.write_text(SWEEP_FILE)
    fill(store, find(str(path)).sweep.replace({"lr": [0.1], "start": ["fresh"]}, [0]), made, str(path))
    command = [sys.executable, "-m", "orchestrator.cli", "launch", str(path), "--store", store.root, *IN_PROCESS]
    page.open(served(store, own=str(path)), "#sweep=made")
    page.run("Plotly.relayout('plot', {'xaxis.range': [0, 30], 'yaxis.range': [20, 100]})")
    page.click("#models tbody tr")
    page.told_detail("Learning curve")

    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweep:
        until(lambda: page.dots > 1, "a new dot", 60)
        until(lambda: page.dots == 8, "all new dots", 60)
        assert sweep.wait(60) == 0

    assert page.run("return document.getElementById('plot')._fullLayout.xaxis.range") == [0, 30]
    assert page.run("return document.querySelectorAll('#models tr[aria-current]').length") == 1
    until(lambda: page.text("headline") == "10 of 10 stages", "the progress")
    page.told_detail("Learning curve")


def test_failures_show_their_traceback(page: Page, store: Store, served: Served) -> None:
    """And what a store's texts say stays text: an error is written by whatever a worker ran into."""
    fill(store, little(), one_failed())
    page.open(served(store))

    page.click("#failures-tab")
    page.click("#failures-panel summary")

    until(lambda: "made" in page.text("failures-panel").splitlines(), "the traceback")
    assert HOSTILE in page.text("failures-panel")
    page.click("#failures-panel button")
    page.told_detail(HOSTILE)
    assert page.browser.title != "taken"
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0


def test_hostile_names_stay_text(page: Page, store: Store, served: Served) -> None:
    """A store from somebody else may call its axes and values what it likes."""
    cells = [
        {"sweep": "made", HOSTILE: f"{HOSTILE}{n}", "init": n, "seed": 0, "round": 0, "key": "a" * 16} for n in "ab"
    ]
    given = {"sweep": "made", "source": "made.py", "axes": {}, "overrides": [], "seeds": [0], "stages": ""}
    fill(store, little(), made)
    (key,) = store.sql("SELECT min(key) AS key FROM stages")["key"].to_pylist()
    store.record_launch("made", given, [{**cell, "key": key} for cell in cells])
    page.open(served(store), "#sweep=made")

    page.click("#models tbody tr")
    page.told_detail(HOSTILE[:20])

    assert HOSTILE in page.text("filters")
    assert page.browser.title != "taken"
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0


def test_sql_is_answered_in_place(page: Page, filled: Store, served: Served) -> None:
    """The question that no picture answers; a mistake in it is told in words."""
    page.open(served(filled), "#sweep=quickstart&tab=sql")
    box = page.find("#sql")

    box.send_keys("SELECT count(*) AS n FROM results", Keys.CONTROL, Keys.ENTER)
    until(lambda: page.text("sql-rows").split() == ["n", "12"], "the answer")
    box.send_keys(" WHERE nope")

    page.click("#sql-form button[type=submit]")
    until(lambda: "no column 'nope'" in page.text("sql-said"), "the mistake")


def test_a_phone_shows_all_without_scrolling_sideways(page: Page, filled: Store, served: Served) -> None:
    """People look at a sweep that runs over night from where they are."""
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    page.open(served(filled))

    page.click("#models tbody tr")
    page.told_detail("Learning curve")

    assert page.run("return document.documentElement.scrollWidth") <= 390
    assert page.run("return document.querySelector('.curve').getBoundingClientRect().right") <= 390
    page.click("#close")
    until(lambda: not page.find("#detail").is_displayed(), "the detail to close")


def test_dark_mode_is_dark(page: Page, filled: Store, served: Served) -> None:
    """White light at night, or dark letters on dark ground in the plot."""
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.open(served(filled))

    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    letters = page.run("return getComputedStyle(document.querySelector('#plot .xtick text')).fill")

    assert max(numbers(ground)) < 40
    assert min(numbers(letters)) > 120


def numbers(colour: str) -> list[int]:
    """Red, green and blue of ``rgb(1, 2, 3)``."""
    return [int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]


def test_thousands_of_dots_are_drawn_by_webgl(page: Page, filled: Store, served: Served) -> None:
    """The policy that lets no text become code must let plotly.js draw with WebGL all the same."""
    (key,) = filled.sql("SELECT min(key) AS key FROM stages")["key"].to_pylist()
    cells = [{"sweep": "many", "limit": n, "init": "ab"[n % 2], "seed": 0, "round": 0, "key": key} for n in range(2000)]
    given = {"sweep": "many", "source": "many.py", "axes": {}, "overrides": [], "seeds": [0], "stages": ""}
    filled.record_launch("many", given, cells)
    link = served(filled)

    page.open(link, "#sweep=many")

    assert page.dots == 2000
    assert page.run("return document.getElementById('plot').data[0].type") == "scattergl"
    assert page.run("return document.querySelectorAll('#plot canvas').length") > 0
    assert "not supported" not in page.text("plot")
    page.check_quiet(link)


def test_elsewhere_the_link_with_the_token_opens_it(page: Page, filled: Store, served: Served) -> None:
    """A page on another machine is opened by its link alone, and the token is out of sight then."""
    link = served(filled, "0.0.0.0")
    port = urlsplit(link).port
    page.browser.get(f"http://127.0.0.1:{port}/")
    assert "needs its token" in page.find("body").text

    page.open(f"http://127.0.0.1:{port}/?{urlsplit(link).query}")

    assert page.dots == 12
    assert "token" not in page.browser.current_url
