"""Whether an option for speed costs accuracy is judged on pairs under one seed, and from a real store.

What it says of CIFAR-10 is in the README: here are digits, for the machinery alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.accuracy import compared, main, table
from benchmarks.accuracy_sweep import sweep

SEEDS = range(6)


def numbers(*differences: float) -> dict[tuple[str, str], dict[int, float]]:
    """Accuracies of fp32, far apart by seed, and of bf16 with these differences."""
    base = {seed: 40.0 + 5 * seed for seed in SEEDS}
    other = {seed: base[seed] + by for seed, by in zip(SEEDS, differences, strict=False)}
    return {("mlp_sgd", "fp32"): base, ("mlp_sgd", "bf16"): other}


def test_seeds_are_paired() -> None:
    """Seeds differ by more than options, so that means of unpaired runs would say nothing."""
    (found,) = compared(numbers(0.1, -0.1, 0.1, -0.1, 0.1, -0.1))

    assert found.is_same
    assert found.difference.mean == pytest.approx(0)
    assert (found.accuracy, found.difference.seeds) == (52.5, 6)


@pytest.mark.parametrize(
    "differences",
    [
        pytest.param((-0.6, -0.5, -0.6, -0.5, -0.6, -0.5), id="worse"),
        pytest.param((0.6, 0.5, 0.6, 0.5, 0.6, 0.5), id="better, which is another result too"),
        pytest.param((1, -1, 1, -1, 1, -1), id="too spread to say"),
        pytest.param((0, 0, 0, 0), id="too few seeds"),
    ],
)
def test_what_is_not_shown_to_be_the_same_is_not_called_so(differences: tuple[float, ...]) -> None:
    """Absence of evidence would make a default of an option that costs accuracy."""
    found = compared(numbers(*differences))

    assert not found[0].is_same
    assert table(found).endswith("| no |")


def test_only_seeds_that_both_have_are_compared() -> None:
    """A run that diverged, or is not there yet, takes its pair out."""
    of = numbers(0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
    del of["mlp_sgd", "fp32"][5]

    assert compared(of)[0].difference.seeds == 5


def test_every_option_is_trained_as_its_pair() -> None:
    """A pair that differed in more than the option would compare something else."""
    runs = {
        trial.cell["arm"]: trial.stages[-1].config for trial in sweep.replace({"network": ["mlp_adam"]}, [0]).trials()
    }

    differing = {
        arm: [n for n, v in config.stage_columns().items() if v != runs["fp32"].stage_columns()[n]]
        for arm, config in runs.items()
    }
    assert differing == {"fp32": [], "bf16": ["precision"], "plain": ["optimizer", "optimizer_text"]}


def test_it_trains_compares_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The real run takes half an hour: it must not fail at its end, nor begin anew when it is asked again."""
    output = tmp_path / "accuracy.json"
    axes = ("network=mlp_adam,mlp_sgd", "data=Digits", "epochs=2", "limit=90")
    words = ["--store", str(tmp_path / "store"), "--output", str(output), "--seeds", "0-1"]
    words += [word for axis in axes for word in ("--axis", axis)]

    assert [main(words), main(words)] == [1, 1]  # two seeds are too few

    told = capfd.readouterr().out
    assert "10 done, 0 done before" in told
    assert "10 done before" in told
    found = [(one["network"], one["arm"], one["difference"]["seeds"]) for one in json.loads(output.read_text())]
    assert found == [("mlp_adam", "bf16", 2), ("mlp_adam", "plain", 2), ("mlp_sgd", "bf16", 2)]


def test_a_launch_that_fails_is_no_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The table of an older run would look like this one's."""
    assert main(["--store", str(tmp_path), "--axis", "network=mlp"]) == 2
    assert "|" not in capfd.readouterr().out
