"""Serve: binds a port, and shows the live page of a store there until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.live.gate import is_loopback
from orchestrator.live.questions import Questions
from orchestrator.live.watch import Watch

if TYPE_CHECKING:
    from types import FrameType

END_S = 2  # that answers under way are waited for
QUIET: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "lifespan": "off"}
QUIET |= {"ws": "none", "timeout_graceful_shutdown": END_S}


@dataclass(frozen=True)
class Place:
    """Where a page is.

    Attributes:
        link: To open in a browser; with the token, if it needs one.
    """

    sock: socket.socket
    token: str
    host: str
    port: int
    link: str


def bind(host: str, port: int) -> Place:
    """Take a port; 0 takes any that is free.

    Raises:
        ConfigError: it is taken, may not be used, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(address[:2], family=family)
    except UnicodeError:  # of a name that no network has, such as a..b
        raise ConfigError(why_not(host, port, socket.gaierror())) from None
    except OSError as error:
        raise ConfigError(why_not(host, port, error)) from None
    port = sock.getsockname()[1]
    token = "" if is_loopback(host) else secrets.token_urlsafe(24)
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return Place(sock, token, host, port, f"http://{shown}:{port}/" + (f"?token={token}" if token else ""))


def why_not(host: str, port: int, error: OSError) -> str:
    """Why a port cannot be taken, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program has it, perhaps another page. Give another, or --port 0 for any."
    if error.errno == errno.EACCES:
        return f"--port {port}: the system does not let you use it. Give one above 1023."
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: no address of this machine. Give 127.0.0.1, or 0.0.0.0 for all of its addresses."
    return f"--host {host} --port {port}: {error.strerror or error}."


def serve(
    root: str, place: Place, own: str | None, ready: Callable[[], None], *, fragment: str = "", in_browser: bool = False
) -> None:
    """Answer until Ctrl-C.

    Args:
        root: Of the store.
        place: As `bind` gives it.
        own: As `Watch` takes it.
        ready: Called when browsers may come.
        fragment: Of the link, which chooses what is shown first.
        in_browser: Whether to open one here.
    """
    import uvicorn

    from orchestrator.live.app import make_app

    questions = Questions(root)

    class Server(uvicorn.Server):
        """Waits for no SQL when it is to end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            questions.end()
            super().handle_exit(sig, frame)

    with Watch(root, own) as watch, contextlib.suppress(KeyboardInterrupt):
        app = make_app(watch, questions, place.token, place.host, place.port)
        ready()
        if in_browser:
            webbrowser.open(place.link + fragment)
        Server(uvicorn.Config(app, **QUIET)).run(sockets=[place.sock])
