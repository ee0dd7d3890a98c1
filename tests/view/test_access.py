"""Who may open the page: hosts, origins, tokens; ports; and that viser does not publish it."""

from __future__ import annotations

import http.client
import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from vla_agent.errors import OptionError
from vla_agent.view.access import COOKIE, Guard, is_loopback
from vla_agent.view.guarded_server import bind, start, stop

TOKEN = "0123456789abcdef"
LOCAL, OPEN = Guard(True), Guard(False, TOKEN)
HERE = {"Host": "localhost:8080"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "127.8.8.8"])
def test_loopback_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.org", "localhost.example.org", ""])
def test_other_addresses_are_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:1", "[::1]:8080", "localhost"])
def test_a_local_page_is_served_under_local_names(host):
    assert LOCAL.refusal("/", {"Host": host}) == ""


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8080", "", "192.168.0.2:8080"])
def test_a_local_page_is_not_served_under_other_names(host):
    assert "own name" in LOCAL.refusal("/", {"Host": host})


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null", "http://localhost"])
def test_another_site_may_not_use_it(origin):
    assert "another site" in LOCAL.refusal("/", HERE | {"Origin": origin})


def test_the_page_may_use_itself():
    assert LOCAL.refusal("/", HERE | {"origin": "http://localhost:8080"}) == ""
    assert LOCAL.refusal("/", HERE | {"origin": "HTTP://LOCALHOST:8080"}) == ""


@pytest.mark.parametrize(
    ("path", "cookie"),
    [
        ("/", ""),
        ("/?token=", ""),
        ("/?token=0123456789abcdeF", ""),
        ("/?other=" + TOKEN, ""),
        ("/", f"{COOKIE}=wrong"),
        ("/", f"other={TOKEN}"),
        ("/", "=;=\x00"),
        ("/?token=\u00e9", ""),
    ],
)
def test_without_the_token_nothing_is_served(path, cookie):
    assert "token" in OPEN.refusal(path, {"Host": "lab:8080", "Cookie": cookie})
    assert OPEN.cookie(path) == ""


def test_the_link_sets_a_cookie_that_is_enough():
    path = f"/?token={TOKEN}"
    assert OPEN.refusal(path, {"Host": "lab:8080"}) == ""
    cookie = OPEN.cookie(path)
    assert cookie.startswith(f"{COOKIE}={TOKEN};") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert OPEN.refusal("/", {"Host": "lab:8080", "Cookie": cookie.partition(";")[0]}) == ""


@pytest.fixture(scope="module")
def served():
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = start(listening, Guard(True, TOKEN), "a <page>")
    yield port
    stop(server)


def get(port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_the_server_asks_for_the_token(served):
    refused = get(served, "/")
    assert refused.status == 403 and b"token" in refused.read()
    page = get(served, f"/?token={TOKEN}")
    assert page.status == 200 and COOKIE in page.headers["Set-Cookie"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert get(served, "/index.html", Cookie=f"{COOKIE}={TOKEN}").status == 200
    assert get(served, "/", Cookie=f"{COOKIE}={TOKEN}", Host="evil.example").status == 403


def test_the_title_is_text(served):
    import gzip

    page = gzip.decompress(get(served, f"/?token={TOKEN}").read())
    assert b"<title>a &lt;page&gt;</title>" in page


def handshake(port: int, **headers: str):
    return connect(f"ws://127.0.0.1:{port}", subprotocols=["viser-v1.1.1"], additional_headers=headers, open_timeout=10)


def test_a_websocket_needs_the_token_and_the_page_itself(served):
    for headers in ({}, {"Cookie": f"{COOKIE}={TOKEN}", "Origin": "http://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            handshake(served, **headers)
        assert refused.value.response.status_code == 403
    with handshake(served, Cookie=f"{COOKIE}={TOKEN}", Origin=f"http://127.0.0.1:{served}") as socket_:
        assert socket_.recv(timeout=10)


def test_nobody_can_have_the_page_published():
    from viser import _messages

    listening = bind("127.0.0.1", 0)
    server = start(listening, Guard(True), "page")
    try:
        assert _messages.ShareUrlRequest not in server._websock_server._incoming_handlers
    finally:
        stop(server)


def test_a_busy_port_names_the_next_free_one():
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError) as error:
            bind("127.0.0.1", port)
    named = int(str(error.value.remedy).split("--port ")[1].split(",")[0])
    assert named > port
    with socket.socket() as free:
        free.bind(("127.0.0.1", named))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OptionError, match="192.0.2.1"):
        bind("192.0.2.1", 8080)
