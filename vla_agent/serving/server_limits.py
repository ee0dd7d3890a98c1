"""Limits on what a client of the server may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits for each client.

    Args:
        message_bytes: of one message; a longer one is not read, and its sender is disconnected.
        clients: connected at the same time.
        waiting: pending observations of one client; the oldest are dropped.
        idle_s: seconds without a message after which a client is disconnected.
        send_s: seconds within which a client has to receive its reply.
        stalled_s: seconds of one inference after which the server reports itself unhealthy.
    """

    message_bytes: int = 16 * 2**20
    clients: int = 8
    waiting: int = 1
    idle_s: float = 600.0
    send_s: float = 10.0
    stalled_s: float = 30.0
