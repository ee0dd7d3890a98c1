"""viser's server on our own socket, behind `Guard`, with our own first page.

viser starts its websocket server itself and lets nobody check who connects; so the call that does is wrapped while
viser starts.  The range of viser's versions in setup.cfg is narrow for that reason, and a start that did not pass
through the wrapping is refused.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import http
import io
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import viser
import websockets.asyncio.server
from viser import _messages
from websockets import Headers
from websockets.http11 import Request, Response

from vla_agent.errors import OptionError, ServingError
from vla_agent.view.access import Guard
from vla_agent.view.client_page import client_page

POLICY = (  # what the page may load: nothing from elsewhere
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob: data:; "
    "connect-src 'self' ws: wss: data: blob:; "
    "frame-ancestors 'none'; form-action 'none'"
)
MAX_TRIED = 50  # ports after a busy one
MOST_BYTES = 1 << 20  # of a viewer's message: the longest text that is taken has 2,000 characters


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.  ``port`` 0: any free one.

    Raises:
        OptionError: the port is taken, naming the next free one, or the address is not this machine's.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        foreign = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        tried = range(0) if foreign else range(port + 1, min(port + MAX_TRIED, 65535))
        free = next((p for p in tried if _is_free(host, p)), 0)
        other = "check --host: 127.0.0.1, 0.0.0.0, or an address of this machine" if foreign else "take --port 0"
        raise OptionError(
            "the page's address cannot be used",
            key="--host, --port",
            expected="an address of this machine and a free port",
            found=f"{host}:{port}: {error.strerror or error}",
            remedy=f"take --port {free}, which is free" if free else other,
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(16)
    except BaseException:
        made.close()
        raise
    return made


def _is_free(host: str, port: int) -> bool:
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def start(listening: socket.socket, guard: Guard, title: str) -> viser.ViserServer:
    """A running server without content.

    Raises:
        ServingError: viser did not start as it is expected to.
    """
    used: list[bool] = []
    original = websockets.asyncio.server.serve

    def serve(handler: Any, _host: str, _port: int, **options: Any) -> Any:
        used.append(True)
        inner = options.pop("process_request")
        checked = _checked(guard, inner, title)
        options["max_size"] = MOST_BYTES
        return original(handler, sock=listening, process_request=checked, logger=_silent(), **options)

    with _in_its_place(serve), quiet():
        server = viser.ViserServer(host="127.0.0.1", port=listening.getsockname()[1], verbose=False)
    if not used:
        server.stop()
        raise ServingError(
            "the page cannot be guarded",
            expected="viser 1.1",
            found=f"viser {viser.__version__}, which starts in another way",
            remedy="pip install 'vla_agent[view]'",
        )
    _restrict(server)
    return server


def _restrict(server: viser.ViserServer) -> None:
    """What viser would do for any viewer and this page has no use for."""
    sockets, used = server._websock_server, server.gui._handle_gui_updates
    # publish the page through its maker's relay, and keep uploaded files in memory
    publish = (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect)
    for message in (*publish, _messages.FileTransferStartUpload, _messages.FileTransferPart):
        sockets.unregister_handler(message)

    async def use(client_id: Any, message: _messages.GuiUpdateMessage) -> None:
        """viser would set any attribute of a control, such as the list of whom its button calls."""
        if set(message.updates) == {"value"}:
            with contextlib.suppress(TypeError, ValueError):  # no value of this control's type
                await used(client_id, message)

    sockets.unregister_handler(_messages.GuiUpdateMessage)
    sockets.register_handler(_messages.GuiUpdateMessage, use)


def stop(server: viser.ViserServer) -> None:
    """End the server."""
    with quiet():
        server.stop()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without viser's own lines on standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _silent() -> logging.Logger:
    """What is no websocket's handshake, such as a scanner's, is refused without a traceback on the terminal."""
    logger = logging.getLogger("vla_agent.view.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger


@contextlib.contextmanager
def _in_its_place(serve: Callable[..., Any]) -> Iterator[None]:
    """Inside, ``serve`` is called where `websockets.asyncio.server.serve` would be."""
    original = websockets.asyncio.server.serve
    websockets.asyncio.server.serve = serve  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        websockets.asyncio.server.serve = original  # type: ignore[misc]


def _checked(
    guard: Guard, inner: Callable[[Any, Request], Response | None], title: str
) -> Callable[[Any, Request], Response | None]:
    page = gzip.compress(client_page(Path(viser.__file__).parent / "client" / "build" / "index.html", title))

    def answer(connection: Any, request: Request) -> Response | None:
        if reason := guard.refusal(request.path, dict(request.headers.raw_items())):
            return _response(http.HTTPStatus.FORBIDDEN, reason.encode() + b"\n", "text/plain; charset=utf-8")
        path = request.path.partition("?")[0]
        if request.headers.get("Upgrade", "").lower() == "websocket" or path not in ("/", "/index.html"):
            return inner(connection, request)
        response = _response(http.HTTPStatus.OK, page, "text/html; charset=utf-8")
        response.headers["Content-Encoding"] = "gzip"
        if cookie := guard.cookie(request.path, request.headers.get("Host", "")):
            response.headers["Set-Cookie"] = cookie
        return response

    return answer


def _response(status: http.HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers()
    for name, value in (
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ):
        headers[name] = value
    return Response(status.value, status.phrase, headers, body)
