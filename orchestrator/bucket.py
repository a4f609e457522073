"""Bucket: a store's files in a bucket of an object store, through pyarrow; knows nothing of what they mean.

S3 and what speaks its protocol are tested against a real server on loopback; ``gs://`` goes the same ways through
pyarrow's GcsFileSystem, and has never been tested against a real Google bucket.

- A small file is one PUT, which is atomic. A large one would be a multipart upload, and pyarrow, when a part of it
  fails, closes it all the same and leaves an empty or a partial object under its name. So a large file is uploaded
  under a hidden name, its size is compared, and the server copies it to its own name, which is atomic again.
- Connection loss and answers of a server that is overloaded are met with patience (`WAITS_S`); then a StoreError says
  who did not answer. Parts of an upload that broke off stay in the bucket, unseen: a lifecycle rule of the bucket
  (AbortIncompleteMultipartUpload) removes them.
- Known limits: pyarrow has no conditional PUT, so `write_once` looks first and then writes. A bucket has no mutex.
  `orchestrator.lease` keeps writers apart. One file holds at most 5 GB, which is what a server copies at once.

Endpoint, region and credentials come from the usual variables: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, or from what the machine
was given; for gs:// from GOOGLE_APPLICATION_CREDENTIALS. They are never part of the URL, which is kept in messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property, partial
from hashlib import md5
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.errors import ConfigError, StoreError
from orchestrator.files import Files, hidden_name, is_left_over, is_name, log, missing
from orchestrator.spans import cut, together

T = TypeVar("T")
WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # between tries; half of each is left to chance, so that workers part
FIRST_WAITS_S = WAITS_S[:3]  # at the first question, when an answer was never had and may be a mistyped address
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0  # without a single byte
GOOGLE_RETRY_S = 2  # whole seconds that Google's own client tries; with none it would not even begin
ONE_PUT = 8 * 1024 * 1024  # bytes; from 10 MiB on pyarrow uploads in parts
MD5 = re.compile(rb'"?[0-9a-f]{32}"?')
AGREE = 8  # readings in a row
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# Answers that will be the same next time. Everything else is tried again: a try too many costs seconds.
DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|ExpiredToken|InvalidToken|HTTP status 40[13]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)
FINAL = re.compile(
    rf"{DENIED.pattern}|NO_SUCH_BUCKET|RESOURCE_NOT_FOUND|REQUEST_TIME_TOO_SKEWED|HTTP status (?!408|429)[34]\d\d"
)


class BucketFiles(Files):
    """The files of one store, in a bucket of an object store."""

    def __init__(self, root: str) -> None:
        """Use the objects under the URL `root`; nobody is asked yet.

        Raises:
            ConfigError: `root` is no URL of a bucket and a prefix.
        """
        self.scheme, self._bucket, prefix = parsed(root)
        self._base = f"{self._bucket}/{prefix}" if prefix else self._bucket
        self.root = f"{self.scheme}://{self._base}"
        self._endpoint = (endpoint() or "Amazon S3") if self.scheme == "s3" else "Google Cloud Storage"  # for messages
        self._is_met = False  # whether an answer of the server was had
        self._tags_are_md5 = True  # where they look so, until one is another's

    @cached_property
    def _raw(self) -> Any:
        """The pyarrow file system, of which nobody has been asked anything yet."""
        return google() if self.scheme == "gs" else amazon(self._bucket)

    @property
    def _system(self) -> Any:
        """The pyarrow file system, once the bucket is known to be there.

        Raises:
            ConfigError: there is no such bucket, or it is not ours to read.
            StoreError: nobody answers.
        """
        if not self._is_met:
            self._meet()
        return self._raw

    def _meet(self) -> None:
        """Ask for the first time, so that what a user mistyped is found at once and named."""
        found = self._ask("read", self.root, lambda: self._entries(self._base), FIRST_WAITS_S)
        if not found and not self._ask("read", self.root, self._has_bucket, FIRST_WAITS_S):
            raise ConfigError(
                f"--store {self.root}: there is no bucket {self._bucket!r} at {self._endpoint}. Make it, or give "
                f"another."
            )
        self._is_met = True

    def _has_bucket(self) -> bool:
        """Whether the bucket is there; one that may be listed but not asked about is."""
        from pyarrow.fs import FileType

        try:
            (info,) = self._raw.get_file_info([self._bucket])
        except OSError as error:
            if DENIED.search(str(error)):
                return True
            raise
        return bool(info.type != FileType.NotFound)

    def _ask(self, do: str, what: str, call: Callable[[], T], waits: tuple[float, ...] | None = None) -> T:
        """What `call` gives, tried again while the server cannot be reached or is overloaded.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: it stays so, or the server refuses.
        """
        began = time.monotonic()
        for tries, wait in enumerate((*(WAITS_S if waits is None else waits), None), start=1):
            try:
                return call()
            except OSError as error:
                if isinstance(error, FileNotFoundError) or "NO_SUCH_KEY" in str(error):
                    raise missing(what) from error
                if wait is None or FINAL.search(str(error)):
                    asked = f"{tries} times in {time.monotonic() - began:.0f} s" if tries > 1 else "once"
                    raise self._cannot(do, what, error, asked) from error
            time.sleep(random.uniform(wait / 2, wait))
        raise AssertionError("the last try neither returned nor raised")

    def _cannot(self, do: str, what: str, error: OSError, asked: str) -> StoreError | ConfigError:
        """What a user should read when the server refuses or does not answer."""
        why = str(error)
        why = " ".join((why[why.find("AWS Error") :] if "AWS Error" in why else why).split())[:300].rstrip(".")
        half = " Nothing there is half-written." if do == "write" else ""
        said = f"cannot {do} {what}: {self._endpoint}, asked {asked}: {why}.{half}"
        if DENIED.search(why):
            text = f"{said} Check {credentials(self.scheme)}, and that they may list, read, write and delete there."
            return StoreError(text) if self._is_met else ConfigError(f"--store {self.root}: {text}")
        if FINAL.search(why):
            return StoreError(f"{said} Check AWS_REGION, the address, and this machine's clock.")
        settings = "AWS_ENDPOINT_URL" if self.scheme == "s3" else credentials(self.scheme)
        return StoreError(f"{said} Check {settings} and the network; once it answers again, resume.")

    def _object(self, name: str) -> str:
        """What pyarrow calls the object `name`."""
        self.where(name)
        return f"{self._base}/{name}"

    def where(self, name: str) -> str:
        if not is_name(name):
            raise StoreError(f"{name!r} is not a name inside the store {self.root}.")
        return f"{self.root}/{name}"

    def there(self) -> bool:
        return bool(self._ask("read", self.root, lambda: self._entries(self._base, self._system)))

    def _entries(self, folder: str, system: Any = None) -> list[Any]:
        """What pyarrow says of the files and folders in `folder`, hidden ones too; [] where there is none."""
        from pyarrow.fs import FileSelector

        found: list[Any] = (system or self._raw).get_file_info(FileSelector(folder, allow_not_found=True))
        return found

    def folders(self, folder: str) -> list[str]:
        path = self._object(folder)
        found = self._ask("read", self.where(folder), lambda: self._entries(path, self._system))
        return sorted(info.base_name for info in found if not info.is_file and not info.base_name.startswith("."))

    def size(self, name: str) -> int:
        return int(self._info(name).size)

    def read_parts(self, name: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        path, spans = self._object(name), together(parts)

        def ranges() -> dict[tuple[int, int], bytes]:
            with self._system.open_input_file(path) as file:
                return {(begin, end): file.read_at(end - begin, begin) for begin, end in spans}

        found = self._ask("read", self.where(name), ranges)
        return [cut(found, *part) for part in parts]

    def list(self, folder: str | None = None) -> list[str]:
        path = self._base if folder is None else self._object(folder)
        where = self.root if folder is None else self.where(folder)
        found = self._ask("read", where, lambda: self._entries(path, self._system))
        return sorted(info.base_name for info in found if info.is_file and not info.base_name.startswith("."))

    def _info(self, name: str) -> Any:
        """What the server says of one object.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._object(name)
        (info,) = self._ask("read", self.where(name), lambda: self._system.get_file_info([path]))
        if not info.is_file:
            raise missing(self.where(name))
        return info

    def exists(self, name: str) -> bool:
        try:
            self._info(name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Pyarrow asks for the size first and then for so many bytes; what is written in between is read again.

        Of a file that is longer by then it gives a part, and of a shorter one all, with rubbish at its end. So the
        bytes must be what the ETag is the MD5 of, or, where it is none, be the same twice. An ETag that looks like an
        MD5 and is another one's, as with encryption, is believed after so many times that no writer can have met them.
        """
        path = self._object(name)

        def whole() -> tuple[bytes, bytes]:
            with self._system.open_input_file(path) as file:
                tag = (file.metadata() or {}).get("ETag", b"")
                return bytes(file.read(file.size())), tag  # without a size it would be a request for every 256 KiB

        seen, times = (b"", b""), 0
        while True:
            data, tag = self._ask("read", self.where(name), whole)
            if tag.strip(b'"') == md5(data, usedforsecurity=False).hexdigest().encode():
                return data
            seen, times = (data, tag), times + 1 if (data, tag) == seen else 1
            if times >= (AGREE if self._tags_are_md5 and MD5.fullmatch(tag) else 2):
                self._tags_are_md5 = self._tags_are_md5 and times < AGREE
                return data

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        path = self._object(name)
        if len(data) <= ONE_PUT:
            self._ask("write", self.where(name), lambda: self._put(path, data))
        else:
            self._ask("write", self.where(name), lambda: self._put_large(path, data))

    def _put(self, path: str, data: bytes) -> None:
        """Upload one object."""
        with self._system.open_output_stream(path) as stream:
            stream.write(data)

    def _put_large(self, path: str, data: bytes) -> None:
        """Upload one object under another name, new at each try, then let the server copy it."""
        hidden = hidden_name(path)
        try:
            self._put(hidden, data)
            (info,) = self._system.get_file_info([hidden])
            if info.size != len(data):
                raise OSError(errno.EIO, f"{info.size} of {len(data)} bytes arrived")
            self._system.copy_file(hidden, path)
        finally:
            with contextlib.suppress(OSError):  # `tidy` finds it
                self._system.delete_file(hidden)

    def write_once(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        self.write(name, data)
        return True

    def delete(self, name: str) -> None:
        path = self._object(name)
        self._remove(self.where(name), lambda: self._system.delete_file(path))

    def delete_folder(self, folder: str) -> None:
        path = self._object(folder)
        self._remove(self.where(folder), lambda: self._system.delete_dir(path))

    def _remove(self, where: str, call: Callable[[], None]) -> None:
        """Remove what may or may not be there; say so if that cannot be done."""
        try:
            self._ask("remove", where, call)
        except FileNotFoundError:
            return
        except StoreError as error:
            log.warning("%s It does no harm.", error)

    def _move(self, name: str, to: str) -> None:
        source, target = self._object(name), self._object(to)
        self._ask("write", self.where(to), lambda: self._system.copy_file(source, target))
        with contextlib.suppress(FileNotFoundError):  # it is gone, and only the answer was lost
            self._ask("remove", self.where(name), lambda: self._system.delete_file(source))

    def modified(self, name: str) -> float:
        return float(self._info(name).mtime.timestamp())

    def now(self) -> float:
        path = hidden_name(f"{self._base}/clock")
        where = f"{self.scheme}://{path}"
        try:
            self._ask("write", where, lambda: self._put(path, b""))
            (info,) = self._ask("read", where, lambda: self._system.get_file_info([path]))
            return float(info.mtime.timestamp())
        finally:
            self._remove(where, lambda: self._system.delete_file(path))

    def touch(self, name: str) -> None:
        """There is no such request: the same bytes are written again."""
        self.write(name, self.read(name))

    @contextlib.contextmanager
    def mutex(self, name: str) -> Iterator[bool]:
        self.where(f"locks/{name}.lock")  # refuses the names that a folder refuses
        yield True

    def tidy(self) -> int:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._base, allow_not_found=True, recursive=True)
        found = self._ask("read", self.root, lambda: self._system.get_file_info(selector))
        hidden = [info for info in found if info.is_file and info.base_name.startswith(".")]
        now = self.now() if hidden else 0.0
        old = [info for info in hidden if is_left_over(info.base_name, now - info.mtime.timestamp())]
        for info in old:
            self._remove(f"{self.scheme}://{info.path}", partial(self._system.delete_file, info.path))
        return len(old)


def parsed(root: str) -> tuple[str, str, str]:
    """Scheme, bucket and prefix of a store's URL.

    Raises:
        ConfigError: it is no such URL, or carries a password.
    """
    url = urlsplit(root)
    if url.scheme not in ("s3", "gs"):
        raise ConfigError(f"--store {root}: a store is a path, s3://bucket/prefix or gs://bucket/prefix.")
    if "@" in url.netloc or url.query or url.fragment:
        raise ConfigError(
            f"--store {url.scheme}://...: credentials and endpoints do not belong into the URL, which is kept in "
            f"messages; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. Give {url.scheme}://bucket/prefix."
        )
    prefix = url.path.strip("/")
    if not BUCKET.fullmatch(url.netloc) or (prefix and not is_name(prefix)):
        raise ConfigError(
            f"--store {root}: not a bucket and a prefix. Give {url.scheme}://bucket/prefix: the bucket in lower case, "
            f"no part of the prefix empty or beginning with a dot."
        )
    return url.scheme, url.netloc, prefix


def endpoint() -> str | None:
    """The S3 server that the environment names, as a URL, if it names one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def credentials(scheme: str) -> str:
    """Where credentials are looked for, and whether they are there; never what they are."""
    if scheme == "gs":
        return f"GOOGLE_APPLICATION_CREDENTIALS ({is_set('GOOGLE_APPLICATION_CREDENTIALS')})"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return ", ".join(f"{name} ({is_set(name)})" for name in names) + ", AWS_PROFILE or this machine's role"


def is_set(variable: str) -> str:
    """Whether an environment variable is set, in words."""
    return "set" if os.environ.get(variable) else "not set"


def amazon(bucket: str) -> Any:
    """The file system of Amazon S3, or of the server that the environment names.

    Raises:
        ConfigError: the endpoint is no URL.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    given, region = endpoint(), os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    at: dict[str, Any] = {"region": region} if region else {}
    if given is not None:
        url = urlsplit(given)
        if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc:
            raise ConfigError(f"AWS_ENDPOINT_URL={given}: not an address such as https://s3.example.org:9000.")
        at |= {"scheme": url.scheme, "endpoint_override": url.netloc + url.path.rstrip("/")}
    elif region is None and not os.environ.get("AWS_PROFILE"):
        at |= home_region(bucket)
    return S3FileSystem(
        **at,
        allow_delayed_open=True,  # else every file, however small, is a multipart upload of three requests
        background_writes=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),  # `BucketFiles._ask` tries again
    )


def home_region(bucket: str) -> dict[str, str]:
    """The region that Amazon keeps the bucket in, which anybody may ask; {} to let pyarrow look in its settings."""
    from pyarrow.fs import resolve_s3_region

    try:
        return {"region": resolve_s3_region(bucket)}
    except OSError:  # the first question will say what is wrong
        return {}


def google() -> Any:
    """The file system of Google Cloud Storage."""
    from pyarrow.fs import GcsFileSystem

    return GcsFileSystem(retry_time_limit=timedelta(seconds=GOOGLE_RETRY_S))  # `BucketFiles._ask` goes on
