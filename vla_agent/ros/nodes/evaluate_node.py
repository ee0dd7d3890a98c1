"""evaluate_node: runs episodes of the simulated robot through the graph, with the seeds of `vla-agent eval`.

in:  /clock, safety/stopped
out: instruction (String, latched; empty between episodes), /diagnostics
calls: sim/reset, sim/success, safety/reset, and the parameters task and seed of sim_robot_node
parameters: see `ros.process.node_parameters` or `evaluate_node --help`

It writes graph.json.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from sim.tasks.task import select
from vla_agent.errors import NodeError, VlaAgentError
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.node_base import LATCHED, Node, StatusReporter, declare_parameters, run
from vla_agent.ros.process.start import STOP
from vla_agent.ros.runtime.graph_report import GraphEpisode, require_possible, write_graph_report

PATIENCE = 300.0  # wall-clock seconds to wait for another node
PAUSE = 10  # control periods without an instruction between episodes: the robot comes to rest
SETTLE = 2  # control periods after a reset until no image of the previous scene is in transit


class EvaluateNode(Node):
    """See the module.  The episodes run in their own thread; the executor serves its calls."""

    def __init__(self) -> None:
        super().__init__("evaluate_node")
        values = declare_parameters(self, "evaluate_node")
        self._period = load_robot(values["robot"]).period
        self._families = select(values["tasks"] or None)
        self._count, self._seed = int(values["episodes"]), int(values["seed"])
        self._results = Path(values["results"])
        self._report = Path(values["report"]) if values["report"] else None
        planned = [(name, self._seed + k) for k in range(self._count) for name in self._families]
        require_possible(self._results, planned, self._report)
        self._reporter = StatusReporter(self)
        self._stopped: bool | None = None
        self._episodes: list[GraphEpisode] = []
        self.failed: BaseException | None = None
        self._publisher = self.create_publisher(String, "instruction", LATCHED)
        self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED)
        self._triggers: dict[str, Any] = {
            n: self.create_client(Trigger, n) for n in ("sim/reset", "sim/success", "safety/reset")
        }
        self._setter: Any = self.create_client(SetParameters, "sim_robot_node/set_parameters")
        self.create_timer(0.5, self._watch)
        self._thread = threading.Thread(target=self._evaluate, daemon=True)
        self._thread.start()

    def _set_stopped(self, message: Bool) -> None:
        self._stopped = message.data

    def _watch(self) -> None:
        if self.failed is not None:
            raise self.failed
        done = len(self._episodes)
        self._reporter.report("ok", "evaluating", done=done, of=self._count * len(self._families))

    # -- in the thread -------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        try:
            for k in range(self._count):
                for name, family in self._families.items():
                    self._episodes.append(self._play(name, self._seed + k, family.time_limit))
                    self.get_logger().info(str(self._episodes[-1]))
            settings = {"tasks": list(self._families), "episodes": self._count, "seed": self._seed}
            written = write_graph_report(self._results, settings, self._episodes, self._report)
            self.get_logger().info(f"{self._results / 'graph.json'}: {written['summary']}")
            STOP.set()
        except VlaAgentError as error:
            self.failed = error
        except Exception as error:  # a fault of the program: raised in the executor's thread
            traceback.print_exc()
            self.failed = error

    def _play(self, task: str, seed: int, limit: int) -> GraphEpisode:
        self._wait(lambda: self._publisher.get_subscription_count() > 0, "a policy node is there")
        self._publisher.publish(String(data=""))
        self._pause(PAUSE)
        if self._stopped:
            self._wait(lambda: self._call("safety/reset")[0], "the supervisor can be reset")
            self._wait(lambda: self._stopped is False, "the supervisor reports its reset")
        values = (Parameter("task", value=task).to_parameter_msg(), Parameter("seed", value=seed).to_parameter_msg())
        request = SetParameters.Request(parameters=list(values))
        for result in self._request(self._setter, request).results:
            if not result.successful:
                raise NodeError("the simulated robot refuses an episode", key=f"{task} {seed}", found=result.reason)
        done, instruction = self._call("sim/reset")
        if not done:
            raise NodeError("the simulated robot cannot start an episode", key=f"{task} {seed}", found=instruction)
        self._pause(SETTLE)
        self._publisher.publish(String(data=instruction))
        success, steps = False, 0
        while not success and steps < SETTLE + limit and not self._stopped:
            self._pause(2)
            success, text = self._call("sim/success")
            steps = int(text)
        return GraphEpisode(task, seed, instruction, success, steps, bool(self._stopped))

    def _call(self, service: str) -> tuple[bool, str]:
        answer = self._request(self._triggers[service], Trigger.Request())
        return answer.success, answer.message

    def _request(self, client: Any, request: Any) -> Any:
        self._wait(client.service_is_ready, f"the service {client.srv_name} is there")
        future = client.call_async(request)
        self._wait(future.done, f"the service {client.srv_name} answers")
        return future.result()

    def _pause(self, periods: int) -> None:
        clock = self.get_clock()
        self._wait(lambda: clock.now().nanoseconds > 0, "there is a clock")
        until = clock.now().nanoseconds + int(periods * self._period * 1e9)
        self._wait(lambda: clock.now().nanoseconds >= until, "the clock goes on")

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            if STOP.is_set():
                raise NodeError("the evaluation was ended", expected=what, found="SIGINT or SIGTERM")
            if until():
                return
            if time.monotonic() > deadline:
                raise NodeError("the evaluation cannot go on", expected=what, found=f"not within {PATIENCE:g} s")
            time.sleep(0.01)

    def final(self) -> None:
        """Before the process ends: the episodes' thread uses this node no more."""
        STOP.set()
        self._thread.join(2.0)


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(EvaluateNode)
