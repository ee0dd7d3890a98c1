"""recorder_node: records demonstrations to MCAP, one bag an episode, as raw serialized messages.

in:  the topics that ``include`` and ``exclude`` name; ``robot`` stands for the cameras' images and camera_info,
     joint_states, instruction, actions, the robot's commands, the supervisor's stops, interventions, TF, diagnostics,
     and what the policy says of itself (policy/loaded, policy/contract, policy/refusal)
action: record_episode (vla_agent_interfaces/action/RecordEpisode)
services (Trigger): record/start, record/success, record/failure, record/discard
parameters: see `ros.process.node_parameters` or `recorder_node --help`

A bag's custom data has: instruction, outcome, run (of this recorder), session (of the folder), robot and the digest of
its file, and, where a policy node runs, the policy's contract and digest.  Topics have the names that this node sees.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError, VlaAgentError
from vla_agent.robot.description import read_robot
from vla_agent.ros.messages.conversions import TRANSPORTS
from vla_agent.ros.process.node_base import (
    COMMANDS,
    INSTRUCTIONS,
    JOINT_STATES,
    LATCHED,
    SENSORS,
    Node,
    StatusReporter,
    declare_parameters,
    image_qos,
    run,
)
from vla_agent.ros.recording.bag_types import message_class
from vla_agent.ros.recording.recorder import Recorder, open_session
from vla_agent.ros.recording.recording_goal import RecordingGoal
from vla_agent.ros.recording.topic_choice import TopicChoice

INSTRUCTION = "instruction"
OUTPUTS = {"joint_trajectory": JointTrajectory, "forward_position": Float64MultiArray}  # those with standard messages
OWN = {
    "policy/action": (JointTrajectory, COMMANDS),
    "controller/joint_trajectory": (JointTrajectory, COMMANDS),
    "policy/loaded": (String, LATCHED),
    "policy/contract": (String, LATCHED),
    "policy/refusal": (String, LATCHED),
    "safety/stopped": (Bool, LATCHED),
    "safety/stop": (String, 10),
    "intervention": (Bool, LATCHED),
    "/diagnostics": (DiagnosticArray, 10),
}
DISCOVERED = ("/tf", "/tf_static")  # of tf2_msgs, which need not be installed
FACTS = {"policy/loaded": "policy", "policy/contract": "contract"}  # topic -> key in the bag's custom data


class RecorderNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        values = declare_parameters(self, "recorder_node")
        self._robot, robot_file = read_robot(values["robot"])
        topics = self._robot_topics(image_qos(values))
        self._told = self.resolve_topic_name(INSTRUCTION)
        self._choice = TopicChoice(
            {*topics, self._told, *DISCOVERED}, str(values["include"]), str(values["exclude"]), self.get_namespace()
        )
        output = Path(values["output"])
        session = open_session(output, self._robot.name)
        self._facts: dict[str, object] = {"run": uuid.uuid4().hex, "session": session["id"]}
        self._facts |= {"robot": self._robot.name, "robot_file": robot_file, "contract": None, "policy": None}
        self._begun = f"session {session['id'][:8]}, {session['episodes']} episodes so far"
        self._instruction, self._given = "", b""  # as text, and as it was sent
        self._recorder = Recorder(output, {})
        self._reporter = StatusReporter(self)
        self._seen: set[str] = {self._told}  # topics that are recorded, or cannot be
        self._problems: dict[str, str] = {}  # topic -> why it is not recorded
        self._recorder.add(self._told, "std_msgs/msg/String")
        for quality in INSTRUCTIONS:
            self.create_subscription(String, INSTRUCTION, self._instruct, quality, raw=True)
        for topic, (kind, qos) in topics.items():
            if self._choice.wants(topic):
                self._subscribe(topic, _type_name(kind), kind, qos)
        for topic, key in FACTS.items():
            self.create_subscription(String, topic, partial(self._note_fact, key), LATCHED)
        for name, act in (
            ("start", self._begin),
            ("success", partial(self._end, "success")),
            ("failure", partial(self._end, "failure")),
            ("discard", self._discard),
        ):
            self.create_service(Trigger, f"record/{name}", partial(self._serve, act))
        self._goal = RecordingGoal(self, self._recorder, self._begin, self._end, self._discard)
        self.create_timer(1.0, self._report)

    def _robot_topics(self, images: QoSProfile) -> dict[str, tuple[Any, Any]]:
        """What ``robot`` stands for: resolved topic -> message class and QoS."""
        robot = self._robot
        topics: dict[str, tuple[Any, Any]] = {}
        for camera in robot.cameras:
            topics[camera.image_topic] = (TRANSPORTS[camera.transport].message, images)
            topics[camera.info_topic] = (CameraInfo, SENSORS)
        topics |= dict.fromkeys(robot.joint_state_topics, (JointState, JOINT_STATES)) | OWN
        spec = robot.controller
        for kind, topic in (*spec.outputs(hardware=True), *spec.outputs(hardware=False)):  # real or simulated
            topics |= {topic: (OUTPUTS[kind], COMMANDS)} if kind in OUTPUTS else {}
        return {self.resolve_topic_name(topic): how for topic, how in topics.items()}  # as the bag names them

    # -- topics --------------------------------------------------------------------------------------------------

    def _subscribe(self, topic: str, name: str, kind: Any, qos: Any) -> None:
        self._recorder.add(topic, name)
        self._seen.add(topic)
        self.create_subscription(kind, topic, partial(self._record, topic), qos, raw=True)

    def _discover(self) -> None:
        """Subscribe to wanted topics that have a publisher since the last look."""
        for topic, kinds in self.get_topic_names_and_types():
            if topic in self._seen or not self._choice.wants(topic) or not self.count_publishers(topic):
                continue
            try:
                if len(kinds) > 1:
                    raise NodeError("a topic has several types", key=topic, found=", ".join(kinds))
                self._subscribe(topic, kinds[0], message_class(kinds[0]), self._quality(topic))
            except NodeError as error:
                self._seen.add(topic)
                self._problems[topic] = f"{error.what}: {error.key}"
                self.get_logger().warning(f"{topic} is not recorded: {error}")

    def _quality(self, topic: str) -> QoSProfile:
        """A QoS that every publisher of the topic serves."""
        offered = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
        reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
        latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
        return QoSProfile(
            depth=64,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def _note_fact(self, key: str, message: String) -> None:
        self._facts[key] = message.data or None

    def _instruct(self, data: bytes) -> None:
        """Take an instruction; one that is repeated, as by several subscriptions, is recorded once."""
        if data != self._given:
            self._instruction, self._given = deserialize_message(data, String).data, data
            self._record(self._told, data)

    def _record(self, topic: str, data: bytes) -> None:
        try:
            self._recorder.write(topic, self.get_clock().now().nanoseconds, data)
        except NodeError as error:
            self._reporter.report("error", error.what)
            self._goal.ended("discard", error.what)

    # -- episodes ------------------------------------------------------------------------------------------------

    def _serve(self, act: Callable[[], str], _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, act()
        except VlaAgentError as error:
            response.success, response.message = False, str(error)
        return response

    def _begin(self, instruction: str = "") -> str:
        text = instruction or self._instruction
        name = self._recorder.begin(text, self._facts)
        if self._given:
            self._record(self._told, self._given)  # it was given before: the bag has it on its topic, too
        return f'{name}: "{text}"'

    def _end(self, outcome: str) -> str:
        path = self._recorder.end(outcome)
        self._goal.ended(outcome, "record/" + outcome, str(path))
        return f"{path}: {outcome}, {self._recorder.messages} messages"

    def _discard(self) -> str:
        self._recorder.discard()
        self._goal.ended("discard", "record/discard")
        return "discarded"

    def _report(self) -> None:
        self._discover()
        state = "recording" if self._recorder.recording else "waiting for record/start"
        if self._problems:
            state += f"; not recorded: {', '.join(sorted(self._problems))}"
        self._reporter.report("warn" if self._problems else "ok", state, self._values)

    def _values(self) -> dict[str, object]:
        recorder = self._recorder
        values: dict[str, object] = {"messages": recorder.messages, "written MB": f"{recorder.bytes / 1e6:.1f}"}
        values |= {"slowest write ms": f"{1e3 * recorder.slowest:.1f}", "free GB": f"{recorder.free / 1e9:.1f}"}
        recorder.slowest = 0.0
        values |= {"topics": len(self._seen) - len(self._problems), "session": self._begun}
        values |= {f"not recorded: {topic}": why for topic, why in self._problems.items()}
        return values | {"record_episode": self._goal.offered, "instruction": self._instruction}

    def final(self) -> None:
        """Before the process ends: an episode without an outcome is discarded."""
        self._recorder.discard()
        self._goal.ended("discard", "the recorder ended")


def _type_name(kind: Any) -> str:
    """Such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(RecorderNode)
