"""Start the simulated ROS 2 graph, give it an instruction, watch it move, stop it.  Needs rclpy (extra ros-wheels)."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

PACE = "0.1"  # simulated seconds in one second: a busy machine keeps step; use 1.0 on four free cores
INSTRUCTION = "press the red button"


def watch(seconds: float = 150.0) -> float:
    """Give the instruction, and return how far some joint has moved while it was followed, in radians."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String

    from vla_agent.ros.process.node_base import LATCHED, SENSORS

    rclpy.init()
    node, joints, nodes = rclpy.create_node("example"), [], {}
    node.create_subscription(JointState, "joint_states", lambda m: joints.append(list(m.position)), SENSORS)
    node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: nodes.update({s.name: s for s in m.status}), 10)
    publisher = node.create_publisher(String, "instruction", LATCHED)
    end, moved, given = time.monotonic() + seconds, 0.0, False
    while time.monotonic() < end and moved < 0.2:  # until a joint has moved by 0.2 rad
        rclpy.spin_once(node, timeout_sec=0.2)
        policy = nodes.get("policy_node")
        if policy and policy.message == "acting" and not given:  # on the instruction that the scene gives
            publisher.publish(String(data=INSTRUCTION))
            given = True
        if not policy or INSTRUCTION not in [value.value for value in policy.values]:
            joints.clear()  # only motion that follows our instruction counts
        moved = float(np.ptp(joints, axis=0).max()) if joints else 0.0
    for name, status in sorted(nodes.items()):
        print(f"{name}: {status.message}; " + ", ".join(f"{v.key} {v.value}" for v in status.values[:3]))
    rclpy.shutdown()
    return moved


if importlib.util.find_spec("rclpy") is None:
    print("rclpy is missing: source your ROS 2 installation, or pip install 'vla_agent[ros-wheels]'")
    sys.exit(0)
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)  # nobody else's graph
logs = tempfile.mkdtemp(prefix="vla-example-")
words = ["up", "sim", "--real_time_factor", PACE, "--logs", logs, "--seconds", "300"]  # ends by itself, at the latest
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would the graph
graph = subprocess.Popen([sys.executable, "-m", "vla_agent", *words])  # the same nodes as `vla-agent up sim`
try:
    print(f"'{INSTRUCTION}': a joint has moved by {watch():.2f} rad")
finally:
    graph.send_signal(signal.SIGINT)  # as Ctrl-C does: all nodes end in order, the safety node last
    print(f"the graph ended with exit code {graph.wait()}; its logs: {logs}")
