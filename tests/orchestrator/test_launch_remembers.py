"""What was launched is built again exactly, whatever its file says now, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Sweep
from orchestrator.catalogue import find
from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.key import canonical_text
from orchestrator.launch import as_texts, launch, remembered
from orchestrator.spec import Spec, setting
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import SWEEP_FILE, Lab, Numbers
from tests.orchestrator.launches import Watch, contents, go, no_backend, stage_keys
from tests.orchestrator.made import brews


def launched(store: Store, lab: Lab, path: Path, axes: dict[str, list[Any]], seeds: list[int] | None = None) -> Sweep:
    """The sweep that was launched from the file `path` with these axes and seeds in place of its own."""
    found = find(str(path))
    sweep = found.sweep.replace(axes, seeds)
    go(store, lab, sweep, source=found.source, overrides=axes)
    return sweep


def test_every_launch_is_rebuilt_as_it_was(store: Store, lab: Lab, sweep_file: Path) -> None:
    """`resume` must run what was asked for, not what the file says by default."""
    of_data = SWEEP_FILE.replace("two_rounds", "two_rounds_of").replace("import two", "import Numbers, two")
    sweep_file.write_text(of_data.replace("axes={", 'axes={"data": [Numbers()], '))
    one = launched(store, lab, sweep_file, {"lr": [0.1], "data": [Numbers(size=3)]}, [4])
    two = launched(store, lab, sweep_file, {"start": ["parent"], "epochs": [1, 2]})

    rebuilt = remembered(store, "made", {}, None)

    assert {frozenset(stage_keys(found.sweep)) for found, _ in rebuilt} == {
        frozenset(stage_keys(s)) for s in (one, two)
    }
    assert {found.source for found, _ in rebuilt} == {str(sweep_file)}
    assert sorted((sorted(axes), list(found.sweep.seeds)) for found, axes in rebuilt) == [
        (["data", "lr"], [4]),
        (["epochs", "start"], [0, 1]),
    ]


def test_what_is_resumed_is_not_remembered_again(store: Store, lab: Lab, sweep_file: Path) -> None:
    """Each `resume` would add a launch to the next."""
    launched(store, lab, sweep_file, {"lr": [0.1]})
    before = contents(store)

    for found, axes in remembered(store, "made", {}, None):
        launch(found.sweep, store, no_backend, Watch(), source=found.source, overrides=axes)

    assert contents(store) == before


@pytest.mark.parametrize(
    ("axes", "seeds", "count"),
    [({}, None, 3), ({"lr": [0.1]}, None, 2), ({"lr": [0.10]}, [3], 1), ({}, [3], 1), ({}, [0, 1], 2)],
)
def test_launches_are_chosen_by_what_they_were_given(
    store: Store, lab: Lab, sweep_file: Path, axes: dict[str, Any], seeds: list[int] | None, count: int
) -> None:
    """A user resumes one of several grids of a sweep."""
    launched(store, lab, sweep_file, {"lr": [0.1]})
    launched(store, lab, sweep_file, {"lr": [0.1]}, [3])
    launched(store, lab, sweep_file, {})

    assert len(remembered(store, "made", axes, seeds)) == count


@pytest.mark.parametrize(
    ("axes", "seeds", "hint"), [({}, None, ""), ({"lr": [9.0]}, None, " with these axes and seeds")]
)
def test_a_launch_that_never_was_is_not_resumed(
    store: Store, lab: Lab, sweep_file: Path, axes: dict[str, Any], seeds: None, hint: str
) -> None:
    """A typing slip must not start a grid, nor end as if all were done."""
    if hint:
        launched(store, lab, sweep_file, {})

    with pytest.raises(ConfigError, match=f"no launch of 'made'{hint}. Start one with: warmgrid launch made"):
        remembered(store, "made", axes, seeds)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("two_rounds,\n", "lambda lr, start, seed: two_rounds(lr, start, seed, epochs=9),\n", "no longer the sweep"),
        ("protocol=two_rounds", "protocol=lambda lr, seed: two_rounds(lr, 'fresh', seed)", "start"),
        ("sweep = Sweep", "grid = Sweep", "defines no `sweep"),
    ],
    ids=["other stages", "an axis less", "no sweep"],
)
def test_a_sweep_that_changed_since_is_not_resumed(
    store: Store, lab: Lab, sweep_file: Path, old: str, new: str, message: str
) -> None:
    """Stages of two different experiments would end up in one grid."""
    launched(store, lab, sweep_file, {"lr": [0.1]})
    assert old in SWEEP_FILE
    sweep_file.write_text(SWEEP_FILE.replace(old, new))

    with pytest.raises(ConfigError, match=message):
        remembered(store, "made", {}, None)


def test_a_file_that_is_gone_is_named(store: Store, lab: Lab, sweep_file: Path) -> None:
    """The store keeps results, not code."""
    launched(store, lab, sweep_file, {})
    sweep_file.unlink()

    with pytest.raises(ConfigError, match=f"{sweep_file}: no such file"):
        remembered(store, "made", {}, None)


def test_values_that_a_file_gains_or_loses_leave_launches_as_they_were(
    store: Store, lab: Lab, sweep_file: Path
) -> None:
    """Adding a learning rate to the file is how grids grow; what ran before must stay resumable."""
    before = launched(store, lab, sweep_file, {})
    sweep_file.write_text(SWEEP_FILE.replace("[0.1, 0.2]", "[0.2, 0.3, 0.4]").replace("[0, 1]", "[5]"))

    ((found, _),) = remembered(store, "made", {}, None)

    assert stage_keys(found.sweep) == stage_keys(before)
    assert list(found.sweep.seeds) == [0, 1]


def test_a_launch_that_changed_does_not_keep_the_others_from_going_on(
    store: Store, lab: Lab, sweep_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A user who changed the file and launched again would never be able to resume that."""
    launched(store, lab, sweep_file, {"lr": [0.1]})
    sweep_file.write_text(
        SWEEP_FILE.replace("two_rounds,\n", "lambda lr, start, seed: two_rounds(lr, start, seed, 1),\n")
    )
    now = launched(store, lab, sweep_file, {})

    ((found, _),) = remembered(store, "made", {}, None)

    assert stage_keys(found.sweep) == stage_keys(now)
    assert "no longer the sweep that was launched" in caplog.text
    assert "Left out." in caplog.text


values = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(0, 9), st.text("ab, '\"\\()", max_size=5)),
    brews,
)


@given(st.lists(values, min_size=1, max_size=4, unique_by=canonical_text))
def test_values_of_axes_are_remembered_as_they_were(given_values: list[Any]) -> None:
    """A learning rate that loses a digit on its way through the store is another stage."""
    texts = as_texts("axis", given_values)

    assert texts is not None
    assert canonical_text(parse_values("axis", ", ".join(texts))) == canonical_text(given_values)


@setting
class Vague(Spec, kind="made_vague"):
    number: int = 1

    def __str__(self) -> str:
        return "Vague()"


@pytest.mark.parametrize("value", [{"a": 1}, Vague(number=2)])
def test_a_value_whose_text_means_another_is_left_to_the_file(value: Any) -> None:
    """A user's axis may hold what only Python can write down."""
    assert as_texts("axis", [value]) is None


def test_an_axis_without_texts_is_taken_from_the_file(store: Store, lab: Lab, sweep_file: Path) -> None:
    """It may be launched and resumed all the same."""
    protocol = "protocol=lambda lr, start, seed: two_rounds(lr['value'], start, seed)"
    sweep_file.write_text(SWEEP_FILE.replace("protocol=two_rounds", protocol).replace("[0.1, 0.2]", "[{'value': 0.1}]"))
    before = launched(store, lab, sweep_file, {})

    ((found, _),) = remembered(store, "made", {}, None)

    assert stage_keys(found.sweep) == stage_keys(before)
