"""A setting that exists is a right one, and its text is the call that makes it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, plain, setting
from tests.orchestrator.made import Coffee, Order, Tea, settings


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Coffee(grams=101), "Coffee: grams=101: input should be less than or equal to 100. "),
        (lambda: Coffee(grams=True), "Coffee: grams=True: input should be a valid number. "),
        (lambda: Coffee(grams="7"), "Coffee: grams='7': input should be a valid number. "),
        (lambda: Coffee(grams=float("nan")), "Coffee: grams=nan: input should be a finite number. "),
        (lambda: Coffee(grams=7, cups=1.5), "Coffee: cups=1.5: input should be a valid integer. "),
        (lambda: Coffee(grams=7, grind="medium"), "Coffee: grind='medium': input should be 'fine' or 'coarse'. "),
        (Coffee, "Coffee: grams is missing. "),
        (lambda: Coffee(grams=7, cupz=2), "Coffee: it has no setting 'cupz'. "),
        (lambda: Coffee(7, 1, "fine", 4), "Coffee: 4 is one value too many. "),
        (lambda: Order(brew="Tea"), "Order: brew='Tea': input should be an instance of Brew. "),
        (lambda: Tea(steeps_min=(1.0, "x")), "Tea: steeps_min='x': input should be a valid number. "),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(made: Any, message: str) -> None:
    """A setting that is silently mended or ignored trains another experiment than the one written down."""
    with pytest.raises(ConfigError) as caught:
        made()

    assert str(caught.value).startswith(message)
    assert "Its settings: " in str(caught.value)


def test_all_faults_of_a_setting_are_told_at_once() -> None:
    """Faults told one at a time cost one launch each."""
    with pytest.raises(ConfigError) as caught:
        Coffee(cups=0, grind="medium", milk=1)

    assert str(caught.value) == (
        "Coffee: grams is missing; cups=0: input should be greater than or equal to 1; "
        "grind='medium': input should be 'fine' or 'coarse'; it has no setting 'milk'. "
        "Its settings: grams, cups, grind."
    )


def test_a_check_across_fields_keeps_its_own_message() -> None:
    """The author of a setting knows best what to say."""
    with pytest.raises(ConfigError, match=r"^Order: 6 others; at most 5 fit on a tray\.$"):
        Order(Tea(), others=(Tea(),) * 6)


@pytest.mark.parametrize("grams", [7, 7.0, np.float32(7), np.int64(7), np.float64(7), np.array(7)])
def test_a_number_is_one_float_however_it_is_given(grams: Any) -> None:
    """lr=1 and lr=1.0, or a value out of np.linspace, must be one cell."""
    made = Coffee(grams=grams)

    assert type(made.grams) is float
    assert made == Coffee(grams=7)


def test_numpy_scalars_are_taken_for_what_they_hold() -> None:
    """Values out of np.arange or a table are numpy's; they would not compare, print or hash alike everywhere."""
    coffee = Coffee(np.float32(7), cups=np.int64(2))
    tea = Tea(np.str_("black"), loose=np.bool_(False))

    assert [type(value) for value in (coffee.grams, coffee.cups, tea.leaf, tea.loose)] == [float, int, str, bool]


def test_an_array_is_no_number() -> None:
    """An array of one element would be taken for a number, and one of two would raise out of numpy."""
    array = np.ones(1)

    assert plain(array) is array
    with pytest.raises(ConfigError, match="grams="):
        Coffee(grams=np.ones(2))


def test_a_setting_cannot_be_changed() -> None:
    """A config that changes after its key was taken is filed under a lie."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Coffee(grams=7).grams = 8  # type: ignore[misc]


def test_a_replaced_field_is_checked_too() -> None:
    """Sweeps vary a config by dataclasses.replace."""
    assert dataclasses.replace(Coffee(grams=7), grams=8) == Coffee(grams=8)
    with pytest.raises(ConfigError, match="grams=-1"):
        dataclasses.replace(Coffee(grams=7), grams=-1)


@given(settings)
def test_a_setting_survives_the_way_to_a_worker(made: Spec) -> None:
    """Workers get configs pickled; one that arrives as another trains another experiment."""
    assert pickle.loads(pickle.dumps(made)) == made
    assert hash(copy.deepcopy(made)) == hash(made)


def test_its_text_names_what_is_not_at_its_default() -> None:
    """Axis labels and tables show this text."""
    made = Order(Coffee(7, cups=2), others=(Tea(), Tea(sugar=1)))

    assert str(made) == repr(made)
    assert str(made) == "Order(brew=Coffee(grams=7.0, cups=2), others=(Tea(), Tea(sugar=1.0)))"


def test_its_columns_hold_its_kind_and_its_text() -> None:
    """Results are grouped by these columns."""
    assert Tea(sugar=1).columns("brew") == {"brew": "made_tea", "brew_text": "Tea(sugar=1.0)"}


def test_members_are_found_by_name_and_abstract_ones_are_not() -> None:
    """The command line may name exactly what can be made."""
    assert Spec.members["Coffee"] is Coffee
    assert "Brew" not in Spec.members


@pytest.mark.parametrize(("name", "kind"), [("Cocoa", "made_tea"), ("Tea", "made_cocoa"), ("Tea", "made_tea")])
def test_two_classes_of_one_kind_or_name_are_refused(name: str, kind: str) -> None:
    """Their results would share keys, or one would answer to the other's name on the command line."""
    with pytest.raises(ConfigError, match=r"made\.Tea with kind 'made_tea' exists already"):
        type(name, (Spec,), {"__qualname__": name, "__module__": "another"}, kind=kind)

    assert Spec.members["Tea"] is Tea
    assert "Cocoa" not in Spec.members


def test_a_module_may_be_loaded_again() -> None:
    """A user's sweep file is run as a script and then loaded by its path."""
    before = dict(Spec.members)
    namespace = {"__qualname__": "Tea", "__module__": "__main__", "__annotations__": {}}
    try:
        again = setting(type("Tea", (Spec,), namespace, kind="made_tea"))
        assert Spec.members["Tea"] is again
    finally:
        Spec.members.update(before)
