"""The keys of the sweeps' stages, as they were when the first results were filed under them.

If this fails, results already paid for can no longer be found: every stage whose key moved is trained again. Undo the
change; give a new setting a default that means "as before" and declare it with `field_later`. If the numbers really
change, raise `Supervised.version`, or if a sweep's settings were wrong, mend them; then run
``python -m tests.sweeps.test_golden_keys``, and say in the changelog, under Numbers, what has to be trained again.

golden_keys.json holds all stages of quickstart and the first ones of the long sweeps, by what they are; of online
sweeps the first rounds. An axis that gets more values moves none of them.
"""

from __future__ import annotations

import importlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from orchestrator.key import canonical
from orchestrator.stage import Stage

GOLDEN = Path(__file__).with_name("golden_keys.json")
FIRST = {  # how many stages; None: all
    "quickstart": None,
    "figure3": 8,
    "table1": 24,
    "regularization": 9,
    "figure1": 3,
    "figure2": None,
    "figure4": 5,
    "figure5": None,
    "figure6": 30,
    "figure7": None,
    "figure8": 9,
    "figure9": 12,
    "figure10": 5,
    "figure11": 3,
    "active": None,
    "augmentation": None,
    "ewc": None,
    "iterated": None,
    "last_layer_shrink": None,
    "noise": None,
    "partial": None,
    "step_shrink": None,
}
ROUNDS = 3


def keys(name: str) -> dict[str, str]:
    """The key of every stage of the sweep, by what the stage is; quickstart under all seeds, the rest under seed 0."""
    sweep = importlib.import_module(f"sweeps.{name}").sweep
    shorter = {"rounds": [ROUNDS]} if "rounds" in sweep.parameters() else {}
    reported = [
        s for trial in sweep.replace(shorter, None if name == "quickstart" else [0]).trials() for s in trial.stages
    ]
    return {label(each): each.key for stage in reported for each in stage.lineage()}


def label(stage: Stage) -> str:
    """The stage for a reader; two stages of one sweep have two labels."""
    return f"{stage.config} after {label(stage.parent)}" if stage.parent else str(stage.config)


def forms() -> list[Any]:
    """What is hashed of one second and one first round."""
    sweep = importlib.import_module("sweeps.quickstart").sweep
    stages = next(trial.stages for trial in sweep.trials() if trial.stages[-1].parent)[-1].lineage()
    return [canonical(stage.config) for stage in stages]


def golden() -> dict[str, Any]:
    """The keys as they were."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


@pytest.mark.parametrize("name", FIRST)
def test_results_are_found_under_the_keys_that_they_were_filed_under(name: str) -> None:
    """A moved key costs the training of its stage, and that of all its descendants."""
    expected, found = golden()["keys"][name], keys(name)

    assert {stage: found.get(stage) for stage in expected} == expected


def test_what_is_hashed_is_what_was_hashed() -> None:
    """When keys move, this says which setting moved them."""
    assert forms() == golden()["canonical"]


if __name__ == "__main__":
    first = {name: dict(islice(keys(name).items(), count)) for name, count in FIRST.items()}
    GOLDEN.write_text(json.dumps({"canonical": forms(), "keys": first}, indent=1) + "\n")
