"""What every node has: parameters, clocks, diagnostics, and a shutdown in which the last message is still sent."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from vla_agent.errors import NodeError, VlaAgentError
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.process.parameter_check import checked_values, is_of_ros
from vla_agent.ros.process.realtime_priority import PRIORITY, keep_cpus_awake, lock_memory, set_realtime_priority
from vla_agent.ros.process.start import STOP
from vla_agent.ros.process.status_reporter import StatusReporter

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # before Iron
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
# As many as may be late (`robot.safety.supervisor.Timing.age`): where only the newest was kept, a node that was held up
# for a period lost the one before, and took a moving arm for one that had paused.
COMMANDS = QoSProfile(depth=3, reliability=ReliabilityPolicy.RELIABLE)
SENSORS = QoSProfile(depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
INSTRUCTIONS = (  # any publisher reaches the first; one that is reliable the second, and one that latches the third
    QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT),
    QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE),
    LATCHED,
)
JOINT_STATES = QoSProfile(depth=64, reliability=ReliabilityPolicy.BEST_EFFORT)  # 64 ms at 1 kHz: an image takes 10 ms
REMEDIES = {"RELIABILITY": "set image_reliability:=best_effort here, or publish reliably there"}
COMMAND_MESSAGES = {  # types that robots' controllers take
    *("JointTrajectory", "JointTrajectoryPoint", "MultiDOFJointTrajectory", "JointJog"),
    *("Twist", "TwistStamped", "Pose", "PoseStamped", "Wrench", "WrenchStamped"),
    *("Float32MultiArray", "Float64MultiArray", "Float32", "Float64"),
}
SWITCH_INTERVAL = 0.0002  # seconds after which a thread, such as the inference thread, gives Python to one that waits


def declare_parameters(node: Any, executable: str) -> dict[str, Any]:
    """Declare the parameters that `node_parameters.NODES` has for ``executable``; name -> value at the start.

    A parameter that is read only once is read-only: it cannot be set while the node runs.

    Raises:
        NodeError: a value was given for a parameter that the node does not have, or of another type; or simulated time
            with ``hardware``.
    """
    declared = NODES[executable].parameters
    _check_given(node, executable)
    values = {
        name: node.declare_parameter(
            name,
            parameter.default,
            ParameterDescriptor(
                description=parameter.description, read_only=not (parameter.running or parameter.configured)
            ),
        ).value
        for name, parameter in declared.items()
    }
    _check_set(node, executable)
    if values.get("hardware"):
        _forbid_sim_time(node)
    return values


def _forbid_sim_time(node: Any) -> None:
    """A clock that anybody can publish on /clock would set the pace and the age of commands."""
    if node.get_parameter("use_sim_time").value:
        raise NodeError(
            "a real robot has the time of the wall clock",
            key="use_sim_time",
            expected="false",
            found="true",
            remedy="leave it out with hardware:=true",
        )

    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        wrong = any(parameter.name == "use_sim_time" and parameter.value for parameter in parameters)
        return SetParametersResult(successful=not wrong, reason="use_sim_time: not on hardware" if wrong else "")

    node.add_on_set_parameters_callback(refuse)


def _check_given(node: Any, executable: str) -> None:
    """Check the parameters of the command line and of files; a whole number is taken for a double."""
    given = node._parameter_overrides  # rclpy has no other way to ask for those that are not declared
    for name, value in checked_values(executable, {name: given[name].value for name in given}).items():
        if not is_of_ros(name):
            given[name] = Parameter(name, value=value)


def _check_set(node: Any, executable: str) -> None:
    """Refuse impossible values of parameters that are set while the node runs."""

    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        try:
            checked_values(executable, {parameter.name: parameter.value for parameter in parameters})
        except NodeError as error:
            return SetParametersResult(successful=False, reason=f"{error.key}: {error.found}, not {error.expected}")
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(refuse)


def freeze_while(node: Any, executable: str, frozen: Callable[[], bool]) -> None:
    """Refuse to set parameters that are read at configuration, while ``frozen`` says so."""
    names = {name for name, parameter in NODES[executable].parameters.items() if parameter.configured}

    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        wrong = sorted(names & {parameter.name for parameter in parameters}) if frozen() else []
        reason = f"{', '.join(wrong)}: read when the node was configured; clean it up first, then configure it anew"
        return SetParametersResult(successful=not wrong, reason=reason if wrong else "")

    node.add_on_set_parameters_callback(refuse)


def forbid_robot_topics(node: Any) -> None:
    """Check where a node publishes messages that a robot's controller could take for commands.

    Only a node with ``COMMANDS_ROBOT`` publishes where a robot takes commands.  Every other one publishes messages of
    these types (`COMMAND_MESSAGES`) on the one topic that its class names (``COMMAND_TOPIC``) alone, and that cannot be
    remapped: which robots are on the network is in no file.

    Raises:
        NodeError: one of its topics was remapped to the robot's, or that topic to another.
    """
    if getattr(node, "COMMANDS_ROBOT", False):
        return
    robot, own = getattr(node, "_robot", None), getattr(node, "COMMAND_TOPIC", "")
    commanded = {node.resolve_topic_name(topic) for topic in robot.controller.topics(hardware=True)} if robot else set()
    allowed = node.resolve_topic_name(own, only_expand=True) if own else "none"
    for publisher in node.publishers:
        name, kind = publisher.topic_name, publisher.msg_type.__name__
        if name in commanded or (kind in COMMAND_MESSAGES and name != allowed):
            raise NodeError(
                "only the safety node may publish where the robot takes commands",
                key=name,
                expected=allowed if kind in COMMAND_MESSAGES else "another topic",
                found=f"a publisher of {node.get_name()}, {kind}",
                remedy="do not remap this node's topics: a robot could listen there",
            )


def checked_factor(values: Mapping[str, Any]) -> float:
    """Parameter ``real_time_factor``: control seconds in one second of the wall clock; 1 on a real robot.

    Controller and replay node do not know whether a real robot follows; whatever their pace, the safety node on
    hardware lets pass what its own limits allow in its own time.

    Raises:
        VlaAgentError: it is not within 0.001 to 100, or not 1 with ``hardware``: it would multiply every limit.
    """
    factor = float(values["real_time_factor"])
    if values.get("hardware") and factor != 1.0:
        raise VlaAgentError(
            "a real robot has the time of the wall clock",
            key="real_time_factor",
            expected=1.0,
            found=factor,
            remedy="leave it at 1: it would multiply the robot's limits",
        )
    if not 0.001 <= factor <= 100:
        raise VlaAgentError(
            "the real-time factor is out of range",
            key="real_time_factor",
            expected="0.001 to 100",
            found=factor,
            remedy="leave it at 1 on a real robot; less slows a simulation down",
        )
    return factor


def request_realtime(node: Any, values: Mapping[str, Any], distance: int = 0) -> None:
    """Ask the system for real-time scheduling of this process (`realtime_priority`), by parameter ``real_time``.

    Call it when the node has just been created: threads that start later are ordinary ones.

    Args:
        distance: nodes between this one and the robot; the nearest has the highest priority.
    """
    if bool(values["real_time"]):
        scheduling = "real-time" if set_realtime_priority(PRIORITY - distance) else "ordinary (no permission for more)"
        sleep = "stay awake" if keep_cpus_awake() else "may sleep"
        memory = "stays" if lock_memory() else "may be paged out"
        node.get_logger().info(f"scheduling: {scheduling}; processors {sleep}; memory {memory}")
        sys.setswitchinterval(SWITCH_INTERVAL)


def image_qos(values: Mapping[str, Any]) -> QoSProfile:
    """Parameter ``image_reliability``: ``best_effort`` (accepts what any camera offers) or ``reliable``."""
    reliable = str(values["image_reliability"]) == "reliable"
    return QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)


def deliver(publisher: Any, seconds: float = 2.0) -> bool:
    """Wait until every reliable subscriber has what was published; whether it came within ``seconds``."""
    return bool(publisher.wait_for_all_acked(Duration(nanoseconds=round(seconds * 1e9))))


def create_monitored_subscription(
    node: Any,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    on_lost: Callable[[int], None],
    on_incompatible: Callable[[str, str], None],
) -> Any:
    """A subscription of ``node`` that reports lost messages and publishers with incompatible QoS.

    Args:
        on_lost: called with the number of messages that the middleware has lost, where it counts them.
        on_incompatible: called with the incompatible QoS policy, such as RELIABILITY, and the remedy.
    """

    def report_incompatible(event: Any) -> None:
        policy = QoSPolicyKind(event.last_policy_kind).name
        on_incompatible(policy, REMEDIES.get(policy, "change the publisher's QoS to the one requested here"))

    events = SubscriptionEventCallbacks(
        message_lost=lambda event: on_lost(event.total_count_change), incompatible_qos=report_incompatible
    )
    try:
        return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
    except UnsupportedEventTypeError:
        return node.create_subscription(kind, topic, callback, qos)


class ControlClock:
    """Seconds of the steady clock in control time: scaled by the real-time factor."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self) -> float:
        return time.monotonic() * self._factor


