"""task_node: runs an instruction to an end with a reason; one run at a time.

in:  safety/stopped, policy/action (its messages are the control steps), policy/refusal, instruction, /diagnostics
out: instruction (String, latched; empty at the end of a run, so that the robot rests), /diagnostics
action: run_task (vla_agent_interfaces/action/RunTask); a cancel holds the robot
services: task/success, task/failure (Trigger: the caller's judgement), task/end (vla_agent_interfaces/srv/EndTask),
  task/give_instruction (vla_agent_interfaces/srv/GiveInstruction)
parameters: see `ros.process.node_parameters` or `task_node --help`

It is a node of its own: the policy node stays as it is, and a run can be begun, watched and ended whatever state that
one is in.  Without vla_agent_interfaces it runs on, and /diagnostics says what is not offered, and why.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener
from vla_agent.ros.process.node_base import (
    COMMANDS,
    INSTRUCTIONS,
    LATCHED,
    Node,
    StatusReporter,
    declare_parameters,
    run,
)
from vla_agent.ros.runtime.instructions import invalid_reason
from vla_agent.ros.tasks.goal_server import GoalServer
from vla_agent.ros.tasks.own_interfaces import own_interfaces
from vla_agent.ros.tasks.task_run import Outcome, TaskRun, refusal

PERIOD = 0.1  # seconds between two looks
FEEDBACK = 5  # looks between two feedbacks
DETAIL = "detail"  # value of a status that has its message with numbers
STOPPED = "stopped: "  # the safety node's message begins so


class TaskNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("task_node")
        values = declare_parameters(self, "task_node")
        self._patience = float(values["patience"])
        self._refused, self._refused_since = "", 0.0  # what the policy says; seconds
        self._reporter = StatusReporter(self)
        self._interfaces = own_interfaces()
        self._run: TaskRun | None = None
        self._stopped: bool | None = None
        self._looks = 0
        self._last = "none"  # how the last run ended
        self._asked: Any = None  # the simulated scene's answer that is awaited
        self._listener = DiagnosticsListener(self)
        self._publisher = self.create_publisher(String, "instruction", LATCHED)
        for qos in INSTRUCTIONS:
            self.create_subscription(String, "instruction", self._note_instruction, qos)
        self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED)
        self.create_subscription(JointTrajectory, "policy/action", self._note_action, COMMANDS)
        self.create_subscription(String, "policy/refusal", self._note_refusal, LATCHED)
        self._scene: Any = self.create_client(Trigger, "sim/success")
        self._server: GoalServer | None = None
        if not self._interfaces.missing:
            self._offer(self._interfaces.action.RunTask, self._interfaces.srv)
        for name, success in (("success", True), ("failure", False)):
            self.create_service(Trigger, f"task/{name}", partial(self._judge, success))
        self.create_timer(PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _offer(self, kind: Any, services: Any) -> None:
        self._kind = kind
        self._server = GoalServer(self, kind, "run_task", self._begin, partial(self._result, Outcome.REFUSED))
        self.create_service(services.EndTask, "task/end", self._end_task)
        self.create_service(services.GiveInstruction, "task/give_instruction", self._give)

    # -- a run ---------------------------------------------------------------------------------------------------

    def _begin(self, goal: Any) -> str:
        if wrong := refusal(goal.instruction, goal.time_limit):
            return wrong
        if self._stopped is None:
            return "no safety node has reported yet: start the graph first"
        if self._stopped:
            return f"the robot is stopped: {self._words() or 'call safety/reset first'}"
        if not self.count_publishers("policy/action"):
            return "no policy node runs: start the graph first"
        self._run = TaskRun(goal.instruction.strip(), goal.time_limit, self._seconds())
        self._asked, self._refused = None, ""  # a refusal of before is about another instruction
        self._publisher.publish(String(data=self._run.instruction))
        self.get_logger().info(f'run: "{self._run.instruction}", at most {goal.time_limit:g} s')
        return ""

    def _look(self) -> None:
        self._report()
        if self._run is None or self._server is None:
            return
        self._watch(self._run)
        if self._server.cancelled:
            self._run.end(Outcome.STOPPED, "the caller cancelled the run")
        ending = self._run.tick(self._seconds())
        self._looks += 1
        if ending is not None:
            done, self._run = self._run, None
            self._publisher.publish(String(data=""))  # the robot rests; after a stop it does not go on by itself
            self._last = f"{ending.outcome.name.lower()}: {ending.reason}"
            self.get_logger().info(f"run ended, {self._last}")
            self._server.end(self._result(ending.outcome, ending.reason, done), ending.outcome == Outcome.SUCCESS)
        elif self._looks % FEEDBACK == 0:
            self._server.feedback(self._feedback(self._run))

    def _watch(self, run_now: TaskRun) -> None:
        """What the other nodes say: the supervisor's words, the policy's refusal, the scene's success."""
        if self._stopped and (words := self._words()):
            run_now.note_words(words)
        if self._refused and self._seconds() - self._refused_since >= self._patience:
            run_now.note_refused(self._refused)
        if self._asked is not None and self._asked.done():
            answer, self._asked = self._asked.result(), None
            if answer.success:
                run_now.end(Outcome.SUCCESS, "the simulated scene says so")
        if self._asked is None and run_now.steps and self._scene.service_is_ready():
            self._asked = self._scene.call_async(Trigger.Request())

    def _status(self, node: str) -> dict[str, str]:
        """The newest status of a node of this namespace; its message is under ``message``."""
        newest = self._listener.of_namespace(self.get_namespace()).get(node)
        if newest is None:
            return {}
        return {**newest.values, "message": newest.values.get(DETAIL, newest.message)}

    def _words(self) -> str:
        """Why the supervisor has stopped, in its own words; empty where it has not said so yet."""
        message = self._status("safety_node").get("message", "")
        return message.removeprefix(STOPPED) if message.startswith(STOPPED) else ""

    def _feedback(self, run_now: TaskRun) -> Any:
        status = self._status("policy_node")
        try:
            doubt = float(status.get("doubt", "nan"))
        except ValueError:
            doubt = math.nan
        return self._kind.Feedback(step=run_now.steps, doubt=doubt, state=status.get("message", "no policy node"))

    def _result(self, outcome: Outcome, reason: str, done: TaskRun | None = None) -> Any:
        steps, seconds = (done.steps, done.seconds) if done else (0, 0.0)
        return self._kind.Result(outcome=int(outcome), reason=reason, steps=steps, seconds=seconds)

    def _seconds(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    # -- what comes in -------------------------------------------------------------------------------------------

    def _note_instruction(self, message: String) -> None:
        if self._run is not None:
            self._run.note_instruction(message.data)

    def _note_action(self, message: JointTrajectory) -> None:
        if self._run is not None and message.points:
            self._run.note_step()

    def _note_refusal(self, message: String) -> None:
        if message.data and not self._refused:
            self._refused_since = self._seconds()
        self._refused = message.data

    def _set_stopped(self, message: Bool) -> None:
        self._stopped = message.data
        if message.data and self._run is not None:
            self._run.note_stopped(self._seconds())

    def _judge(self, success: bool, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._decide(success, "")
        return response

    def _end_task(self, request: Any, response: Any) -> Any:
        response.accepted, response.message = self._decide(request.success, request.reason)
        return response

    def _decide(self, success: bool, reason: str) -> tuple[bool, str]:
        if self._run is None:
            return False, "nothing runs"
        self._run.end(Outcome.SUCCESS if success else Outcome.FAILURE, reason.strip() or "the caller said so")
        return True, f'ended: "{self._run.instruction}"'

    def _give(self, request: Any, response: Any) -> Any:
        text = request.instruction.strip()
        wrong = invalid_reason(text) or ("a run is active: cancel it first" if self._run is not None else "")
        if not wrong:
            self._publisher.publish(String(data=text))
        response.accepted, response.message = not wrong, wrong or f'given: "{text}"'
        return response

    def _report(self) -> None:
        offered = self._interfaces.offered("run_task")
        state = f'running: "{self._run.instruction}"' if self._run is not None else "no run"
        if self._interfaces.missing:
            state = "run_task is not offered: vla_agent_interfaces is not installed"
        values: dict[str, object] = {"run_task": offered, "last run": self._last}
        self._reporter.report("warn" if self._interfaces.missing else "ok", state, lambda: values)

    def final(self) -> None:
        """Before the process ends: a run that is active ends, and the robot rests."""
        if self._run is not None and self._server is not None:
            done, self._run = self._run, None
            self._publisher.publish(String(data=""))
            self._server.end(self._result(Outcome.STOPPED, "the task node ended", done), False)


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(TaskNode)
