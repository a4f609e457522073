"""What tests of the live page share: a store with made-up results, its page on a port, and a real browser."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.catalogue import find
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.sweep import Sweep
from tests.orchestrator.made_store import fill

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--window-size=1400,1000"),
)
HOSTILE = "ValueError: <script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def until(is_so: Callable[[], Any], what: str = "what was waited for", seconds: float = 20.0) -> Any:
    """What `is_so` gives once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        time.sleep(0.02)
    return found


def little() -> Sweep:
    """The quickstart's sweep with 12 cells and one seed: 16 stages."""
    return find("quickstart").sweep.replace({"lr": [0.003, 0.01]}, [0])


def made(stage: Stage) -> dict[str, Any]:
    """Made-up numbers that differ from stage to stage."""
    share = int(stage.key[:4], 16) / 2**16
    return {"test_accuracy": 0.9 + 0.09 * share, "train_seconds": 5 + 20 * share}


def one_failed() -> Callable[[Stage], dict[str, Any]]:
    """The same, but the first stage that has a parent has failed."""
    failed: list[str] = []

    def with_failure(stage: Stage) -> dict[str, Any]:
        if stage.parent is None or failed:
            return made(stage)
        failed.append(stage.key)
        return {**made(stage), "status": "failed", "error": HOSTILE}

    return with_failure


@pytest.fixture
def filled(store: Store) -> Store:
    """A store in which all of `little` is done."""
    fill(store, little(), made)
    return store


Served = Callable[..., str]


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """Show the page of a store, in threads of this process; gives its link."""
    import uvicorn

    from orchestrator.live.app import make_app
    from orchestrator.live.questions import Questions
    from orchestrator.live.serve import bind
    from orchestrator.live.watch import Watch

    with contextlib.ExitStack() as ends:

        def start(store: Store, host: str = "127.0.0.1", own: str | None = None, limit_s: float = 20.0) -> str:
            place = bind(host, 0)
            watch = ends.enter_context(Watch(store.root, own))
            app = make_app(watch, Questions(store.root, limit_s), place.token, place.host, place.port)
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [place.sock]}, daemon=True)
            thread.start()
            ends.callback(thread.join, 5)
            ends.callback(setattr, server, "should_exit", True)
            until(lambda: server.started, "the server")
            return place.link

        yield start


@pytest.fixture
def served() -> Iterator[Served]:
    """`serving` until the end of the test."""
    with serving() as start:
        yield start


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A headless Chromium."""
    pytest.importorskip("selenium", reason="selenium is not installed, which drives the browser of these tests")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on the PATH, the browser of these tests")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for word in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(word)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as browser:
        browser.set_page_load_timeout(30)
        yield browser


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """That browser, of the usual size in the light, without anything that another test left."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.delete_all_cookies()
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield chromium
    chromium.get("about:blank")
