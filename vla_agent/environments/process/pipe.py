"""Messages over a pipe: eight bytes of length, then msgpack with arrays (`vla_agent.serving.wire`)."""

from __future__ import annotations

import os
import select
import struct
import time
from typing import Any

from vla_agent.serving.wire import pack, unpack

LONGEST = 2**28  # bytes of one message: 80 images of 1024 x 1024
HEAD = struct.Struct("<Q")


class Pipe:
    """Both directions of a connection: file descriptors to read from and to write to."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            OSError: nobody reads any more.
        """
        data = pack(message)
        left = memoryview(HEAD.pack(len(data)) + data)
        while left:
            left = left[os.write(self._writing, left) :]

    def receive(self, within: float | None = None) -> Any:
        """The next message.  ``within``: seconds; None waits without end.

        Raises:
            EOFError: the other side has closed.
            TimeoutError: nothing came in time.
            ValueError: the message claims to be longer than any that is sent.
        """
        until = None if within is None else time.monotonic() + within
        (length,) = HEAD.unpack(self._read(HEAD.size, until))
        if length > LONGEST:
            raise ValueError(f"a message of {length} bytes")
        return unpack(self._read(length, until))

    def _read(self, size: int, until: float | None) -> bytes:
        parts: list[bytes] = []
        while size:
            if until is not None and not select.select([self._reading], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(self._reading, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
