"""One robot of `driver_fakes` as a process: ``python -m benchmarks.robots.driver_fake NAME``, until SIGINT.

It moves as joint_trajectory_controller moves an arm: a message replaces the trajectory, points are followed with their
velocities, messages with other joints or an end in the past are dropped.  It listens on the robot's topics under
``sim/`` (a dry run), and counts what comes on the real ones, which would be motors.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.robots.driver_fakes import FAKES, NAN, NONE, CameraTopic, Fake, StateTopic
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.realtime_priority import set_realtime_priority

PRIORITY = 50  # of controller_manager
SWITCH_INTERVAL = 0.0002  # seconds after which a thread gives Python to one that waits
SPEED = 0.5  # of the gripper: ways a second
CHANNELS = {"rgb8": 3, "yuv422_yuy2": 2}


class Arm:
    """Joint positions (J,) by time: a trajectory of points with velocities, replaced by each new one."""

    def __init__(self, names: tuple[str, ...], home: np.ndarray) -> None:
        self.names, self.accepted = names, 0
        self.refused: Counter[str] = Counter()
        self.ages: list[float] = []  # seconds from the stamp of a message to its arrival
        self._knots = [(0.0, home.copy(), np.zeros(len(home)))]  # time, position, velocity

    def take(self, message: Any, now: float) -> None:
        """A JointTrajectory, checked as the controller does."""
        begins = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        begins = begins if begins else now
        times = [begins + p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        if not times or sorted(message.joint_names) != sorted(self.names):
            self.refused["other joints, or no point"] += 1
            return
        self.ages.append(now - begins)
        if times[-1] < now:
            self.refused["ends in the past"] += 1
            return
        order = [list(message.joint_names).index(name) for name in self.names]
        position, velocity = self.at(now)
        knots = [(now, position, velocity)]
        for when, point in zip(times, message.points, strict=True):
            if when > now:
                speeds = np.array(point.velocities)[order] if len(point.velocities) else np.zeros(len(order))
                knots.append((when, np.array(point.positions)[order], speeds))
        self._knots, self.accepted = knots, self.accepted + 1

    def at(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity (J,) at a time: a cubic between two points."""
        knots = self._knots
        for (t0, p0, v0), (t1, p1, v1) in zip(knots, knots[1:], strict=False):
            if t0 <= now < t1:
                span = t1 - t0
                s = (now - t0) / span
                way, a = p1 - p0, span * v0 - (p1 - p0)
                b = span * v1 - way
                place = p0 + way * s + s * (1 - s) * (a * (1 - s) - b * s)
                return place, (way + (1 - 2 * s) * (a * (1 - s) - b * s) - s * (1 - s) * (a + b)) / span
        return knots[-1][1], np.zeros(len(self.names))


class Gripper:
    """Fraction 0 open to 1 closed, moving to a target; the joint's positions are those of the robot file."""

    def __init__(self, robot: Any, width: tuple[float, float]) -> None:
        self._joint, self._ends = robot.gripper, width  # open, closed as the action states them
        self.fraction = self.target = 0.0
        self.goals = 0

    def move(self, position: float) -> None:
        """A goal in the action's own units."""
        opened, closed = self._ends
        self.target = min(max((position - opened) / (closed - opened), 0.0), 1.0)
        self.goals += 1

    def step(self, seconds: float) -> None:
        """Let time pass."""
        self.fraction += float(np.clip(self.target - self.fraction, -SPEED * seconds, SPEED * seconds))

    @property
    def position(self) -> float:
        """Of the robot file's joint."""
        return self._joint.position(self.fraction)


