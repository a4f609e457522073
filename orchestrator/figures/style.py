"""Style: what all figures share: words and looks of arms, layout, pages and pictures. Draws nothing.

An *arm* is what a figure compares, most often an init; it has one name, colour, symbol and dash wherever it stands.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.columns import SETTINGS, names
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from orchestrator.figures.results import Results

Row = Mapping[str, Any]

WORDS = {
    "random_init": "random init",
    "warm_start": "warm start",
    "in_order": "random selection",
    "margin": "margin sampling",
    "none": "no regularizer",
    "no_augmentation": "no augmentation",
    "no_change": "no change after steps",
}
# Okabe and Ito's colours without the yellow, which white swallows; told apart by all kinds of colour vision.
FIRST_COLOURS = {"random init": "#D55E00", "warm start": "#0072B2"}
COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GREY = "#888888"
WEBGL = 2000  # dots; from here on WebGL draws them, of which a browser keeps but a few at once
CAPS = ("axis_epochs", "limit", "rounds", "per_round")  # axes of which None is a value of its own: without the cap
CAPPED = {"limit": "{:,} images", "axis_epochs": "{:,} epochs"}  # those that make a result another one than the title's
FONT = "system-ui, Helvetica, Arial, sans-serif"
AXIS = {"automargin": True, "linecolor": "#888", "ticks": "outside", "tickcolor": "#888", "separatethousands": True}
AXIS |= {"title": {"font": {"size": 13}}}
WIDTH, HEIGHT, SCALE = 1000, 600, 2  # of a PNG: pixels of the layout, and how many of the picture stand for one
SQUEEZE = 140  # pixels that a page, with the title outside of the figure, may take away from its height
SHOWN = {"responsive": True, "displaylogo": False, "modeBarButtons": [["zoom2d", "pan2d", "resetScale2d", "toImage"]]}
SHOWN |= {"plotGlPixelRatio": 1}  # 2, plotly's, is four times the work: without a graphics card 10 frames a second
# Its policy lets the page load nothing, not even by mistake. plotly.js compiles functions for WebGL: unsafe-eval.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:">
<title>{title}</title>
<style>
body {{ margin: 0; height: 100vh; height: 100dvh; display: flex; flex-direction: column;
       background: #fff; color: #222; font: 13px/1.4 {font}; }}
header {{ padding: 12px 16px 0; }}
h1 {{ font-size: 18px; font-weight: 600; margin: 0 0 2px; }}
p {{ margin: 0; color: #555; }}
main {{ flex: 1 0 {height}px; min-width: {width}px; }}
@media (max-width: 600px) {{ .modebar {{ display: none; }} }}
</style>
</head>
<body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<main>{figure}</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: `colour` is ``#RRGGBB``, `symbol` and `dash` are plotly's names."""

    colour: str
    symbol: str
    dash: str


# Words


def spoken(name: str) -> str:
    """A name of the tables as words."""
    return bare(name).removesuffix("_text").replace("_", " ")


def call_in_words(text: str) -> str:
    """A constructor call as words: ``MLP(width=64)`` is "MLP (width 64)", ``Digits()`` is "Digits".

    Of a path only the file's name is said: folders are long, and one machine's.
    """
    name, opened, given = text.partition("(")
    given = re.sub(r"path='(?:[^']*/)?([^'/]+)'", r"\1", given)
    inside = re.sub(r"(\w+)=(True|False)", lambda flag: ("" if flag[2] == "True" else "no ") + flag[1], given)
    inside = inside.removesuffix(")").replace("=", " ").replace("'", "").replace("_", " ")
    return f"{name} ({inside})" if opened and inside else name


def init_in_words(row: Row) -> str:
    """An init as people say it: "random init", "warm start", "shrink 0.4, noise 0.1"."""
    kind = row["init"]
    if kind == "shrink_perturb" and row.get("shrink") is not None and row.get("perturb") is not None:
        return f"shrink {row['shrink']:g}, noise {row['perturb']:g}"
    return WORDS.get(kind) or spoken(kind or "init not given")


