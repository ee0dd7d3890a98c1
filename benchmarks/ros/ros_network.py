"""Two hosts on one machine: network namespaces joined by a cable that can be pulled.  Needs Linux with user namespaces.

The case runs in a process with a network of its own (`in_own_network`); a second network holds the policy's side::

    the robot's host                                    the policy's host
    sim_robot_node, safety_node, listener  -- cable --  controller_node, policy_node

Shared memory is no way around the cable: the second host has a /dev/shm of its own.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.ros.ros_graph import PACE, Graph, stop_delay, stop_lasts

ROOT = Path(__file__).parents[2]
CABLE, FAR_END = "vla0", "vla1"
ADDRESSES = ("10.77.0.1/24", "10.77.0.2/24")
OWN = ("unshare", "--user", "--map-root-user", "--net", "--mount")


class Hosts:
    """The second host, and the cable; the caller has to be in a network of its own."""

    def __enter__(self) -> Hosts:
        command = "mount -t tmpfs tmpfs /dev/shm && echo ready && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", command], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "ready":
            raise RuntimeError("a second network cannot be made here")
        pid = str(self._holder.pid)
        _ip("link", "add", CABLE, "type", "veth", "peer", "name", FAR_END, "netns", pid)
        for before, device, address in (((), CABLE, ADDRESSES[0]), (self.far, FAR_END, ADDRESSES[1])):
            _ip("link", "set", "lo", "up", before=before)
            _ip("address", "add", address, "dev", device, before=before)
            _ip("link", "set", device, "up", before=before)
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    @property
    def far(self) -> tuple[str, ...]:
        """Words in front of a command that run it on the second host."""
        namespaces = f"/proc/{self._holder.pid}/ns"
        return ("nsenter", f"--net={namespaces}/net", f"--mount={namespaces}/mnt", f"--wd={os.getcwd()}")

    def disconnect(self) -> None:
        """Pull the cable."""
        _ip("link", "set", CABLE, "down")

    def reconnect(self) -> None:
        """Plug it in again."""
        _ip("link", "set", CABLE, "up")


def _ip(*words: str, before: tuple[str, ...] = ()) -> None:
    subprocess.run([*before, "ip", *words], check=True, timeout=20)


def possible() -> bool:
    """Whether this kernel and user may make networks."""
    if not all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip")):
        return False
    tried = [*OWN, "unshare", "--net", "true"]
    return subprocess.run(tried, capture_output=True, timeout=20).returncode == 0


def in_own_network(times: int) -> list[float]:
    """Cut the network ``times`` times in a process with a network of its own; delays as `ros_faults` counts them."""
    env = dict(os.environ, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET", PYTHONPATH=str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "delays.json"
        words = [*OWN, sys.executable, "-m", "benchmarks.ros.ros_network", str(times), str(file)]
        subprocess.run(words, cwd=ROOT, env=env, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def cut(graph: Graph, hosts: Hosts) -> float:
    """Pull the cable between policy and robot; it is reconnected while the stop must last."""
    graph.require_motion()
    began = graph.time
    hosts.disconnect()
    delay = stop_delay(graph, began)
    hosts.reconnect()
    return delay if stop_lasts(graph) else math.inf


def _cuts(times: int, logs: Path) -> list[float]:
    with Hosts() as hosts:
        server = subprocess.Popen(
            [*hosts.far, sys.executable, "-m", "benchmarks.ros.ros_policy"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            policy = server.stdout.readline().strip()
            before = dict.fromkeys(("controller_node", "policy_node"), hosts.far)
            with Graph(logs, before=before, policy=policy, real_time_factor=PACE) as graph:
                return [cut(graph, hosts) for _ in range(times)]
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as logs:
        found = _cuts(int(sys.argv[1]), Path(logs))
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
