"""A lease has one holder, lives as long as it is renewed, and ends by the store's clock when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import lease
from orchestrator.errors import StoreError
from orchestrator.folder import FolderFiles
from orchestrator.lease import LEASE_S, claims, hold, is_live, live, tidy
from tests.orchestrator.fake_trainer import ROOT
from tests.orchestrator.leases import Shared, age_to, planted, wait_for

FOR_EVER = b'{"machine": "other-machine", "pid": 1, "seconds": NaN}'
ENDLESS = b'{"machine": "other-machine", "pid": Infinity, "seconds": 60}'


@pytest.fixture
def files(store_path: Path) -> FolderFiles:
    """The files of a store without a folder yet."""
    return FolderFiles(str(store_path))


@pytest.fixture
def shared(store_path: Path) -> Shared:
    """The same between machines."""
    return Shared(str(store_path))


# One holder.


def test_a_lease_is_held_and_given_back(files: FolderFiles) -> None:
    """A stage that stays claimed is not trained by anybody."""
    with hold(files, "a") as held:
        assert held is not None
        assert (is_live(files, "a"), is_live(files, "b"), live(files)) == (True, False, {"a"})

    assert files.list("leases") == []
    assert live(files) == set()


@pytest.mark.parametrize("kind", [FolderFiles, Shared])
def test_what_is_held_is_refused_at_once(store_path: Path, kind: type[FolderFiles]) -> None:
    """Two workers would train one stage at the same time."""
    files = kind(str(store_path))
    with hold(files, "a") as first, hold(files, "a") as second, hold(files, "b") as other:
        assert (first is not None, second, other is not None) == (True, None, True)

    with hold(files, "a") as again:
        assert again is not None


def test_names_that_begin_alike_are_not_one(files: FolderFiles) -> None:
    """The lease of one sweep would be that of another."""
    with hold(files, "a.00000001-00000000"), hold(files, "a") as held:
        assert held is not None
        assert [claim.name for claim in claims(files, "a")] == ["a"]


def test_an_error_of_the_holder_passes_and_gives_back(files: FolderFiles) -> None:
    """A failed stage is tried again, and must find its lease free."""
    with pytest.raises(KeyError), hold(files, "a"):
        raise KeyError

    assert files.list("leases") == []


def test_of_many_who_ask_at_once_one_holds(shared: Shared) -> None:
    """Without locks of a kernel, as in a bucket, the claims alone must keep workers apart."""
    inside: list[str] = []
    most, turns = [0], [0]

    def ask() -> None:
        barrier.wait()
        for name in "abcdefgh":
            with hold(shared, name) as held:
                if held is not None:
                    inside.append(name)
                    most[0], turns[0] = max(most[0], inside.count(name)), turns[0] + 1
                    inside.remove(name)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    barrier = threading.Barrier(4)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, turns[0] >= 8) == ([1], True)
    assert shared.list("leases") == []


def test_whoever_comes_second_withdraws(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen nobody, and both have written a claim; both would train."""
    list_, looks = Shared.list, []

    def other_comes_between(self: Shared, folder: str | None = None) -> list[str]:
        looks.append(folder)
        found = list_(self, folder)
        if len(looks) == 1:
            planted(self, "a", 0.0)  # after our look, before our claim
        return found

    monkeypatch.setattr(Shared, "list", other_comes_between)

    with hold(shared, "a") as held:
        assert held is None

    assert shared.list("leases") == ["a.00000001-00000001"]


# A holder that died.


@pytest.mark.parametrize(("age", "is_free"), [(0.0, False), (58.0, False), (62.0, True)])
def test_a_claim_of_another_machine_ends_by_the_stores_clock(files: FolderFiles, age: float, is_free: bool) -> None:
    """Too early, and two machines train the stage; never, and a lost node's stages are never trained."""
    planted(files, "a", age)

    assert is_live(files, "a") is not is_free
    with hold(files, "a") as held:
        assert (held is not None) is is_free
        assert files.list("leases") == [held.claim.file.removeprefix("leases/")] if is_free else ["a.00000001-00000001"]


