"""The benchmark of makespans measures the sweep's own tree, against a bound that no schedule can beat."""

from __future__ import annotations

import pytest

from benchmarks import makespan
from benchmarks.made_stages import longest_chain
from benchmarks.makespan import Result, napping, table
from orchestrator.plan import Plan, plan
from sweeps import figure2, figure4


def tree(planned: Plan) -> list[tuple[int | None, int | None]]:
    """Places of what each stage starts from and goes on from."""
    place = {stage.key: number for number, stage in enumerate(planned.to_run)}
    before = {key: stage.key for key, stage in planned.follows.items()}
    return [
        (place[stage.parent.key] if stage.parent else None, place.get(before.get(stage.key, "")))
        for stage in planned.to_run
    ]


@pytest.mark.parametrize("sweep", [figure2.sweep, figure4.sweep], ids=["figure2", "figure4"])
def test_what_sleeps_is_the_tree_of_the_sweep(sweep: object) -> None:
    """Without its chains, or with others, the schedule that is measured would have an easier task."""
    planned = plan(sweep.trials())  # type: ignore[attr-defined] # a sweep
    seconds = {stage.key: 1.0 + number / 8 for number, stage in enumerate(planned.to_run)}

    naps = napping(planned, seconds)

    assert tree(naps) == tree(planned)
    lasts = {stage.key: stage.config.seconds for stage in naps.to_run}
    assert list(lasts.values()) == list(seconds.values())
    assert longest_chain(naps, lasts) == longest_chain(planned, seconds)


@pytest.mark.parametrize(("measured", "is_met"), [(33.0, True), (33.1, False)])
def test_a_missed_goal_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], measured: float, is_met: bool
) -> None:
    """A table is looked at once; what fails a job is looked at when it happens."""
    result = Result("figure2", 335, 4, 30.0, measured, 15.0, 0.9, 1.0)
    monkeypatch.setattr(makespan, "run", lambda *_: result)

    assert makespan.main(["--sweeps", "figure2", "--workers", "4"]) is is_met
    assert table([result]) in capsys.readouterr().out
