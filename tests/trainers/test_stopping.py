"""Every stop ends a stage, once, for the reason that holds first."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.expressions import parse_values
from orchestrator.spec import Spec
from trainers.stopping import Epochs, Stop, TrainAccuracy

NEEDED: dict[str, dict[str, Any]] = {"Epochs": {"n": 30}}
MEMBERS = [made for made in Spec.members.values() if issubclass(made, Stop) and made.__module__ == Stop.__module__]
every_stop = pytest.mark.parametrize("stop", [member(**NEEDED.get(member.__name__, {})) for member in MEMBERS], ids=str)

# Running training accuracies of the authors' MLP on 33,333 CIFAR-100 images, SGD 0.001, batch 128: it goes on to learn.
SLOW_START = [0.0096, 0.0105, 0.0119, 0.0134, 0.0151, 0.0172, 0.0199, 0.0216, 0.0238, 0.0256, 0.0266, 0.0284]


def restless(epochs: int) -> list[float]:
    """Accuracies that fit nothing and never settle."""
    return [0.3 + 0.1 * (i % 2) for i in range(epochs)]


def test_all_stops_are_found() -> None:
    """A contract over an empty list holds."""
    assert {"epochs", "train_accuracy"} <= {member.kind for member in MEMBERS}


@every_stop
def test_a_stop_ends_at_its_most_epochs_and_not_before(stop: Stop) -> None:
    """A stage without an end blocks its worker; costs are estimated from the most epochs."""
    most = stop.most_epochs

    assert stop.reason(restless(most)) is not None
    assert stop.reason(restless(most - 1)) is None


@every_stop
def test_no_stage_ends_before_its_first_epoch(stop: Stop) -> None:
    """It would have no row and no final loss."""
    assert stop.reason([]) is None


@every_stop
@pytest.mark.parametrize("epochs", [1, 2, 10**6])
def test_a_cap_shortens_and_never_lengthens(stop: Stop, epochs: int) -> None:
    """`--axis epochs=2` must make a sweep cheaper, whatever rule it has."""
    capped = stop.capped(epochs)

    assert type(capped) is type(stop)
    assert capped.most_epochs == min(epochs, stop.most_epochs)
    assert stop.reason(restless(2)) is None  # the rule itself is as it was


@every_stop
def test_a_cap_below_one_epoch_is_refused(stop: Stop) -> None:
    """The message names the value."""
    with pytest.raises(ConfigError, match="=0: input should be greater than or equal to 1"):
        stop.capped(0)


@pytest.mark.parametrize("stop", [Epochs(350), TrainAccuracy(), TrainAccuracy(0.999, 100, 3, 0.01, 0.6)], ids=str)
def test_a_stop_is_written_as_it_is_read(stop: Stop) -> None:
    """The text in the tables must make the same stop on the command line."""
    assert parse_values("stop", str(stop)) == [stop]


def test_a_cap_keeps_the_rest_of_the_rule() -> None:
    """A capped rule that forgot its target would train past it."""
    rule = TrainAccuracy(0.9, 100, 3, 0.01, 0.6)

    assert rule.capped(7) == TrainAccuracy(0.9, 7, 3, 0.01, 0.6)


def test_epochs_end_after_n() -> None:
    """Whatever the accuracy."""
    assert Epochs(2).reason([1.0]) is None
    assert Epochs(2).reason([1.0, 1.0]) == "epochs"


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        ([0.5, 0.99], "train_accuracy"),
        ([33_000 / 33_333], "train_accuracy"),
        ([0.5, 0.9899], None),
        ([0.995, 0.5], None),  # reached once, and lost
        ([0.5, 0.501, 0.502, 0.501], "plateau"),
        ([0.5, 0.501, 0.502], None),  # three epochs are no window of four
        ([0.5, 0.51, 0.52, 0.53], None),
        ([0.5, 0.501, 0.502, 0.501, 0.6], None),  # it was flat before
        ([0.1, 0.5, 0.501, 0.502, 0.501], "plateau"),  # what lay before the window does not count
        ([0.199] * 4, None),  # below the floor
        ([0.2] * 4, "plateau"),
        (SLOW_START, None),
    ],
)
def test_convergence_is_told_from_the_last_epochs(accuracies: list[float], reason: str | None) -> None:
    """Stopping early or late moves every number of the paper."""
    assert TrainAccuracy().reason(accuracies) == reason


def test_the_spread_is_that_of_the_population() -> None:
    """0.001 apart in turn: 0.0005 over the window itself, 0.00058 as a sample; the tolerance parts them."""
    rule = TrainAccuracy(tolerance=0.00054)

    assert rule.reason([0.5, 0.501, 0.5, 0.501]) == "plateau"
    assert TrainAccuracy(tolerance=0.00049).reason([0.5, 0.501, 0.5, 0.501]) is None


@pytest.mark.parametrize(
    ("rule", "accuracies", "reason"),
    [
        (TrainAccuracy(cap=4), [0.991, 0.991, 0.991, 0.991], "train_accuracy"),
        (TrainAccuracy(cap=4), [0.5, 0.5, 0.5, 0.5], "plateau"),
        (TrainAccuracy(cap=4), [0.5, 0.6, 0.5, 0.6], "cap"),
        (TrainAccuracy(cap=4, window=0), [0.5, 0.5, 0.5, 0.5], "cap"),
    ],
)
def test_target_comes_before_plateau_before_cap(rule: TrainAccuracy, accuracies: list[float], reason: str) -> None:
    """A stage that fitted its data in its last epoch did converge, and is counted so."""
    assert rule.reason(accuracies) == reason


def test_window_0_switches_the_plateau_off() -> None:
    """The authors' code has no such rule."""
    assert TrainAccuracy(window=0).reason([0.5] * 400) is None


def test_floor_0_is_the_bare_rule_of_the_reproductions() -> None:
    """It takes a slow start for convergence, which is why the floor is there."""
    assert TrainAccuracy(floor=0).reason(SLOW_START[:4]) == "plateau"


def test_a_window_of_one_epoch_is_refused() -> None:
    """One number has no spread, so every stage would end after its first epoch."""
    with pytest.raises(ConfigError, match=r"TrainAccuracy: window=1: .* Take at least 2, or 0"):
        TrainAccuracy(window=1)


@pytest.mark.parametrize("settings", [{"target": 0}, {"target": 99}, {"cap": 0}, {"tolerance": -1}, {"floor": 1.5}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    """Accuracies are fractions; a target of 99 is never reached."""
    with pytest.raises(ConfigError, match=f"TrainAccuracy: {next(iter(settings))}="):
        TrainAccuracy(**settings)
