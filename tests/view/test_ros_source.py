"""The window's view of a ROS 2 graph: what it shows of real messages, what it asks, and what it refuses in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("viser")

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from sim.env import TabletopEnv  # noqa: E402
from vla_agent.errors import NodeError  # noqa: E402
from vla_agent.robot.description import load_robot  # noqa: E402
from vla_agent.view.source import Button, Command, Frame  # noqa: E402
from vla_agent.view.sources.graph.graph_listener import SIDE, reduced  # noqa: E402
from vla_agent.view.sources.robot_figure import RobotFigure  # noqa: E402
from vla_agent.view.sources.ros_graph import GraphSettings, RosGraph  # noqa: E402

ROBOT = load_robot("panda")
NAMES = [*ROBOT.joint_names, ROBOT.gripper.joint]


def test_the_figure_stands_as_the_simulated_arm_does_fingers_included():
    env = TabletopEnv(task="put_in_tray")
    env.begin(0)
    for _ in range(15):
        env.world.step(np.array([0.01, 0.01, 0.0, 0.0, 0.0, 0.05, 1.0]))
    data, figure = env.world.data, RobotFigure(ROBOT, "a/", (0.0, 1.0, 0.0))
    poses = figure.pose({name: float(data.joint(name).qpos[0]) for name in NAMES})
    for body in ("link7", "base", "right_follower", "left_pad", "left_spring_link"):
        assert np.allclose(poses[f"a/{body}"][:3] - (0, 1, 0), data.body(body).xpos, atol=0.002), body
    path = figure.path(np.array([data.qpos[figure._arm] * 0, [data.joint(n).qpos[0] for n in ROBOT.joint_names]]))
    assert np.allclose(path[1] - (0, 1, 0), env.world.ee_position, atol=1e-4)
    assert np.allclose(figure.end_effector, path[1]), "the pose is as it was"
    assert {part.body for part in figure.scene.parts} <= set(poses)
    env.close()


def test_large_images_are_reduced_and_small_ones_are_not():
    assert reduced(np.zeros((720, 1280, 3), np.uint8)).shape == (270, SIDE, 3)
    assert reduced(np.zeros((96, 96, 3), np.uint8)).shape == (96, 96, 3)


class Robot:
    """Publishes what a graph publishes, and runs the real safety node, in a thread."""

    def __init__(self, *more: Any) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from std_msgs.msg import String

        from vla_agent.ros.nodes.safety_node import SafetyNode

        self.safety, self.node = SafetyNode(), rclpy.create_node("robot")
        self.instructions: list[str] = []
        self.node.create_subscription(String, "instruction", lambda m: self.instructions.append(m.data), 10)
        self._publishers: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._nodes = (self.safety, self.node, *more)
        for each in self._nodes:
            self._executor.add_node(each)
        self._going = True
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        while self._going:
            self._executor.spin_once(timeout_sec=0.02)

    def say(self, topic: str, message: Any, qos: Any = 10) -> None:
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, qos)
        self._publishers[topic].publish(message)

    def joints(self, positions: np.ndarray) -> None:
        from vla_agent.ros.messages import conversions

        self.say("joint_states", conversions.joint_state_message(NAMES, positions, time.time(), "base", np.zeros(8)))

    def close(self) -> None:
        self._going = False
        self._thread.join()
        self._executor.shutdown()
        for each in self._nodes:
            each.destroy_node()


@pytest.fixture
def source(monkeypatch) -> Iterator[RosGraph]:
    monkeypatch.setenv("ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setattr("vla_agent.ros.nodes.safety_node.request_realtime", lambda node, values: None)
    opened = RosGraph(GraphSettings())
    opened.open()
    yield opened
    opened.close()


def seen(source: RosGraph, until: Callable[[Frame], object], meanwhile: Callable[[], None] = lambda: None) -> Frame:
    """The first frame that shows something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        meanwhile()
        frame = source.step()
        if frame is not None and until(frame):
            return frame
        time.sleep(0.01)
    raise AssertionError("it was never shown")


