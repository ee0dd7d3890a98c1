"""Misbehaving clients, for `policy-serve-faults`.

Each client is a function of a running server that returns the server's fault in words; empty where there is none.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.serving.server import PolicyServer
from vla_agent.serving.tokens import headers
from vla_agent.serving.wire import pack, unpack

TOKEN = "a-token-of-the-benchmark"
TIMEOUT = 60.0
Client = Callable[[PolicyServer], str]


def request(contract: Any, **changed: Any) -> dict[str, Any]:
    """A valid request with some keys changed; None leaves a key out."""
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in contract.cameras}
    whole = {"images": images, "state": blank_observation(contract)["state"], "prompt": "open the drawer"}
    return {key: value for key, value in (whole | changed).items() if value is not None}


def websocket(server: PolicyServer) -> ClientConnection:
    """A connection that has received the metadata."""
    made = connect(server.url, compression=None, max_size=None, additional_headers=headers(TOKEN))
    made.recv(timeout=TIMEOUT)
    return made


def plain(server: PolicyServer) -> socket.socket:
    """A connection that has sent nothing yet."""
    return socket.create_connection(("127.0.0.1", server.port), TIMEOUT)


def upgraded(server: PolicyServer) -> socket.socket:
    """A websocket by hand, for data that no library sends."""
    made = plain(server)
    lines = ("GET / HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    key = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Authorization: Api-Key {TOKEN}", "", "")
    made.sendall("\r\n".join((*lines, *key)).encode())
    made.recv(4096)
    return made


def ended(connection: ClientConnection, code: int) -> str:
    """Read until the server closes; the fault of its code."""
    try:
        while True:
            connection.recv(timeout=TIMEOUT)
    except ConnectionClosed as error:
        found = error.rcvd.code if error.rcvd else None
        return "" if found == code else f"closed with {found}, not {code}"
    except TimeoutError:
        return "was not cut off"


def goes_on(server: PolicyServer, *messages: dict[str, Any] | bytes | str, word: str) -> str:
    """Each message is answered by a text with ``word``, and a valid request after them by a chunk."""
    with websocket(server) as connection:
        for message in messages:
            connection.send(pack(message) if isinstance(message, dict) else message)
            text = connection.recv(timeout=TIMEOUT)
            if not isinstance(text, str) or word not in text:
                return f"got the answer {text[:80]!r}"
        connection.send(pack(request(server_contract(server))))
        reply = connection.recv(timeout=TIMEOUT)
        return "" if isinstance(reply, bytes) and "actions" in unpack(reply) else "was not served afterwards"


def server_contract(server: PolicyServer) -> Any:
    """The contract of the server's policy."""
    from vla_agent.serving.remote_policy import RemotePolicy

    policy = RemotePolicy(server.url, TOKEN, TIMEOUT)
    policy.close()
    return policy.contract


def refused(server: PolicyServer, status: int, **options: Any) -> str:
    """The connection is refused."""
    try:
        connect(server.url, compression=None, open_timeout=TIMEOUT, **options).close()
    except InvalidHandshake as error:
        return "" if str(status) in str(error) else str(error)
    return "was let in"


def malformed(message: bytes) -> Client:
    """Sends one malformed message."""

    def client(server: PolicyServer) -> str:
        connection = websocket(server)
        connection.send(message)
        text = connection.recv(timeout=TIMEOUT)
        return ended(connection, 1007) if isinstance(text, str) else "got no error"

    return client


def oversized(server: PolicyServer) -> str:
    connection = websocket(server)
    with contextlib.suppress(ConnectionClosed):
        connection.send(b"\x00" * (4 * 2**20))
    return ended(connection, 1009)


def oversized_in_pieces(server: PolicyServer) -> str:
    connection = websocket(server)
    with contextlib.suppress(ConnectionClosed):
        connection.send(b"\x00" * 2**17 for _ in range(64))
    return ended(connection, 1009)


def announces_a_huge_frame(server: PolicyServer) -> str:
    """A frame's head that announces 2^62 bytes."""
    made = upgraded(server)
    made.sendall(b"\x82" + b"\xff" + struct.pack("!Q", 2**62) + b"\x00" * 8)
    return closes(made)


