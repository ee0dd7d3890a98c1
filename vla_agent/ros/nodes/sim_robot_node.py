"""sim_robot_node: the simulated robot, with the topics of a real one.

in:  the robot's commands (robot file, ``controller``), under sim/
out: the cameras' images (Image, or CompressedImage where the robot file says so), joint_states (positions, efforts in
  N m), /clock, instruction (String, latched: the scene's; see ``tell``)
services: sim/reset, sim/success (Trigger).  A reset starts the episode of the parameters ``task``, ``split`` and
  ``seed`` and answers with its instruction; success answers ``success`` and, as message, the control steps.
parameters: see `ros.process.node_parameters` or `sim_robot_node --help`
/diagnostics: task, seed, steps, limit, success, instruction and objects of the scene
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import ObservationError, VlaAgentError
from vla_agent.robot.command_interfaces import simulated
from vla_agent.robot.description import load_robot
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import (
    COMMANDS,
    LATCHED,
    Node,
    StatusReporter,
    checked_factor,
    declare_parameters,
    image_qos,
    request_realtime,
    run,
)
from vla_agent.ros.runtime.sim_robot import Reading, SimRobot

TICKS = 5  # messages on /clock a control period
CLOCK_JUMP = 5.0  # seconds, of the fault clock_jump
DISTURBANCES = ("fault", "drop", "joint_noise", "image_noise")


class SimRobotNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("sim_robot_node")
        values = declare_parameters(self, "sim_robot_node")
        request_realtime(self, values, distance=3)  # like hardware, it waits for no program
        self._robot = load_robot(values["robot"])
        factor = checked_factor(values)
        qos = image_qos(values)
        height, width = (int(size) for size in values["image_size"])
        self._sim = SimRobot(self._robot, str(values["task"]), (height, width), int(values["seed"]))
        self._sim.disturb(**{name: values[name] for name in DISTURBANCES})
        self.add_on_set_parameters_callback(self._set)
        self._names = [*self._robot.joint_names, self._robot.gripper.joint]
        self._tick_count, self._offset = 0, 0.0
        self._delayed: deque[tuple[float, Reading]] = deque()
        self._reporter = StatusReporter(self)
        self._clock_publisher = self.create_publisher(ClockMessage, "/clock", 10)
        self._joints = self.create_publisher(JointState, self._robot.joint_state_topics[0], 10)
        self._writers = {c.name: conversions.TRANSPORTS[c.transport] for c in self._robot.cameras}
        self._cameras: dict[str, tuple[Any, str]] = {
            c.name: (self.create_publisher(self._writers[c.name].message, c.image_topic, qos), c.frame)
            for c in self._robot.cameras
        }
        self._instruction = self.create_publisher(String, "instruction", LATCHED)
        self._subscribe()
        self.create_service(Trigger, "sim/reset", self._reset)
        self.create_service(Trigger, "sim/success", self._success)
        self._publish_instruction()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._robot.period / TICKS / factor, self._tick, clock=steady)

    # -- commands ------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        """Each output of the robot file, as its own controller would."""
        spec, gripper = self._robot.controller, self._robot.controller.gripper_output
        takers: list[tuple[str, str, Sequence[str]]] = [
            (output.type, output.topic, output.joints or self._robot.joint_names) for output in spec.arms
        ]
        if gripper is not None:
            takers.append((gripper.type, gripper.topic, (self._robot.gripper.joint,)))
        for kind, topic, names in takers:
            trajectory = kind == "joint_trajectory"
            take = partial(self._trajectory if trajectory else self._positions, names)
            self.create_subscription(
                JointTrajectory if trajectory else Float64MultiArray, simulated(topic), take, COMMANDS
            )

    def _trajectory(self, names: Sequence[str], message: JointTrajectory) -> None:
        try:
            rows = conversions.trajectory_points(message, names)
        except ObservationError as error:
            self._reporter.report("error", f"{error.what}: {error.found}")
            return
        if len(rows):
            self._sim.set_targets(names, rows[0])

    def _positions(self, names: Sequence[str], message: Float64MultiArray) -> None:
        self._sim.set_targets(names, np.array(message.data))

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def _time(self) -> float:
        """Seconds of simulated time; it never goes back, not even at a reset."""
        return 1.0 + self._offset + self._tick_count * self._robot.period / TICKS

    def _tick(self) -> None:
        self._tick_count += 1
        period_ends = self._tick_count % TICKS == 0
        if period_ends:
            self._sim.step()
        self._clock_publisher.publish(ClockMessage(clock=conversions.to_stamp(self._time)))
        if not period_ends:
            return
        self._delayed.append((self._time, self._sim.read()))
        while len(self._delayed) > int(self.get_parameter("delay").value):
            self._publish(*self._delayed.popleft())
        self._reporter.report("ok", "simulating", self._sim.diagnostics)

    def _publish(self, time: float, reading: Reading) -> None:
        if reading.joints is not None:
            positions = np.append(reading.joints, self._robot.gripper.position(reading.gripper))
            frame = self._robot.base_frame
            self._joints.publish(conversions.joint_state_message(self._names, positions, time, frame, reading.efforts))
        for name, pixels in reading.images.items():
            publisher, frame = self._cameras[name]
            message = self._writers[name].write(pixels, time, frame)
            if isinstance(message, Image):
                message.encoding = reading.encoding
            elif reading.encoding != "rgb8":  # a compressed image has no encoding: its data are truncated instead
                message.data = message.data[:8]
            publisher.publish(message)

    # -- services and parameters ---------------------------------------------------------------------------------

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        task, split, seed = (self.get_parameter(name).value for name in ("task", "split", "seed"))
        try:
            self._sim.reset(str(task), str(split), int(seed))
        except VlaAgentError as error:
            response.success, response.message = False, error.what
            return response
        self._delayed.clear()
        self._publish_instruction()
        response.success, response.message = True, self._sim.task.instruction
        return response

    def _publish_instruction(self) -> None:
        if self.get_parameter("tell").value:
            self._instruction.publish(String(data=self._sim.task.instruction))

    def _success(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._sim.success, str(self._sim.steps)
        return response

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in DISTURBANCES}
        try:
            if changes:
                self._sim.disturb(**changes)
        except VlaAgentError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if changes.get("fault") == "clock_jump":
            self._offset += CLOCK_JUMP
        return SetParametersResult(successful=True)

    def final(self) -> None:
        """Before the process ends."""
        self._sim.close()


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(SimRobotNode)
