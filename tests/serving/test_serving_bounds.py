"""No client keeps the others of a policy server waiting."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

msgpack = pytest.importorskip("msgpack")
pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from sim.env import tabletop_contract  # noqa: E402
from vla_agent.contract.blank_observation import blank_observation  # noqa: E402
from vla_agent.serving import bounded_connection  # noqa: E402
from vla_agent.serving.remote_policy import RemotePolicy  # noqa: E402
from vla_agent.serving.server import PolicyServer  # noqa: E402
from vla_agent.serving.wire import pack  # noqa: E402

CONTRACT = tabletop_contract()


class Still:
    """Does not move."""

    execute, contract = 8, CONTRACT

    def reset(self, instruction: str, seed: int = 0) -> None:
        pass

    def act(self, observation: object) -> np.ndarray:
        return np.zeros((CONTRACT.chunk_length, CONTRACT.action_dim), np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[PolicyServer]:
    with PolicyServer(Still(), "still", port=0) as running:
        yield running


def raw(server):
    socket = connect(server.url, compression=None, max_size=None)
    socket.recv(timeout=20)
    return socket


def message():
    observation = blank_observation(CONTRACT)
    return pack({"images": observation["images"], "state": observation["state"], "prompt": "go"})


def test_a_message_may_come_in_pieces_at_the_limit_and_in_no_more(server):
    data = message()
    size = -(-len(data) // bounded_connection.FRAMES)
    pieces = [data[k : k + size] for k in range(0, len(data), size)]
    pieces += [b""] * (bounded_connection.FRAMES - 1 - len(pieces))  # and the client's last, empty frame
    socket = raw(server)
    for _ in range(2):  # the count begins again with each message
        socket.send(pieces)
        assert b"actions" in socket.recv(timeout=20)
    with pytest.raises(ConnectionClosed) as closed:
        socket.send([*pieces, b""])
        socket.recv(timeout=20)
    assert closed.value.rcvd.code == 1008 and "frames" in closed.value.rcvd.reason


def test_pings_without_messages_end_a_connection(server):
    socket = raw(server)
    with pytest.raises(ConnectionClosed):
        for k in range(2 * bounded_connection.FRAMES):
            socket.ping(str(k))
        socket.recv(timeout=20)


def test_a_large_message_of_maps_delays_nobody(server):
    good, bad = RemotePolicy(server.url), raw(server)
    good.reset("go")
    bomb = b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x80" * 4000) * 4095
    observation, slowest, done = blank_observation(CONTRACT), 0.0, threading.Event()
    sender = threading.Thread(target=lambda: (bad.send(bomb), done.set()))
    sender.start()
    deadline = time.monotonic() + 20
    asked = 0
    while (not done.is_set() or asked < 20) and time.monotonic() < deadline:
        start = time.monotonic()
        good.act(observation)
        slowest, asked = max(slowest, time.monotonic() - start), asked + 1
    sender.join()
    assert "more than 16,384 values" in bad.recv(timeout=20)
    assert slowest < 0.5
    good.close()


def test_a_decoder_that_is_busy_leaves_one_to_the_others(server, monkeypatch):
    """Decoding is outside of the event loop: connections are served meanwhile."""
    from vla_agent.serving import server as module

    gate, entered = threading.Event(), threading.Event()
    real = module.unpack

    def slow(data):
        if b"held" in data:
            entered.set()
            gate.wait(20)
        return real(data)

    monkeypatch.setattr(module, "unpack", slow)
    bad = raw(server)
    bad.send(pack({"held": 1}))
    assert entered.wait(20)
    good = RemotePolicy(server.url)
    good.reset("go")
    assert good.act(blank_observation(CONTRACT)).shape == (CONTRACT.chunk_length, CONTRACT.action_dim)
    gate.set()
    good.close()
