"""Lease: who may train a stage or change what others read; it expires by the store's clock, and is never guessed.

A holder has a claim in the store, ``leases/<name>.<number>-<token>``, and renews it. Whoever finds another's claim
waits until that was not renewed for the seconds that it says itself, by the store's clock, or until its process is
known to be dead because it ran on this machine; then it takes a higher number. Before a holder writes what counts, it
looks whether its claim is still there and the highest (`Lease.check`): a worker that was away for longer than its
lease, and was thought dead, comes back to find that it is not, and writes nothing.

No machine's own clock is ever compared with another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.errors import LeaseLost, StoreError
from orchestrator.files import Files, is_alive, log, machine

LEASE_S = 60.0
LONGEST_S = 86_400.0  # that a claim may ask for
RENEWALS = 4  # in the time of a lease
FOLDER = "leases"
CLAIM = re.compile(r"(?P<name>.+)\.(?P<number>\d{8,})-[0-9a-f]{8}")
TRIES = 5  # to take what others try to take at the same moment
WITHDRAWN_S = 0.05  # at most, before the first of them tries again; twice as long each time
OURS: set[str] = set()  # files of the claims that this process has not given back


@dataclass(frozen=True)
class Claim:
    """One claim as its file's name says it.

    Attributes:
        file: Name in the store.
        name: What is claimed.
        number: Higher goes before lower.
    """

    file: str
    name: str
    number: int


@dataclass
class Lease:
    """What `hold` gives to a holder.

    Attributes:
        claim: The holder's own.
        seconds: How long it counts without being renewed.
    """

    files: Files
    claim: Claim
    seconds: float
    _fresh: float = field(default_factory=time.monotonic)  # when something was begun that showed that we hold it
    _is_lost: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def check(self, *, sure: bool = False) -> None:
        """Make sure that nobody else has taken over; asks the store only if the last renewal is too old, or if `sure`.

        Raises:
            LeaseLost: somebody has, or may have: write nothing any more.
            StoreError: the store must be asked, and cannot be.
        """
        if not self._is_lost and (sure or self._is_late):
            self._look()
        if self._is_lost:
            raise LeaseLost(f"{self.claim.name} is held by another worker now: this one was not heard of in time")

    @property
    def _is_late(self) -> bool:
        """Whether others may think that this holder is dead."""
        return time.monotonic() - self._fresh > self.seconds

    def _look(self) -> None:
        """See in the store whether we still hold it."""
        found = claims(self.files, self.claim.name)
        if self.claim not in found or any(claim.number > self.claim.number for claim in found):
            self._is_lost = True

    def renew(self) -> None:
        """Say that this holder lives.

        Raises:
            StoreError: the store refuses.
        """
        began = time.monotonic()
        if self._is_late:
            self._look()  # somebody may have taken over; a bucket would let us write our claim again all the same
        try:
            if not self._is_lost:
                self.files.touch(self.claim.file)
                self._fresh = began
        except FileNotFoundError:
            self._is_lost = True

    def _keep(self) -> None:
        """Renew until the holder is done; a store that refuses for a while is asked again."""
        while not self._ended.wait(self.seconds / RENEWALS) and not self._is_lost:
            try:
                self.renew()
            except StoreError as error:
                log.warning("lease of %s: not renewed, will try again: %s", self.claim.name, error)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renew in the background meanwhile, and give the claim back."""
        thread = threading.Thread(target=self._keep, name=f"lease of {self.claim.name}", daemon=True)
        try:
            thread.start()
            yield
        finally:
            self._ended.set()
            if thread.is_alive():
                thread.join(self.seconds)  # else a renewal on its way could bring a bucket's claim back
            withdraw(self)


@contextlib.contextmanager
def hold(files: Files, name: str, *, seconds: float = LEASE_S) -> Iterator[Lease | None]:
    """Hold the lease of `name` if nobody else does; gives None, at once, if somebody does.

    Args:
        seconds: How long it outlives a holder that died.

    Raises:
        StoreError: the store cannot be written.
    """
    with files.mutex(name) as is_ours:
        lease = take(files, name, seconds) if is_ours else None
        with lease.kept() if lease is not None else contextlib.nullcontext():
            yield lease


