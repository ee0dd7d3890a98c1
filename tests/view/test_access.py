"""Who may open the page: hosts, origins, tokens; ports; and that viser does not publish it."""

from __future__ import annotations

import http.client
import socket
import time
from urllib.parse import urlsplit

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from benchmarks.view.viewers import CAMERA
from vla_agent.errors import OptionError
from vla_agent.view.access import COOKIE, Guard, is_loopback
from vla_agent.view.guarded_server import MOST_BYTES, bind, start, stop
from vla_agent.view.page_controls import Controls
from vla_agent.view.source import Button, Command
from vla_agent.view.window import Window

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
        ("/", f"{COOKIE}_8080=wrong"),
        ("/", f"{COOKIE}_8081={TOKEN}"),
        ("//[", ""),
        ("/", f"other={TOKEN}"),
        ("/", "=;=\x00"),
        ("/?token=\u00e9", ""),
    ],
)
def test_without_the_token_nothing_is_served(path, cookie):
    assert "token" in OPEN.refusal(path, {"Host": "lab:8080", "Cookie": cookie})
    assert OPEN.cookie(path, "lab:8080") == ""


def test_the_link_sets_a_cookie_that_is_enough():
    path = f"/?token={TOKEN}"
    assert OPEN.refusal(path, {"Host": "lab:8080"}) == ""
    cookie = OPEN.cookie(path, "lab:8080")
    assert cookie.startswith(f"{COOKIE}_8080={TOKEN};") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert OPEN.refusal("/", {"Host": "lab:8080", "Cookie": cookie.partition(";")[0]}) == ""


def test_two_pages_of_a_machine_keep_their_own_cookies():
    """A browser sends the cookies of one name to all of its ports."""
    guards = {"lab:8080": OPEN, "lab:8081": Guard(False, "another-token-123")}
    links = {"lab:8080": TOKEN, "lab:8081": "another-token-123"}
    kept: dict[str, str] = {}
    for host, guard in guards.items():
        name, _, value = guard.cookie(f"/?token={links[host]}", host).partition(";")[0].partition("=")
        kept[name] = value
    sent = "; ".join(f"{name}={value}" for name, value in kept.items())
    assert all(guard.refusal("/", {"Host": host, "Cookie": sent}) == "" for host, guard in guards.items())


@pytest.mark.parametrize("token", ["ab+cd/ef=gh#ij&kl", 'semi;colon,"quoted"%41', "a" * 16])
def test_any_token_passes_through_link_and_cookie(token):
    window = Window(None, "0.0.0.0", 8080, token)  # type: ignore[arg-type]
    window.port = 8080
    guard, path = Guard(False, token), "/" + window.url.partition(":8080/")[2]
    assert guard.refusal(path, {"Host": "lab:8080"}) == ""
    cookie = guard.cookie(path, "lab:8080").partition(";")[0]
    assert guard.refusal("/", {"Host": "lab:8080", "Cookie": cookie}) == ""


def test_an_address_of_version_6_makes_a_link():
    window = Window(None, "fd00::2", 8080, TOKEN)  # type: ignore[arg-type]
    window.port = 8080
    assert urlsplit(window.url).hostname == "fd00::2" and urlsplit(window.url).port == 8080


@pytest.mark.parametrize("headers", [{"Host": "[::1"}, {"Host": "a]b"}, HERE | {"Origin": "http://["}])
def test_what_is_no_address_is_refused(headers):
    assert LOCAL.refusal("/", headers)


@pytest.fixture(scope="module")
def served():
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = start(listening, Guard(True, TOKEN), "a <page>")
    yield port
    stop(server)


def crumb(port: int) -> str:
    return f"{COOKIE}_{port}={TOKEN}"


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
    assert get(served, "/index.html", Cookie=crumb(served)).status == 200
    assert get(served, "/", Cookie=crumb(served), Host="evil.example").status == 403