def make_executor() -> Any:
    """rclpy's executor on events where it has one: that on wait sets costs up to a millisecond a message.

    It fails where another thread destroys what it waits for; the threads of our nodes never destroy ROS objects.
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:  # before Kilted
        return SingleThreadedExecutor()
    return EventsExecutor()


def init() -> None:
    """Start ROS with this program's arguments; `start` handles the signals.

    Raises:
        NodeError: they are wrong: a remap or parameter that cannot be read, a file that is missing, an unknown one.
    """
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy has no public class for it
        if not isinstance(error, (RuntimeError, ValueError)) and type(error).__name__ != "UnknownROSArgsError":
            raise
        raise NodeError(
            "ROS does not take the arguments",
            key="--ros-args",
            expected="-p NAME:=VALUE, -r FROM:=TO, --params-file FILE, --log-level LEVEL",
            found=str(error).removeprefix("failed to initialize rcl: ").split(", at /")[0],
            remedy="correct what is named there; `NODE --help` lists the parameters",
        ) from error


def created(make: Callable[[], Any]) -> Any:
    """The node that ``make`` creates.

    Raises:
        VlaAgentError: it cannot be: bad input, a name that ROS does not allow, a file that cannot be read.
    """
    try:
        node = make()
    except (NameValidationException, OSError) as error:
        raise NodeError(
            "the node cannot start",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy="check the names in the robot file and the remaps, and the files that the parameters name",
        ) from error
    forbid_robot_topics(node)
    return node


def run(make: Callable[[], Any]) -> None:
    """Spin the node that ``make`` creates until SIGINT or SIGTERM; then ``node.final()``, and exit with code 0.

    rclpy's own signal handling would end the context before a last message can be published; `start` has set its own.
    Exit code 2: bad input (a `VlaAgentError`, printed); 3: a fault of the program.
    """
    code, executor = 0, None
    node: Any = None
    try:
        init()
        executor = make_executor()
        if not STOP.is_set():
            node = created(make)
            executor.add_node(node)
        gc.collect()
        gc.freeze()  # imported objects are not scanned again while the robot moves
        while not STOP.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    except ExternalShutdownException:
        pass
    except Exception:  # a fault of the program: the last message, a hold, must still be sent
        traceback.print_exc()
        code = 3
    finally:
        if hasattr(node, "final") and rclpy.ok():
            node.final()
            time.sleep(0.1)  # Fast DDS sends from a thread of its own
        if executor is not None:
            executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        del node, executor
        gc.unfreeze()
        gc.collect()  # a lifecycle node's state machine keeps the participant and its shared memory until it is gone
        rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an inference that still runs in its thread would abort an ordinary exit


__all__ = [
    "COMMANDS",
    "INSTRUCTIONS",
    "JOINT_STATES",
    "LATCHED",
    "SENSORS",
    "Node",
    "StatusReporter",
    "ControlClock",
    "checked_factor",
    "create_monitored_subscription",
    "declare_parameters",
    "deliver",
    "forbid_robot_topics",
    "freeze_while",
    "image_qos",
    "request_realtime",
    "run",
]
