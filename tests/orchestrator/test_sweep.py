"""A sweep is checked when it is written down, and cells that run the same stages are one cell."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stage, Sweep, Trial
from orchestrator.columns import names
from orchestrator.errors import ConfigError
from orchestrator.sweep import MOST_TRIALS, OF_EVERY_CELL, SEED_HINT, merge
from tests.orchestrator.fake_trainer import Walk, made_sweep, two_rounds
from tests.orchestrator.made import Brew, Coffee, Tea

if TYPE_CHECKING:
    from decimal import Decimal

AXES: dict[str, Any] = {"lr": [0.1], "start": ["fresh"]}


def swept(protocol: Any = two_rounds, seeds: Any = (0,), **axes: Any) -> Sweep:
    """A sweep of `protocol` with these axes."""
    return Sweep("made up", axes or AXES, protocol, seeds, "made")


def cells(sweep: Sweep) -> list[Mapping[str, Any]]:
    """Cells of a sweep of one seed."""
    return [trial.cell for trial in sweep.trials()]


def test_cells_are_the_product_of_the_axes_last_axis_fastest() -> None:
    """Plans and tables would come in another order than the sweep is read in."""
    found = cells(swept(lr=[1, 2], start=["parent"], epochs=[3, 4]))

    assert [(cell["lr"], cell["epochs"]) for cell in found] == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_every_cell_is_run_under_every_seed() -> None:
    """The spread over seeds is the reported error."""
    trials = swept(lr=[0.1, 0.2], start=["fresh"], seeds=range(3)).trials()

    assert [(trial.cell["lr"], trial.seed) for trial in trials] == [(lr, s) for lr in (0.1, 0.2) for s in range(3)]


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=3))
def test_exactly_the_cells_that_run_the_same_stages_merge(runs: list[list[int]]) -> None:
    """Merging more hides results; merging less trains and counts one cell several times."""

    def protocol(row: int, column: int, seed: int) -> list[Stage]:
        return [Stage(Walk(lr=runs[row][column], seed=seed))]

    found = cells(swept(protocol, row=range(len(runs)), column=range(3)))

    alike: dict[int, list[tuple[int, int]]] = {}
    for row, line in enumerate(runs):
        for column, run in enumerate(line):
            alike.setdefault(run, []).append((row, column))
    common = [[values.pop() if len(values) == 1 else None for values in map(set, zip(*at))] for at in alike.values()]  # noqa: B905
    assert [[cell["row"], cell["column"]] for cell in found] == common


def test_cells_that_differ_under_one_seed_only_do_not_merge() -> None:
    """A cell is all of its seeds; one of two different results would be lost."""

    def protocol(epochs: int, seed: int) -> list[Stage]:
        return [Stage(Walk(epochs=epochs if seed == 1 else 3, seed=seed))]

    assert len(cells(swept(protocol, seeds=[0, 1], epochs=[3, 4]))) == 4


def test_an_axis_that_makes_no_difference_is_none() -> None:
    """A random init belongs to no first-round learning rate; a table that names one misleads."""
    assert merge([{"lr": 1, "init": "random"}, {"lr": 2, "init": "random"}]) == {"lr": None, "init": "random"}


def test_a_default_written_out_is_the_same_cell() -> None:
    """--axis epochs=3 on a sweep whose stages have 3 epochs anyway must find all of its results."""
    bare, written = swept().trials()[0], swept(**AXES, epochs=[3]).trials()[0]

    assert bare.stages == written.stages


def test_rows_hold_what_a_table_can() -> None:
    """A cell that cannot be stored stops a launch."""
    stage = Stage(Walk(round=2))
    trial = Trial({"brew": Tea(sugar=2.0), "none": None, "pair": (1, 2), "lr": 0.1}, 5, [stage])

    assert trial.rows("s") == [
        {"sweep": "s", "brew": "made_tea", "brew_text": "Tea(sugar=2.0)", "none": None, "pair": "(1, 2)", "lr": 0.1}
        | {"seed": 5, "round": 2, "key": stage.key}
    ]


def test_every_reported_stage_has_a_row() -> None:
    """An online sweep reports every round."""
    stages = [Stage(Walk(round=i)) for i in range(3)]

    assert [row["round"] for row in Trial({}, 0, stages).rows("s")] == [0, 1, 2]


def test_replacing_an_axis_keeps_the_others() -> None:
    """--axis names what changes, and nothing else may."""
    sweep = made_sweep().replace({"lr": [0.5], "epochs": [1]}, seeds=[7])

    assert dict(sweep.axes) == {"lr": [0.5], "start": ["fresh", "parent"], "epochs": [1]}
    assert (sweep.name, list(sweep.seeds)) == ("made", [7])
    assert list(made_sweep().replace({}).seeds) == [0, 1]


def test_numbers_of_numpy_are_numbers() -> None:
    """numpy.logspace is how learning rates are written."""
    found = swept(lr=np.array([0.5, 0.25]), start=["fresh"], seeds=np.arange(2)).trials()

    assert [type(value) for trial in found for value in (trial.cell["lr"], trial.seed)] == [float, int] * 4


def test_a_partial_protocol_is_a_protocol() -> None:
    """functools.partial is how a user fixes a setting for a whole sweep."""
    assert swept(functools.partial(two_rounds, epochs=1)).trials()[0].stages[0].config.epochs == 1


# What is refused, and how.

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lrr": [0.1], **AXES}, "made: no axis 'lrr'. Did you mean lr?"),
    ({"xyzzy": [1], **AXES}, "made: no axis 'xyzzy'. Its axes: lr, start, epochs."),
    (
        {"seed": [1], **AXES},
        f"made: no axis 'seed'. {SEED_HINT}",
    ),
    ({"lr": [0.1]}, "made: no axis 'start', and the protocol needs it. Give it one value or more."),
    ({**AXES, "lr": []}, "made: no value for lr. Give it one or more."),
    ({**AXES, "lr": ["fast"]}, "made: axis lr: 'fast': input should be a valid number."),
    ({**AXES, "epochs": [1, 1.5]}, "made: axis epochs: 1.5: input should be a valid integer."),
    ({**AXES, "start": ["warm"]}, "made: axis start: 'warm': input should be 'fresh' or 'parent'."),
]


@pytest.mark.parametrize(("axes", "message"), WRONG, ids=[message[6:30] for _, message in WRONG])
def test_a_wrong_axis_is_named_with_its_value(axes: dict[str, Any], message: str) -> None:
    """Found after hours by a worker, or never, if the misspelt axis were ignored."""
    with pytest.raises(ConfigError) as caught:
        swept(**axes)

    assert str(caught.value) == message


def test_all_faults_are_told_at_once() -> None:
    """Each fault found alone is one more round of waiting."""
    with pytest.raises(ConfigError) as caught:
        swept(lr=["fast", 0.1, "slow"], start=["warm"])

    assert [line.split(":")[2] for line in str(caught.value).splitlines()] == [" 'fast'", " 'slow'", " 'warm'"]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "made: no value for seeds"),
        ([0, 0.5], "made: seeds 0.5: give whole numbers from 0"),
        ([-1], "made: seeds -1: give"),
        ([True], "made: seeds True: give"),
        ([1, 2, 1], "made: seeds 1, 2, 1: one is given twice"),
    ],
)
def test_wrong_seeds_are_named(seeds: list[Any], message: str) -> None:
    """Half a seed would run as seed 0; a seed given twice would count twice in every mean."""
    with pytest.raises(ConfigError, match=message):
        swept(seeds=seeds)


def test_too_many_trials_are_refused_at_once() -> None:
    """A slip in --seeds would keep the planner busy for minutes without a word."""
    with pytest.raises(ConfigError, match=r"made: 2,000,000,000 trials \(2 lr x 1,000,000,000 seeds\); 100,000 are"):
        swept(lr=[1, 2], start=["fresh"], seeds=range(10**9))

    assert MOST_TRIALS == 100_000


def test_no_axis_hides_a_column_of_every_cell() -> None:
    """An axis called round would be overwritten in the table, without a word."""

    def protocol(round: int, seed: int) -> list[Stage]:
        return [Stage(Walk(round=round, seed=seed))]

    with pytest.raises(ConfigError, match="a protocol's parameter cannot be called 'round'"):
        swept(protocol, round=[1])
    assert set(OF_EVERY_CELL) == set(names("cells"))


def test_a_setting_of_another_family_is_refused() -> None:
    """A model in the place of an init is found before any worker starts."""

    def protocol(brew: Brew, seed: int) -> list[Stage]:
        return [Stage(Walk(seed=seed))]

    assert len(swept(protocol, brew=[Tea(), Coffee(grams=1)]).trials()) == 1
    with pytest.raises(ConfigError, match=r"axis brew: 3: input should be an instance of Brew"):
        swept(protocol, brew=[Tea(), 3])


def test_annotations_for_type_checkers_only_check_nothing() -> None:
    """They cannot be read at run time; such a file is sound all the same."""

    def protocol(lr: Decimal, seed: int) -> list[Stage]:
        return [Stage(Walk(lr=lr, seed=seed))]

    assert len(swept(protocol, lr=[0.1]).trials()) == 1


def test_a_combination_that_means_nothing_is_named_with_its_cell() -> None:
    """Of hundreds of cells the user must know which."""

    def protocol(lr: float, epochs: int, seed: int) -> list[Stage]:
        if lr * epochs > 3:
            raise ConfigError("too much.")
        return [Stage(Walk(lr=lr, epochs=epochs, seed=seed))]

    with pytest.raises(ConfigError) as caught:
        swept(protocol, lr=[1, 2], epochs=[1, 2]).trials()

    assert str(caught.value) == "too much. (In made, seed 0, cell lr=2, epochs=2.)"


def test_a_fault_in_a_protocol_is_named_with_its_line() -> None:
    """A user's own protocol has bugs; a traceback through our planner does not help to find them."""

    def protocol(lr: float, seed: int) -> list[Stage]:
        return [Stage(Walk(lr=1 / lr, seed=seed))]

    line = protocol.__code__.co_firstlineno + 1
    with pytest.raises(ConfigError) as caught:
        swept(protocol, lr=[0]).trials()

    assert (
        str(caught.value)
        == f"{__file__}, line {line}: ZeroDivisionError: division by zero (In made, seed 0, cell lr=0.)"
    )


