"""Pages: how large the pages of large figures are, how soon they are drawn, and how smoothly they move, in Chromium.

Made results, drawn and written by `orchestrator.figures`, opened in headless Chromium through selenium with a software
WebGL, which is the slowest kind. ``python -m benchmarks.pages``. A frame is the time from one picture to the next while
the mouse drags the figure, moves over its dots or wheels; 16.7 ms is what a browser aims at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tables import markdown
from orchestrator.figures.results import Results
from orchestrator.figures.scatter import Scatter
from orchestrator.figures.style import write_html
from orchestrator.figures.training import LearningCurves

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from selenium.webdriver import Chrome

MODELS, EPOCHS, SEEDS, ROUNDS, STEPS = 10_000, 100_000, 3, 3, 60
MOVES = ("pan", "hover", "zoom")
LIMIT_S = 60  # for a page to be drawn, and for each kind of movement
PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,800"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a graphics card
)
INITS = (
    {"init": "random_init", "init_text": "RandomInit()", "shrink": 0.0, "perturb": 1.0},
    {"init": "warm_start", "init_text": "WarmStart()", "shrink": 1.0, "perturb": 0.0},
    {"init": "shrink_perturb", "init_text": "ShrinkPerturb(shrink=0.4, perturb=0.1)", "shrink": 0.4, "perturb": 0.1},
    {"init": "shrink_perturb", "init_text": "ShrinkPerturb(shrink=0.6, perturb=0.1)", "shrink": 0.6, "perturb": 0.1},
)
# Runs in a page before anything of its own: notes when a figure has been drawn and a picture of it was shown.
DRAWN = """
const look = () => {
  const figure = document.querySelector('.plotly-graph-div');
  if (figure && figure._fullLayout && figure.querySelector('.main-svg')) {
    requestAnimationFrame(() => { window.drawnAfter = performance.now(); });
  } else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
# Moves the mouse once a frame, and gives the milliseconds between frames.
MOVE = """
const [kind, steps, done] = arguments;
const figure = document.querySelector('.plotly-graph-div');
const pane = figure.querySelector('.nsewdrag'), box = pane.getBoundingClientRect();
const at = share => [box.left + box.width * (0.3 + 0.4 * share), box.top + box.height * (0.35 + 0.3 * share)];
const send = (target, name, [x, y], more = {}) => target.dispatchEvent(new MouseEvent(name,
  {bubbles: true, cancelable: true, view: window, clientX: x, clientY: y, buttons: kind === 'pan' ? 1 : 0, ...more}));
Plotly.relayout(figure, {dragmode: 'pan'}).then(() => requestAnimationFrame(() => requestAnimationFrame(first => {
  const times = [first];
  let step = 0;
  const ranges = {...figure._fullLayout.xaxis}.range.slice();
  if (kind === 'pan') send(pane, 'mousedown', at(0));
  const frame = now => {
    if (step) times.push(now);
    if (step++ === steps) {
      if (kind === 'pan') send(document, 'mouseup', at(1));
      requestAnimationFrame(() => done(times.slice(1).map((t, i) => t - times[i])));
      return;
    }
    if (kind === 'zoom') {
      const cut = 0.01 * step * (ranges[1] - ranges[0]) / 2;
      Plotly.relayout(figure, {'xaxis.range': [ranges[0] + cut, ranges[1] - cut]});
    } else send(kind === 'pan' ? document : pane, 'mousemove', at(step / steps));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})));
"""


@dataclass(frozen=True)
class Page:
    """What was measured of one page.

    Attributes:
        what: The figure in words.
        draw_s: Best seconds of making the figure from rows, and writing the page.
        megabytes: Of the page; plotly.js is most of a small one.
        load_ms: From the beginning of the navigation until the figure was seen, by round; infinite if it took longer
            than `LIMIT_S`.
        frames_ms: Milliseconds of each frame while the mouse drags the figure (pan), wheels in steps of one percent
            (zoom), and moves over it (hover); infinite if all together took longer than `LIMIT_S`.
        errors: What the browser's console said.
        load: Of the machine, over the last minute.
    """

    what: str
    draw_s: float
    megabytes: float
    load_ms: Sequence[float]
    frames_ms: Mapping[str, Sequence[float]]
    errors: Sequence[str]
    load: float


def models(count: int) -> Results:
    """Made results of a sweep with this many models: four inits, two settings, three seeds."""
    draw = random.Random(0)
    rows = [
        {
            "key": f"{draw.getrandbits(64):016x}",
            "parent": None,
            "seed": number % 3,
            "round": 1,
            "status": "done",
            "data": "digits",
            "data_text": "Digits()",
            "model": "mlp",
            "model_text": "MLP(width=64)",
            "lr": 0.001 * (1 + number % 30),
            "batch_size": 2 ** (4 + number % 5),
            "stop_reason": "train_accuracy",
            "test_accuracy": 0.4 + 0.4 * draw.random(),
            "train_seconds": draw.lognormvariate(5, 1),
            "epochs": draw.randint(5, 350),
            "steps": draw.randint(1000, 99_999),
            "examples_seen": draw.randint(10**5, 10**7),
            **INITS[number % len(INITS)],
        }
        for number in range(count)
    ]
    return Results("made", rows, {row["key"]: row for row in rows}, count)


def long_stages(epochs: int, seeds: int) -> Results:
    """Made results of two inits under some seeds, each trained for this many epochs."""
    rows, measured = [], {}
    for number in range(2 * seeds):
        draw, key = random.Random(number), f"{number:016x}"
        rows.append({**models(1).rows[0], "key": key, "seed": number // 2, "epochs": epochs, **INITS[number % 2]})
        best = 0.95 - 0.1 * (number % 2)
        reached = [best - 0.7 / (1 + 200 * epoch / epochs) + draw.gauss(0, 0.01) for epoch in range(epochs)]
        measured[key] = [
            {"key": key, "epoch": epoch + 1, "train_accuracy": value, "test_accuracy": 0.8 * value}
            for epoch, value in enumerate(reached)
        ]
    return Results("made", rows, {row["key"]: row for row in rows}, len(rows), measured)


def figures(count: int, epochs: int) -> dict[str, Callable[[], go.Figure]]:
    """What is measured: large figures, and small ones to compare them with."""
    many, few = models(count), models(min(count, 300))
    long, short = long_stages(epochs, SEEDS), long_stages(min(epochs, 350), SEEDS)
    return {
        f"scatter of {len(few.rows):,} models": lambda: Scatter("Made").draw(few),
        f"scatter of {len(many.rows):,} models": lambda: Scatter("Made").draw(many),
        f"scatter of {len(many.rows):,} models with its inset": lambda: Scatter("Made", inset=True).draw(many),
        f"bands over {min(epochs, 350):,} epochs": lambda: LearningCurves("Made").draw(short),
        f"bands over {epochs:,} epochs": lambda: LearningCurves("Made").draw(long),
    }


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A headless Chromium with an empty profile; that of this machine, none is fetched."""
    from selenium import webdriver

    program, driver = map(shutil.which, PROGRAMS)
    if program is None or driver is None:
        raise FileNotFoundError(
            f"this takes the programs {' and '.join(PROGRAMS)}: install them (Debian: the packages)."
        )
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        browser.set_script_timeout(LIMIT_S)
        browser.set_page_load_timeout(LIMIT_S)
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": DRAWN})
        yield browser
    finally:
        browser.quit()


def loaded(browser: Chrome, path: Path) -> float:
    """Open a page; milliseconds until its figure was seen."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    browser.get(path.resolve().as_uri())
    WebDriverWait(browser, LIMIT_S, 0.05).until(lambda page: page.execute_script("return window.drawnAfter"))
    found: float = browser.execute_script("return window.drawnAfter")
    return found


def frames(browser: Chrome, kind: str) -> list[float]:
    """Milliseconds of each frame while the page moves."""
    found: list[float] = browser.execute_async_script(MOVE, kind, STEPS)
    return found


def measured(what: str, draw: Callable[[], Any], folder: Path, rounds: int) -> Page:
    """Draw one figure, open its page and move it; leaves the page and pictures of it in `folder`."""
    from selenium.common.exceptions import TimeoutException

    path, spent = folder / f"{what.replace(' ', '-').replace(',', '')}.html", []
    for _ in range(rounds):
        began = time.perf_counter()
        write_html(draw(), path)
        spent.append(time.perf_counter() - began)
    loads, errors = list[float](), list[str]()
    moved = {kind: [math.inf, math.inf] for kind in MOVES}
    with tempfile.TemporaryDirectory(prefix="warmgrid-pages-") as profile, chromium(Path(profile)) as browser:
        try:
            loads += [loaded(browser, path) for _ in range(rounds)]
            browser.save_screenshot(str(path.with_suffix(".png")))
            for kind in MOVES:
                moved[kind] = frames(browser, kind)
            browser.save_screenshot(str(path.with_suffix(".moved.png")))
            errors += [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        except TimeoutException:
            errors.append(f"not within {LIMIT_S} s")
    megabytes = path.stat().st_size / 1e6
    return Page(what, min(spent), megabytes, loads or [math.inf], moved, errors, os.getloadavg()[0])


def table(pages: Sequence[Page]) -> str:
    """A row a page, in Markdown; frames as median and the slowest of twenty."""
    head = ["figure", "drawn and written, s", "MB", "seen after, ms"]
    head += [f"{kind}: frame, ms" for kind in MOVES] + ["load"]
    rows = []
    for page in pages:
        cells = [page.what, f"{page.draw_s:.2f}", f"{page.megabytes:.1f}", f"{min(page.load_ms):,.0f}"]
        for times in page.frames_ms.values():
            cells.append(f"{statistics.median(times):.0f} ({statistics.quantiles(times, n=20)[-1]:.0f})")
        rows.append([*cells, f"{page.load:.1f}"])
    return markdown(head, rows)


def main(words: Sequence[str] | None = None) -> bool:
    """Print the table, and all numbers as a line of JSON; tell whether no page had an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--models", type=int, default=MODELS, help="dots of the large scatters")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the long stages")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each page is drawn and opened")
    parser.add_argument("--folder", type=Path, help="where pages and pictures stay; by default they go")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="warmgrid-pages-") as made:
        folder, pages = asked.folder or Path(made), []
        folder.mkdir(parents=True, exist_ok=True)
        for what, draw in figures(asked.models, asked.epochs).items():
            pages.append(measured(what, draw, folder, asked.rounds))
            print(f"{what}: {pages[-1].megabytes:.1f} MB {pages[-1].errors}", file=sys.stderr)
    print(table(pages))
    print(json.dumps([asdict(page) for page in pages]))
    return not any(page.errors for page in pages)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
