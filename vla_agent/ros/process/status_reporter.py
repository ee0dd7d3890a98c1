"""The status of a node on /diagnostics."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
CHANGES = 3  # of a state that are published within a second
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)")
MEASURED = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?(?![\w.]*\w)")


class StatusReporter:
    """Publishes one status on /diagnostics: once a second, and at once when the state changes.

    The state is the level and the message without its numbers: a measured value that differs is no other state.  A
    message that has one is published without it, and as it is in the value ``detail``.  A state that flickers is
    published up to `CHANGES` times within a second.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip("/")  # two robots on one host share /diagnostics
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._state: tuple[str, str] | None = None
        self._at = -1.0
        self._changes: deque[float] = deque([-1.0] * CHANGES, maxlen=CHANGES)  # when the state was published early

    def report(
        self, level: str, message: str, more: Callable[[], dict[str, object]] = dict, /, **values: object
    ) -> None:
        """``level``: ok, warn or error; ``more``: further values, computed only where they are published."""
        now = time.monotonic()
        state = (level, NUMBER.sub("", message))
        changed = state != self._state
        if now - self._at < 1.0 and not (changed and now - self._changes[0] >= 1.0):
            return
        if changed:
            self._changes.append(now)
            if self._state is not None:
                self._log(level, message)
        self._state, self._at = state, now
        short = MEASURED.sub("...", message)
        detail = {} if short == message else {"detail": message}
        status = DiagnosticStatus(level=LEVELS[level], name=self._name, message=short)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in (detail | values | more()).items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _log(self, level: str, message: str) -> None:
        logger = self._node.get_logger()
        if level == "ok":  # rclpy allows one severity a line of code
            logger.info(message)
        elif level == "warn":
            logger.warning(message)
        else:
            logger.error(message)
