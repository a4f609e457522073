"""Arms have one name and one look everywhere, and a page or a picture needs nothing else."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.figures.style import (
    arms_of,
    call_in_words,
    drawable,
    heading,
    heads_of,
    in_order,
    looks_of,
    value_in_words,
    write_html,
    write_png,
)
from tests.orchestrator.figures.made import RANDOM, WARM, made, results, setting, shrunk


def a_figure() -> Any:
    """An empty one, as the forms make it."""
    from orchestrator.figures.lines import Place, on_panels

    return on_panels([Place("x", "y")], 1, "A title", "A subtitle.")


def test_an_arm_is_an_init_in_words() -> None:
    """Readers compare inits; they must tell them apart without our names for them."""
    rows = [made(init=RANDOM), made(init=WARM), made(init=shrunk(0.6, 0.01))]

    assert arms_of(rows) == ["random init", "warm start", "shrink 0.6, noise 0.01"]


@pytest.mark.parametrize(
    ("other", "words"),
    [({"lr": 0.2}, "lr 0.2"), (setting("data", "Iris()"), "Iris"), ({"axis_epochs": 7, "epochs": 2}, "epochs 7")],
)
def test_no_mean_is_taken_over_another_setting(other: dict[str, Any], words: str) -> None:
    """The mean over two data sets is a number about nothing."""
    first = {name: 1 for name in other if name.startswith("axis_")}

    assert arms_of([made(**first), made(**other)])[1] == f"random init, {words}"


def test_seeds_rounds_and_measurements_make_no_arm() -> None:
    """One line a seed is no mean, and one line a round no curve."""
    rows = [made(0.1, seed=1, round=1, train_seconds=2.0), made(0.2, seed=2, round=2, train_seconds=3.0)]

    assert arms_of(rows) == ["random init"] * 2


def test_what_the_x_axis_tells_names_no_arm() -> None:
    """Every point would be a line of its own; an axis that hides no measured column has the name axis_..."""
    rows = [made(axis_fraction=0.1, fraction=0.1), made(axis_fraction=0.2, fraction=0.2)]

    assert arms_of(rows, besides=["axis_fraction"]) == arms_of(rows, besides=["fraction"]) == ["random init"] * 2


def test_an_axis_that_makes_no_difference_parts_no_arm() -> None:
    """A random init depends on no first round: its one cell is None there."""
    assert arms_of([made(first_lr=None), made(first_lr=0.1, init=WARM)]) == ["random init", "warm start"]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (made(), "lr", "lr 0.1"),
        (made(statistics="frozen"), "statistics", "frozen statistics"),
        (made(first_lr=None), "first_lr", ""),
        (made(bias=True), "bias", "bias yes"),
        (made(**setting("model", "MLP(activation='tanh', bias=False)")), "model", "MLP (activation tanh, no bias)"),
    ],
)
def test_a_setting_is_told_in_words(row: dict[str, Any], column: str, words: str) -> None:
    """A legend that must be looked up is not read."""
    assert value_in_words(row, column) == words


def test_calls_are_words() -> None:
    """As people write settings in text."""
    assert call_in_words("ArrayFile(path='/a/b_c/mine.npz', limit=9)") == "ArrayFile (mine.npz, limit 9)"
    assert [call_in_words(t) for t in ("Digits()", "MLP(width=64)", "A(b_c=True)")] == [
        "Digits",
        "MLP (width 64)",
        "A (b c)",
    ]


def test_arms_are_in_an_order_that_people_expect() -> None:
    """Numbers by size, and what everything is compared with first."""
    arms = ["layers 10", "layers 2", "warm start", "random init, b", "random init"]

    assert in_order(arms) == ["random init", "random init, b", "warm start", "layers 2", "layers 10"]


def test_no_two_arms_look_alike() -> None:
    """Two lines of one look are one line to the reader."""
    looks = looks_of([*(f"shrink 0.{i}" for i in range(20)), "random init", "warm start"])

    assert len(set(looks.values())) == 22
    assert (looks["random init"].colour, looks["warm start"].colour) == ("#D55E00", "#0072B2")


def test_variants_of_an_arm_share_its_colour() -> None:
    """Colour tells the init, the dash the selection: two questions, two signs."""
    rows = [made(init=i, **setting("selection", s)) for i in (RANDOM, WARM) for s in ("A()", "B()")]
    arms = arms_of(rows, ["init", "selection"])

    looks = looks_of(arms, heads_of(rows, ["init", "selection"]))

    assert [looks[arm].colour for arm in arms] == ["#D55E00", "#D55E00", "#0072B2", "#0072B2"]
    assert [looks[arm].dash for arm in arms] == ["solid", "dash", "solid", "dash"]


def test_nothing_to_draw_names_what_lacks() -> None:
    """A researcher must know whether to wait, or to launch with another axis."""
    with pytest.raises(ConfigError, match="no result has a value of weight_correlation"):
        drawable(results([made()]), "Figure", ["weight_correlation"])
    with pytest.raises(ConfigError, match=r"nothing to draw yet. Missing: 3 of 4 models .* 1 diverged.* launch made"):
        drawable(results([made(None, status="diverged")], planned=4), "Figure", ["test_accuracy"])


def test_the_page_needs_no_other_host(tmp_path: Path) -> None:
    """A figure that loads code from a server is empty on a train, and tells that server who reads it."""
    write_html(a_figure(), tmp_path / "new folder" / "figure.html")

    page = (tmp_path / "new folder" / "figure.html").read_text(encoding="utf-8")
    markup = re.sub(r"(<script[^>]*>).*?(</script>)", r"\1\2", page, flags=re.DOTALL)
    assert "default-src 'none'" in page
    assert not re.search(r"<script[^>]+src|<link|<img|<iframe|https?://", markup)
    assert "Plotly.newPlot" in page


def test_a_picture_is_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Papers and slides take no HTML; it must fetch nothing either, MathJax least of all."""
    kaleido, asked = pytest.importorskip("kaleido"), {}
    monkeypatch.setattr(kaleido, "calc_fig_sync", lambda _, **given: asked.update(given) or b"PNG")

    write_png(a_figure(), tmp_path / "new folder" / "figure.png")

    assert (tmp_path / "new folder" / "figure.png").read_bytes() == b"PNG"
    assert asked["kopts"] == {"mathjax": False}
    assert asked["opts"]["height"] == a_figure().layout.meta["height"]