def half_a_frame(server: PolicyServer) -> str:
    made = upgraded(server)
    made.sendall(b"\x82" + b"\xfe" + struct.pack("!H", 1000) + b"\x00" * 100)
    return closes(made)


def half_a_handshake(server: PolicyServer) -> str:
    made = plain(server)
    made.sendall(b"GET / HTTP/1.1\r\nHost:")
    time.sleep(0.5)
    made.close()
    return ""


def not_a_websocket(data: bytes) -> Client:
    """Sends bytes that are no websocket handshake."""

    def client(server: PolicyServer) -> str:
        made = plain(server)
        made.sendall(data)
        return closes(made)

    return client


def closes(made: socket.socket) -> str:
    """Read until the server closes."""
    made.settimeout(TIMEOUT)
    try:
        while made.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return "was not cut off"
    made.close()
    return ""


def never_reads(server: PolicyServer) -> str:
    """Sends requests without pause and reads no reply; then disconnects."""
    made = upgraded(server)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = pack(request(server_contract(server)))
    frame = b"\x82" + b"\xff" + struct.pack("!Q", len(body)) + b"\x00" * 4 + body
    made.settimeout(2.0)
    try:
        for _ in range(100):
            made.sendall(frame)
    except OSError:
        pass
    made.close()
    return ""


def floods(server: PolicyServer) -> str:
    """Sends a hundred observations at once; the last one must be among those that are answered."""
    contract = server_contract(server)
    with websocket(server) as connection:
        for k in range(100):
            connection.send(pack(request(contract, id=k)))
        answered: list[int] = []
        while not answered or answered[-1] != 99:
            try:
                answered.append(unpack(connection.recv(timeout=TIMEOUT, decode=False))["id"])
            except TimeoutError:
                return f"answered {answered}, and not the newest"
    return "" if answered == sorted(answered) else f"out of order: {answered}"


def idles(server: PolicyServer) -> str:
    return ended(websocket(server), 1008)


def breaks_the_policy(server: PolicyServer) -> str:
    connection = websocket(server)
    connection.send(pack(request(server_contract(server), prompt="fail")))
    return ended(connection, 1011)


def leaves_in_the_handshake(server: PolicyServer) -> str:
    for _ in range(20):
        plain(server).close()
    return ""


def leaves_at_once(server: PolicyServer) -> str:
    for _ in range(10):
        upgraded(server).close()
    return ""


def leaves_within_a_frame(server: PolicyServer) -> str:
    made = upgraded(server)
    made.sendall(b"\x82" + b"\xfe" + struct.pack("!H", 1000) + b"\x00" * 100)
    made.close()
    return ""


def leaves_during_inference(server: PolicyServer) -> str:
    """Disconnects during its inference."""
    connection = websocket(server)
    connection.send(pack(request(server_contract(server), prompt="think")))
    connection.socket.close()
    return ""


def resets(server: PolicyServer) -> str:
    """Ends by a TCP reset."""
    made = upgraded(server)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.sendall(b"\x82\x84\x00\x00\x00\x00\x81\x01\x02\x03")
    made.close()
    return ""


def too_many(server: PolicyServer) -> str:
    """Opens connections until one is refused."""
    made: list[ClientConnection] = []
    try:
        for _ in range(100):
            connection = connect(server.url, compression=None, additional_headers=headers(TOKEN))
            made.append(connection)
            connection.recv(timeout=TIMEOUT)
    except ConnectionClosed as error:
        return "" if error.rcvd and error.rcvd.code == 1013 else str(error)
    finally:
        for connection in made:
            connection.close()
    return "a hundred were let in"


def knocks(status: int, **options: Any) -> Client:
    """Tries to connect without authorisation."""
    return lambda server: refused(server, status, **options)


def asks(word: str, **changed: Any) -> Client:
    """Sends a request with keys changed; gets an error, and a chunk for a valid request after it."""
    return lambda server: goes_on(server, request(server_contract(server), **changed), word=word)


def says_text(server: PolicyServer) -> str:
    connection = websocket(server)
    connection.send("open the drawer")
    connection.recv(timeout=TIMEOUT)
    return ended(connection, 1007)