def take(files: Files, name: str, seconds: float) -> Lease | None:
    """Write the one claim of `name` that counts, and remove dead ones; None if another one lives.

    To be called with the mutex of `name` held.
    """
    for attempt in range(TRIES):
        before = claims(files, name)
        if any_live(files, before, with_mutex=True):
            return None
        number = 1 + max((claim.number for claim in before), default=0)
        lease = Lease(files, Claim(f"{FOLDER}/{name}.{number:08d}-{uuid.uuid4().hex[:8]}", name, number), seconds)
        others = set(write_claim(lease)) - {lease.claim}
        if others <= set(before):  # and those were dead, with lower numbers
            for claim in others:
                files.delete(claim.file)
            return lease
        withdraw(lease)
        time.sleep(random.uniform(0, WITHDRAWN_S * 2**attempt))
    return None


def write_claim(lease: Lease) -> list[Claim]:
    """Write the claim of a lease; gives all claims of its name that are there then."""
    facts = {"machine": machine(), "pid": os.getpid(), "seconds": lease.seconds}
    OURS.add(lease.claim.file)  # before anybody can see it
    try:
        lease.files.write(lease.claim.file, json.dumps(facts).encode(), durable=False)
        return claims(lease.files, lease.claim.name)
    except StoreError:
        OURS.discard(lease.claim.file)
        raise


def withdraw(lease: Lease) -> None:
    """Give a claim back; one that cannot be removed counts no more for this process, and ends by itself."""
    with contextlib.suppress(StoreError):
        lease.files.delete(lease.claim.file)
    OURS.discard(lease.claim.file)


def is_live(files: Files, name: str) -> bool:
    """Whether somebody holds the lease of `name`; writes no claim."""
    return any_live(files, claims(files, name))


def live(files: Files) -> set[str]:
    """Every name that somebody holds the lease of, for one look at the store."""
    found = claims(files)
    now = files.now() if found else 0.0
    return {claim.name for claim in found if may_live(files, claim, now)}


def tidy(files: Files) -> None:
    """Remove the claims of dead holders, of what nobody may ever ask for again; one that comes back finds it gone."""
    found = claims(files)
    now = files.now() if found else 0.0
    for claim in found:
        if not may_live(files, claim, now):
            files.delete(claim.file)


def claims(files: Files, name: str | None = None) -> list[Claim]:
    """The claims of `name`, by default of everything, dead ones included."""
    start = "" if name is None else f"{name}."
    found = (CLAIM.fullmatch(file) for file in files.list(FOLDER) if file.startswith(start))
    made = [Claim(f"{FOLDER}/{parts[0]}", parts["name"], int(parts["number"])) for parts in found if parts is not None]
    return [claim for claim in made if name in (None, claim.name)]


def any_live(files: Files, found: list[Claim], *, with_mutex: bool = False) -> bool:
    """Whether the holder of any of these claims may live; `with_mutex` if the caller holds their mutex."""
    now = files.now() if found else 0.0
    return any(may_live(files, claim, now, with_mutex=with_mutex) for claim in found)


def may_live(files: Files, claim: Claim, now: float, *, with_mutex: bool = False) -> bool:
    """Whether a claim was renewed in its time, and its process is not known to be dead."""
    try:
        age = now - files.modified(claim.file)
        holder, pid, seconds = facts_of(files.read(claim.file))
    except FileNotFoundError:
        return False
    if age > seconds:
        return False
    if holder != machine():
        return True
    if pid == os.getpid() and claim.file not in OURS:
        return False  # it could not be removed when it was given back
    return is_alive(pid) and not (with_mutex and files.has_mutex)  # a holder on this machine would hold the mutex


def facts_of(claim: bytes) -> tuple[str, int, float]:
    """Machine, process and seconds that a claim says; of one that cannot be read nothing is known but its age."""
    try:
        facts = json.loads(claim)
        machine, pid, seconds = str(facts["machine"]), int(facts["pid"]), float(facts["seconds"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return "", 0, LEASE_S
    return machine, pid, seconds if 0 <= seconds <= LONGEST_S else LEASE_S
