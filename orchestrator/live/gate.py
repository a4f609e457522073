"""Gate: who may ask the live page for anything; knows nothing of what is asked.

On loopback everybody on this machine may, but no page of another host through a browser here: a name that some host
made point to this machine is refused, and so is what another site's page asks. Elsewhere only who has the token may.
"""

from __future__ import annotations

import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# Nothing may come from another host, and no text may become code. plotly.js compiles functions for WebGL
# (unsafe-eval; without it says that there is no WebGL), and writes style elements (unsafe-inline, for styles alone).
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
LOCAL = ("localhost", "127.0.0.1", "::1")
NEEDS_TOKEN = "This page needs its token: open the link that `warmgrid serve` printed where it runs."
WRONG_HOST = "This page answers to localhost alone, and your browser asked for another name. Open it as localhost."
OTHER_SITE = "Another site's page asked for this, and gets nothing."


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """Lets a request pass to `app`, or answers it with what is wrong; adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, token: str = "", host: str = "127.0.0.1", port: int = 0) -> None:
        """Ask for `token`, unless it is ""; then only requests for `host`, on loopback, pass.

        Args:
            port: Names the cookie, as browsers send cookies to all ports of a host.
        """
        self.app, self.token, self.cookie = app, token, f"warmgrid-{port}"
        self.names = {*LOCAL, host.strip("[]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        from starlette.responses import PlainTextResponse, RedirectResponse

        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self.refusal(headers):
            answer: ASGIApp = PlainTextResponse(refusal, 403)
            if self.token and self.is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]):
                answer = RedirectResponse("./", 303)  # without the token, which would stay in the browser's history
                answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
        else:
            answer = self.app
        return await answer(scope, receive, with_headers(send))

    def refusal(self, headers: dict[str, str]) -> str:
        """Why a request with these headers does not pass; "" if it does."""
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return OTHER_SITE
        if self.token:
            return "" if self.is_token(cookie_of(headers.get("cookie", ""), self.cookie)) else NEEDS_TOKEN
        return "" if name_of(headers.get("host", "")) in self.names else WRONG_HOST

    def is_token(self, given: str) -> bool:
        """Whether it is the token, in a time that says nothing of how much of it is right."""
        return secrets.compare_digest(given.encode(), self.token.encode())


def with_headers(send: Send) -> Send:
    """`send`, with the security headers in every answer."""

    async def sent(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message["headers"], *ours]}  # type: ignore[misc]
        await send(message)

    return sent  # type: ignore[return-value]


def name_of(host: str) -> str:
    """The host in a Host header, without port and brackets."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and host.count(":") != 0 else host
    return name.strip("[]").lower()


def cookie_of(text: str, name: str) -> str:
    """The value of one cookie, "" if there is none."""
    try:
        found = SimpleCookie(text).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""
