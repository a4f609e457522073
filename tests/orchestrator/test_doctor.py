"""What would keep a launch from running is found before it is launched, with what to do about it."""

from __future__ import annotations

import json
import shutil
import time
from collections import namedtuple
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from orchestrator import doctor, probe
from orchestrator.doctor import Finding, Level, end, examine, probe_findings, start_probe
from orchestrator.errors import DataError
from orchestrator.store import Store
from tests.orchestrator.command import Warmgrid
from tests.orchestrator.fake_trainer import Lab, two_rounds
from tests.orchestrator.launches import go

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads torch or starts Ray is left alone by tests that do not ask for it."""
    monkeypatch.setattr(doctor, "PROBES", {})


def found(store: Store, what: str) -> list[Finding]:
    """What the doctor finds of one thing."""
    return [one for one in examine(store) if one.what == what]


def levels(store: Store, what: str) -> list[str]:
    """How bad that is."""
    return [str(one.level) for one in found(store, what)]


def note(store: Store, text: str) -> Finding:
    """The one finding worth a word that says `text`."""
    (one,) = [one for one in examine(store) if one.level is Level.NOTE and text in one.says]
    assert one.todo
    return one


def test_a_sound_store_is_good(store: Store, lab: Lab) -> None:
    """With its counts, so that a wrong --store shows."""
    go(store, lab)

    assert levels(store, "store") == ["good", "good"]
    assert found(store, "store")[0].says == f"{store.root}, format 1: 10 done"


def test_a_store_that_is_not_there_yet_is_good(store: Store) -> None:
    """The first launch makes it; looking makes nothing."""
    assert levels(store, "store") == ["good"]
    assert not Path(store.root).exists()


def test_a_folder_of_somebody_elses_is_left_alone(store: Store) -> None:
    """A wrong --store must show, and nothing may be written there."""
    Path(store.root).mkdir()
    Path(store.root, "thesis.tex").touch()

    assert "but other files" in note(store, "none in").says
    assert [path.name for path in Path(store.root).iterdir()] == ["thesis.tex"]


def test_a_store_of_a_later_version_is_bad(store: Store) -> None:
    """Nothing can be launched into it."""
    store.files.write("warmgrid.json", b'{"format": 99}')

    assert levels(store, "store") == ["bad"]
    assert "a store of format 99" in found(store, "store")[0].says


def test_a_store_that_cannot_be_written_is_bad(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch would fail after it has started its workers."""
    store.check_format()

    def full(*_: Any, **__: Any) -> None:
        raise doctor.SweepError("no space left")

    monkeypatch.setattr(store.files, "write", full)

    assert [one for one in found(store, "store") if one.level is Level.BAD and "no space left" in one.says]


def test_looking_leaves_nothing(store: Store, lab: Lab) -> None:
    """A doctor's note of last year must stop nobody."""
    go(store, lab)
    before = sorted(Path(store.root).rglob("*"))
    list(examine(store))

    assert [path for path in sorted(Path(store.root).rglob("*")) if path.name != "stop"] == before


def test_what_was_set_aside_is_told(store: Store, lab: Lab) -> None:
    """A damaged result is trained again only if somebody resumes."""
    go(store, lab)
    key = two_rounds(0.1, "fresh", 0)[0].key
    store.files.write(f"stages/{key}.parquet", b"torn")

    assert "1 damaged or foreign files were set aside" in note(store, "set aside").says
    assert levels(store, "store").count("bad") == 0


def test_interrupted_stages_and_claims_of_the_dead_are_told(store: Store) -> None:
    """After a power cut: nothing is lost, and what to type is said."""
    store.check_format()
    store.note_running("ab" * 8, {"attempts": 1, "wall_seconds": 0.0, "started_at": "2026-01-01T00:00:00+00:00"})
    store.files.write("leases/abab.00000001-01234567", json.dumps({"machine": "m", "pid": 1, "seconds": 0}).encode())

    assert "resume" in note(store, "1 stages were interrupted").todo
    assert "resume" in note(store, "1 claims of dead workers").todo


