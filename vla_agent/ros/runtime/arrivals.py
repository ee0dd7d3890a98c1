"""Counts what arrives of each camera and of the joint states, and says why it may be that something does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vla_agent.ros.runtime.large_images import LARGE, LOSS

SLOW = 0.5  # of the expected rate: what comes less often is slow


@dataclass
class _Source:
    expected: float  # Hz
    new: int = 0  # messages since the last count
    ever: int = 0  # messages by the last count
    hz: float = 0.0
    size: int = 0  # bytes of the last message
    late: int = 0
    lost: int = 0
    refused: int = 0
    incompatible: str = ""
    publishers: tuple[str, ...] = ()
    offered: int = 0  # counts in a row in which publishers were there, and nothing ever came


class Arrivals:
    """Rates and losses of the policy's sources.

    Args:
        expected: source -> messages a second.
        max_age: seconds by which a message that comes later than its stamp is late.
        reliable: whether images are asked for reliably; then none of them is lost for its size.
        clock: seconds.
    """

    def __init__(
        self, expected: Mapping[str, float], max_age: float, reliable: bool, clock: Callable[[], float]
    ) -> None:
        self._sources = {name: _Source(hz) for name, hz in expected.items()}
        self._max_age, self._reliable, self._clock = max_age, reliable, clock
        self._since = clock()

    def came(self, name: str, age: float, size: int = 0) -> None:
        """A message came ``age`` seconds after its stamp, with ``size`` bytes of picture."""
        source = self._sources[name]
        source.new += 1
        source.size, source.incompatible = size, ""
        source.late += age > self._max_age

    def refuse(self, name: str) -> None:
        """A message could not be read."""
        self._sources[name].refused += 1

    def lose(self, name: str, messages: int) -> None:
        """The middleware tells that so many messages got lost on their way."""
        self._sources[name].lost += messages

    def mismatch(self, name: str, policy: str, remedy: str) -> None:
        """A publisher offers other QoS than is asked for; nothing comes from it."""
        self._sources[name].incompatible = f"its publisher's QoS does not fit, policy {policy}: {remedy}"

    def count(self) -> None:
        """Take stock: rates are those since the last time."""
        now = self._clock()
        for source in self._sources.values():
            source.hz = source.new / max(now - self._since, 1e-9)
            source.ever, source.new = source.ever + source.new, 0
        self._since = now

    def offer(self, name: str, publishers: Sequence[str]) -> None:
        """Nodes that publish it; to be told after each count, where it is slow."""
        source = self._sources[name]
        source.publishers = tuple(publishers)
        source.offered = source.offered + 1 if publishers and not source.ever else 0

    def slow(self, name: str) -> bool:
        """Whether it came less than half as often as expected, by the last count."""
        return self._sources[name].hz < SLOW * self._sources[name].expected

    def likely(self, name: str) -> str:
        """Why nothing of it may come, or too little, where that can be told; else empty."""
        source = self._sources[name]
        if source.incompatible:
            return source.incompatible
        if self._reliable:
            return ""
        if source.offered > 1:  # who has only just begun has not sent yet
            return f"{', '.join(source.publishers)} could send, but nothing comes; likely cause: {LOSS}"
        return f"likely cause: {LOSS}" if source.size > LARGE and self.slow(name) else ""

    def values(self) -> dict[str, object]:
        """Rates, and counts since the start, for /diagnostics."""
        rows: dict[str, object] = {}
        for name, source in self._sources.items():
            rows[f"{name} Hz"] = f"{source.hz:.1f}"
            rows |= {f"{name} {kind}": getattr(source, kind) for kind in ("late", "lost", "refused")}
        return rows
