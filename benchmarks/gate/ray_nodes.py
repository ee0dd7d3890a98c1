"""Two Ray nodes of this machine, and a SIGKILL for one of their worker processes that plays an episode."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vla_agent.evaluation.play.worker_protocol import environment_variables

ROOT = Path(__file__).parents[2]
STORE = 80 * 1024**2  # bytes of each node's object store: an episode's actions are some kilobytes
PATIENCE = 600  # seconds; on a busy machine a node takes minutes to start, and must not count as dead meanwhile
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": str(1000 * PATIENCE),
    "RAY_worker_register_timeout_seconds": str(PATIENCE),
    "RAY_health_check_initial_delay_ms": str(1000 * PATIENCE),
    "RAY_gcs_server_port_wait_time_s": str(PATIENCE),
    "RAY_worker_niceness": "0",  # the priority of the one worker that it is compared with, not 15 lower
}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of two nodes with one core each; its processes find this checkout's packages."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "wait": False}
    waiting = patch.object(services, "get_node", _patient(services.get_node))  # Ray itself gives a node 30 s
    with environment_variables(SETTINGS | {"PYTHONPATH": path}), waiting:
        cluster = Cluster(initialize_head=True, head_node_args=options | {"include_log_monitor": False})
        try:
            cluster.add_node(**options)
            cluster.wait_for_nodes(timeout=PATIENCE)
            yield cluster
        finally:
            import ray

            ray.shutdown()
            cluster.shutdown()


def _patient(get_node: Callable[..., Any]) -> Callable[..., Any]:
    def patient(*arguments: Any, **options: Any) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return get_node(*arguments, **options)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    return patient


def playing(cluster: Any) -> list[int]:
    """Process ids of the workers that play an episode now, on any node of this cluster."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if parent in raylets and title.startswith(b"ray::_apply"):
            found.append(int(folder.name))
    return found


class Killer:
    """Kills one playing worker once ``after`` episodes are done; for ``progress`` of an evaluation.

    Between two short episodes a worker is idle for a moment, so that one look can miss it: it looks for ``SECONDS``.
    """

    SECONDS = 2.0

    def __init__(self, cluster: Any, after: int) -> None:
        self._cluster, self._after = cluster, after
        self.killed: int | None = None

    def __call__(self, played: Any, done: int, total: int) -> None:
        end = time.monotonic() + self.SECONDS
        while self.killed is None and self._after <= done < total and time.monotonic() < end:
            for pid in playing(self._cluster)[:1]:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
