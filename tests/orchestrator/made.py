"""Settings made up for the tests of spec, key and expressions; no test, and nothing that trains."""

from __future__ import annotations

import abc
from typing import Annotated, Literal

from hypothesis import strategies as st
from pydantic import Field

from orchestrator.errors import ConfigError
from orchestrator.spec import Spec, field_later, setting


@setting
class Brew(Spec, abc.ABC):
    """Base of the made settings; abstract, so without a kind."""

    @abc.abstractmethod
    def minutes(self) -> float:
        """How long it takes."""


@setting
class Coffee(Brew, kind="made_coffee"):
    grams: Annotated[float, Field(ge=0, le=100)]
    cups: Annotated[int, Field(ge=1)] = 1
    grind: Literal["fine", "coarse"] = "fine"

    def minutes(self) -> float:
        return 4.0


@setting
class Tea(Brew, kind="made_tea"):
    leaf: str = "green"
    steeps_min: tuple[float, ...] = (2.0,)
    loose: bool = True
    sugar: float | None = None
    water: Literal["tap", "spring"] = field_later("tap")

    def minutes(self) -> float:
        return sum(self.steeps_min)


@setting
class Order(Spec, kind="made_order"):
    brew: Brew
    others: tuple[Brew, ...] = ()

    def __post_init__(self) -> None:
        if len(self.others) > 5:
            raise ConfigError(f"Order: {len(self.others)} others; at most 5 fit on a tray.")


numbers = st.floats(0, 100)
coffees = st.builds(
    Coffee, grams=numbers | st.integers(0, 100), cups=st.integers(1, 2**62), grind=st.sampled_from(["fine", "coarse"])
)
teas = st.builds(
    Tea,
    leaf=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    steeps_min=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    loose=st.booleans(),
    sugar=st.none() | numbers,
    water=st.sampled_from(["tap", "spring"]),
)
brews = coffees | teas
orders = st.builds(Order, brew=brews, others=st.lists(brews, max_size=3).map(tuple))
settings = brews | orders