def family_names(rows: Sequence[Row]) -> list[str]:
    """The init of each row in words; as it is written in the sweep where words would not tell two inits apart."""
    said = [init_in_words(row) for row in rows]
    texts: dict[str, set[Any]] = {}
    for row, words in zip(rows, said, strict=True):
        texts.setdefault(words, set()).update([row["init_text"]] if row.get("init_text") else [])
    return [
        call_in_words(row["init_text"]) if len(texts[words]) > 1 and row.get("init_text") else words
        for row, words in zip(rows, said, strict=True)
    ]


def told(row: Row, column: str) -> Any:
    """All that a row says of a setting or an axis: of a class how it is written, which tells more than its kind."""
    return row.get(column) if row.get(f"{column}_text") is None else row[f"{column}_text"]


def value_in_words(row: Row, column: str) -> str:
    """What a row says of a setting or an axis: a class in words, another value with its column; "" for None."""
    value = told(row, column)
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f"{spoken(column)} {'yes' if value is True else 'no' if value is False else format(value, 'g')}"
    if row.get(f"{column}_text") is None:
        return f"{value} {spoken(column)}"
    return WORDS.get(str(row.get(column))) or call_in_words(str(value))


def heading(title: str, rows: Sequence[Row]) -> str:
    """The title, with the models and data sets of all rows in words, and the caps on images and epochs."""
    models, data = (listed(rows, column) for column in ("model", "data"))
    what = ", at most ".join(filter(None, (" on ".join(part for part in (models, data) if part), caps_in_words(rows))))
    return f"{title}: {what}" if what else title


def caps_in_words(rows: Sequence[Row]) -> str:
    """Caps on images and epochs that a launch gave: "2,000 images and 2 epochs"; "" without one."""
    given = {name: sorted({row[name] for row in rows if row.get(name) is not None}) for name in CAPPED}
    return " and ".join(CAPPED[name].format(caps[-1]) for name, caps in given.items() if caps)


def is_whole(row: Row) -> bool:
    """Whether a row is of a whole data set, trained without caps, as the paper's numbers are."""
    return "limit=" not in str(row.get("data_text")) and all(row.get(name) is None for name in CAPPED)


def listed(rows: Sequence[Row], column: str) -> str:
    """The values of a setting in words, or how many there are if they are more than three."""
    texts = dict.fromkeys(str(row.get(f"{column}_text") or row.get(column) or "") for row in rows)
    said = [call_in_words(text) for text in texts if text]
    return ", ".join(said) if len(said) <= 3 else f"{len(said)} {'data sets' if column == 'data' else column + 's'}"


def in_order(words: Iterable[str]) -> list[str]:
    """Each once: random init first, then warm start, then the others by name, numbers in them by size."""
    return sorted(set(words), key=lambda said: (*first_of(said), by_size(said)))


def first_of(words: str) -> tuple[bool, bool]:
    """Sorts what begins with random init before what begins with warm start, and both before all else."""
    return not words.startswith("random init"), not words.startswith("warm start")