def test_without_kaleido_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no dependency: pages need none."""
    monkeypatch.setitem(sys.modules, "kaleido", None)

    with pytest.raises(ConfigError, match=r"f.png: a PNG needs kaleido.*pip install 'warmgrid\[png\]'"):
        write_png(a_figure(), tmp_path / "f.png")


def test_without_chromium_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaleido brings no browser, and its own message names a download that clusters forbid."""
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no browser"))

    with pytest.raises(ConfigError, match=r"needs Chromium or Chrome.*apt-get install chromium.*BROWSER_PATH"):
        write_png(a_figure(), tmp_path / "f.png")


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        ({}, "MLP (width 64) on Digits"),
        ({"limit": 2000}, "MLP (width 64) on Digits, at most 2,000 images"),
        ({"limit": 2000, "axis_epochs": 2}, "MLP (width 64) on Digits, at most 2,000 images and 2 epochs"),
    ],
)
def test_a_title_tells_caps(caps: dict[str, int], words: str) -> None:
    """The axis still says CIFAR10() where a launch was given limit=2000."""
    assert heading("Made", [made(**caps)]) == f"Made: {words}"


def test_no_mean_is_taken_over_capped_and_uncapped_models() -> None:
    """A trial run of two epochs among the real ones would spoil their mean."""
    assert len({*arms_of([made(axis_epochs=None), made(axis_epochs=2)])}) == 2
