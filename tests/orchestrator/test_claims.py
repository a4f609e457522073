"""A claim is judged for each data set and model alone, by its rule, and says what is missing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.claims import Claim, Part, Printed, Verdict, claims_of, verdicts_of
from orchestrator.claims_table import write_claims
from orchestrator.errors import ConfigError, StoreError
from orchestrator.measures import Difference, Value, gap
from orchestrator.quantities import RANDOM, WARM, Cells, Final
from orchestrator.store import Store
from orchestrator.verdict import Outcome, above, at_least, at_most, below, between
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.fake_trainer import Lab, made_sweep, two_rounds
from tests.orchestrator.launches import go
from tests.orchestrator.made_results import pairs, places, results, row

WORSE = Claim(1, "Warm starts are worse", "Figure 1", [Part(gap(), above(0), [Printed(4.9, data_text="CIFAR10()")])])


def verdicts(rows: list[dict[str, Any]], claim: Claim = WORSE, **given: Any) -> list[Verdict]:
    """Verdicts of one claim on made rows."""
    sweep = Sweep("made", {"lr": [0.1], "start": ["fresh"]}, two_rounds, [0], "made", claims=[claim])
    return verdicts_of(results(rows, **given), sweep)


@pytest.mark.parametrize(
    ("gaps", "outcome"),
    [
        ([4, 5, 6], Outcome.SUPPORTED),
        ([-4, -5, -6], Outcome.CONTRADICTED),
        ([-4, 5, 6], Outcome.NOT_DECIDED),
        ([5], Outcome.NOT_DECIDED),
        ([], Outcome.NOT_RUN),
    ],
)
def test_each_verdict_is_reached(gaps: list[float], outcome: Outcome) -> None:
    """A verdict that cannot be reached makes the others mean nothing."""
    (found,) = verdicts(pairs(*gaps))

    assert found.outcome is found.findings[0].outcome is outcome


def test_a_finding_says_number_interval_seeds_paper_and_rule() -> None:
    """A verdict that cannot be checked by its reader is an opinion. 5 -+ 4.3027 / sqrt 3."""
    finding = verdicts(pairs(4, 5, 6))[0].findings[0]

    assert (finding.mean, finding.low, finding.high) == pytest.approx((5, 2.5159, 7.4841), abs=1e-4)
    assert (finding.seeds, finding.paper, finding.paper_words) == (3, 4.9, "4.9")
    assert (finding.rule, finding.unit) == ("above 0 points", "points")


def test_data_sets_and_models_are_judged_apart() -> None:
    """Digits' result read as CIFAR-10's is the worst that this table could do."""
    rows = [*pairs(4, 5, 6), *pairs(-4, -5, -6, data_text="Digits()"), *pairs(4, 5, 6, model_text="MLP(width=64)")]

    found = {(one.data, one.model): one.outcome for one in verdicts(rows)}

    assert found == {
        ("CIFAR10()", "MLP()"): Outcome.SUPPORTED,
        ("Digits()", "MLP()"): Outcome.CONTRADICTED,
        ("CIFAR10()", "MLP(width=64)"): Outcome.SUPPORTED,
    }


def test_a_cap_on_images_names_the_data_set_anew() -> None:
    """The axis says CIFAR10() and the launch said limit=600: the stage knows what it was trained on."""
    rows = pairs(4, 5, 6)
    made = results(rows)
    made.stages.update({key: {**one, "data_text": "CIFAR10(limit=600)"} for key, one in made.stages.items()})
    sweep = Sweep("made", {"lr": [0.1], "start": ["fresh"]}, two_rounds, [0], claims=[WORSE])

    (found,) = verdicts_of(made, sweep)

    assert found.data == "CIFAR10(limit=600)"
    assert found.findings[0].paper is None
    assert found.findings[0].paper_words == "4.9 (CIFAR10())"


@pytest.mark.parametrize("column", ["axis_epochs", "per_round", "rounds"])
def test_launches_with_another_cap_are_judged_apart(column: str) -> None:
    """Two epochs of a trial run among the seeds of the real one would spoil its mean."""
    rows = [*pairs(4, 5, 6, **{column: None}), *pairs(-4, -5, -6, **{column: 2})]

    found = {one.settings: one.outcome for one in verdicts(rows)}

    name = column.removeprefix("axis_")
    assert found == {f"{name}=None": Outcome.SUPPORTED, f"{name}=2": Outcome.CONTRADICTED}


def test_a_setting_that_tells_verdicts_apart_is_named() -> None:
    """Two rows that look alike and say opposite things help nobody."""
    rows = [*pairs(4, 5, optimizer_text="SGD()"), *pairs(4, 5, optimizer_text="Adam()")]

    assert [one.settings for one in verdicts(rows)] == ["optimizer=SGD()", "optimizer=Adam()"]


def test_a_random_init_stands_beside_the_warm_starts_of_every_first_round() -> None:
    """Merged cells leave its first round's axis empty; without it no group has a pair."""
    warm = [row("warm_start", first_fraction=f) for f in (0.1, 0.5)]

    assert places([row("random_init", first_fraction=None), *warm]) == [
        ("CIFAR10()", "MLP()", 0.1, 2),
        ("CIFAR10()", "MLP()", 0.5, 2),
    ]


