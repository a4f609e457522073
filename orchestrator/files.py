"""Files: how the store reads and writes bytes by name, wherever they are; knows nothing of what they mean.

A contract with two members: a folder (`orchestrator.folder`) and a bucket of an object store (`orchestrator.bucket`).
Every write is atomic: a reader sees the old bytes or the new ones, never a part. Any thread or process may call any
method at any time; who may write what is said by `orchestrator.lease`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from hashlib import sha256
from pathlib import Path

from orchestrator.errors import StoreError

log = logging.getLogger("warmgrid")
HIDDEN = re.compile(r"\..+\.(?P<machine>[^.]+)\.(?P<pid>\d+)\.[0-9a-f]{8}")
SET_ASIDE = "set_aside"  # folder of what cannot be trusted
DAY_S = 86_400.0  # no write takes longer; a hidden file of that age is nobody's


def open_files(root: str) -> Files:
    """The files of the store at `root`: a path, ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    Nothing is read or created, and nobody is asked yet.

    Raises:
        ConfigError: `root` is a file, or a URL that names no bucket or another kind of store.
    """
    if "://" in root:
        from orchestrator.bucket import BucketFiles

        return BucketFiles(root)
    from orchestrator.folder import FolderFiles

    return FolderFiles(root)


class Files(ABC):
    """The files of one store.

    Names are relative, with forward slashes, and cannot leave the store; no part begins with a dot.
    Every method raises StoreError for a bad name, and where the store cannot be reached, read or written.

    Attributes:
        root: What opens the same files again, on every machine that sees them: an absolute path, or a URL.
        has_mutex: Whether `mutex` keeps the processes of one machine apart.
    """

    root: str
    has_mutex: bool = False

    @abstractmethod
    def there(self) -> bool:
        """Whether anything was ever stored here."""

    @abstractmethod
    def where(self, name: str) -> str:
        """Full path or URL of `name`, for messages; refuses what would leave the store or hide in it."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """How many bytes a file has.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def read_parts(self, name: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a file, each given by where it begins and its length in bytes; shorter where the file ends before.

        For files that never change: parts of one that does may be of different times.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def read_part(self, name: str, begin: int, length: int) -> bytes:
        """One of `read_parts`."""
        (part,) = self.read_parts(name, [(begin, length)])
        return part

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the file is there, whole."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders in `folder`; [] where there is none."""

    @abstractmethod
    def list(self, folder: str | None = None) -> list[str]:
        """Sorted names of the finished files in `folder`, by default the store's own; [] where there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Put `data` in place of what the file held, atomically.

        Args:
            durable: Whether it is on the disk when this returns; else a power cut may undo or empty it.

        Raises:
            StoreError: it cannot be written; the file holds what it held before, or, where only the answer was
                lost, all of `data`.
        """

    @abstractmethod
    def write_once(self, name: str, data: bytes) -> bool:
        """Like a durable `write`, unless the file exists: then leave it and return False."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file that may or may not be there; one that cannot be removed does no harm and is named."""

    @abstractmethod
    def delete_folder(self, folder: str) -> None:
        """Remove the files in `folder`, those of dead writers included, and `folder` itself; it may be missing."""

    @abstractmethod
    def modified(self, name: str) -> float:
        """When the file was last written or touched: seconds since the epoch by the store's clock.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def now(self) -> float:
        """What the store's clock says now, to compare with `modified`; no machine's own clock is asked."""

    @abstractmethod
    def touch(self, name: str) -> None:
        """Renew what `modified` says; the bytes stay.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def mutex(self, name: str) -> AbstractContextManager[bool]:
        """A lock that the kernel frees when its process dies; True once held, False if another one holds it.

        It is not waited for. It keeps processes apart that the file system keeps apart; a bucket has none and
        gives True to everybody.
        """

    @abstractmethod
    def tidy(self) -> int:
        """Remove hidden files that dead writers left; how many they were.

        A writer is dead if its process is gone from this machine, or if the file is older than a day.
        """

    @abstractmethod
    def _move(self, name: str, to: str) -> None:
        """Give the file `name` the new name `to`.

        Raises:
            FileNotFoundError: there is no file `name`.
            StoreError: it cannot be moved; it keeps its name.
        """

    def set_aside(self, name: str, reason: str, seen: bytes | None = None) -> None:
        """Move a file that cannot be trusted into set_aside/, the reason beside it, and say so; never delete it.

        Args:
            seen: The bytes that cannot be trusted; a file that holds others by now was mended meanwhile, and stays.
        """
        kept = f"{SET_ASIDE}/{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}"
        try:
            if seen is not None and self.read(name) != seen:
                return
            self._move(name, kept)
            self.write(f"{kept}.reason", f"{name}: {reason}\n".encode(), durable=False)
        except FileNotFoundError:
            return  # another reader found it first, and said so
        except StoreError as error:
            log.warning("%s: %s. It does not count. It cannot be set aside: %s", self.where(name), reason, error)
            return
        log.warning("%s: %s. It does not count, and is kept as %s.", self.where(name), reason, self.where(kept))


def is_name(name: str) -> bool:
    """Whether `name` stays inside a store and hides nowhere in it."""
    return "\0" not in name and not any(not part or part.startswith(".") for part in name.split("/"))


def missing(where: str) -> FileNotFoundError:
    """What is raised of a file that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where)


def hidden_name(name: str) -> str:
    """A name beside `name` that no other writer has, no list shows, and that says which process may still need it."""
    folder, _, last = name.rpartition("/")
    hidden = f".{last}.{machine()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    return f"{folder}/{hidden}" if folder else hidden


def is_left_over(hidden: str, age_s: float) -> bool:
    """Whether the hidden file of this name and age is one of ours whose writer is dead."""
    found = HIDDEN.fullmatch(hidden)
    if found is None:
        return False
    return age_s > DAY_S or (found["machine"] == machine() and not is_alive(int(found["pid"])))


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs here, be it another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def machine() -> str:
    """A name for the processes that see each other's numbers: host name without dots, and a digest.

    The digest tells apart machines of one name, containers of one machine, and what ran before a restart.
    """
    host = socket.gethostname()
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    known = [host, boot.read_text() if boot.exists() else "", str(namespace.readlink()) if boot.exists() else ""]
    return f"{host.replace('.', '-')[:40]}-{sha256(repr(known).encode()).hexdigest()[:8]}"