def asked(source: RosGraph, name: str, value: str | None = None) -> str:
    """Use a control until the graph answers; services take a moment to be found."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            source.command(Command(name, value))
            return source._told
        except NodeError as error:
            if "no such service" not in str(error) and "no subscriber" not in str(error):
                raise
            assert time.monotonic() < deadline
            source.step()


def test_what_a_graph_says_is_shown_and_what_is_asked_reaches_it(source):
    silent = seen(source, lambda frame: True)
    assert silent.status.level == "warning" and "no graph is heard" in silent.status.text
    with closing(Robot()) as robot:
        check(source, robot)


def check(source: RosGraph, robot: Robot) -> None:
    from std_msgs.msg import String

    from vla_agent.ros.messages import conversions
    from vla_agent.ros.process.node_base import LATCHED

    home = np.append(ROBOT.home, 0.4)
    moved = home + np.eye(8)[0] * 0.3
    plan = np.linspace(home, moved, 6)
    picture = np.full((48, 64, 3), (200, 10, 30), np.uint8)

    def publish() -> None:
        robot.joints(moved)
        robot.say("controller/joint_trajectory", conversions.trajectory_message(NAMES, plan, 1.0, 0.05))
        robot.say("camera/front/image", conversions.image_message(picture, 1.0, "camera_front"))
        robot.say("policy/refusal", String(data="I see no red mug"), LATCHED)

    frame = seen(
        source,
        lambda f: f.pictures and "doubt" in f.facts and len(f.paths[1].points) and f.supervisor.text != "stopped",
        publish,
    )
    assert [p.name for p in frame.pictures] == ["front"] and (frame.pictures[0].image == picture).all()
    assert frame.facts["doubt"] == "I see no red mug"
    expected = RobotFigure(ROBOT).pose(dict(zip(NAMES, moved, strict=True)))
    assert np.allclose(frame.poses["base"], expected["base"], atol=1e-4)
    assert frame.paths[1].points.shape == (6, 3)
    joints = next(plot for plot in frame.plots if plot.title == "joints")
    assert joints.lines["joint1"][-1] == pytest.approx(moved[0])

    assert asked(source, "stop").startswith("safety/estop: ")
    stopped = seen(source, lambda f: f.supervisor.level == "bad", publish)
    reason = stopped.supervisor.text.removeprefix("stopped: ")
    assert reason in source._told or reason.startswith("joint state"), "the node's own words"
    assert asked(source, "instruction", "stack the cubes") == 'given: "stack the cubes"'
    seen(source, lambda f: f.facts["instruction"] == "stack the cubes" and "stack the cubes" in robot.instructions)
    assert asked(source, "rest") == "no instruction: the robot rests"
    for name, value, words in (
        ("instruction", "a\nb", "one line"),
        ("next", None, "only a simulated robot"),
        ("success", None, "nothing could be marked"),
    ):
        with pytest.raises(NodeError, match=words):
            source.command(Command(name, value))
        assert source._told.startswith("refused") and words in source._told


def test_a_run_is_begun_refused_and_cancelled_where_task_node_offers_it(own_interfaces, source):
    from trajectory_msgs.msg import JointTrajectory

    from vla_agent.ros.nodes.task_node import TaskNode

    with closing(Robot(TaskNode())) as robot:
        source._wanted = "stack the cubes"
        seen(source, lambda frame: source._commands._runs.server_is_ready() and "task_node" in frame.facts["nodes"])
        with pytest.raises(NodeError, match="no policy node runs"):
            source.command(Command("start"))
        robot.say("policy/action", JointTrajectory())  # one without a name or point, too, must be borne
        seen(source, lambda _: robot.node.count_publishers("policy/action"))
        source.command(Command("start"))
        assert source._told.startswith('running: "stack the cubes"')
        assert asked(source, "rest") == "the run is cancelled: the robot rests"
        frame = seen(source, lambda frame: frame.facts["last command"].startswith("the run has ended"))
        assert "cancelled" in frame.facts["last command"]


def test_no_key_sets_a_robot_in_motion():
    keys = {control.name: control.key for control in RosGraph.controls if isinstance(control, Button)}
    assert keys["stop"] == "space" and not keys["start"] and not keys["release"]


def test_without_ros_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("vla_agent.view.sources.ros_graph.is_installed", lambda package: False)
    with pytest.raises(NodeError, match="ros-wheels"):
        RosGraph(GraphSettings()).open()
