"""A real S3-speaking server on loopback, moto's, in a process of its own, and a bad network before it. Not a test.

Fixtures: `bucket` is an empty place to give to --store, with the AWS variables set; `network` stands between this
process, or one that it starts, and the server, and does what the test says.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

SERVER = """
import logging, sys, threading
from werkzeug.serving import make_server
from moto.server import DomainDispatcherApplication, create_backend_app

moto, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

def application(environ, start_response):  # moto's objects are not safe between threads, as a real server's are
    with one_at_a_time:
        return list(moto(environ, start_response))

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
server = make_server("127.0.0.1", 0, application, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()  # until whoever started it ends, in whatever way
"""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-test", "AWS_SECRET_ACCESS_KEY": "of-warmgrid", "AWS_REGION": "us-east-1"}
OTHERS = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN")
REQUESTS = (b"PUT ", b"POST ", b"GET ", b"HEAD ", b"DELETE ")
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
names = itertools.count()


def answer(status: str, body: bytes = b"") -> bytes:
    """A whole HTTP answer that ends its connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode() + b"\r\n" + body


@dataclass(frozen=True)
class Fault:
    """What the network does to one request.

    Attributes:
        cut_after: The connection breaks after so many bytes of the request.
        instead: Comes back in place of the server's answer; the request never gets there.
        loses_answer: The server does what was asked, and the connection breaks before it can say so.
        delay_s: The answer comes so much later.
    """

    cut_after: int | None = None
    instead: bytes | None = None
    loses_answer: bool = False
    delay_s: float = 0.0


class Network:
    """A TCP proxy before the server.

    Attributes:
        requests: Methods and paths that came by, such as ``PUT /bucket/store/stages/a``.
        fault: Says what happens to a request, None for nothing; told the request, as in `requests`.
        is_down: Whether every connection is refused.
        answered: Bytes that came back from the server so far.
    """

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self.fault: Callable[[str], Fault | None] = lambda _: None
        self.is_down = False
        self.answered = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self.is_down = True
        with contextlib.suppress(OSError):  # wakes the thread that waits in accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def nth(self, number: int, kind: str, fault: Fault) -> None:
        """Let `fault` happen to the `number`-th request, from 1, that begins with `kind`."""
        seen = itertools.count(1)
        self.fault = lambda request: fault if request.startswith(kind) and next(seen) == number else None

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Pass on one connection, until either side or a fault ends it."""
        with client, contextlib.suppress(OSError):
            if self.is_down:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                now: list[Fault] = [Fault()]
                threading.Thread(target=self._answer, args=(server, client, now), daemon=True).start()
                self._pass_on(client, server, now)
                for side in (client, server):
                    side.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, client: socket.socket, server: socket.socket, now: list[Fault]) -> None:
        """Send requests to the server, as far as their fault lets them."""
        passed = 0
        while (data := client.recv(2**20)) and not self.is_down:
            if data.startswith(REQUESTS):
                self.requests.append(" ".join(data.split(b" ", 2)[:2][i].decode() for i in (0, 1)))
                now[0], passed = self.fault(self.requests[-1]) or Fault(), 0
            if now[0].instead is not None:
                client.sendall(now[0].instead)
                return
            cut = now[0].cut_after
            if cut is not None and passed + len(data) >= cut:
                server.sendall(data[: cut - passed])
                return
            server.sendall(data)
            passed += len(data)

    def _answer(self, server: socket.socket, client: socket.socket, now: list[Fault]) -> None:
        """Send answers back, as far as the fault of their request lets them."""
        with contextlib.suppress(OSError):
            while data := server.recv(2**20):
                time.sleep(now[0].delay_s)
                if now[0].loses_answer and data.startswith(b"HTTP/1.1 2"):
                    client.shutdown(socket.SHUT_RDWR)
                    return
                self.answered += len(data)
                client.sendall(data)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[int]:
    """Port of a server that holds nothing yet; it takes about two seconds to start."""
    pytest.importorskip("moto", reason="moto[server] is not installed, which is the S3 server of these tests")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


@pytest.fixture
def bucket(s3_server: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix in a bucket of its own."""
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_server}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"bucket-{os.getpid()}-{next(names)}"
    ask(f"/{name}", "PUT")
    return f"s3://{name}/some/store"


@pytest.fixture
def network(bucket: str, s3_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """What stands between `bucket` and who asks for it; good until the test says otherwise."""
    between = Network(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
    yield between
    between.close()


def ask(path: str, method: str = "GET") -> str:
    """The server's own answer to a request without pyarrow; it asks for no signature."""
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + path, method=method)
    with urllib.request.urlopen(request) as answered:
        return str(answered.read().decode())
