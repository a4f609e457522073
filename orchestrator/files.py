"""Files: how the store reads and writes bytes in its folder; knows nothing of what they mean.

Every write is atomic: written beside under a name that begins with a dot, flushed to the disk,
then renamed. A reader sees the old bytes or the new ones, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import ConfigError, StoreError

log = logging.getLogger("warmgrid")
LOOK_AGAIN_S = 0.1  # between two looks at a lock that another process holds
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class Files:
    """The files of one store, in a folder of a local or shared file system.

    Names are relative, with forward slashes, and cannot leave the folder; no part begins with a dot.

    Attributes:
        root: Absolute path of the folder.
    """

    def __init__(self, root: str) -> None:
        """Use the folder `root`, which need not exist yet.

        Raises:
            ConfigError: `root` is a file, or a URL of a kind that this version does not store into.
        """
        if "://" in root:
            raise ConfigError(
                f"--store {root}: this version keeps a store in a folder. Give a path, for a cluster one that "
                f"every node mounts."
            )
        path = Path(root).expanduser().absolute()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--store {root}: is a file, and a store is a folder. Give another path.")
        self.root = str(path)

    def path(self, name: str) -> Path:
        """Absolute path of `name`; refuses what would leave the store or hide in it."""
        if "\0" in name or any(not part or part.startswith(".") for part in name.split("/")):
            raise StoreError(f"{name!r} is not a name inside the store {self.root}.")
        return Path(self.root, name)

    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return self.path(name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether the file is there, whole."""
        return self.path(name).exists()

    def list(self, folder: str | None = None) -> list[str]:
        """Sorted names of the finished files in `folder`, by default the store's own; [] where there is none."""
        try:
            with os.scandir(self.path(folder) if folder is not None else self.root) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
        except FileNotFoundError:
            return []

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Put `data` in place of what the file held, atomically.

        Args:
            durable: Whether it is on the disk when this returns; else a power cut may undo or empty it.

        Raises:
            StoreError: the file system refuses; the file holds what it held before.
        """
        self._put(name, data, replace, durable)

    def write_once(self, name: str, data: bytes) -> bool:
        """Like `write`, unless the file exists: then leave it and return False."""
        return self._put(name, data, place_once, durable=True)

    def _put(self, name: str, data: bytes, place: Callable[[Path, Path], bool], durable: bool) -> bool:
        """Write `data` to a hidden file beside `name`, then let `place` give it the name."""
        target = self.path(name)
        beside = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            make_folder(target.parent)
            try:
                with beside.open("wb") as file:
                    file.write(data)
                    file.flush()
                    if durable:
                        os.fsync(file.fileno())
                placed = place(beside, target)
            finally:
                beside.unlink(missing_ok=True)
            if durable:
                sync_folder(target.parent)
        except OSError as error:
            raise StoreError(
                f"cannot write {target}: {error.strerror or error}. Nothing there is half-written. Make room, or make "
                f"the folder writable, then resume; or give another --store."
            ) from error
        return placed

    def delete(self, name: str) -> None:
        """Remove a file that may or may not be there; one that cannot be removed does no harm and is named."""
        remove(self.path(name), Path.unlink)

    def delete_folder(self, folder: str) -> None:
        """Remove the files in `folder`, those of dead writers included, and `folder` itself; it may be missing."""
        path = self.path(folder)
        for file in path.iterdir() if path.is_dir() else ():
            remove(file, Path.unlink)
        remove(path, Path.rmdir)

    def set_aside(self, name: str, reason: str) -> None:
        """Move a file that cannot be trusted into set_aside/, the reason beside it, and say so; never delete it."""
        source, kept = self.path(name), f"set_aside/{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}"
        try:
            make_folder(self.path("set_aside"))
            os.rename(source, self.path(kept))
            self.write(f"{kept}.reason", f"{name}: {reason}\n".encode(), durable=False)
        except FileNotFoundError:
            return  # another reader found it first, and said so
        except (OSError, StoreError) as error:
            log.warning("%s: %s. It does not count. It cannot be set aside: %s", source, reason, error)
            return
        log.warning("%s: %s. It does not count, and is kept as %s.", source, reason, self.path(kept))

    @contextlib.contextmanager
    def locked(self, name: str, give_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Hold a lock between processes and threads; the kernel frees it when its process dies.

        Yields True once it is held; False, without it, if `give_up` says so while another one holds it.

        Raises:
            StoreError: the folder cannot be written, or its file system has no locks.
        """
        target = self.path(f"locks/{name}.lock")
        try:
            make_folder(target.parent)
            file = target.open("ab")
        except OSError as error:
            raise StoreError(
                f"cannot write {target}: {error.strerror}. Make the folder writable, or give another --store."
            ) from error
        with file:  # closing it frees the lock
            while not (held := try_lock(file, fcntl.LOCK_EX)) and not give_up():
                time.sleep(LOOK_AGAIN_S)
            yield held

    def is_locked(self, name: str) -> bool:
        """Whether a living process holds the lock; needs no permission to write."""
        try:
            with self.path(f"locks/{name}.lock").open("rb") as file:
                return not try_lock(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False


def make_folder(folder: Path) -> None:
    """Make `folder` and the folders above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders, and need not
            raise
    finally:
        os.close(descriptor)


def replace(beside: Path, target: Path) -> bool:
    """Give `beside` the name `target`, whatever had it."""
    os.replace(beside, target)
    return True


def place_once(beside: Path, target: Path) -> bool:
    """Give `beside` also the name `target` unless that exists; whether it did."""
    try:
        os.link(beside, target)
    except FileExistsError:
        return False
    except OSError as error:
        # Without hard links, the stage's lock is what keeps writers apart.
        if error.errno not in NO_HARD_LINKS:
            raise
        return not target.exists() and replace(beside, target)
    return True


def remove(path: Path, how: Callable[[Path], None]) -> None:
    """Remove `path` if it is there; say so if that cannot be done."""
    try:
        how(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s: cannot be removed (%s); it does no harm.", path, error.strerror)


def try_lock(file: BinaryIO, kind: int) -> bool:
    """Lock an open file, unless another one holds it; whether it did.

    Raises:
        StoreError: the file system has no locks.
    """
    try:
        fcntl.flock(file.fileno(), kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"cannot lock {file.name}: {error.strerror}. Give a --store on a file system with locks (flock)."
        ) from error
    return True
