"""A stage's config checks itself, says its columns, and changes its key with everything that changes its numbers."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from orchestrator.columns import STAGES
from orchestrator.errors import ConfigError
from orchestrator.key import canonical_text
from orchestrator.stage import Stage
from orchestrator.trainer import load_trainer
from tests.trainers.made import FIRST, second
from trainers import supervised
from trainers.after_step import ShrinkPerturbEachStep
from trainers.augmentation import CropFlipJitter
from trainers.data import CIFAR10, Digits
from trainers.inits import PartialWarmStart, RandomInit, ShrinkPerturb, WarmStart
from trainers.models import MLP, ResNet18
from trainers.optimizers import SGD, Adam
from trainers.regularizers import EWC, L2
from trainers.selection import Margin
from trainers.stage_config import Supervised
from trainers.stopping import Epochs, TrainAccuracy

OTHER = {
    "data": Digits(),
    "model": MLP(width=9),
    "init": WarmStart(),
    "stop": Epochs(4),
    "seed": 4,
    "round": 1,
    "examples": 31,
    "lr": 0.2,
    "batch_size": 9,
    "optimizer": Adam(),
    "regularizer": L2(size=0.1),
    "evaluate_every": 0,
    "old_examples": 10,
    "selection": Margin(),
    "augmentation": CropFlipJitter(),
    "after_step": ShrinkPerturbEachStep(shrink=0.99, perturb=0.0),
    "gradient_norms_every": 5,
    "precision": "bf16",
}


def changed(**changes: Any) -> Supervised:
    """`FIRST` with other settings."""
    return dataclasses.replace(FIRST, **changes)


def test_every_setting_is_tried() -> None:
    """A setting added later must come with a value here."""
    assert OTHER.keys() == {field.name for field in dataclasses.fields(Supervised)}


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_changes_the_key(name: str) -> None:
    """Two stages that train differently under one key are one stage in the store, whichever came first."""
    old = {"old_examples": 10} if name in ("selection", "gradient_norms_every") else {}

    assert Stage(changed(**{**old, name: OTHER[name]})).key != Stage(changed(**old)).key


ASKING: list[dict[str, Any]] = [{"selection": Margin()}, {"gradient_norms_every": 1}, {"regularizer": EWC(size=1)}]


@pytest.mark.parametrize("setting", ASKING, ids=str)
def test_what_asks_for_old_examples_must_be_told_how_many(setting: dict[str, Any]) -> None:
    """With none of them old, the new ones' gradients would be drawn alone and nobody would see why."""
    with pytest.raises(ConfigError, match=rf"{next(iter(setting))}=.* asks which examples are old"):
        changed(**setting)


def test_more_warm_layers_than_there_are_are_refused_at_once() -> None:
    """It would come out only when the first round was trained."""
    with pytest.raises(ConfigError, match=r"PartialWarmStart\(layers=4\): this network has 3 layers"):
        changed(init=PartialWarmStart(layers=4))


def test_the_version_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended trainer must not find the results of the faulty one."""
    before = Stage(FIRST).key

    monkeypatch.setattr(Supervised, "version", Supervised.version + 1)

    assert Stage(FIRST).key != before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("round", -1),
        ("examples", 0),
        ("examples", 2.5),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "0.1"),
        ("batch_size", 0),
        ("evaluate_every", -1),
        ("model", "MLP"),
        ("init", RandomInit),
        ("stop", 350),
    ],
)
def test_a_wrong_value_is_named_when_it_is_written(name: str, value: Any) -> None:
    """Found in a worker, the same slip has cost the round before it."""
    with pytest.raises(ConfigError, match=name):
        changed(**{name: value})


def test_more_examples_than_may_be_fitted_are_refused() -> None:
    """They would be taken from the held-out third."""
    assert changed(examples=60).examples == 60
    with pytest.raises(ConfigError, match=r"examples=61: Digits\(limit=90\) has 60 training examples"):
        changed(examples=61)


def test_a_whole_number_is_a_learning_rate() -> None:
    """lr=1 and lr=1.0 are one stage, trained once."""
    assert Stage(changed(lr=1)).key == Stage(changed(lr=1.0)).key


def test_columns_are_those_of_the_table() -> None:
    """A column that the table does not know is dropped, and nobody can group by it."""
    assert FIRST.stage_columns().keys() <= {column.name for column in STAGES}


def test_columns_say_the_settings() -> None:
    """What a plot is drawn by must be what was trained."""
    columns = second(init=ShrinkPerturb(shrink=0.4, perturb=0.1), optimizer=SGD(weight_decay=0.01)).stage_columns()

    expected = {"seed": 3, "round": 1, "examples": 60, "fraction": 1.0, "lr": 0.1, "batch_size": 8}
    expected |= {"data": "digits", "model": "mlp", "model_text": "MLP(width=8)", "init": "shrink_perturb"}
    expected |= {"shrink": 0.4, "perturb": 0.1, "optimizer": "sgd", "weight_decay": 0.01, "regularizer": "none"}
    expected |= {"regularizer_size": 0.0, "stop": "Epochs(n=3)"}
    assert {name: columns[name] for name in expected} == expected


def test_the_fraction_is_of_the_examples_that_may_be_fitted() -> None:
    """Figures are drawn against the share of data in the first round."""
    assert FIRST.stage_columns()["fraction"] == 0.5
    assert changed(data=CIFAR10(), examples=33_333).stage_columns()["fraction"] == 1.0


def test_work_grows_with_examples_and_epochs() -> None:
    """Long stages are started first, so that a sweep does not end with one of them alone."""
    assert FIRST.work() == 30 * 3
    assert changed(stop=TrainAccuracy(cap=200)).work() == 30 * 200


def test_the_trainer_named_is_the_page() -> None:
    """The dotted path is in every key; a worker finds the function by it."""
    assert load_trainer(Supervised.trainer) is supervised.train
    assert load_trainer(Supervised.turns) is supervised.turns


def test_the_page_reads_top_to_bottom() -> None:
    """The page is what a researcher checks before trusting a number: one screen and a half, epoch and batch."""
    lines = inspect.getsource(supervised.page).splitlines()
    deepest = max(len(line) - len(line.lstrip()) for line in lines if not line.lstrip().startswith((")", "]", "}")))

    assert len(lines) < 90
    assert deepest <= 12


def test_a_config_crosses_a_process_border_whole() -> None:
    """Workers on other machines get configs by pickle; a setting lost there is another stage."""
    config = second(model=ResNet18(width=2), init=WarmStart(keep_buffers=True), optimizer=Adam(beta1=0.8))

    assert canonical_text(pickle.loads(pickle.dumps(config))) == canonical_text(config)


def test_a_config_is_written_as_the_call_that_makes_it() -> None:
    """Failure reports print it, to be pasted into Python."""
    assert eval(repr(FIRST)) == FIRST  # noqa: S307 - our own text
