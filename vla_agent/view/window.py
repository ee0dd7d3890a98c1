"""The window: a source, stepped in one thread, drawn in another, served to browsers."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from urllib.parse import quote

from vla_agent.errors import OptionError
from vla_agent.view.access import PARAMETER, Guard, is_loopback
from vla_agent.view.guarded_server import bind, start, stop
from vla_agent.view.page import Page
from vla_agent.view.source import Source
from vla_agent.view.stepping import Shown, Stepper, Trouble, in_words

MAX_HZ = 20.0  # of drawing
WAIT = 0.2  # seconds
EVERYWHERE = ("0.0.0.0", "::")  # all of this machine's addresses


class Window:
    """One page for one source.

    Args:
        host: address to listen at; one that is not this machine's own needs a token.
        port: 0 for any free one.
        token: that viewers must have; None: none.
    """

    def __init__(self, source: Source, host: str = "127.0.0.1", port: int = 8080, token: str | None = None) -> None:
        self._source, self._host, self._port, self._token = source, host, port, token
        self.stepper = Stepper(source)
        self._again = threading.Event()  # a viewer came or changed what is shown: draw the last frame again

    def start(self) -> None:
        """Take the port, open the source, and serve the page.

        Raises:
            OptionError: the port is taken.
            ServingError: viser is not as it is expected to be.
            and whatever the source's `open` raises.
        """
        listening = bind(self._host, self._port)
        try:
            self.port = listening.getsockname()[1]
            self.stepper.start()
            guard = Guard(is_loopback(self._host), self._token)
            self._server = start(listening, guard, self._source.title)
        except BaseException:
            listening.close()
            self.stepper.stop()
            raise
        self._server.on_client_connect(lambda _: self._again.set())
        self.page = Page(
            self._server, self._source.title, self._source.controls, self.stepper.send, self._again.set, self._refuse
        )

    def _refuse(self, name: str, error: OptionError) -> None:
        self.stepper.tell(Trouble(in_words(error), name))

    @property
    def url(self) -> str:
        """The link to open, with the token where there is one."""
        name = "localhost" if is_loopback(self._host) else self._host
        if name in EVERYWHERE:
            name = socket.gethostname()
        name = f"[{name}]" if ":" in name else name
        query = f"?{PARAMETER}={quote(self._token, safe='')}" if self._token else ""
        return f"http://{name}:{self.port}/{query}"

    @property
    def viewers(self) -> int:
        return len(self._server.get_clients())

    def draw_until(self, end: threading.Event) -> None:
        """Draw until ``end`` is set.  Without a viewer nothing is drawn: the last frame waits for the next one."""
        last: Shown | None = None
        while not end.is_set():
            began = time.monotonic()
            shown, troubles = self.stepper.wait(WAIT)
            last = shown or last
            if troubles:
                handled = self.stepper.handled
                self.page.trouble(troubles, handled)
                last = last and replace(last, handled=max(handled, last.handled))
                self._again.set()  # what was refused goes back to what the source has
            if last is not None and self.viewers and (shown is not None or self._again.is_set()):
                self._again.clear()
                self.page.draw(last)
            self.page.catch_up()
            end.wait(max(0.0, began + 1 / MAX_HZ - time.monotonic()))

    def stop(self) -> None:
        """End server and source."""
        stop(self._server)
        self.stepper.stop()