def test_a_child_of_a_launch_without_the_axis_stands_alone() -> None:
    """Its first fraction is the default's, and mixing it in would be silent."""
    warm = [row("warm_start", first_fraction=f) for f in (0.1, None)]

    assert sorted(one[-1] for one in places(warm)) == [1, 1]


def test_compared_columns_do_not_part_rows() -> None:
    """What a claim compares must be in one group."""
    rows = [row("warm_start", lr=rate) for rate in (0.1, 0.2)]

    assert places(rows, "lr") == [("CIFAR10()", "MLP()", 2)]


def test_rows_of_another_precision_are_apart() -> None:
    """The gap of fp32's warm start from bf16's random init is none; rows of older versions are fp32 without saying."""
    rows = [row("warm_start", precision=kind) for kind in (None, "fp32", "bf16")]

    assert places(rows) == [("CIFAR10()", "MLP()", 2), ("CIFAR10()", "MLP()", "bf16", 1)]


def test_a_claim_of_some_models_is_judged_on_these() -> None:
    """A convex model's missing gap must not contradict a claim about networks."""
    claim = Claim(2, "", "", [Part(gap(), above(0))], only=Cells("networks", model="mlp"))

    found = verdicts([*pairs(4, 5), *pairs(-4, -5, model="logistic", model_text="Logistic()")], claim)

    assert [one.model for one in found] == ["MLP()"]


def test_only_keeps_a_random_init_that_the_column_makes_no_difference_to() -> None:
    """Trained on no source, it belongs to every source."""
    rows = [row("random_init", 0, 0.6, source=None), row("warm_start", 0, 0.5, source="cifar100")]
    claim = Claim(14, "", "", [Part(gap(), above(0))], only=Cells("", source="cifar100"))

    assert verdicts(rows, claim)[0].findings[0].mean == pytest.approx(10)


def test_all_parts_are_needed() -> None:
    """A gap with unequal training accuracy is not the paper's claim."""
    same = Part(Difference(Final("train_accuracy"), RANDOM, WARM), between(-0.1, 0.1))
    claim = Claim(1, "", "", [Part(gap(), above(0)), same])
    rows = pairs(4, 5, 6)
    unequal = [{**one, "train_accuracy": 0.9 if one["init"] == "warm_start" else 1.0} for one in rows]

    assert verdicts(rows, claim)[0].outcome is Outcome.SUPPORTED
    assert verdicts(unequal, claim)[0].outcome is Outcome.CONTRADICTED


FITTED = Part(Value(Final("train_accuracy", words="training accuracy"), WARM), at_least(99), is_condition=True)


@pytest.mark.parametrize(
    ("fitted", "sign", "outcome"),
    [
        (1.0, 1, Outcome.SUPPORTED),
        (1.0, -1, Outcome.CONTRADICTED),
        (0.5, 1, Outcome.NOT_DECIDED),
        (0.5, -1, Outcome.NOT_DECIDED),
    ],
)
def test_without_its_condition_a_claim_is_not_decided(fitted: float, sign: int, outcome: Outcome) -> None:
    """Networks that were stopped half-way say nothing of networks that fit their data."""
    claim = dataclasses.replace(WORSE, parts=[*WORSE.parts, FITTED])
    rows = [{**one, "train_accuracy": fitted} for one in pairs(*(sign * gap for gap in (4, 5, 6)))]

    (verdict,) = verdicts(rows, claim)

    assert verdict.outcome is outcome
    assert ("does not hold" in verdict.findings[1].note) is (fitted < 0.9)
    assert verdict.findings[1].rule.startswith("only where it is at least 99")


