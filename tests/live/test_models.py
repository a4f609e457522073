"""The page's models are the cells' results, each once, in words that tell them apart."""

from __future__ import annotations

from typing import Any

from orchestrator.live.follow import Follower
from orchestrator.live.models import COLUMNS, Models, by_sweep
from orchestrator.store import Store
from tests.live.conftest import little, one_failed
from tests.orchestrator.made_store import fill

NUMBERS = {"steps": 1, "examples_seen": 1, "epochs": 1, "train_accuracy": 1.0, "finished_at": None}


def cell(key: str, **given: Any) -> dict[str, Any]:
    """A row of the table `cells`."""
    return {
        "sweep": "made",
        "init": "warm_start",
        "init_text": "WarmStart()",
        "seed": 0,
        "round": 1,
        "key": key,
        **given,
    }


def stage(key: str, **given: Any) -> dict[str, Any]:
    """A row of the table `stages`."""
    done = {"status": "done", "test_accuracy": 0.5, "train_seconds": 1.0, **NUMBERS}
    return {"key": key, "lr": 0.1, "init": "warm_start", "init_text": "WarmStart()", **done, **given}


def axis(models: Models, name: str) -> dict[str, Any]:
    """What the page is told of one axis."""
    return next(one.facts() for one in models.axes if one.name == name)


def test_every_result_of_the_store_is_a_model(filled: Store) -> None:
    """A dot that is missing, or there twice, is a wrong picture of the sweep."""
    follower = Follower(filled)
    follower.look()
    models = by_sweep(follower.cells)["quickstart"]

    for row in follower.committed.values():
        models.add(row)

    asked = filled.sql("SELECT key, test_accuracy, seed FROM results").to_pylist()
    shown = [dict(zip(COLUMNS, entry, strict=False)) for entry in models.entries]
    assert sorted((one["key"], one["test_accuracy"], one["seed"]) for one in shown) == sorted(
        (one["key"], one["test_accuracy"], one["seed"]) for one in asked
    )
    assert models.counts() == {"done": models.planned}


def test_a_model_that_failed_and_is_done_keeps_its_id() -> None:
    """Else the page shows it as two models, one failed and one done."""
    models = Models("made", [cell("a")])

    models.add(stage("a", status="failed", test_accuracy=None))
    models.add(stage("a"))

    assert [entry[0] for entry in models.entries] == [0, 0]
    assert models.counts() == {"done": 1}


def test_a_cell_that_two_launches_list_is_one_model() -> None:
    """One launch spells an axis out that the other left at its default: the same model, not a second dot."""
    models = Models("made", [cell("a", lr=None), cell("a", lr=0.1)])

    models.add(stage("a"))

    assert {entry[0] for entry in models.entries} == {0}
    assert models.planned == 1


def test_values_are_in_the_order_in_which_people_read_them() -> None:
    """1, 16, 128 sorted as text, or random init after warm start, makes every filter a search."""
    inits = [("warm_start", "WarmStart()"), ("random_init", "RandomInit()")]
    cells = [cell(str(n), batch_size=n, init=i, init_text=text) for n in (128, 16, 1) for i, text in inits]

    models = Models("made", cells)

    batch, init = axis(models, "batch_size"), axis(models, "init")
    assert [batch["words"][place] for place in batch["order"]] == ["1", "16", "128"]
    assert [init["words"][place] for place in init["order"]] == ["random init", "warm start"]


def test_values_of_one_name_are_told_apart() -> None:
    """Two networks that are both called MLP in a filter cannot be chosen between."""
    texts = ("MLP()", "MLP(width=64)")

    models = Models("made", [cell(text, model="mlp", model_text=text) for text in texts])

    assert axis(models, "model")["words"] == ["MLP", "MLP (width 64)"]


def test_what_json_cannot_hold_is_null() -> None:
    """One NaN in a diverged model's row, and the browser refuses the whole answer."""
    models = Models("made", [cell("a")])

    models.add(stage("a", status="diverged", test_accuracy=float("nan"), train_seconds=float("inf")))

    shown = dict(zip(COLUMNS, models.entries[0], strict=False))
    assert (shown["test_accuracy"], shown["train_seconds"]) == (None, None)


def test_a_failed_model_counts_as_failed(store: Store) -> None:
    """A failure that counts as done hides that a result is missing."""
    fill(store, little(), one_failed())
    follower = Follower(store)
    follower.look()
    models = by_sweep(follower.cells)["quickstart"]

    for row in (*follower.committed.values(), *follower.failed.values()):
        models.add(row)

    assert models.counts()["failed"] == 1
