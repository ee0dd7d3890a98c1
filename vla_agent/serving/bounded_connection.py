"""A server's connection to one client: few bytes and frames at a time, so that no client keeps the others waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame

READ_BYTES = 2**16  # that are taken from one client before it is another one's turn; asyncio's own are 2**18
FRAMES = 1024  # of one message; other clients send one or a few, and each takes 200 bytes of memory


class BoundedConnection(ServerConnection):
    """Ends a connection that sends a message in more than `FRAMES` frames, or as many pings between two messages."""

    _frames = 0  # since the last message ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take at most `READ_BYTES` at a time."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_BYTES

    def process_event(self, event: Any) -> None:
        """One frame, or the client's handshake."""
        if isinstance(event, Frame):
            self._frames += 1
            if self._frames > FRAMES:
                if self._frames == FRAMES + 1:
                    self.protocol.fail(CloseCode.POLICY_VIOLATION, f"more than {FRAMES} frames in a message")
                    self.send_data()
                return
            if event.fin and event.opcode < 8:
                self._frames = 0
        super().process_event(event)
