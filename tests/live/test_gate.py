"""Only who may see a store's page gets anything from it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from orchestrator.live.gate import Gate, is_loopback

LOCAL, AWAY = "http://127.0.0.1:8765", "http://10.0.0.7:8765"
INSIDE = PlainTextResponse("inside")


def ask(address: str, token: str = "", method: str = "GET", **headers: str) -> httpx.Response:
    """What a browser before the gate gets; it follows no redirect."""

    async def answered() -> httpx.Response:
        transport = httpx.ASGITransport(Gate(INSIDE, token, "127.0.0.1", 8765))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, address, headers=headers)

    return asyncio.run(answered())


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "[::1]:9000", "LOCALHOST:1"])
def test_this_machine_needs_no_token(host: str) -> None:
    """A token on loopback would be in everybody's way; an SSH tunnel comes with another port."""
    assert ask(f"{LOCAL}/", host=host).text == "inside"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.7"])
def test_a_foreign_name_for_this_machine_is_refused(host: str) -> None:
    """DNS rebinding: a page of evil.example, whose name points here now, would read the whole store."""
    answered = ask(f"{LOCAL}/api/news", host=host)

    assert (answered.status_code, "inside" in answered.text) == (403, False)


def test_another_sites_page_gets_nothing() -> None:
    """A page of another site that asks for SQL here could keep this machine busy."""
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}

    assert ask(f"{LOCAL}/api/sql", method="POST", **headers).status_code == 403


def test_a_link_on_another_site_opens_the_page() -> None:
    """Following a link to the page is not that site reading it."""
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert ask(f"{LOCAL}/", **headers).text == "inside"


@pytest.mark.parametrize("address", ["/", "/?token=", "/?token=secre", "/?token=secret2", "/api/news?token=%00"])
def test_elsewhere_nothing_is_told_without_the_token(address: str) -> None:
    """Whoever can reach the port would read unpublished results."""
    answered = ask(AWAY + address, "secret")

    assert answered.status_code == 403
    assert "open the link" in answered.text


def test_the_link_with_the_token_lets_in_and_takes_the_token_out_of_the_address() -> None:
    """A token that stays in the address is in the history, in screenshots and in every link that is passed on."""
    first = ask(f"{AWAY}/?token=secret", "secret")
    then = ask(f"{AWAY}/", "secret", cookie=first.headers["set-cookie"].partition(";")[0])

    assert (first.status_code, first.headers["location"]) == (303, "./")
    assert "httponly" in first.headers["set-cookie"].lower()
    assert then.text == "inside"


def test_two_pages_on_one_host_keep_their_cookies_apart() -> None:
    """Browsers send cookies to every port: the second page would throw the first one out."""
    answered = ask(f"{AWAY}/?token=secret", "secret")

    assert answered.headers["set-cookie"].startswith("warmgrid-8765=")


def test_every_answer_forbids_other_hosts() -> None:
    """A store's text that became HTML after all must still not reach any other host."""
    for answered in (ask(f"{LOCAL}/"), ask(f"{AWAY}/", "secret")):
        assert "default-src 'none'" in answered.headers["content-security-policy"]
        assert answered.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "is_so"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("lab", False)],
)
def test_loopback_is_known(host: str, is_so: bool) -> None:
    """0.0.0.0 taken for loopback opens the store to the network."""
    assert is_loopback(host) is is_so