def test_this_machines_clock_does_not_matter(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes whose clocks differ by an hour would take each other for dead."""
    planted(files, "a", 0.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)

    assert is_live(files, "a")


def test_a_claim_says_itself_how_long_it_counts(files: FolderFiles) -> None:
    """Versions with another default share a store."""
    planted(files, "a", 62.0, seconds=300.0)
    planted(files, "b", 10.0, seconds=5.0)

    assert live(files) == {"a"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"machine": 1, "pid": "x", "seconds": 1}', FOR_EVER, ENDLESS]
)
def test_a_claim_that_cannot_be_read_counts_for_a_leases_time(files: FolderFiles, data: bytes) -> None:
    """A flipped bit must not let two workers in, nor keep all out for ever."""
    file = planted(files, "a", 0.0)
    files.write(file, data)

    assert is_live(files, "a")
    age_to(files, file, LEASE_S + 1)
    assert not is_live(files, "a")


def test_the_next_holder_has_a_higher_number(shared: Shared) -> None:
    """It is what tells the one before, when it comes back, that it is not the holder any more."""
    planted(shared, "a", 100.0, number=7)

    with hold(shared, "a") as held:
        assert held.claim.number == 8
        assert len(shared.list("leases")) == 1


HOLDER = """
import sys
from orchestrator.files import open_files
from orchestrator.lease import hold
with hold(open_files(sys.argv[1]), "a"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(files: FolderFiles) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease "a"."""
    command = [sys.executable, "-c", HOLDER, files.root]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_killed_holder_on_this_machine_is_known_to_be_dead_at_once(files: FolderFiles) -> None:
    """After a crash `resume` should go on, and not sit through a lease; the kernel knows."""
    with holder(files) as process:
        assert is_live(files, "a")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried: its number still exists
        with hold(files, "a") as held:
            assert held is not None
        process.wait()

    assert files.list("leases") == []


def test_a_dead_process_of_this_machine_holds_nothing_of_a_bucket(shared: Shared) -> None:
    """There a kernel's lock cannot tell; its number can."""
    with holder(shared) as process:
        assert is_live(shared, "a")
        process.kill()

    assert not is_live(shared, "a")


def test_a_stopped_holder_on_this_machine_keeps_it(files: FolderFiles) -> None:
    """It may go on any moment; its claim is old because nobody could renew it."""
    with holder(files) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        (file,) = files.list("leases")
        age_to(files, f"leases/{file}", 1000.0)
        with hold(files, "a") as held:
            assert held is None
        process.kill()


@pytest.mark.parametrize(("age", "left"), [(0.0, ["a.00000001-00000001"]), (62.0, [])])
def test_tidying_removes_the_claims_of_the_dead_alone(files: FolderFiles, age: float, left: list[str]) -> None:
    """A launch that tidies up must not take its stage from a worker of another one."""
    planted(files, "a", age)

    tidy(files)

    assert files.list("leases") == left


# A holder that lives.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew after a hundredth of a second, whatever a lease says."""
    monkeypatch.setattr(lease, "RENEWALS", LEASE_S / 0.01)


def test_a_holder_renews_its_claim(files: FolderFiles, quick: None) -> None:
    """A stage of an hour would be taken over after a minute."""
    with hold(files, "a") as held:
        age_to(files, held.claim.file, 59.0)
        wait_for(lambda: files.now() - files.modified(held.claim.file) < 50)


def test_renewing_ends_with_the_lease(files: FolderFiles) -> None:
    """A thread a stage, in a worker that trains thousands."""
    before = threading.active_count()
    with hold(files, "a"):
        assert threading.active_count() == before + 1

    assert threading.active_count() == before


def test_a_store_that_refuses_for_a_while_costs_nothing(
    files: FolderFiles, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A network that is away for ten seconds must not end every stage of a cluster."""
    touch, refusals = FolderFiles.touch, iter("abc")

    def refuse_three_times(self: FolderFiles, name: str) -> None:
        if next(refusals, None) is not None:
            raise StoreError("no answer")
        touch(self, name)

    monkeypatch.setattr(FolderFiles, "touch", refuse_three_times)
    with hold(files, "a") as held:
        age_to(files, held.claim.file, 59.0)
        wait_for(lambda: files.now() - files.modified(held.claim.file) < 50)
        held.check(sure=True)

    assert caplog.text.count("lease of a: not renewed, will try again: no answer") == 3


@pytest.mark.parametrize("kind", [FolderFiles, Shared])
def test_a_lease_that_cannot_be_given_back_is_over_all_the_same(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[FolderFiles]
) -> None:
    """The stage is committed: a network that goes away just then must not make it a failure, nor keep it claimed."""
    files = kind(str(store_path))
    with monkeypatch.context() as patch, hold(files, "a"):
        patch.setattr(FolderFiles, "delete", lambda *_: (_ for _ in ()).throw(StoreError("no answer")))

    assert (len(files.list("leases")), is_live(files, "a")) == (1, False)
    with hold(files, "a") as again:
        assert again.claim.number == 2
