"""A stage is known by a key that says everything that can change its result, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator import Stage
from orchestrator.errors import ConfigError
from orchestrator.spec import setting
from orchestrator.stage import turns_path
from tests.orchestrator.fake_trainer import Walk


def test_equal_configs_and_parents_are_one_stage() -> None:
    """Otherwise two sweeps, or two cells, train the same first round twice."""
    here, there = (Stage(Walk(seed=1, round=1), Stage(Walk(seed=1))) for _ in range(2))

    assert here == there
    assert len({here, there}) == 1


@pytest.mark.parametrize(
    "other",
    [
        Stage(Walk(seed=2), Stage(Walk(lr=0.5))),
        Stage(Walk(seed=1), Stage(Walk(lr=0.6))),
        Stage(Walk(seed=1), Stage(Walk(lr=0.5), Stage(Walk(lr=0.4)))),
        Stage(Walk(seed=1)),
    ],
    ids=["config", "parent", "grandparent", "no parent"],
)
def test_another_config_or_ancestor_is_another_stage(other: Stage) -> None:
    """Two stages under one key: the second one's result would be the first one's."""
    assert Stage(Walk(seed=1), Stage(Walk(lr=0.5))) != other


@pytest.mark.parametrize(("name", "value"), [("version", 2), ("trainer", "tests.orchestrator.fake_trainer:other")])
def test_new_numerics_are_another_stage(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """A corrected trainer must not be answered with the faulty one's results."""
    before = Stage(Walk()).key

    monkeypatch.setattr(Walk, name, value)

    assert Stage(Walk()).key != before


def test_a_stage_is_no_equal_of_its_key() -> None:
    """Keys and stages mixed up in one set would hide a stage that must run."""
    assert Stage(Walk()) != Stage(Walk()).key


def test_lineage_begins_with_the_oldest() -> None:
    """Children would be planned before the parents that they start from."""
    first = Stage(Walk(round=0))
    second = Stage(Walk(round=1), first)
    third = Stage(Walk(round=2), second)

    assert third.lineage() == [first, second, third]


def test_a_chain_of_thousands_of_rounds_has_a_key_and_a_short_name() -> None:
    """Online learning in small steps is such a chain; a sweep must not end in a RecursionError."""
    stage = Stage(Walk())
    for i in range(1, 3000):
        stage = Stage(Walk(round=i), stage)

    assert len(stage.key) == 16
    assert len(repr(stage)) < 200


def test_a_stage_cannot_be_changed() -> None:
    """A key that was asked for once would no longer be the stage's."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stage(Walk()).parent = Stage(Walk(seed=1))  # type: ignore[misc]


def test_a_config_without_what_a_stage_needs_is_named() -> None:
    """A user's own trainer would end in a traceback deep in a launch."""
    with pytest.raises(ConfigError, match=r"object cannot be a stage's config: it has no trainer, version, round"):
        Stage(object())


def test_a_trainer_of_its_own_does_not_inherit_the_turns_of_another() -> None:
    """In a pack the subclass would be trained by the trainer that it has replaced."""

    @setting
    class Turning(Walk, kind="turning"):
        trainer = "a:train"
        turns = "a:turns"

    @setting
    class Same(Turning, kind="turning_the_same"):
        pass

    @setting
    class Other(Turning, kind="turning_otherwise"):
        trainer = "b:train"

    assert [turns_path(config) for config in (Walk(), Turning(), Same(), Other())] == [None, "a:turns", "a:turns", None]
