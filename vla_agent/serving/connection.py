"""A client's connection to a policy server: one request, one reply, and a typed error for every failure."""

from __future__ import annotations

import time
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from vla_agent.errors import ServingError
from vla_agent.serving.tokens import headers
from vla_agent.serving.wire import pack, unpack

MAX_BYTES = 16 * 2**20  # of a reply


class Connection:
    """Connects at once; ``metadata`` is the server's first message.

    Args:
        url: ``ws://HOST:PORT`` or ``wss://HOST:PORT``.
        token: of the server, where it has one.
        timeout: seconds for the connection, and for each reply.

    Raises:
        ServingError: no server listens there, or it refuses the connection.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self.url, self._timeout = url, timeout
        self._socket: ClientConnection | None = None
        try:
            self._socket = connect(
                url,
                compression=None,
                max_size=MAX_BYTES,
                additional_headers=headers(token),
                open_timeout=timeout,
                close_timeout=2,
            )
            self.metadata = unpack(self._receive())
        except InvalidStatus as error:
            status, body = error.response.status_code, bytes(error.response.body or b"").decode("utf-8", "replace")
            remedy = "set VLA_AGENT_TOKEN to the server's token" if status == 401 else "is this a policy server?"
            raise self._failed("the server refuses", f"status {status}: {body.strip()[:200]}", remedy) from error
        except (OSError, InvalidURI, WebSocketException, TimeoutError) as error:
            found = f"{type(error).__name__}: {error}"
            raise self._failed("there is no policy server", found, "start one: vla-agent serve POLICY") from error
        except ServingError:
            self.close()
            raise

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request, wait for its reply.

        Raises:
            ServingError: the server refuses it, does not reply in time, or is gone; the last two close the connection.
        """
        if self._socket is None:
            raise self._failed("the connection is closed", "an earlier error", "reset() connects again")
        data = pack(message)
        try:
            self._socket.send(data)
            reply = unpack(self._receive())
        except (ConnectionClosed, OSError) as error:
            self.close()
            raise self._failed("the server is gone", str(error), "reset() connects again") from error
        if not isinstance(reply, dict):
            raise self._failed("the reply is not a map", type(reply).__name__, "is this a policy server?")
        return reply

    def _receive(self) -> bytes:
        assert self._socket is not None
        start = time.monotonic()
        try:
            data = self._socket.recv(timeout=self._timeout)
        except TimeoutError as error:
            self.close()  # a late reply must not be mistaken for that of the next request
            found = f"nothing for {time.monotonic() - start:.1f} s"
            raise self._failed("the server does not answer", found, "is it overloaded? ask /healthz") from error
        if isinstance(data, str):
            raise self._failed("the server refuses the request", data, "fix the error that it reports")
        return data

    @property
    def open(self) -> bool:
        """Whether requests can be sent."""
        return self._socket is not None

    def close(self) -> None:
        """Close it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _failed(self, what: str, found: str, remedy: str) -> ServingError:
        return ServingError(what, file=self.url, expected="a policy server", found=found, remedy=remedy)
