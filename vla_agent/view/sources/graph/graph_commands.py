"""What the window may ask of a running ROS 2 graph: an instruction, a run, a stop, a scene, a mark.

Nothing here commands the robot: all goes by the services and topics that anyone may use, and the nodes decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vla_agent.errors import NodeError
from vla_agent.ros.runtime.instructions import invalid_reason
from vla_agent.ros.tasks.own_interfaces import own_interfaces

PATIENCE = 5.0  # seconds to wait for an answer
TIME_LIMIT = 120.0  # seconds of the robot's clock, of a run that the window begins
ESTOP, RELEASE, SCENE = "safety/estop", "safety/reset", "sim/reset"
MARKS = {True: ("task/success", "record/success"), False: ("task/failure", "record/failure")}
SIMULATOR = "sim_robot_node"

Spin = Callable[[Callable[[], object], float], bool]


class GraphCommands:
    """Calls services and gives instructions.

    Args:
        node: an rclpy node.
        spin: (until, seconds) -> until(); see `ros.process.diagnostics_listener.observer_node`.
    """

    def __init__(self, node: Any, spin: Spin) -> None:
        from rcl_interfaces.srv import GetParameters, SetParameters
        from rclpy.action import ActionClient
        from std_msgs.msg import String
        from std_srvs.srv import Trigger

        from vla_agent.ros.process.node_base import LATCHED

        self._spin = spin
        self._instruction = node.create_publisher(String, "instruction", LATCHED)
        names = (ESTOP, RELEASE, SCENE, *MARKS[True], *MARKS[False])
        self._triggers = {name: node.create_client(Trigger, name) for name in names}
        self._set = node.create_client(SetParameters, f"{SIMULATOR}/set_parameters")
        self._get = node.create_client(GetParameters, f"{SIMULATOR}/get_parameters")
        interfaces = own_interfaces()
        self._kind: Any = None if interfaces.missing else interfaces.action.RunTask
        self._runs: Any = None if self._kind is None else ActionClient(node, self._kind, "run_task")
        self._run: Any = None  # the goal that runs
        self._ending: Any = None  # its result, which is awaited

    def instruct(self, text: str) -> str:
        """Give an instruction; an empty one has the robot rest.  What was done, in words.

        Raises:
            NodeError: it is not valid, or nobody listens.
        """
        from std_msgs.msg import String

        if wrong := invalid_reason(text):
            raise NodeError(wrong, key="instruction", remedy="give a shorter text of one line")
        if not self._instruction.get_subscription_count():
            raise NodeError(
                "nobody listens to instructions",
                key="instruction",
                expected="a policy node",
                found="no subscriber",
                remedy="start a graph: vla-agent up sim; check ROS_DOMAIN_ID and --namespace",
            )
        self._instruction.publish(String(data=text.strip()))
        return f'given: "{text.strip()}"' if text.strip() else "no instruction: the robot rests"

    def begin(self, text: str) -> str:
        """Run an instruction to an end with a reason, where task_node offers it; else give it.

        Raises:
            NodeError: it is refused, or not valid.
        """
        if not text.strip():
            raise NodeError("there is no instruction", key="instruction", remedy="write one into the box")
        if self._runs is None or not self._runs.server_is_ready():
            return self.instruct(text)
        if wrong := invalid_reason(text):
            raise NodeError(wrong, key="instruction", remedy="give a shorter text of one line")
        goal = self._kind.Goal(instruction=text.strip(), time_limit=TIME_LIMIT)
        self._run = self._answer(self._runs.send_goal_async(goal), "run_task")
        self._ending = self._run.get_result_async()
        self._spin(self._ending.done, 0.3)  # a goal that is refused ends at once
        ended = self.ended()
        if ended is not None and ended[0] == self._kind.Result.REFUSED:
            raise NodeError("the run was not begun", key="run_task", found=ended[1])
        return f'running: "{text.strip()}", at most {TIME_LIMIT:g} s'

    def ended(self) -> tuple[int, str] | None:
        """Outcome and reason of a run that has ended since the last call; None where none has."""
        if self._ending is None or not self._ending.done():
            return None
        result, self._ending, self._run = self._ending.result().result, None, None
        return int(result.outcome), str(result.reason)

    def rest(self) -> str:
        """Cancel the run that the window began, else give the empty instruction."""
        if self._run is None:
            return self.instruct("")
        self._answer(self._run.cancel_goal_async(), "run_task")
        return "the run is cancelled: the robot rests"

    def trigger(self, service: str) -> str:
        """Call a Trigger service; its message.

        Raises:
            NodeError: no node offers it, or it refuses.
        """
        from std_srvs.srv import Trigger

        client = self._triggers[service]
        if not client.service_is_ready():
            raise NodeError(
                f"no node offers {service}",
                key=service,
                found="no such service",
                remedy="start the graph that has it: vla-agent up sim; check ROS_DOMAIN_ID and --namespace",
            )
        answer = self._answer(client.call_async(Trigger.Request()), service)
        if not answer.success:
            raise NodeError(f"{service} was refused", key=service, found=answer.message or "no reason given")
        return f"{service}: {answer.message or 'done'}"

    def mark(self, success: bool) -> str:
        """Mark the running episode: ends the run of task_node and the recording, where there are such.

        Raises:
            NodeError: neither is there, or both refuse.
        """
        done, refused = [], []
        for service in MARKS[success]:
            try:
                done.append(self.trigger(service))
            except NodeError as error:
                refused.append(f"{error.what}: {error.found}")
        if not done:
            raise NodeError("nothing could be marked", key=", ".join(MARKS[success]), found="; ".join(refused))
        return "; ".join(done)

    def next_scene(self) -> str:
        """Lay out the simulator's next scene (its parameter ``seed`` plus one); the scene's instruction.

        Raises:
            NodeError: no simulated robot runs, or it refuses.
        """
        from rcl_interfaces.srv import GetParameters, SetParameters
        from rclpy.parameter import Parameter

        if not (self._get.service_is_ready() and self._set.service_is_ready()):
            raise NodeError(
                "only a simulated robot has scenes",
                key=SIMULATOR,
                found="no such node",
                remedy="on a real robot set the table by hand; vla-agent up sim starts a simulated one",
            )
        (seed,) = self._answer(self._get.call_async(GetParameters.Request(names=["seed"])), SIMULATOR).values
        changed = Parameter("seed", value=int(seed.integer_value) + 1).to_parameter_msg()
        answer = self._answer(self._set.call_async(SetParameters.Request(parameters=[changed])), SIMULATOR)
        if not answer.results[0].successful:
            raise NodeError("the scene was refused", key="seed", found=answer.results[0].reason)
        return self.trigger(SCENE)

    def _answer(self, future: Any, service: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        self._spin(future.done, PATIENCE)
        if not future.done() or future.result() is None:
            found = f"nothing within {PATIENCE:g} s" if time.monotonic() >= deadline else "nothing"
            raise NodeError(f"{service} does not answer", key=service, found=found, remedy="see its log")
        return future.result()