class FakeRobot:
    """The node."""

    def __init__(self, fake: Fake, motors: bool = False) -> None:
        import rclpy
        from rclpy.qos import QoSProfile
        from trajectory_msgs.msg import JointTrajectory

        self.node: Any = rclpy.create_node("fake_robot")
        self.robot = load_robot(fake.robot)
        output, joint = self.robot.controller.gripper_output, self.robot.gripper
        width = (joint.open, joint.closed)
        if output is not None and output.open is not None and output.closed is not None:
            width = (output.open, output.closed)
        self.arm = Arm(self.robot.joint_names, np.array(self.robot.home))
        self.gripper = Gripper(self.robot, width)
        self.on_motors = 0
        self.sent: Counter[str] = Counter()  # topic of joint states -> messages
        self._began = time.monotonic()
        self._going = True
        self._lock = threading.Lock()
        arm = self.robot.controller.topic
        self.node.create_subscription(JointTrajectory, f"sim/{arm}", self._take, 10)
        self.node.create_subscription(JointTrajectory, arm, self._count, 10)
        self._servers = [self._serve(package, kind, f"sim/{name}") for package, kind, name in fake.gripper]
        if motors:
            self._servers += [self._serve(*action) for action in fake.gripper]
        set_realtime_priority(PRIORITY)  # the middleware's threads; the others ask for themselves
        quality = QoSProfile(depth=10)
        threads = [threading.Thread(target=self._states, args=(topic, quality), daemon=True) for topic in fake.states]
        threads += [
            threading.Thread(target=self._images, args=(camera, quality), daemon=True) for camera in fake.cameras
        ]
        for thread in threads:
            thread.start()

    def now(self) -> float:
        """Seconds of ROS's clock."""
        return float(self.node.get_clock().now().nanoseconds * 1e-9)

    def _take(self, message: Any) -> None:
        with self._lock:
            self.arm.take(message, self.now())

    def _count(self, _: Any) -> None:
        self.on_motors += 1

    def _serve(self, package: str, kind: str, name: str) -> Any:
        from rclpy.action import ActionServer
        from rclpy.callback_groups import ReentrantCallbackGroup

        action = getattr(import_module(f"{package}.action"), kind)

        def execute(handle: Any) -> Any:
            self.gripper.move(_wanted(handle.request))
            end = time.monotonic() + 3.0
            while abs(self.gripper.target - self.gripper.fraction) > 0.01 and time.monotonic() < end:
                time.sleep(0.02)
            handle.succeed()
            return action.Result()

        group = ReentrantCallbackGroup()
        return ActionServer(self.node, action, name, execute_callback=execute, callback_group=group)

    def _states(self, spec: StateTopic, quality: Any) -> None:
        from sensor_msgs.msg import JointState

        request_realtime(PRIORITY)
        publisher = self.node.create_publisher(JointState, spec.topic, quality)
        mine = [name in self.arm.names for name in spec.names]
        message = JointState(name=list(spec.names))
        message.velocity = message.effort = _values(NAN, [0.0] * len(mine))
        due, before = time.monotonic(), self.now()
        while self._going:
            due, self.sent[spec.topic] = max(due + 1 / spec.hz, time.monotonic() - 0.1), self.sent[spec.topic] + 1
            time.sleep(max(0.0, due - time.monotonic()))
            with self._lock:
                now = self.now()
                position, velocity = self.arm.at(now)
                if not all(mine):  # the topic with the gripper moves it
                    self.gripper.step(now - before)
                before = now
            places = dict(zip(self.arm.names, zip(position, velocity, strict=True), strict=True))
            rows = [places.get(name, (self.gripper.position, 0.0)) for name in spec.names]
            message.header.stamp.sec, message.header.stamp.nanosec = int(now), int(now % 1 * 1e9)
            message.position = array.array("d", [row[0] for row in rows])
            if spec.velocity != NAN:
                message.velocity = _values(spec.velocity, [row[1] for row in rows])
            if spec.effort != NAN:
                message.effort = _values(spec.effort, [0.0] * len(rows))
            publisher.publish(message)

    def _images(self, camera: CameraTopic, quality: Any) -> None:
        from sensor_msgs.msg import Image

        request_realtime(PRIORITY // 5)  # a camera's pixels come by hardware
        publisher = self.node.create_publisher(Image, camera.topic, quality)
        width, height = camera.size
        row = width * CHANNELS[camera.encoding]
        message = Image(height=height, width=width, encoding=camera.encoding, step=row)
        message.header.frame_id = camera.frame
        message.data = array.array("B", np.random.default_rng(0).integers(0, 255, height * row, np.uint8).tobytes())
        pixels = np.frombuffer(message.data, np.uint8).reshape(height, row)  # the message's own: nothing is copied
        due, count = time.monotonic(), 0
        while self._going:
            due, count = max(due + 1 / camera.hz, time.monotonic() - 0.1), count + 1
            time.sleep(max(0.0, due - time.monotonic()))
            taken = self.now() - camera.delay
            pixels[height // 3 : height // 2, row // 3 : row // 2] = count % 251  # what shows the same counts as frozen
            message.header.stamp.sec, message.header.stamp.nanosec = int(taken), int(taken % 1 * 1e9)
            publisher.publish(message)

    def close(self) -> dict[str, Any]:
        """End, and tell what came."""
        self._going = False
        passed = time.monotonic() - self._began
        rates = {f"{topic} Hz": round(count / passed) for topic, count in self.sent.items()}
        counts = {"accepted": self.arm.accepted, "refused": dict(self.arm.refused)}
        ages = {f"p{q} ms": round(1e3 * float(np.percentile(self.arm.ages or [0.0], q)), 1) for q in (50, 99)}
        return counts | ages | rates | {"goals": self.gripper.goals, "on motors": self.on_motors}


def request_realtime(priority: int) -> None:
    """Real-time priority for this thread, as controller_manager asks for, where the system permits it."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def _wanted(goal: Any) -> float:
    """The position or width of any gripper's goal."""
    if hasattr(goal, "width"):
        return float(goal.width)
    return float(goal.command.position[0] if hasattr(goal.command, "name") else goal.command.position)


def _values(kind: str, real: list[float]) -> Any:
    return array.array("d", [] if kind == NONE else [float("nan")] * len(real) if kind == NAN else real)


def main() -> None:
    """Run until SIGINT or SIGTERM; the last line is what came, as JSON."""
    import rclpy
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(FAKES))
    parser.add_argument("--motors", action="store_true", help="serve the gripper's own action, too")
    args = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    sys.setswitchinterval(SWITCH_INTERVAL)
    fake = FakeRobot(FAKES[args.name], args.motors)
    request_realtime(PRIORITY)  # and the executor's threads after it
    executor = MultiThreadedExecutor(4)
    executor.add_node(fake.node)
    print("ready", flush=True)
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps(fake.close()), flush=True)


if __name__ == "__main__":
    main()
