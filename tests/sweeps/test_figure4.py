"""figure4 is the paper's Figure 4: second rounds from epochs 5 to 350 of one first round, and one random init."""

from __future__ import annotations

from pathlib import Path

from orchestrator.plan import plan
from sweeps.figure4 import sweep
from tests.sweeps.test_every_sweep import tried
from trainers.inits import RandomInit
from trainers.stopping import Epochs


def test_the_first_rounds_of_a_seed_are_one_run() -> None:
    """70 of their own would be 12,425 epochs instead of 350."""
    firsts = [stage for stage in plan(sweep.replace({}, [0]).trials()).stages if stage.config.round == 0]

    assert [stage.config.stop for stage in firsts] == [Epochs(n) for n in range(5, 351, 5)]
    assert len({stage.trajectory[0] for stage in firsts}) == 1
    assert all(stage.extendable for stage in firsts)


def test_every_end_of_a_first_round_is_evaluated_on_the_way() -> None:
    """An epoch that is measured in one of two stages of a trajectory only would make them two trajectories."""
    for form in (sweep.axes, {**sweep.axes, **sweep.small}):
        (every,) = form["evaluate_every"]
        assert all(epochs % every == 0 for epochs in form["first_epochs"])


def test_a_random_init_is_one_cell() -> None:
    """All differences are in percent of the same accuracy."""
    (cell,) = {str(trial.cell["first_epochs"]) for trial in sweep.trials() if trial.cell["init"] == RandomInit()}

    assert cell == "None"


def test_a_first_round_that_goes_on_has_its_whole_curve(tmp_path: Path) -> None:
    """The left panel is the longest one's curve, from its first epoch on, although another stage trained that epoch."""
    _, store = tried("figure4", tmp_path)

    rows = store.sql(
        "SELECT s.epochs, count(*) AS rows FROM stages s JOIN epochs e USING (key) WHERE s.round = 0 GROUP BY ALL"
    )
    assert sorted((row["epochs"], row["rows"]) for row in rows.to_pylist()) == [(1, 1), (2, 2)]
