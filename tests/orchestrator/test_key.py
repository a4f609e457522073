"""Keys never move, equal configs have one, and different ones have two."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.key import canonical, canonical_text, content_key
from orchestrator.spec import setting
from tests.orchestrator.made import Coffee, Order, Tea, coffees

ROOT = Path(__file__).parents[2]
GOLDEN = [
    (
        Order(Coffee(7, cups=2), others=(Tea("black", (1, 2.5), sugar=0.1),)),
        (
            '{"brew":{"cups":2,"grams":7,"grind":"fine","kind":"made_coffee"},"kind":"made_order","others":'
            '[{"kind":"made_tea","leaf":"black","loose":true,"steeps_min":[1,2.5],"sugar":0.1}]}'
        ),
        "a5d892a12f8ccf56",
    ),
    (
        ["stage", 3, 1e-07, 1e22, -0.0, None, "\u00e9"],
        '["stage",3,1e-07,10000000000000000000000,0,null,"\\u00e9"]',
        "113e7bef44b858b9",
    ),
]
finite = st.floats(allow_nan=False, allow_infinity=False)
atoms = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=5)
configs = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(("config", "text", "key"), GOLDEN, ids=["setting", "values"])
def test_keys_are_those_of_the_first_release(config: Any, text: str, key: str) -> None:
    """If this fails, results already paid for can no longer be found.

    Give a new field a default that means "as before" and declare it with `field_later`.
    """
    assert canonical_text(config) == text
    assert content_key("stage", config) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0.0, -0.0),
        (2**60, float(2**60)),
        (0.1, np.float64(0.1)),
        (0.5, np.float16(0.5)),
        (3, np.int8(3)),
        (True, np.bool_(True)),
        ("red", np.str_("red")),
        ("red", Color.RED),
        (3, Level.HIGH),
        ([1, (2, 3)], (1, [2, 3])),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Coffee(7), Coffee(grams=7.0, cups=np.int64(1))),
    ],
)
def test_equal_configs_have_one_key(one: Any, other: Any) -> None:
    """Two keys for one config train the same stage twice."""
    assert content_key(one) == content_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, None),
        (1, "1"),
        ("", None),
        ([], {}),
        ([1, [2]], [[1], 2]),
        (2**60, 2**60 + 1),
        (0.1, np.float32(0.1)),
        (Coffee(7), Coffee(7.000000000000001)),
        (Coffee(7), Order(Coffee(7))),
    ],
)
def test_different_configs_have_different_keys(one: Any, other: Any) -> None:
    """One key for two configs gives one of them the other's results."""
    assert content_key(one) != content_key(other)


@given(coffees, coffees)
def test_settings_share_a_key_exactly_if_they_are_equal(one: Coffee, other: Coffee) -> None:
    """The same over settings drawn at random, and over each field alone."""
    mixed = dataclasses.replace(one, grams=other.grams)

    assert (content_key(one) == content_key(other)) == (one == other)
    assert (content_key(one) == content_key(mixed)) == (one.grams == other.grams)


@given(configs)
def test_the_text_reads_back_as_the_same_key(config: Any) -> None:
    """A stored config must hash to the key that it is filed under."""
    assert content_key(json.loads(canonical_text(config))) == content_key(config)


@given(st.dictionaries(st.text(max_size=3), atoms), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(config: dict[str, Any], dice: Any) -> None:
    """Keyword arguments come in the order in which somebody typed them."""
    names = list(config)
    dice.shuffle(names)

    assert content_key({name: config[name] for name in names}) == content_key(config)


@pytest.mark.parametrize(
    ("value", "culprit"),
    [
        (float("nan"), "nan of type float"),
        (float("-inf"), "-inf of type float"),
        (np.float32("nan"), "nan of type float"),
        (lambda x: x, "of type function"),
        ({1, 2}, r"\{1, 2\} of type set"),
        ({1: 2}, r"\{1: 2\} of type dict"),
        (b"x", "b'x' of type bytes"),
        (1j, "1j of type complex"),
        (np.ones(2), "of type ndarray"),
    ],
)
def test_what_has_no_one_form_is_refused_and_named(value: Any, culprit: str) -> None:
    """A lambda or a set has another text in every process, and NaN is not even equal to itself."""
    with pytest.raises(ConfigError, match=culprit):
        content_key("stage", {"lr": [0.1, value]})


def test_a_later_field_at_its_default_is_not_part_of_the_key() -> None:
    """A setting added to a class must leave the stored results of years findable."""
    assert "water" not in canonical_text(Tea(water="tap"))
    assert "water" in canonical_text(Tea(water="spring"))


def test_a_revision_changes_the_keys_of_what_has_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old numbers of a setting that now gives others must not be found, and all others must."""
    parts = [Order(Coffee(7), others=(Tea("black", (1,)),)), Order(Coffee(7))]
    before = [content_key(part) for part in parts]

    monkeypatch.setattr(Tea, "revision", 2)

    assert [content_key(part) == key for part, key in zip(parts, before, strict=True)] == [False, True]


def test_a_class_without_a_kind_of_its_own_has_no_key() -> None:
    """A subclass that takes over its base's kind would be given its base's results."""

    @setting
    class Decaf(Coffee):
        pass

    with pytest.raises(ConfigError, match="Decaf has no kind of its own"):
        canonical({"brew": Decaf(7)})


def test_keys_are_the_same_in_another_process() -> None:
    """Python's own hash differs between processes; a driver must find what a worker stored."""
    code = (
        "from tests.orchestrator.test_key import GOLDEN, content_key\n"
        "print(*(content_key('stage', config) for config, _, _ in GOLDEN))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "20200"}

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [key for _, _, key in GOLDEN]
