"""The server: policies behind a websocket, in the protocol of openpi's client.  See docs/serving.md.

One thread runs the network (asyncio), one the inference, two decode messages.  Each client has one message in work, and
they take turns, so that none can starve the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from vla_agent.errors import OptionError, ServingError, VlaAgentError
from vla_agent.serving.bounded_connection import BoundedConnection
from vla_agent.serving.protocol_messages import Metadata, Request, read_request
from vla_agent.serving.server_limits import Limits
from vla_agent.serving.session import PendingRequests, Session, can_refuse, takes_committed
from vla_agent.serving.tokens import CREATE_TOKEN, authorised
from vla_agent.serving.wire import pack, unpack

logger = logging.getLogger(__name__)
HEALTH = "/healthz"
DECODERS = 2  # threads; one client has one message in work, so that one slow message leaves a thread to the others
LONGEST_ERROR = 4000  # characters that are sent to a client
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class PolicyServer:
    """Serves a policy from `start` to `stop`; also a context.

    Args:
        policy: with ``contract``, ``execute``, ``reset`` and ``act``.
        name: of the policy, sent to clients.
        host: address to listen at.
        port: 0: any free one.
        token: that clients must send; None: only clients on this machine can connect.
        files: name -> SHA-256 of the files that the policy was loaded from.
        prepare: called once in the inference thread, for example to set torch's number of threads.

    Raises:
        OptionError: other machines could connect without a token.
    """

    def __init__(
        self,
        policy: Any,
        name: str,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        limits: Limits | None = None,
        files: Mapping[str, str] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        if token is None and host not in LOOPBACK:
            raise OptionError(
                "other machines could connect without a token",
                key="--token-file",
                expected=f"a file with a token, or --host {LOOPBACK[0]}",
                found=f"--host {host} without a token",
                remedy=CREATE_TOKEN,
            )
        self._policy, self._host, self.port, self._token = policy, host, port, token
        self._limits = limits or Limits()
        self._contract = policy.contract
        abilities = takes_committed(policy), files or {}, can_refuse(policy)
        metadata = Metadata(name, self._contract, policy.execute, *abilities)
        self._hello = pack(metadata.to_dict())
        self._inference = ThreadPoolExecutor(1, "policy", prepare)
        self._decoding = ThreadPoolExecutor(DECODERS, "decode")
        self._started: float | None = None  # start of the running inference
        self._clients = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._up = threading.Event()

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        return f"ws://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def healthy(self) -> bool:
        """Whether no inference hangs."""
        started = self._started
        return started is None or time.monotonic() - started < self._limits.stalled_s

    # -- start and stop -----------------------------------------------------------------------------------------

    def start(self) -> PolicyServer:
        """Listen; returns when clients can connect.

        Raises:
            ServingError: the address cannot be used.
        """
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="server", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._error is not None:
            raise ServingError(
                "the server cannot listen at this address",
                key="--host, --port",
                expected="an address of this machine and a free port",
                found=f"{self._host}:{self.port}: {self._error}",
                remedy="choose another --port, or 0 for any free one",
            ) from self._error
        return self

    def stop(self) -> None:
        """Disconnect all clients and stop; an inference that hangs is abandoned."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(2 * self._limits.send_s)
        self._inference.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(wait=False, cancel_futures=True)
        while self._started is not None and self.healthy:
            time.sleep(0.01)

    def __enter__(self) -> PolicyServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _run(self) -> None:
        self._loop, self._ending, self._turn = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()
        try:
            server: Server = await serve(
                self._attend,
                self._host,
                self.port,
                process_request=self._admit,
                origins=[None],  # programs send no Origin, web pages do
                compression=None,
                create_connection=BoundedConnection,
                max_size=self._limits.message_bytes,
                max_queue=2,
                close_timeout=2,
            )
        except (OSError, OverflowError, ValueError) as error:
            self._error = error
            self._up.set()
            return
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._up.set()
        await self._ending.wait()
        server.close()
        await server.wait_closed()

    # -- clients -------------------------------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Before the websocket handshake: health is public, everything else needs the token."""
        if request.path == HEALTH:
            status = http.HTTPStatus.OK if self.healthy else http.HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, "OK\n" if self.healthy else "the policy hangs\n")
        if request.path != "/":
            return connection.respond(http.HTTPStatus.NOT_FOUND, f"the policy is at /, its health at {HEALTH}\n")
        if self._token is not None and not authorised(self._token, request.headers.get_all("Authorization")):
            logger.warning("refused %s: no token, or a wrong one", connection.remote_address)
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")
        return None

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve one client until it disconnects; its errors affect no other."""
        if self._clients >= self._limits.clients:
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"{self._limits.clients} clients are connected")
            return
        self._clients += 1
        pending, arrival = PendingRequests(self._limits.waiting), asyncio.Event()
        answering = asyncio.create_task(self._answer(connection, pending, arrival))
        try:
            await self._send(connection, self._hello)
            while not answering.done():
                data = await asyncio.wait_for(connection.recv(), self._limits.idle_s)
                request = await self._read(connection, data)
                if request is not None:
                    pending.add(request)
                    arrival.set()
        except ConnectionClosed:
            pass
        except (TimeoutError, asyncio.TimeoutError):
            await connection.close(CloseCode.POLICY_VIOLATION, "too slow, or idle for too long")
        finally:
            self._clients -= 1
            answering.cancel()

    async def _read(self, connection: ServerConnection, data: bytes | str) -> Request | None:
        """The request in a message; None where it is invalid and the client has been sent the error."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(data, str):
                expected, remedy = "msgpack in a binary message", "see docs/serving.md, the protocol"
                raise ServingError(
                    "a message is text", key="message", expected=expected, found=data[:40], remedy=remedy
                )
            message = await loop.run_in_executor(self._decoding, unpack, data)
        except ServingError as error:  # this client uses another protocol
            await self._send(connection, str(error)[:LONGEST_ERROR])
            await connection.close(CloseCode.INVALID_DATA, error.what)
            return None
        try:
            return await loop.run_in_executor(self._decoding, read_request, message, self._contract)
        except VlaAgentError as error:
            await self._send(connection, str(error)[:LONGEST_ERROR])
            return None

    async def _answer(self, connection: ServerConnection, pending: PendingRequests, arrival: asyncio.Event) -> None:
        """Compute and send, one request after the other, until the client disconnects."""
        session, loop = Session(self._policy, self._contract), asyncio.get_running_loop()
        try:
            while True:
                await arrival.wait()
                arrived = time.monotonic()
                async with self._turn:
                    request = pending.take()
                    if not pending:
                        arrival.clear()
                    start = time.monotonic()
                    try:
                        chunk = await loop.run_in_executor(self._inference, self._infer, session, request)
                        said, refused = {"refusal": session.refusal, "doubt": session.doubt}, ""
                    except VlaAgentError as error:
                        refused = str(error)
                if refused:  # sent after the turn: this client may be slow to receive it
                    await self._send(connection, refused)
                    continue
                timing = {"infer_ms": 1000 * (time.monotonic() - start), "queue_ms": 1000 * (start - arrived)}
                reply = {"actions": chunk, "server_timing": timing, "dropped": pending.dropped}
                reply |= said if can_refuse(self._policy) else {}
                await self._send(connection, pack(reply if request.id is None else reply | {"id": request.id}))
        except (ConnectionClosed, TimeoutError, asyncio.TimeoutError):
            await connection.close(CloseCode.POLICY_VIOLATION, "too slow")
        except Exception as error:  # of the policy: it ends this client's episode only
            logger.exception("the policy failed")
            with contextlib.suppress(ConnectionClosed, TimeoutError, asyncio.TimeoutError):
                await self._send(connection, f"the policy failed: {type(error).__name__}; the server's log says more")
            await connection.close(CloseCode.INTERNAL_ERROR, "the policy failed")

    def _infer(self, session: Session, request: Request) -> Any:
        self._started = time.monotonic()
        try:
            return session.infer(request)
        finally:
            self._started = None

    async def _send(self, connection: ServerConnection, data: bytes | str) -> None:
        await asyncio.wait_for(connection.send(data), self._limits.send_s)
