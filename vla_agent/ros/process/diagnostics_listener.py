"""A small ROS node that keeps the newest status of every node on /diagnostics, for programs that only watch a graph."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vla_agent.ros.process.graph_processes import node_environment


@dataclass(frozen=True)
class Status:
    """Newest status of a node: ``level`` 0 ok, 1 warn, 2 error; its message; its values."""

    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


@contextmanager
def observer_node(
    name: str, discovery: str = "", namespace: str = ""
) -> Iterator[tuple[Any, Callable[[Callable[[], object], float], bool]]]:
    """A node in the network settings of `vla-agent up`, and ``spin(until, seconds) -> until()``.

    Ctrl-C stays Python's: rclpy installs no signal handlers.

    Args:
        discovery: see `graph_processes.network_settings`.
        namespace: of the node; empty: none.
    """
    for key, value in node_environment(discovery).items():
        os.environ.setdefault(key, value)
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, namespace=namespace or None)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin(until: Callable[[], object], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not until() and (left := deadline - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=min(0.1, left))
        return bool(until())

    try:
        yield node, spin
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


class DiagnosticsListener:
    """``statuses``: node name -> its newest `Status`; ``count``: messages so far; filled while the node spins."""

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self.statuses: dict[str, Status] = {}
        self.count = 0
        self._subscription = node.create_subscription(DiagnosticArray, "/diagnostics", self._receive, 50)

    def of_namespace(self, namespace: str) -> dict[str, Status]:
        """The statuses of the nodes of one namespace, such as ``/arm1``, by the names that they have there."""
        start = f"{namespace.strip('/')}/" if namespace.strip("/") else ""
        inside = {n.removeprefix(start): status for n, status in self.statuses.items() if n.startswith(start)}
        return {name: status for name, status in inside.items() if "/" not in name}

    def _receive(self, message: Any) -> None:
        self.count += 1
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.statuses[status.name] = Status(int.from_bytes(status.level, "little"), status.message, values)
