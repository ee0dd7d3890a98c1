"""Clients that try to keep a policy server from its other clients, each while a good client asks and is timed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.bounds.bounded_child import KILLED_AFTER, Child, Outcome
from benchmarks.bounds.message_bombs import EMPTY_MAPS
from vla_agent.errors import VlaAgentError

ATTACK = 3.0  # seconds
HELLO = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def still_policy() -> Any:
    """A policy of the tabletop contract that never moves."""
    import numpy as np

    from vla_agent.contract.tabletop import tabletop_contract

    class Still:
        execute, contract = 8, tabletop_contract()

        def reset(self, instruction: str, seed: int = 0) -> None:
            pass

        def act(self, observation: object) -> Any:
            return np.zeros((self.contract.chunk_length, self.contract.action_dim), np.float32)

    return Still()


def frames_of(*frames: tuple[int, bytes]) -> bytes:
    """Websocket frames of a client: first byte, and content under the mask 0."""
    made = []
    for first, data in frames:
        size = len(data)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = b"\xfe" + size.to_bytes(2, "big") if size < 65_536 else b"\xff" + size.to_bytes(8, "big")
        made.append(bytes([first]) + length + bytes(4) + data)
    return b"".join(made)


def _flood(*, once: bytes = b"", again: bytes = b"") -> Callable[[int], None]:
    """Connects, sends ``once``, and then ``again`` as fast as the server takes it; over and over."""

    def attack(port: int) -> None:
        end = time.monotonic() + ATTACK
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
                    connection.sendall(HELLO)
                    connection.recv(65_536)
                    threading.Thread(target=_drain, args=(connection,), daemon=True).start()
                    connection.sendall(once)
                    while again and time.monotonic() < end:
                        connection.sendall(again)
                    time.sleep(0.05)
            except OSError:
                time.sleep(0.05)  # it was disconnected, which is what it deserves

    return attack


def _drain(connection: socket.socket) -> None:
    try:
        while connection.recv(65_536):
            pass
    except OSError:
        pass


def _request() -> bytes:
    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.contract.tabletop import tabletop_contract
    from vla_agent.serving.wire import pack

    return pack(blank_observation(tabletop_contract()) | {"prompt": "go"})


def attacks() -> dict[str, Callable[[int], None]]:
    """What each bad client does."""
    numbers = b"\x82\xa6images\x80\xa5state\xdc\x0f\xa0" + b"\xcb?\xf0\0\0\0\0\0\0" * 4000
    return {
        "16 MB of empty maps": _flood(once=frames_of((0x82, EMPTY_MAPS))),
        "16 MB of short texts": _flood(once=frames_of((0x82, b"\xdd\x00\x3d\x09\x00" + b"\xa2ab" * 4_000_000))),
        "16 MB in pieces of one byte": _flood(once=frames_of((0x02, b"x")), again=frames_of(*[(0x00, b"x")] * 100_000)),
        "pieces of no byte without end": _flood(
            once=frames_of((0x02, b"x")), again=frames_of(*[(0x00, b"")] * 100_000)
        ),
        "pings without end": _flood(again=frames_of(*[(0x89, b"x" * 100)] * 5_000)),
        "pongs without end": _flood(again=frames_of(*[(0x8A, b"")] * 100_000)),
        "16 MB of zeros, again and again": _flood(again=frames_of((0x82, bytes(16_000_000)))),
        "100 MB in one message": _flood(once=frames_of((0x82, bytes(100_000_000)))),
        "a frame that states 2^60 bytes": _flood(once=b"\x82\xff\x10" + bytes(7), again=bytes(1_000_000)),
        "a thousand observations at once": _flood(again=frames_of(*[(0x82, _request())] * 50)),
        "states as lists of 4,000 numbers": _flood(again=frames_of(*[(0x82, numbers)] * 50)),
        "a header of 10 MB": _bad_header,
    }


def _bad_header(port: int) -> None:
    end = time.monotonic() + ATTACK
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 10_000_000)
        except OSError:
            time.sleep(0.05)


def run_attack(attack: Callable[[int], None]) -> tuple[Outcome, float]:
    """The server's outcome, its memory and the good client's longest wait, seconds."""
    listening, telling = os.pipe()
    stopping, stop = os.pipe()

    def serve() -> None:
        from vla_agent.serving.server import PolicyServer

        os.close(stop)
        with PolicyServer(still_policy(), "still", port=0) as server:
            os.write(telling, server.port.to_bytes(4, "big"))
            os.read(stopping, 1)

    child = Child(serve)
    os.close(telling)
    try:
        slowest = _good_client(int.from_bytes(os.read(listening, 4), "big"), attack)
    except VlaAgentError:  # it was not served
        slowest = float("inf")
    os.close(stop)
    outcome = child.wait(KILLED_AFTER)
    os.close(listening)
    os.close(stopping)
    return outcome, slowest


def _good_client(port: int, attack: Callable[[int], None]) -> float:
    """Asks without pause while another process attacks; the longest wait for a chunk, seconds."""
    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.serving.remote_policy import RemotePolicy

    policy = RemotePolicy(f"ws://127.0.0.1:{port}")
    policy.reset("go")
    observation = blank_observation(policy.contract)
    for _ in range(20):
        policy.act(observation)
    bad = os.fork()
    if bad == 0:
        try:
            attack(port)
        finally:
            os._exit(0)
    slowest, ending = 0.0, 0.0
    while not ending or time.monotonic() < ending:
        start = time.monotonic()
        policy.act(observation)
        slowest = max(slowest, time.monotonic() - start)
        if not ending and os.waitpid(bad, os.WNOHANG)[0]:
            ending = time.monotonic() + 0.5
        if time.monotonic() - start > 60:
            os.kill(bad, signal.SIGKILL)
        time.sleep(0.005)
    policy.close()
    return slowest
