"""Folder: a store's files in a folder of a local or shared file system; knows nothing of what they mean.

Every write is atomic: written beside under a name that begins with a dot, flushed to the disk, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from orchestrator.errors import ConfigError, StoreError
from orchestrator.files import Files, hidden_name, is_left_over, is_name, log, missing

T = TypeVar("T")
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def nothing(what: str, path: Path) -> None:
    """In place of a test that ends the process, or fails the call, at some step."""


on_step: Callable[[str, Path], None] = nothing
"""Called around every system call that changes the folder, as ``"fsync begins"`` and ``"fsync ended"`` with its path;
the calls are open, write, flush, fsync, link, rename, unlink, rmdir, mkdir, touch, and sync (of a folder's names).
An OSError that it raises is the call's own."""


def step(what: str, path: Path, call: Callable[[], T]) -> T:
    """The one place from which the folder is changed: make the system call."""
    on_step(f"{what} begins", path)
    done = call()
    on_step(f"{what} ended", path)
    return done


class FolderFiles(Files):
    """The files of one store, in a folder of a local or shared file system."""

    has_mutex = True

    def __init__(self, root: str) -> None:
        """Use the folder `root`, which need not exist yet.

        Raises:
            ConfigError: `root` is a file.
        """
        path = Path(root).expanduser().absolute()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--store {root}: is a file, and a store is a folder. Give another path.")
        self.root = str(path)

    def there(self) -> bool:
        return Path(self.root).is_dir()

    def path(self, name: str) -> Path:
        """Absolute path of `name`; refuses what would leave the store or hide in it."""
        if not is_name(name):
            raise StoreError(f"{name!r} is not a name inside the store {self.root}.")
        folder = self.root
        for part in name.split("/")[:-1]:
            folder = os.path.join(folder, part)  # noqa: PTH118 - 25 times a stage, where a Path takes ten times as long
            self._stay(folder)
        return Path(self.root, name)

    def _stay(self, folder: str | Path) -> None:
        """Refuse a folder of the store that is a link: behind it, files that are not the store's would be changed."""
        try:
            is_link = stat.S_ISLNK(os.lstat(folder).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise cannot("read", Path(folder), error) from error
        if is_link:
            raise StoreError(f"{folder}: a link that leads out of the store. Put the folder itself there, or mount it.")

    def where(self, name: str) -> str:
        return str(self.path(name))

    def read(self, name: str) -> bytes:
        path = self.path(name)
        with told("read", path):
            return read_file(path)

    def exists(self, name: str) -> bool:
        path = self.path(name)
        try:
            return path.is_file()
        except OSError as error:
            raise cannot("read", path, error) from error

    def size(self, name: str) -> int:
        path = self.path(name)
        with told("read", path), open_file(path) as file:
            return os.fstat(file.fileno()).st_size

    def read_parts(self, name: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        path = self.path(name)
        with told("read", path), open_file(path) as file:
            return [read_at(file, begin, length) for begin, length in parts]

    def folders(self, folder: str) -> list[str]:
        return self._names(self.path(folder), partial(os.DirEntry.is_dir, follow_symlinks=False))

    def _names(self, path: Path, fits: Callable[[os.DirEntry[str]], bool]) -> list[str]:
        """Sorted names of what is in a folder, unless they begin with a dot."""
        try:
            with os.scandir(path) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and fits(e))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise cannot("read", path, error) from error

    def list(self, folder: str | None = None) -> list[str]:
        path = self.path(folder) if folder is not None else Path(self.root)
        return self._names(path, os.DirEntry.is_file)

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        self._put(name, data, replace, durable)

    def write_once(self, name: str, data: bytes) -> bool:
        return self._put(name, data, place_once, durable=True)

    def _put(self, name: str, data: bytes, place: Callable[[Path, Path], bool], durable: bool) -> bool:
        """Write `data` to a hidden file beside `name`, then let `place` give it the name."""
        target = self.path(name)
        beside = Path(self.root, hidden_name(name))
        if os.path.lexists(target) and not target.is_file():
            self.set_aside(name, "not a file")
        try:
            make_folder(target.parent)
            try:
                write_new(beside, data, durable)
                placed = place(beside, target)
            finally:
                step("unlink", beside, lambda: beside.unlink(missing_ok=True))
            if durable:
                sync_folder(target.parent)
        except OSError as error:
            raise cannot("write", target, error) from error
        return placed

    def delete(self, name: str) -> None:
        remove("unlink", self.path(name), Path.unlink)

    def delete_folder(self, folder: str) -> None:
        path = self.path(folder)
        self._stay(path)
        try:
            found = list(path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s: cannot be removed (%s); it does no harm.", path, error.strerror)
            return
        for file in found:
            remove("unlink", file, Path.unlink)
        remove("rmdir", path, Path.rmdir)

    def _move(self, name: str, to: str) -> None:
        source, target = self.path(name), self.path(to)
        with told("write", target):
            make_folder(target.parent)
            step("rename", target, lambda: os.rename(source, target))

    def modified(self, name: str) -> float:
        path = self.path(name)
        with told("read", path):
            return path.stat().st_mtime

    def now(self) -> float:
        """A folder that may not be written tells this machine's time: no claim can be written there either."""
        clock = Path(self.root, hidden_name("clock"))
        try:
            make_folder(clock.parent)
            try:
                write_new(clock, b"", durable=False)
                return clock.stat().st_mtime
            finally:
                step("unlink", clock, lambda: clock.unlink(missing_ok=True))
        except OSError as error:
            if error.errno in READ_ONLY:
                return time.time()
            raise cannot("write", clock, error) from error

    def touch(self, name: str) -> None:
        path = self.path(name)
        try:
            step("touch", path, lambda: os.utime(path))
        except FileNotFoundError:
            raise missing(str(path)) from None
        except OSError as error:
            raise cannot("write", path, error) from error

    @contextlib.contextmanager
    def mutex(self, name: str) -> Iterator[bool]:
        target = self.path(f"locks/{name}.lock")
        with contextlib.ExitStack() as opened:  # closing the file frees the lock
            try:
                make_folder(target.parent)
                file = step("open", target, lambda: opened.enter_context(target.open("ab")))
            except OSError as error:
                raise cannot("write", target, error) from error
            yield try_lock(file)

    def tidy(self) -> int:
        hidden = [Path(at, name) for at, _, names in os.walk(self.root) for name in names if name.startswith(".")]
        now, found = self.now() if hidden else 0.0, 0
        for path in hidden:
            with contextlib.suppress(OSError):  # its writer has just renamed it, or it is not ours to see
                if is_left_over(path.name, now - path.stat().st_mtime):
                    remove("unlink", path, Path.unlink)
                    found += 1
        return found


@contextlib.contextmanager
def told(do: str, path: Path) -> Iterator[None]:
    """Say as `cannot` what the file system refuses; that a file is missing is its caller's to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot(do, path, error) from error


def cannot(do: str, path: Path, error: OSError) -> StoreError:
    """What a user should read when the file system refuses."""
    why = error.strerror or str(error)
    if do == "read":
        return StoreError(f"cannot read {path}: {why}. Nothing was changed. Make it readable, then resume.")
    return StoreError(
        f"cannot write {path}: {why}. Nothing there is half-written. Make room, or make the folder writable, then "
        f"resume; or give another --store."
    )


def write_new(path: Path, data: bytes, durable: bool) -> None:
    """Write a file that nobody knows yet."""
    with contextlib.ExitStack() as opened:  # closes it also where `on_step` raises
        file = step("open", path, lambda: opened.enter_context(path.open("xb")))
        step("write", path, lambda: file.write(data))
        step("flush", path, file.flush)
        if durable:
            step("fsync", path, lambda: os.fsync(file.fileno()))


def read_file(path: Path) -> bytes:
    """All bytes of a file."""
    with open_file(path) as file:
        return file.read()


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read; what is there but is none, such as a folder or a pipe, is no such file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for somebody to write into it
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return os.fdopen(descriptor, "rb")


def read_at(file: BinaryIO, begin: int, length: int) -> bytes:
    """So many bytes of an open file, fewer where it ends before; a system call may give fewer than there are."""
    found = os.pread(file.fileno(), length, begin)
    while (left := length - len(found)) and (more := os.pread(file.fileno(), left, begin + len(found))):
        found += more
    return found


def make_folder(folder: Path) -> None:
    """Make `folder` and the folders above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    step("mkdir", folder, lambda: folder.mkdir(exist_ok=True))
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        step("sync", folder, lambda: os.fsync(descriptor))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no folders, and need not
            raise
    finally:
        os.close(descriptor)


def replace(beside: Path, target: Path) -> bool:
    """Give `beside` the name `target`, whatever had it."""
    step("rename", target, lambda: os.replace(beside, target))
    return True


def place_once(beside: Path, target: Path) -> bool:
    """Give `beside` also the name `target` unless that exists; whether it did."""
    try:
        step("link", target, lambda: os.link(beside, target))
    except FileExistsError:
        return False
    except OSError as error:
        # Without hard links, the stage's lock is what keeps writers apart.
        if error.errno not in NO_HARD_LINKS:
            raise
        return not target.exists() and replace(beside, target)
    return True


def remove(what: str, path: Path, how: Callable[[Path], None]) -> None:
    """Remove `path` if it is there; say so if that cannot be done."""
    try:
        step(what, path, lambda: how(path))
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s: cannot be removed (%s); it does no harm.", path, error.strerror)


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file, unless another one holds it; whether it did.

    Raises:
        StoreError: the file system has no locks.
    """
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"cannot lock {file.name}: {error.strerror}. Give a --store on a file system with locks (flock)."
        ) from error
    return True
