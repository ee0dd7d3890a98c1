"""recorder_node: records demonstrations to MCAP, one bag an episode, as raw serialized messages.

in:  the cameras' images, joint_states, instruction, policy/action, controller/joint_trajectory, the robot's commands
services (Trigger): record/start, record/success, record/failure, record/discard
parameters: see `ros.process.node_parameters` or `recorder_node --help`
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError
from vla_agent.robot.description import load_robot
from vla_agent.ros.messages.conversions import TRANSPORTS
from vla_agent.ros.process.node_base import (
    COMMANDS,
    LATCHED,
    SENSORS,
    Node,
    StatusReporter,
    declare_parameters,
    image_qos,
    run,
)
from vla_agent.ros.runtime.recorder import Recorder

INSTRUCTION = "instruction"
TYPES = {
    Image: "sensor_msgs/msg/Image",
    CompressedImage: "sensor_msgs/msg/CompressedImage",
    JointState: "sensor_msgs/msg/JointState",
    String: "std_msgs/msg/String",
    Float64MultiArray: "std_msgs/msg/Float64MultiArray",
    JointTrajectory: "trajectory_msgs/msg/JointTrajectory",
}


class RecorderNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        values = declare_parameters(self, "recorder_node")
        robot, images, output = load_robot(values["robot"]), image_qos(values), Path(values["output"])
        spec = robot.controller
        arm = JointTrajectory if spec.type == "joint_trajectory" else Float64MultiArray
        topics = {c.image_topic: (TRANSPORTS[c.transport].message, images) for c in robot.cameras}
        topics |= {
            robot.joint_states: (JointState, SENSORS),
            "policy/action": (JointTrajectory, COMMANDS),
            "controller/joint_trajectory": (JointTrajectory, COMMANDS),
        }
        for hardware in (True, False):  # simulated or real
            topic, gripper_topic = spec.topics(hardware)
            topics |= {topic: (arm, COMMANDS), gripper_topic: (Float64MultiArray, COMMANDS)}
        self._instruction, self._given = "", b""  # as text, and as it was sent
        types = {f"/{topic}": TYPES[kind] for topic, (kind, _) in topics.items()}
        self._recorder = Recorder(output, types | {f"/{INSTRUCTION}": TYPES[String]})
        self._reporter = StatusReporter(self)
        for topic, (kind, qos) in topics.items():
            self.create_subscription(kind, topic, partial(self._record, topic), qos, raw=True)
        for durability in (LATCHED, 10):  # the second is for publishers that do not latch
            self.create_subscription(String, INSTRUCTION, self._instruct, durability, raw=True)
        for name, act in (
            ("start", self._begin),
            ("success", partial(self._end, "success")),
            ("failure", partial(self._end, "failure")),
            ("discard", self._discard),
        ):
            self.create_service(Trigger, f"record/{name}", partial(self._serve, act))
        self.create_timer(1.0, self._report)

    def _instruct(self, data: bytes) -> None:
        """Take an instruction; one that is repeated, as by both subscriptions, is recorded once."""
        if data != self._given:
            self._instruction, self._given = deserialize_message(data, String).data, data
            self._record(INSTRUCTION, data)

    def _record(self, topic: str, data: bytes) -> None:
        try:
            self._recorder.write(f"/{topic}", self.get_clock().now().nanoseconds, data)
        except NodeError as error:
            self._reporter.report("error", error.what)

    def _serve(self, act: Callable[[], str], _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, act()
        except NodeError as error:
            response.success, response.message = False, str(error)
        return response

    def _begin(self) -> str:
        name = self._recorder.begin(self._instruction)
        self._record(INSTRUCTION, self._given)  # it was given before: the bag has it on its topic, too
        return f'{name}: "{self._instruction}"'

    def _end(self, outcome: str) -> str:
        return f"{self._recorder.end(outcome)}: {outcome}, {self._recorder.messages} messages"

    def _discard(self) -> str:
        self._recorder.discard()
        return "discarded"

    def _report(self) -> None:
        state = "recording" if self._recorder.recording else "waiting for record/start"
        self._reporter.report("ok", state, self._values)

    def _values(self) -> dict[str, object]:
        recorder = self._recorder
        values: dict[str, object] = {"messages": recorder.messages, "written MB": f"{recorder.bytes / 1e6:.1f}"}
        values |= {"slowest write ms": f"{1e3 * recorder.slowest:.1f}", "free GB": f"{recorder.free / 1e9:.1f}"}
        recorder.slowest = 0.0
        return values | {"instruction": self._instruction}

    def final(self) -> None:
        """Before the process ends: an episode without an outcome is discarded."""
        self._recorder.discard()


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(RecorderNode)