def test_the_title_is_text(served):
    import gzip

    page = gzip.decompress(get(served, f"/?token={TOKEN}").read())
    assert b"<title>a &lt;page&gt;</title>" in page


def handshake(port: int, **headers: str):
    return connect(f"ws://127.0.0.1:{port}", subprotocols=["viser-v1.1.1"], additional_headers=headers, open_timeout=10)


def test_a_websocket_needs_the_token_and_the_page_itself(served):
    for headers in ({}, {"Cookie": crumb(served), "Origin": "http://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            handshake(served, **headers)
        assert refused.value.response.status_code == 403
    with handshake(served, Cookie=crumb(served), Origin=f"http://127.0.0.1:{served}") as socket_:
        assert socket_.recv(timeout=10)


def test_nobody_can_have_the_page_published():
    from viser import _messages

    listening = bind("127.0.0.1", 0)
    server = start(listening, Guard(True), "page")
    try:
        assert _messages.ShareUrlRequest not in server._websock_server._incoming_handlers
    finally:
        stop(server)


@pytest.fixture
def slider():
    """A server for everyone here, with a slider; what its callback was told."""
    listening, told = bind("127.0.0.1", 0), []
    server = start(listening, Guard(True), "page")
    found = server.gui.add_slider("speed", min=0.0, max=4.0, step=0.1, initial_value=1.0)
    found.on_update(lambda event: told.append(event.target.value))
    yield server, found, told, listening.getsockname()[1]
    stop(server)


def update(found, **what):
    return msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": found._impl.uuid, "updates": what})


def wait_for(holds):
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def test_a_viewer_changes_values_and_nothing_else_of_a_control(slider, caplog):
    _, found, told, port = slider
    with handshake(port) as viewer:
        viewer.send(msgspec.msgpack.encode(CAMERA))
        for wrong in ({"update_cb": []}, {"sync_cb": None, "value": 3.0}, {"no_such": 1}, {"value": "fast"}):
            viewer.send(update(found, **wrong))
        viewer.send(update(found, value=2.0))
        wait_for(lambda: told)
    assert told == [2.0] and found._impl.update_cb and found._impl.sync_cb is not None
    assert not [record for record in caplog.records if record.name == "asyncio"], "nothing on the terminal"


def test_a_button_that_is_not_there_presses_nothing(slider, capfd):
    server, _, _, port = slider
    sent: list[Command] = []
    buttons = (Button("start", "start / stop"), Button("reset", "reset"))
    Controls(server, buttons, lambda command: sent.append(command) or 0, lambda *_: None)
    group = next(
        h for h in server.gui._gui_input_handle_from_uuid.values() if "start / stop" in getattr(h, "options", ())
    )
    with handshake(port) as viewer:
        viewer.send(msgspec.msgpack.encode(CAMERA))
        for value in ("nope", "reset"):
            viewer.send(update(group, value=value))
            time.sleep(0.05)
        wait_for(lambda: sent)
    assert sent == [Command("reset")] and "Traceback" not in "".join(capfd.readouterr())


def test_what_is_larger_than_any_value_ends_the_connection(slider):
    _, found, told, port = slider
    with handshake(port) as viewer, pytest.raises(ConnectionClosed):
        viewer.send(update(found, value="a" * 2 * MOST_BYTES))
        while True:
            viewer.recv(timeout=10)
    with handshake(port) as viewer:
        viewer.send(msgspec.msgpack.encode(CAMERA))
        viewer.send(update(found, value=2.0))
        wait_for(lambda: told)


def test_nothing_can_be_uploaded():
    from viser import _messages

    listening = bind("127.0.0.1", 0)
    server = start(listening, Guard(True), "page")
    try:
        handled = server._websock_server._incoming_handlers
        assert not {_messages.FileTransferStartUpload, _messages.FileTransferPart} & handled.keys()
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
    with pytest.raises(OptionError, match="192.0.2.1") as error:
        bind("192.0.2.1", 8080)
    assert "--host" in str(error.value.remedy) and "--port" not in str(error.value.remedy)
