"""`warmgrid serve` says where the page is, or in one line why there is none, and ends at Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import uvicorn

from orchestrator.errors import ConfigError
from orchestrator.live import serve
from orchestrator.live.questions import LIMIT_S, Questions
from orchestrator.store import Store
from tests.orchestrator.command import Warmgrid, run

ROOT = Path(__file__).parents[2]
SERVE = (sys.executable, "-m", "orchestrator.cli", "serve")


@pytest.fixture
def warmgrid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Warmgrid:
    """Run a command in this process."""
    return partial(run, monkeypatch, capsys)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_ctrl_c_ends_it(filled: Store) -> None:
    """A server that only dies of kill -9 keeps its port."""
    with subprocess.Popen([*SERVE, "quickstart", "--store", filled.root, "--port", "0"], cwd=ROOT, **PIPED) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        link = lines[1].removesuffix("#sweep=quickstart")
        with urllib.request.urlopen(link, timeout=20) as answered:
            page = answered.read().decode()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert (lines[0], "<title>warmgrid</title>" in page) == (filled.root, True)
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_waits_for_no_statement(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A careless cross join would keep the terminal for twenty seconds after the page is gone."""
    ended: list[bool] = []
    monkeypatch.setattr(Questions, "end", lambda _: ended.append(True))
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, **_: server.handle_exit(signal.SIGINT, None))
    place = serve.bind("127.0.0.1", 0)

    with place.sock:
        serve.serve(filled.root, place, None, lambda: None)

    assert ended == [True]


def test_a_statement_that_runs_at_the_end_is_stopped(filled: Store) -> None:
    """Threads of a process that ends are waited for."""
    questions = Questions(filled.root)
    end = threading.Timer(0.2, questions.end)
    end.start()
    began = time.monotonic()

    with pytest.raises(ConfigError, match="it was told to end"):
        questions.ask("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b")
    end.join()
    assert time.monotonic() - began < LIMIT_S / 2


def test_the_browser_is_opened_at_the_sweep(warmgrid: Warmgrid, filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store with many sweeps, the one that was named is to be seen, not the last that ended."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: [sock.close() for sock in sockets])

    warmgrid("serve", "quickstart", "--store", filled.root, "--port", "0", "--open")

    assert [link.partition("#")[2] for link in opened] == ["sweep=quickstart"]


PIPED = {
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
    "env": {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
}


def test_a_port_that_is_taken_is_said(warmgrid: Warmgrid, filled: Store, taken: int) -> None:
    """Two pages at once are usual; errno 98 is no help."""
    ended = warmgrid("serve", "--store", filled.root, "--port", str(taken))

    assert (ended.code, f"--port {taken}: another program has it" in ended.err) == (2, True)


def test_a_host_that_is_not_here_is_said(warmgrid: Warmgrid, filled: Store) -> None:
    """An address of another machine, or a misspelt name."""
    for host in ("203.0.113.7", "no.such.host.invalid", "a..b"):
        ended = warmgrid("serve", "--store", filled.root, "--host", host, "--port", "0")

        assert (ended.code, f"--host {host}: no address of this machine" in ended.err) == (2, True)


def test_no_store_and_no_launch_are_said(warmgrid: Warmgrid, filled: Store, tmp_path: Path) -> None:
    """An empty page for a misspelt store or sweep looks as if nothing had run."""
    nowhere = warmgrid("serve", "--store", str(tmp_path / "nowhere"), "--port", "0")
    never = warmgrid("serve", "figure3", "--store", filled.root, "--port", "0")

    assert (nowhere.code, "no store here" in nowhere.err) == (2, True)
    assert (never.code, "no launch of 'figure3'" in never.err) == (2, True)
    assert not (tmp_path / "nowhere").exists()


def test_bound_elsewhere_it_needs_a_token() -> None:
    """A page on 0.0.0.0 without a token shows unpublished results to the whole network."""
    place = serve.bind("0.0.0.0", 0)
    place.sock.close()

    assert len(place.token) >= 32
    assert place.link == f"http://{socket.gethostname()}:{place.port}/?token={place.token}"


def test_on_loopback_it_needs_none() -> None:
    """The usual case is one word and one click."""
    place = serve.bind("127.0.0.1", 0)
    place.sock.close()

    assert (place.token, place.link) == ("", f"http://127.0.0.1:{place.port}/")