@pytest.mark.parametrize("returned", [None, Walk(), [Walk()], Stage(Walk())], ids=repr)
def test_a_protocol_that_returns_no_stages_is_named(returned: Any) -> None:
    """The next step would fail at a place that says nothing of the protocol."""

    def protocol(seed: int) -> Any:
        return returned

    with pytest.raises(ConfigError, match="the protocol must return a list of stages, and returned"):
        Sweep("made up", {}, protocol, [0]).trials()


def test_a_combination_without_stages_is_no_cell() -> None:
    """Transfer from a data set to itself is no experiment; a row of it would be an empty dot."""

    def protocol(lr: float, momentum: float, seed: int) -> list[Stage]:
        return [] if lr == momentum else [Stage(Walk(lr=lr, seed=seed))]

    trials = swept(protocol, lr=[0.1, 0.2], momentum=[0.1, 0.2]).trials()

    assert [(trial.cell["lr"], trial.cell["momentum"]) for trial in trials] == [(0.1, 0.2), (0.2, 0.1)]


def test_a_sweep_without_any_cell_is_named() -> None:
    """A launch that says done and has done nothing would be believed."""

    def protocol(seed: int) -> list[Stage]:
        return []

    with pytest.raises(ConfigError, match=r"made.*: its protocol makes no stage of any cell"):
        Sweep("made up", {}, protocol, [0]).trials()