def test_a_condition_alone_is_no_claim() -> None:
    """It would be not run for ever."""
    with pytest.raises(ConfigError, match="no part to decide"):
        dataclasses.replace(WORSE, parts=[FITTED])


def test_of_several_comparisons_the_least_supported_is_shown() -> None:
    """The best of five would make every claim look good."""
    rows = [
        one
        for f, points in ((0.1, [4, 4.1]), (0.5, [2, 2.1]), (1.0, [3, 3.1]))
        for one in pairs(*points, axis_fraction=f)
    ]
    claim = Claim(
        14, "", "", [Part(Difference(Final(), RANDOM, WARM, alike="axis_fraction"), above(0))], ["axis_fraction"]
    )

    finding = verdicts(rows, claim)[0].findings[0]

    assert (finding.mean, finding.outcome) == (pytest.approx(2.05), Outcome.SUPPORTED)
    assert finding.note == "Shown: fraction 0.5; 3 of 3 such comparisons are supported."


def test_one_contradicted_comparison_contradicts() -> None:
    """All of them are claimed."""
    rows = [one for f, points in ((0.1, [4, 4.1]), (1.0, [-3, -3.1])) for one in pairs(*points, axis_fraction=f)]
    claim = Claim(
        14, "", "", [Part(Difference(Final(), RANDOM, WARM, alike="axis_fraction"), above(0))], ["axis_fraction"]
    )

    (found,) = verdicts(rows, claim)

    assert found.outcome is Outcome.CONTRADICTED
    assert found.findings[0].mean == pytest.approx(-3.05)


def test_cells_that_cannot_be_told_apart_decide_nothing() -> None:
    """Two kinds of warm start under one name have no mean; the note says which."""
    rows = [*pairs(4, 5, 6), *(row("warm_start", seed, init_text="WarmStart(keep_buffers=True)") for seed in range(3))]

    (found,) = verdicts(rows)

    assert found.outcome is Outcome.NOT_DECIDED
    assert "keep_buffers" in found.findings[0].note


def test_what_is_missing_is_said() -> None:
    """A verdict on a half of the cells is read as one on all."""
    rows = [
        *pairs(4, 5),
        row("random_init", 2),
        row("warm_start", 2, None, status="diverged"),
        row("x", status="failed"),
    ]

    (found,) = verdicts(rows, planned=9)

    assert found.note == "2 of 9 models of the sweep are not trained yet. 1 of the sweep failed. 1 here diverged."
    assert found.findings[0].note == "1 of 3 seeds lacks what is needed."


def test_the_papers_other_numbers_are_no_number_of_ours() -> None:
    """4.5 points on CIFAR-10 beside a result on Digits would be compared with it."""
    part = Part(gap(), at_most(1), [Printed(0.9, data_text="SVHN()"), Printed(0.2, data_text="CIFAR100()")])

    finding = verdicts(pairs(1, 2), Claim(3, "", "", [part]))[0].findings[0]

    assert (finding.paper, finding.paper_words) == (None, "0.2 to 0.9 (elsewhere)")


@pytest.mark.parametrize("number", [0, 17])
def test_a_claim_has_a_number_of_the_list(number: int) -> None:
    """A claim under a wrong number is looked up under another text."""
    with pytest.raises(ConfigError, match=f"claim {number}: .*from 1 to 16"):
        Claim(number, "", "", [Part(gap(), above(0))])


def test_a_claim_needs_a_part() -> None:
    """Nothing would have to hold, so it would never be anything but not run."""
    with pytest.raises(ConfigError, match="no part"):
        Claim(1, "", "", [])


def test_claims_are_read_from_a_store(store: Store, lab: Lab) -> None:
    """What tests make and what a launch leaves are the same rows."""
    sides = [Cells(start, init_text=start, lr=0.1) for start in ("fresh", "parent")]
    claim = Claim(1, "", "", [Part(Difference(Final(), *sides), above(0))], ["lr", "start"])
    assert go(store, lab).exit_code == 0

    (found,) = claims_of(store, [Sweep("", made_sweep().axes, two_rounds, [0, 1], "made", claims=[claim])])

    assert found.findings[0].seeds == 2
    assert (found.data, found.model) == ("made", "made")