def test_clocks_that_differ_are_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of rows from two machines could not be compared."""
    store.check_format()
    monkeypatch.setattr(store.files, "now", lambda: time.time() - 120)

    assert "120 s behind" in note(store, "the store's is").says


@pytest.mark.parametrize(("gib", "level"), [(0.5, "bad"), (5, "note"), (50, "good")])
def test_little_free_disk_is_told(store: Store, monkeypatch: pytest.MonkeyPatch, gib: float, level: str) -> None:
    """A sweep that fills the disk at night fails at night."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, gib * doctor.GIB))

    assert levels(store, "disk of the store") == levels(store, "disk for Ray") == [level]


def test_packages_that_are_missing_or_do_not_fit_are_bad(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade of Ray breaks launches; it is named with the command that mends it."""
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda _: ["nothing-so-called>=1", "numpy<1", "nothing-else; extra == 'test'", "typer>=0.1"],
    )

    faults = [one for one in found(store, "packages") if one.level is Level.BAD]
    assert [one.todo for one in faults] == ["pip install 'nothing-so-called>=1'", "pip install 'numpy<1'"]


def test_packages_that_were_not_tested_are_told() -> None:
    """Another torch may give other last digits."""
    assert list(doctor.untested({"numpy": "0.1", "torch": "2.15.0+cpu", "of-somebody": "1"})) == ["numpy"]


def finish(part: str) -> list[Finding]:
    """What one probe really finds."""
    process = start_probe(part, "", "")
    try:
        return list(probe_findings(part, process))
    finally:
        end(process)


def test_a_probe_that_dies_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that crashes must not take the doctor with it."""
    monkeypatch.setattr(doctor, "PROBES", {"nothing": 60.0})

    (one,) = finish("nothing")

    assert (one.level, one.says) == (Level.BAD, "KeyError: 'nothing'")


def test_a_probe_that_hangs_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a broken driver does, for ever."""
    monkeypatch.setattr(doctor, "PROBES", {"torch": 0.01})

    (one,) = finish("torch")

    assert (one.level, one.says) == (Level.BAD, "did not answer within 0 s")


def test_ray_really_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version in a list is no cluster that runs."""
    monkeypatch.setattr(doctor, "PROBES", {"ray": 180.0})

    (one,) = finish("ray")

    assert (one.what, one.level) == ("Ray", Level.GOOD)
    assert "starts here" in one.says


def test_an_address_where_nobody_answers_is_bad() -> None:
    """Launches would say so too, each of them."""
    (one,) = probe.ray_findings("127.0.0.1:1", "")

    assert one.level is Level.BAD
    assert "no Ray cluster answers there" in one.says


class Images:
    """A data set that lies somewhere, or nowhere, or is another one."""

    def __init__(self, place: str | DataError | None) -> None:
        self._place = place

    def place(self, root: str | None) -> str | None:
        if isinstance(self._place, DataError):
            raise self._place
        return self._place


@pytest.mark.parametrize(
    ("place", "level"), [("there", "good"), (None, "note"), (DataError("not the published file"), "bad")]
)
def test_data_sets_are_told_by_their_checksums(
    monkeypatch: pytest.MonkeyPatch, place: str | DataError | None, level: str
) -> None:
    """Missing ones are downloaded by a launch; wrong ones stop it."""
    monkeypatch.setattr(probe, "data_sets", lambda: [Images(place)])

    (one,) = probe.data_findings("", "")

    assert str(one.level) == level
    assert bool(one.todo) == (level != "good")


def test_every_data_set_of_our_sweeps_is_looked_at() -> None:
    """One that is forgotten would be missed when its sweep is launched."""
    assert {"CIFAR10", "CIFAR100", "SVHN", "Digits"} <= {type(data).__name__ for data in probe.data_sets()}


def made(*found: Finding) -> Any:
    """An `examine` that finds these."""

    def examine(*_: Any, **__: Any) -> Iterator[Finding]:
        yield from found

    return examine


def test_the_exit_code_says_whether_something_is_bad(warmgrid: Warmgrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a script that launches only where all is well."""
    well, worse = Finding("a", Level.GOOD, "fine"), Finding("b", Level.NOTE, "so so", "look")
    ill = Finding("c", Level.BAD, "broken\x1b", "mend it")
    monkeypatch.setattr(doctor, "examine", made(well, worse))
    assert (warmgrid("doctor").code, warmgrid("doctor", "--json").facts["exit_code"]) == (0, 0)

    monkeypatch.setattr(doctor, "examine", made(well, ill))
    ended = warmgrid("doctor")
    assert (ended.code, ended.out) == (1, "good a: fine\nbad  c: broken\\x1b\n     -> mend it\n")
