"""The action run_task over Fast DDS: every end has its outcome and its reason, and the robot rests after it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from vla_agent.ros.tasks.task_run import Outcome, TaskRun, refusal  # noqa: E402


class Robot:
    """What a graph tells the task node, and a client of the action; all in this process, with the nodes' executor."""

    def __init__(self, node: Any, kind: Any) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.action import ActionClient
        from std_msgs.msg import Bool, String
        from trajectory_msgs.msg import JointTrajectory

        from vla_agent.ros.process.node_base import COMMANDS, LATCHED, make_executor

        self.task, self.node = node, rclpy.create_node("robot")
        self.executor = make_executor()
        for each in (self.task, self.node):
            self.executor.add_node(each)
        self.given: list[str] = []
        self.feedback: list[Any] = []
        self.kind = kind
        self.refusal = self.node.create_publisher(String, "policy/refusal", LATCHED)
        self.actions = self.node.create_publisher(JointTrajectory, "policy/action", COMMANDS)
        self.stopped = self.node.create_publisher(Bool, "safety/stopped", LATCHED)
        self.instruction = self.node.create_publisher(String, "instruction", 10)
        self.status = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.node.create_subscription(String, "instruction", lambda m: self.given.append(m.data), LATCHED)
        self.stopped.publish(Bool(data=False))
        self.client: Any = ActionClient(self.node, kind, "run_task") if kind else None

    def wait(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, "it did not come"
            self.executor.spin_once(timeout_sec=0.05)

    def send(self, instruction: str = "stack the cubes", time_limit: float = 60.0) -> Any:
        self.wait(lambda: self.client.server_is_ready() and self.task._stopped is not None)
        self.wait(lambda: self.task.count_publishers("policy/action"))
        goal = self.kind.Goal(instruction=instruction, time_limit=time_limit)
        future = self.client.send_goal_async(goal, feedback_callback=lambda m: self.feedback.append(m.feedback))
        self.wait(future.done)
        assert future.result().accepted
        return future.result()

    def begin(self, **goal: Any) -> Any:
        handle = self.send(**goal)
        self.wait(lambda: self.given and self.given[-1] == "stack the cubes")
        return handle

    def result(self, handle: Any) -> tuple[Outcome, str, Any]:
        future = handle.get_result_async()
        self.wait(future.done)
        result = future.result().result
        return Outcome(result.outcome), result.reason, result

    def ask(self, kind: Any, service: str, request: Any) -> Any:
        client: Any = self.node.create_client(kind, service)
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        return future.result()

    def say(self, name: str, message: str, **values: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        self.status.publish(DiagnosticArray(status=[DiagnosticStatus(name=name, message=message, values=pairs)]))


@pytest.fixture
def make() -> Iterator[Callable[[Any], Robot]]:
    import rclpy

    made: list[Robot] = []

    def start(kind: Any) -> Robot:
        from vla_agent.ros.nodes.task_node import TaskNode

        rclpy.init(args=["--ros-args", "-p", "patience:=0.2"], domain_id=int(DOMAIN))
        made.append(Robot(TaskNode(), kind))
        return made[0]

    yield start
    for robot in made:
        robot.executor.shutdown()
        for node in (robot.task, robot.node):
            node.destroy_node()
    rclpy.try_shutdown()


def test_each_end_of_a_run_has_its_outcome_and_its_reason(own_interfaces, make):
    from std_msgs.msg import Bool, String
    from std_srvs.srv import Trigger
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from vla_agent_interfaces.action import RunTask
    from vla_agent_interfaces.srv import EndTask

    robot = make(RunTask)
    first = robot.begin()
    robot.say("policy_node", "acting", doubt="0.25")
    robot.wait(lambda: robot.task._status("policy_node"))
    while robot.task._run.steps < 3:
        robot.actions.publish(JointTrajectory(points=[JointTrajectoryPoint()]))
        robot.wait(lambda: True)
        robot.executor.spin_once(timeout_sec=0.05)
    robot.wait(lambda: robot.feedback and robot.feedback[-1].step >= 3)
    assert robot.feedback[-1].state == "acting" and math.isclose(robot.feedback[-1].doubt, 0.25)
    assert robot.result(robot.send("another"))[:2] == (
        Outcome.REFUSED,
        "another goal is active: cancel it, or wait for its end",
    )
    assert robot.ask(Trigger, "task/success", Trigger.Request()).success
    outcome, reason, result = robot.result(first)
    assert (outcome, reason) == (Outcome.SUCCESS, "the caller said so") and result.steps >= 3
    assert robot.given[-1] == "", "the robot rests"

    handle = robot.begin()
    answer = robot.ask(EndTask, "task/end", EndTask.Request(success=False, reason="it fell"))
    assert answer.accepted and robot.result(handle)[:2] == (Outcome.FAILURE, "it fell")
    assert not robot.ask(EndTask, "task/end", EndTask.Request(success=True)).accepted

    handle = robot.begin(time_limit=0.3)
    assert robot.result(handle)[:2] == (Outcome.FAILURE, "the time limit of 0.3 s is over")

    handle = robot.begin()
    robot.refusal.publish(String(data="I see no cube"))
    assert robot.result(handle)[:2] == (Outcome.FAILURE, "the policy refuses: I see no cube")

    handle = robot.begin()
    cancel = handle.cancel_goal_async()
    robot.wait(cancel.done)
    assert robot.result(handle)[:2] == (Outcome.STOPPED, "the caller cancelled the run")
    assert robot.given[-1] == "", "the robot rests"

    handle = robot.begin()
    robot.instruction.publish(String(data="wipe the table"))
    assert robot.result(handle)[:2] == (Outcome.STOPPED, 'another instruction was given: "wipe the table"')

    handle = robot.begin()
    robot.stopped.publish(Bool(data=True))
    robot.say("safety_node", "stopped: command: ... rad/s", detail="stopped: command: joint 2 at 3.1 rad/s")
    assert robot.result(handle)[:2] == (Outcome.STOPPED, "command: joint 2 at 3.1 rad/s")
    outcome, reason, _ = robot.result(robot.send())
    assert outcome == Outcome.REFUSED and "the robot is stopped: command: joint 2" in reason
    outcome, reason, _ = robot.result(robot.send(time_limit=0.0))
    assert outcome == Outcome.REFUSED and "time_limit" in reason


def test_without_the_interface_package_the_node_runs_and_says_what_it_does_not_offer(make, monkeypatch):
    from std_srvs.srv import Trigger

    for name in [name for name in sys.modules if name.startswith("vla_agent_interfaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vla_agent_interfaces", None)
    robot = make(None)
    status = robot.task._listener
    robot.wait(lambda: "task_node" in status.statuses)
    told = status.statuses["task_node"]
    assert told.message == "run_task is not offered: vla_agent_interfaces is not installed" and told.level == 1
    assert "build_interfaces.py" in told.values["run_task"]
    answer = robot.ask(Trigger, "task/success", Trigger.Request())
    assert (answer.success, answer.message) == (False, "nothing runs")


@pytest.mark.parametrize(
    ("instruction", "limit", "word"),
    [
        (" ", 1.0, "no instruction"),
        ("a\nb", 1.0, "one line"),
        ("a" * 501, 1.0, "500"),
        ("a", 0.0, "more than 0"),
        ("a", -1.0, "more than 0"),
        ("a", math.nan, "nan"),
        ("a", math.inf, "inf"),
        ("a", 1e9, "at most"),
    ],
)
def test_goals_that_no_robot_can_run_are_refused(instruction, limit, word):
    assert word in refusal(instruction, limit)
    assert not refusal("stack the cubes", 86_400.0)


def test_the_first_end_counts_and_a_stop_waits_for_the_supervisors_words():
    run = TaskRun("a", 10.0, now=5.0)
    run.note_instruction(" a ")
    assert run.tick(14.9) is None
    run.note_stopped(14.9)
    assert run.tick(16.8) is None, "the time limit does not hide a stop"
    assert run.tick(17.0).reason == "the safety supervisor stopped the robot"
    run.end(Outcome.SUCCESS, "late")
    assert run.tick(17.0).outcome == Outcome.STOPPED and run.seconds == 12.0
    run = TaskRun("a", 10.0, now=0.0)
    run.note_instruction("")
    assert run.tick(0.1) == run.ending and run.ending.reason == "the instruction was taken back"
    run = TaskRun("a", 10.0, now=0.0)
    run.note_stopped(1.0)
    run.note_words("e-stop")
    run.note_words("later")
    assert run.tick(1.0).reason == "e-stop"