def test_a_store_that_is_not_there_is_an_error(store: Store) -> None:
    """Sixteen times "not run" would hide that its path was mistyped."""
    with pytest.raises(StoreError, match="no store here"):
        claims_of(store, [])


def test_the_command_lists_all_sixteen_before_anything_ran(warmgrid: Warmgrid) -> None:
    """A claim that is not listed is not missed."""
    assert warmgrid("launch", "made.py", "--backend", "inprocess").code == 0

    told = warmgrid("claims")

    assert told.code == 0
    assert [number for number in range(1, 17) if f"Claim {number}:" in told.out] == list(range(1, 17))
    assert "0 supported, 0 contradicted, 0 not decided" in told.out


def test_the_command_gives_programs_the_fields(warmgrid: Warmgrid) -> None:
    """A script reads what the table shows."""
    warmgrid("launch", "made.py", "--backend", "inprocess")

    facts = warmgrid("claims", "figure1", "--json").facts

    assert [(one["number"], one["outcome"], one["data"], one["model"]) for one in facts] == [
        (1, "not run", "CIFAR10()", "ResNet18()")
    ]


def test_a_sweep_without_claims_says_so(warmgrid: Warmgrid) -> None:
    """An empty table would look like a fault of the store."""
    warmgrid("launch", "made.py", "--backend", "inprocess")

    told = warmgrid("claims", "quickstart")

    assert (told.code, told.out) == (2, "")
    assert "tests no claim" in told.err


def test_the_table_names_everything_a_verdict_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Number, claim, data set, model, ours with interval and seeds, the paper's number, rule and verdict."""
    import sys

    write_claims(verdicts(pairs(4, 5, 6)), sys.stdout)

    out = capsys.readouterr().out
    for text in ("Claim 1: Warm starts are worse (Figure 1)", "CIFAR10(), MLP()", "[2.52, 7.48], 3 seeds", "supported"):
        assert text in out
    for text in ("5.00 points", " 4.9 ", "above 0 points"):
        assert text in out


def test_a_verdict_is_plain_data() -> None:
    """The report and scripts take it as JSON."""
    assert json.loads(json.dumps(asdict(verdicts(pairs(4))[0])))["findings"][0]["low"] is None


def half_finished(rows: list[dict[str, Any]], absent: list[dict[str, Any]], claim: Claim = WORSE) -> Outcome:
    """The one verdict on rows of a sweep of which these cells are not trained yet."""
    sweep = Sweep("made", {"lr": [0.1], "start": ["fresh"]}, two_rounds, [0], "made", claims=[claim])
    (found,) = verdicts_of(dataclasses.replace(results(rows), absent=absent), sweep)
    return found.outcome


CELL = {"sweep": "made", "data_text": "CIFAR10()", "model_text": "MLP()", "init": "warm_start", "seed": 0, "key": "new"}


def test_a_round_that_is_not_the_last_one_decides_nothing() -> None:
    """The gap after 10 of 34 rounds is no gap in the end."""
    assert half_finished(pairs(4, 5, 6), [{**CELL, "round": 2}]) is Outcome.NOT_RUN


def test_a_comparison_that_is_still_to_come_keeps_a_claim_open() -> None:
    """All parts of the target's data are claimed, not those that were quick to train."""
    rows = [row("random_init", s, 0.6, axis_fraction=0.1) for s in (0, 1)]
    rows += [row("warm_start", s, 0.5 - s / 100, axis_fraction=0.1) for s in (0, 1)]
    each = Claim(
        1, "x", "y", [Part(Difference(Final(), WARM, RANDOM, alike="axis_fraction"), below(5))], ["axis_fraction"]
    )

    found = half_finished(rows, [{**CELL, "round": 1, "axis_fraction": 1.0}], each)

    assert (half_finished(rows, [], each), found) == (Outcome.SUPPORTED, Outcome.NOT_DECIDED)


@pytest.mark.parametrize(
    "other", [{"data_text": "Digits()"}, {"per_round": 500}, {"limit": 600}, {"model_text": "MLP(width=64)"}]
)
def test_what_is_still_to_come_of_other_settings_keeps_nothing_open(other: dict[str, Any]) -> None:
    """A full-size launch that waits for its GPUs is no reason to doubt the small one beside it."""
    assert half_finished(pairs(4, 5, 6), [{**CELL, "round": 2, **other}]) is Outcome.SUPPORTED
