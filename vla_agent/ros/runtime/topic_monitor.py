"""Counts the messages of each camera and of the joint states, and gives the likely cause where they do not come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vla_agent.ros.runtime.large_images import LARGE, LOSS

SLOW = 0.5  # of the expected rate: a lower rate is slow


@dataclass
class _Source:
    expected: float  # Hz
    new: int = 0  # messages since the last update
    ever: int = 0  # messages by the last update
    hz: float = 0.0
    size: int = 0  # bytes of the last message
    late: int = 0
    lost: int = 0
    rejected: int = 0
    incompatible: str = ""
    publishers: tuple[str, ...] = ()
    silent_counts: int = 0  # updates in a row with publishers but without any message ever


class TopicMonitor:
    """Rates and losses of the policy's input topics.

    Args:
        expected: source -> messages a second.
        max_age: seconds after its stamp from which a message counts as late.
        reliable: whether the images' QoS is reliable; then none is lost because of its size.
        clock: seconds.
    """

    def __init__(
        self, expected: Mapping[str, float], max_age: float, reliable: bool, clock: Callable[[], float]
    ) -> None:
        self._sources = {name: _Source(hz) for name, hz in expected.items()}
        self._max_age, self._reliable, self._clock = max_age, reliable, clock
        self._since = clock()

    def count_received(self, name: str, age: float, size: int = 0) -> None:
        """A message came ``age`` seconds after its stamp, with an image of ``size`` bytes."""
        source = self._sources[name]
        source.new += 1
        source.size, source.incompatible = size, ""
        source.late += age > self._max_age

    def count_rejected(self, name: str) -> None:
        """A message could not be read."""
        self._sources[name].rejected += 1

    def count_lost(self, name: str, messages: int) -> None:
        """The middleware reports so many lost messages."""
        self._sources[name].lost += messages

    def note_incompatible(self, name: str, policy: str, remedy: str) -> None:
        """A publisher's QoS is incompatible with the requested one; nothing comes from it."""
        self._sources[name].incompatible = f"its publisher's QoS is incompatible, policy {policy}: {remedy}"

    def update_rates(self) -> None:
        """Compute the rates since the last update."""
        now = self._clock()
        for source in self._sources.values():
            source.hz = source.new / max(now - self._since, 1e-9)
            source.ever, source.new = source.ever + source.new, 0
        self._since = now

    def note_publishers(self, name: str, publishers: Sequence[str]) -> None:
        """Nodes that publish it; to be given after each update, where it is slow."""
        source = self._sources[name]
        source.publishers = tuple(publishers)
        source.silent_counts = source.silent_counts + 1 if publishers and not source.ever else 0

    def is_slow(self, name: str) -> bool:
        """Whether its rate was less than half of the expected one, by the last update."""
        return self._sources[name].hz < SLOW * self._sources[name].expected

    def likely_cause(self, name: str) -> str:
        """The likely cause of missing messages; empty where none is known."""
        source = self._sources[name]
        if source.incompatible:
            return source.incompatible
        if self._reliable:
            return ""
        if source.silent_counts > 1:  # a publisher that has just started has not sent yet
            return f"{', '.join(source.publishers)} publishes, but nothing arrives; likely cause: {LOSS}"
        return f"likely cause: {LOSS}" if source.size > LARGE and self.is_slow(name) else ""

    def values(self) -> dict[str, object]:
        """Rates, and counts since the start, for /diagnostics."""
        rows: dict[str, object] = {}
        for name, source in self._sources.items():
            rows[f"{name} Hz"] = f"{source.hz:.1f}"
            rows |= {f"{name} late": source.late, f"{name} lost": source.lost, f"{name} refused": source.rejected}
        return rows