def by_size(words: str) -> list[tuple[bool, float, str]]:
    """Sorts "layers 2" before "layers 10"."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", words)
    return [(place % 2 == 0, float(part) if place % 2 else 0.0, part) for place, part in enumerate(parts)]


# Arms


def arms_of(rows: Sequence[Row], columns: Sequence[str] = ("init",), besides: Sequence[str] = ()) -> list[str]:
    """The arm of each row in words.

    Rows of one arm differ in nothing but their seed and the columns `besides`: any other setting or axis that varies
    is named after `columns`, so that a figure never takes the mean over, say, two data sets. Of `columns`, those that
    never vary are left out, except the first if no other is left.
    """
    inits = family_names(rows) if "init" in columns else [""] * len(rows)
    named = named_by(rows, columns, besides)
    return [
        ", ".join(filter(None, (init if column == "init" else value_in_words(row, column) for column in named)))
        for row, init in zip(rows, inits, strict=True)
    ]


def heads_of(rows: Sequence[Row], columns: Sequence[str], besides: Sequence[str] = ()) -> dict[str, str]:
    """The head of each arm that `arms_of` names: its first words, which arms of one colour share."""
    first = named_by(rows, columns, besides)[:1]
    told_apart = family_names(rows) if first == ["init"] else [value_in_words(row, *first) for row in rows]
    return dict(zip(arms_of(rows, columns, besides), told_apart, strict=True)) if first else {}


def named_by(rows: Sequence[Row], columns: Sequence[str], besides: Sequence[str]) -> list[str]:
    """The columns that the arms of `rows` are named by, in order."""
    known = {other for column in (*columns, *besides) for other in (bare(column), f"axis_{bare(column)}")}
    varying = [column for column in columns if varies(rows, column)] or list(columns[:1])
    return varying + [column for column in decided(rows) if column not in known and varies(rows, column)]


def bare(column: str) -> str:
    """A column without what tells an axis from a measured column of its name (`orchestrator.query`)."""
    return column.removeprefix("axis_")


def decided(rows: Sequence[Row]) -> list[str]:
    """Columns of `rows` that a cell decides, one for each setting: no seed, nothing measured, no part of another."""
    columns = dict.fromkeys(column for row in rows for column in row)
    parts = {column.removesuffix("_text") + end for column in columns for end in ("_text", "_size")}
    parts |= {"shrink", "perturb"} if "init" in columns else set()
    hidden = {*parts, "seed", "round", "key", "sweep", *(set(names("stages")) - set(SETTINGS))}
    return [column for column in columns if column not in hidden]


def varies(rows: Sequence[Row], column: str) -> bool:
    """Whether rows differ in a setting or axis.

    None, of a cell to which the axis makes no difference, is no value; of a cap it is one.
    """
    return len({told(row, column) for row in rows} - (set() if column in CAPS else {None})) > 1


def looks_of(arms: Iterable[str], heads: Mapping[str, str] | None = None) -> dict[str, Look]:
    """The look of each arm, in the order of `in_order`, no two alike while there are looks.

    Random init and warm start have the same colour in every figure. Arms of one head share a colour, and differ in
    dash and symbol.
    """
    looks: dict[str, Look] = {}
    of_head = dict(FIRST_COLOURS)
    for arm in in_order(arms):
        head = (heads or {}).get(arm, arm)
        if head not in of_head:
            of_head[head] = COLOURS[(len(of_head) - len(FIRST_COLOURS)) % len(COLOURS)]
        alike = sum(look.colour == of_head[head] for look in looks.values())
        looks[arm] = Look(of_head[head], SYMBOLS[alike % len(SYMBOLS)], DASHES[alike % len(DASHES)])
    return looks


def kind_of_dots(count: int) -> type[Any]:
    """Plotly's class for so many dots in a figure."""
    import plotly.graph_objects as go

    found: type[Any] = go.Scattergl if count >= WEBGL else go.Scatter
    return found


def pale(colour: str, opacity: float) -> str:
    """A colour ``#RRGGBB`` that lets through what is behind it."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


# Layout and files


def drawable(results: Results, title: str, columns: Sequence[str]) -> list[Row]:
    """The finished rows that have a value in each of `columns`.

    Raises:
        ConfigError: there is none; says which column lacks, or how far the sweep is.
    """
    finished = [row for row in results.rows if row["status"] == "done"]
    lacking = [column for column in columns if finished and all(row.get(column) is None for row in finished)]
    if lacking:
        raise ConfigError(f"{title}: nothing to draw: no result has a value of {', '.join(lacking)}.")
    rows = [row for row in finished if all(is_there(row.get(column)) for column in columns)]
    if not rows:
        said = results.missing or f"{len(results.rows)} results, none with {', '.join(columns)}."
        raise ConfigError(f"{title}: nothing to draw yet. {said} Run them with: warmgrid launch {results.sweep}")
    return rows


def is_there(value: Any) -> bool:
    """Whether a table has a value: neither None nor NaN."""
    return value is not None and value == value  # noqa: PLR0124 # NaN is not itself


def sentences(*said: str) -> str:
    """A subtitle of those that say something."""
    return " ".join(filter(None, said))


def seeds_in_words(rows: Sequence[Row]) -> str:
    """How many seeds a figure's means are over, and what its bands are."""
    count = len({row["seed"] for row in rows})
    return "One seed." if count == 1 else f"Mean over {count} seeds, band: one standard deviation."


