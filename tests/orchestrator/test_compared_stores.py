"""The comparison of a disturbed grid with an undisturbed one sees every row that is lost, doubled or changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compared import Difference, rows_of_store
from orchestrator.store import Store
from tests.crash.scenes import ONE, launched
from tests.orchestrator.fake_trainer import Lab

CALM = {"a": [1], "b": [2], "c": [3]}


@pytest.mark.parametrize(
    ("disturbed", "lost", "doubled", "differing"),
    [
        (CALM, 0, 0, 0),
        ({"a": [1], "b": [2]}, 1, 0, 0),
        ({**CALM, "a": [1, 1]}, 0, 1, 0),
        ({**CALM, "d": [4]}, 0, 1, 0),
        ({**CALM, "b": [9]}, 0, 0, 1),
        ({"a": [1, 9]}, 2, 1, 1),
    ],
)
def test_rows_are_counted_by_name(disturbed: dict[str, list[int]], lost: int, doubled: int, differing: int) -> None:
    """A benchmark that overlooks a loss would be believed for years."""
    assert Difference.between(CALM, disturbed) == Difference(3, lost, doubled, differing)


def test_every_table_and_the_weights_of_a_store_are_compared(store: Store, lab: Lab) -> None:
    """Equal rows over other weights are another result."""
    launched(ONE)(store, lab)
    calm = rows_of_store(Path(store.root), ("lr",))

    Path(store.root, "weights", f"{ONE.trials()[0].stages[0].key}.safetensors").write_bytes(b"other")

    assert {name[0] for name in calm} == {"stages", "epochs", "results", "weights"}
    assert Difference.between(calm, rows_of_store(Path(store.root), ("lr",))) == Difference(len(calm), 0, 0, 1)
