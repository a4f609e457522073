"""A store that a released version wrote is read, gone on with and compacted by every version after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.launch import plan_sweep
from orchestrator.seam import Status
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import Lab, made_sweep, names_of, run
from tests.orchestrator.launches import go
from tests.stores.make import FAILS, SWEEP, rows_of

HERE = Path(__file__).parent
FORMATS = sorted(path.stem for path in HERE.glob("format-*.json"))


@pytest.fixture(params=FORMATS)
def golden(request: pytest.FixtureRequest, tmp_path: Path, unsynced: None) -> Store:
    """A copy of the store of one format."""
    return Store(str(shutil.copytree(HERE / request.param, tmp_path / request.param)))


def rows(store: Store) -> object:
    """What its tables held when it was made."""
    return json.loads((HERE / f"{Path(store.root).name}.json").read_text())


def read(store: Store) -> object:
    """What its tables hold now, without the columns that have come since and are empty."""
    then, now = rows(store), rows_of(store)
    assert isinstance(then, dict)
    known = {table: held[0].keys() for table, held in then.items()}
    kept = {
        table: [{name: v for name, v in row.items() if name in known[table] or v is not None} for row in held]
        for table, held in now.items()
    }
    return {table: sorted(held, key=lambda row: json.dumps(row, sort_keys=True)) for table, held in kept.items()}


def test_there_is_a_store_of_each_format() -> None:
    """A format without one may be broken by anybody."""
    assert FORMATS == ["format-1", "format-2"]


def test_its_rows_are_those_that_it_held(golden: Store) -> None:
    """If this fails, results already paid for cannot be read any more: give a new column a null for old files."""
    assert read(golden) == rows(golden)


def test_there_is_nothing_left_to_do(golden: Store, lab: Lab) -> None:
    """If this fails, results already paid for would be trained again: see the golden keys in test_key.py."""
    planned, _ = plan_sweep(made_sweep("golden", **SWEEP), golden)
    before = names_of(golden)

    summary = go(golden, lab, made_sweep("golden", **SWEEP))

    assert (planned.to_run, len(planned.stages), summary.exit_code) == ([], 6, 0)
    assert [name for name in names_of(golden) if not name.startswith("leases/")] == before
    assert lab.trained == []


def test_its_weights_are_those_that_were_committed(golden: Store) -> None:
    """Children start from them."""
    assert all(golden.load_state(key)["x"].shape == (5,) for key in golden.committed())


def test_a_stage_goes_on_from_its_checkpoint(golden: Store) -> None:
    """A grid that an update interrupted must not begin again."""
    report = run(FAILS, golden)

    assert (report.status, report.row["attempts"]) == (Status.DONE, 2)
    assert golden.files.list("failures") == []


def test_it_is_compacted(golden: Store) -> None:
    """What older versions wrote gets as fast as what is new."""
    golden.compact()

    assert read(golden) == rows(golden)
    assert golden.files.list("stages") == golden.files.list("epochs") == golden.files.list("cells") == []
    assert len(golden.committed()) == 7
