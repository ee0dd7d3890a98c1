"""Controllers of real robots, made small: they accept, reject and answer as the sources of their drivers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from rclpy.action import ActionServer, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor

PATIENCE = 120.0  # seconds, on a busy machine


class Ros:
    """A node that commands, and one with the fakes; both are spun in one thread."""

    def __init__(self) -> None:
        self.node, self.other = rclpy.create_node("commands"), rclpy.create_node("robot")
        self._executor = MultiThreadedExecutor(4)
        for node in (self.node, self.other):
            self._executor.add_node(node)
        self.going = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self.going:
            self._executor.spin_once(timeout_sec=0.05)

    def until(self, true: Callable[[], Any], seconds: float = PATIENCE) -> bool:
        """Whether something comes true within that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return True
            time.sleep(0.005)
        return bool(true())

    def close(self) -> None:
        self.going = False
        self._thread.join()
        self._executor.shutdown()
        for node in (self.node, self.other):
            node.destroy_node()


@contextmanager
def ros(domain: int, *words: str) -> Iterator[Ros]:
    """Both nodes in a ROS domain of their own; ``words``: arguments of ROS."""
    rclpy.init(args=["--ros-args", *words], domain_id=domain)
    made = Ros()
    try:
        yield made
    finally:
        made.close()
        rclpy.try_shutdown()


class ActionController:
    """An action server that keeps its goals.

    ``accepts``: whether it takes them; ``end``: what happens to a goal: reached, aborted, or held until another one
    comes (then canceled, as ros2_controllers do).
    """

    def __init__(self, graph: Ros, action: Any, name: str, end: str = "reached") -> None:
        self.goals: list[Any] = []
        self._graph, self._executing = graph, 0
        self.accepts, self.end = True, end
        self.hangs = threading.Event()
        self._action = action
        self._server = ActionServer(
            graph.other,
            action,
            name,
            execute_callback=self._execute,
            goal_callback=self._take,
            callback_group=ReentrantCallbackGroup(),
        )

    def _take(self, goal: Any) -> GoalResponse:
        while self.hangs.is_set() and self._graph.going:
            time.sleep(0.01)
        if not self.accepts:
            return GoalResponse.REJECT
        self.goals.append(goal)
        return GoalResponse.ACCEPT

    def _execute(self, handle: Any) -> Any:
        self._executing += 1
        mine = len(self.goals)
        while len(self.goals) == mine and self.end == "held" and self._graph.going:
            time.sleep(0.005)
        if self._graph.going:
            (handle.abort if self.end == "aborted" else handle.succeed)()
        self._executing -= 1
        return self._action.Result()

    def destroy(self) -> None:
        """It goes away."""
        self.end = "reached"
        assert self._graph.until(lambda: not self._executing)
        time.sleep(0.05)  # the executor sends the results
        self._server.destroy()


class TrajectoryController:
    """What joint_trajectory_controller checks of a message, by its source; ``refused``: why it would drop it."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.accepted: list[Any] = []
        self.refused: list[str] = []

    def take(self, message: Any) -> None:
        wrong = self.problem(message)
        if wrong:
            self.refused.append(wrong)
        else:
            self.accepted.append(message)

    def problem(self, message: Any) -> str:
        if not message.points or sorted(message.joint_names) != sorted(self._names):
            return "other joints, or no point"
        before = 0.0
        for point in message.points:
            after = point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec
            if after <= before:
                return "times do not increase"
            before = after
            if not len(point.positions) == len(point.velocities) == len(self._names):
                return "a point has another number of positions or velocities"
            if not np.isfinite([*point.positions, *point.velocities]).all():
                return "not finite"
        return "velocity of the last point is not zero" if np.any(message.points[-1].velocities) else ""
