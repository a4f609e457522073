"""Whoever lost a lease is told before it writes, in a folder between machines and in a bucket."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import lease
from orchestrator.errors import LeaseLost
from orchestrator.files import open_files
from orchestrator.folder import FolderFiles
from orchestrator.lease import LEASE_S, claims, hold, is_live
from tests.orchestrator.leases import ELSEWHERE, Shared, age_to, elsewhere, planted, wait_for
from tests.s3 import Network


@pytest.fixture
def files(store_path: Path) -> FolderFiles:
    """The files of a store without a folder yet."""
    return FolderFiles(str(store_path))


@pytest.fixture
def shared(store_path: Path) -> Shared:
    """The same between machines."""
    return Shared(str(store_path))


def test_whoever_was_taken_over_is_told(shared: Shared) -> None:
    """It was asleep for longer than its lease, and would write over what its successor has written."""
    with hold(shared, "a") as slow:
        age_to(shared, slow.claim.file, 100.0)
        with elsewhere(), hold(shared, "a") as quick:
            with pytest.raises(LeaseLost, match="a is held by another worker now"):
                slow.check(sure=True)
            quick.check(sure=True)


def test_whoever_was_taken_over_is_told_also_when_its_successor_is_done(shared: Shared) -> None:
    """Nothing shows any more who it was."""
    with hold(shared, "a") as slow:
        age_to(shared, slow.claim.file, 100.0)
        with elsewhere(), hold(shared, "a"):
            pass
        with pytest.raises(LeaseLost):
            slow.check(sure=True)


def test_a_higher_number_goes_before_ours(shared: Shared) -> None:
    """Its holder has not yet removed our claim, or died before it could."""
    with hold(shared, "a") as slow:
        planted(shared, "a", 0.0, number=2)
        with pytest.raises(LeaseLost):
            slow.check(sure=True)


def test_a_renewal_does_not_bring_a_lost_lease_back(shared: Shared) -> None:
    """Two would hold it."""
    with hold(shared, "a") as slow:
        age_to(shared, slow.claim.file, 100.0)
        with elsewhere(), hold(shared, "a") as quick:
            slow.renew()
            with pytest.raises(LeaseLost):
                slow.check()
            assert claims(shared, "a") == [quick.claim]


def test_an_old_holder_that_nobody_succeeded_goes_on(shared: Shared) -> None:
    """A laptop that slept over lunch has lost nothing."""
    with hold(shared, "a") as held:
        age_to(shared, held.claim.file, 100.0)
        held.check(sure=True)
        held.renew()

        assert is_live(shared, "a")


def counted(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the calls to the store from now on."""
    calls: list[str] = []
    for name in ("list", "touch", "exists", "read", "write"):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda *a, n=name, r=real, **k: (calls.append(n), r(*a, **k))[1])
    return calls


def test_a_fresh_lease_is_checked_without_asking_the_store(files: FolderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is checked after each of many thousand epochs."""
    with hold(files, "a") as held:
        calls = counted(files, monkeypatch)
        held.check()
        assert calls == []
        held.check(sure=True)
        assert calls == ["list"]


def test_a_lease_that_was_not_renewed_in_time_is_checked_in_the_store(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was stopped, and has just been waked: each further epoch is wasted."""
    with hold(shared, "a") as slow:
        age_to(shared, slow.claim.file, 100.0)
        with elsewhere(), hold(shared, "a"):
            slow.check()  # a minute has not passed here: nobody is asked
            real = time.monotonic
            monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: real() + LEASE_S, sleep=time.sleep))
            with pytest.raises(LeaseLost):
                slow.check()


def test_a_late_renewal_looks_first(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket would let it write its claim again, though another one was there and is done."""
    with hold(shared, "a") as slow:
        shared.delete(slow.claim.file)
        monkeypatch.setattr(shared, "touch", lambda _: pytest.fail("written again"))
        real = time.monotonic
        monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: real() + LEASE_S + 1))
        slow.renew()

        with pytest.raises(LeaseLost):
            slow.check()


# In a bucket.


def test_a_bucket_keeps_holders_apart_by_its_own_clock(bucket: str) -> None:
    """It has no locks; what one machine says of another's life there is all that anybody knows."""
    files = open_files(bucket)
    claim = json.dumps({"machine": ELSEWHERE, "pid": 1, "seconds": 60.0}).encode()
    files.write("leases/a.00000001-00000001", claim)
    files.write("leases/b.00000001-00000001", claim.replace(b"60", b"0"))

    wait_for(lambda: not is_live(files, "b"))  # its clock knows whole seconds

    with hold(files, "a") as live_elsewhere, hold(files, "b") as first, hold(files, "b") as second:
        assert (live_elsewhere, first.claim.number, second) == (None, 2, None)
        first.check(sure=True)
        files.write("leases/b.00000003-00000001", claim)  # as by a machine that did not hear of us in time
        with pytest.raises(LeaseLost):
            first.check(sure=True)

    assert files.list("leases") == ["a.00000001-00000001", "b.00000003-00000001"]


def test_a_lease_costs_six_requests(network: Network, bucket: str) -> None:
    """They are paid for, and each takes as long as an epoch of a small network; pyarrow deletes by the last three."""
    files = open_files(bucket)
    files.exists("anything")  # knows the bucket from now on
    network.requests.clear()

    with hold(files, "a") as held:
        held.check()

    assert [request.split()[0] for request in network.requests] == ["GET", "PUT", "GET", "HEAD", "DELETE", "PUT"]
