"""How every node lives: parameters, clocks, diagnostics, and an end in which the last message still goes out."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from vla_agent.errors import VlaAgentError
from vla_agent.robot.description import Robot, load_robot
from vla_agent.ros.process.priority import LEVEL, promote, stay_awake, stay_resident
from vla_agent.ros.process.start import STOP

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # before Iron
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
COMMANDS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
SENSORS = QoSProfile(depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
REMEDIES = {"RELIABILITY": "set image_reliability:=best_effort here, or have it publish reliably"}
SWITCH = 0.0002  # seconds after which another thread, such as one that thinks, gives Python away to who waits


def robot_of(node: Any) -> Robot:
    """The robot that the node's parameter ``robot`` names (a name of config/robots, or a path)."""
    return load_robot(str(node.declare_parameter("robot", "panda").value))


def pace_of(node: Any) -> float:
    """Parameter ``real_time_factor``: control seconds that pass in one second of the wall; 1 on a real robot."""
    factor = float(node.declare_parameter("real_time_factor", 1.0).value)
    if not 0.001 <= factor <= 100:
        raise VlaAgentError(
            "the real-time factor makes no sense",
            key="real_time_factor",
            expected="0.001 to 100",
            found=factor,
            remedy="leave it at 1 on a real robot; less slows a simulation down",
        )
    return factor


def make_prompt(node: Any, before: int = 0) -> None:
    """What this process does so far must not wait (`nodes.priority`), unless the parameter ``real_time`` says false.

    It waits for the ``before`` nodes that come between it and the robot alone: what is nearest to the robot goes first.
    To be called when the node has just been made: threads that it begins later are ordinary ones.
    """
    if bool(node.declare_parameter("real_time", True).value):
        scheduling = "real-time" if promote(LEVEL - before) else "ordinary (more is not allowed)"
        sleep = "stay awake" if stay_awake() else "may sleep"
        memory = "stays" if stay_resident() else "may be paged out"
        node.get_logger().info(f"scheduling: {scheduling}; processors {sleep}; memory {memory}")
        sys.setswitchinterval(SWITCH)


def image_qos(node: Any) -> QoSProfile:
    """Parameter ``image_reliability``: ``best_effort`` (takes what any camera offers) or ``reliable``."""
    reliable = str(node.declare_parameter("image_reliability", "best_effort").value) == "reliable"
    return QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)


def listen(
    node: Any,
    kind: type,
    topic: str,
    take: Callable[[Any], None],
    qos: QoSProfile,
    lost: Callable[[int], None],
    unfit: Callable[[str, str], None],
) -> Any:
    """A subscription of ``node`` that tells what it does not get.

    Args:
        lost: called with the number of messages that the middleware has lost, where it counts them.
        unfit: called with the policy, such as RELIABILITY, in which a publisher's QoS does not fit, and the remedy.
    """

    def tell(event: Any) -> None:
        policy = QoSPolicyKind(event.last_policy_kind).name
        unfit(policy, REMEDIES.get(policy, "have it offer what is asked for here"))

    events = SubscriptionEventCallbacks(
        message_lost=lambda event: lost(event.total_count_change), incompatible_qos=tell
    )
    try:
        return node.create_subscription(kind, topic, take, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_subscription(kind, topic, take, qos)


class Steady:
    """Seconds of the steady clock, counted in control time."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self) -> float:
        return time.monotonic() * self._factor


class Reporter:
    """Publishes one status on /diagnostics: once a second, and at once when level or message change."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._last: tuple[str, str] | None = None
        self._at = 0.0

    def report(
        self, level: str, message: str, more: Callable[[], dict[str, object]] = dict, /, **values: object
    ) -> None:
        """``level``: ok, warn or error; ``more``: further values, asked for only where they are published."""
        now = time.monotonic()
        if (level, message) == self._last and now - self._at < 1.0:
            return
        if (level, message) != self._last and self._last is not None:
            self._log(level, message)
        self._last, self._at = (level, message), now
        status = DiagnosticStatus(level=LEVELS[level], name=self._node.get_name(), message=message)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in (values | more()).items()]
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


def make_executor() -> Any:
    """rclpy's executor on events where it has one: that on wait sets costs up to a millisecond a message.

    It fails where another thread destroys what it waits for; a node's own threads do not touch ROS.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:  # before Kilted
        return SingleThreadedExecutor()
    return EventsExecutor()


def run(make: Callable[[], Any]) -> None:
    """Spin the node that ``make`` makes until SIGINT or SIGTERM; then ``node.final()``, and leave with exit code 0.

    rclpy's own signal handling would end the context before a last message can be published; `start` has set its own.
    Bad input (a `VlaAgentError`) is printed, exit code 2; a fault of the program leaves with 3.
    """
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    code, executor = 0, make_executor()
    node: Any = None
    try:
        if not STOP.is_set():
            node = make()
            executor.add_node(node)
        gc.collect()
        gc.freeze()  # what was imported is not looked through again while the robot moves
        while not STOP.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    except ExternalShutdownException:
        pass
    except Exception:  # a fault of the program: still the last message, a hold, has to go out
        traceback.print_exc()
        code = 3
    finally:
        if hasattr(node, "final") and rclpy.ok():
            node.final()
            time.sleep(0.1)  # Fast DDS sends from a thread of its own
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        del node, executor
        gc.unfreeze()
        gc.collect()  # a lifecycle node's state machine keeps the participant and its shared memory until it is gone
        rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a policy that still thinks in its thread would abort an ordinary exit


__all__ = [
    "COMMANDS",
    "LATCHED",
    "SENSORS",
    "Node",
    "Reporter",
    "Steady",
    "image_qos",
    "listen",
    "make_prompt",
    "pace_of",
    "robot_of",
    "run",
]