def layout(head: str, below: str, height: int = HEIGHT, width: int = 0) -> dict[str, Any]:
    """Everything around the data; the title is wrapped for a picture 1000 pixels wide.

    Args:
        head: Title, plain text.
        below: Subtitle, plain text.
        height: Pixels that the picture takes; a page gives it about that, or the whole window.
        width: Pixels below which a page scrolls instead of making the figure narrower.
    """
    big, small = ([html.escape(line) for line in textwrap.wrap(t, width)] for t, width in ((head, 100), (below, 150)))
    lines = [*big, *(f'<span style="font-size:13px;color:#555">{line}</span>' for line in small)]
    title = {"text": "<br>".join(lines), "x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container"}
    below_all = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "itemsizing": "constant"}
    return {
        "template": "plotly_white",
        "font": {"family": FONT, "size": 13, "color": "#222"},
        "title": {**title, "pad": {"t": 24, "l": 16}, "font": {"size": 18}},
        "meta": {"title": head, "subtitle": below, "height": height, "width": width},
        "margin": {"l": 56, "r": 16, "t": 66 + 24 * len(lines), "b": 50},
        "xaxis": {**AXIS, "rangemode": "tozero"},
        "yaxis": AXIS,
        "legend": below_all,
        "hoverlabel": {"align": "left", "bgcolor": "#fff"},
        "hovermode": "closest",
    }


def body(figure: go.Figure, library: bool = True) -> str:
    """A figure without its title as a part of a page; with plotly.js, which one figure of a page must bring.

    The part fills the height of what it stands in, which should be about ``layout.meta["height"]`` pixels.
    """
    import plotly.graph_objects as go

    untitled = go.Figure(figure).update_layout(title=None, margin_t=56)
    text: str = untitled.to_html(full_html=False, include_plotlyjs=library, default_height="100%", config=SHOWN)
    return text


def write_html(figure: go.Figure, path: str | Path) -> None:
    """Write a figure as one HTML file that needs nothing else and, by its own policy, asks no other host.

    Title and subtitle become text of the page, which wraps at any width.
    """
    title, below = (html.escape(figure.layout.meta[part]) for part in ("title", "subtitle"))
    sizes = {"height": figure.layout.meta["height"] - SQUEEZE, "width": figure.layout.meta["width"]}
    page = PAGE.format(title=title, subtitle=below, figure=body(figure), font=FONT, **sizes)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")


def write_png(figure: go.Figure, path: str | Path) -> None:
    """Write a figure as a PNG, 1000 x ``layout.meta["height"]`` pixels at double resolution.

    Raises:
        ConfigError: kaleido or a Chromium is not installed, or they could not draw it; says what to do.
    """
    size = {"width": WIDTH, "height": figure.layout.meta["height"], "scale": SCALE, "format": "png"}
    try:
        import kaleido
        from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError, KaleidoError
    except ImportError:
        raise ConfigError(
            f"{path}: a PNG needs kaleido, which is not installed. Get it with pip install 'warmgrid[png]', or leave "
            f"--png away: the HTML page needs nothing more."
        ) from None
    try:
        picture: bytes = kaleido.calc_fig_sync(figure, opts=size, kopts={"mathjax": False})  # else fetched
    except (BrowserClosedError, BrowserFailedError, ChromeNotFoundError, KaleidoError) as error:
        raise ConfigError(
            f"{path}: a PNG needs Chromium or Chrome, and kaleido could not use one ({type(error).__name__}). Install "
            f"one (Debian: apt-get install chromium), name another in BROWSER_PATH, or leave --png away."
        ) from error
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(picture)
