"""A running ROS 2 graph in the window: `vla-agent view --ros`.

The robot is the robot file's, posed by the joint states; nobody publishes where objects are, so they are seen in the
cameras' images alone.  The process only listens (`graph_listener`), and asks by the services and topics that anyone may
use (`graph_commands`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.errors import NodeError
from vla_agent.robot.description import load_robot
from vla_agent.ros.process.diagnostics_listener import Status as NodeStatus
from vla_agent.ros.process.diagnostics_listener import observer_node
from vla_agent.ros.process.graph_plan import checked_namespace, is_installed
from vla_agent.view.history import History
from vla_agent.view.source import Button, Command, Control, Frame, Path, Picture, Status, TextBox
from vla_agent.view.sources.graph.graph_commands import ESTOP, RELEASE, GraphCommands
from vla_agent.view.sources.graph.graph_listener import GraphListener
from vla_agent.view.sources.robot_figure import RobotFigure

HZ = 20.0
TRAIL = 200  # points of the path that was executed
NEAR = 0.002  # metres: a shorter way gives no new point
SLICE = 0.001  # seconds in which messages are taken, again while some come
SILENT = 3.0  # seconds without a message
EXECUTED, PLANNED = (60, 130, 246), (255, 150, 20)
LEVELS = {0: "good", 1: "warning", 2: "bad"}
QUIET = ("idle", "stopped by the supervisor")
EPISODE = "Episode"  # a group of controls
CONTROLS: tuple[Control, ...] = (  # no key sets a robot in motion
    TextBox("instruction", "instruction", send="give", hint="the policy follows it at once; empty: the robot rests"),
    Button("start", "start", hint="runs the instruction; with task_node to an end with a reason"),
    Button("rest", "rest", "h", "no instruction: the robot holds"),
    Button("stop", "STOP", "space", "the service safety/estop; the robot stays stopped"),
    Button("release", "leave the stop", hint="the service safety/reset"),
    Button("next", "next scene", "n", "of a simulated robot", EPISODE),
    Button("success", "mark success", "y", "of the run and the recording; ends them", EPISODE),
    Button("failure", "mark failure", "f", "of the run and the recording; ends them", EPISODE),
)


@dataclass(frozen=True)
class GraphSettings:
    """Which graph: robot file, namespace of its nodes, and which hosts are heard (see `vla-agent up --help`)."""

    robot: str = "panda"
    namespace: str = ""
    discovery: str = ""


class RosGraph:
    """See `vla_agent.view.source.Source`."""

    hz = HZ
    controls = CONTROLS

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._robot = load_robot(settings.robot)
        space = checked_namespace(settings.namespace)
        self.title = f"ROS 2 graph: {self._robot.name}" + (f" in {space}" if space else "")
        self._open = ExitStack()
        self._told = ""  # what the last command did
        self._wanted = ""  # the last instruction that was not empty
        self._trail: deque[np.ndarray] = deque(maxlen=TRAIL)

    def open(self) -> None:
        """Load the robot's model and join the graph.

        Raises:
            NodeError: rclpy is not installed.
            RobotError: the model cannot be read.
        """
        if not is_installed("rclpy"):
            raise NodeError(
                "there is no ROS 2 here",
                key="rclpy",
                expected="rclpy of a ROS 2 installation, or of its wheels",
                found="no such package",
                remedy="source /opt/ros/$ROS_DISTRO/setup.bash, or pip install 'vla_agent[ros-wheels]'",
            )
        self._figure = RobotFigure(self._robot)
        names = (*self._robot.joint_names, self._robot.gripper.joint)
        self._joints = History("joints", names)
        self._targets = History("targets", names)
        self._actions: History | None = None
        settings = self._settings
        observer = observer_node("vla_agent_view", settings.discovery, checked_namespace(settings.namespace))
        node, spin = self._open.enter_context(observer)
        self._node, self._spin = node, spin
        self._listener = GraphListener(node, self._robot)
        self._commands = GraphCommands(node, spin)
        self._began = self._looked = time.monotonic()

    def step(self) -> Frame | None:
        """What has come since the last call; None where nothing has, once a second the silence."""
        new = self._listener.read(lambda: self._spin(lambda: False, SLICE))
        now = time.monotonic()
        if not new and now - self._looked < 1.0:
            return None
        self._looked = now
        if (ended := self._commands.ended()) is not None:
            self._told = f"the run has ended: {ended[1]}"
        return self._frame(now - self._began)

    def _frame(self, seconds: float) -> Frame:
        listener = self._listener
        poses = self._figure.pose(listener.joints)
        statuses = listener.diagnostics.of_namespace(self._node.get_namespace())
        self._remember(seconds)
        given = listener.texts.get("instruction", "")
        self._wanted = given or self._wanted
        return Frame(
            taken=listener.heard or time.time(),
            status=self._status(statuses),
            scene=self._figure.scene,
            poses=poses,
            pictures=tuple(Picture(name, image) for name, image in sorted(listener.images.items())),
            paths=self._paths(),
            plots=tuple(h.plot() for h in (self._joints, self._targets, self._actions) if h is not None),
            facts=self._facts(statuses),
            supervisor=_supervisor(listener.switches.get("safety/stopped"), statuses.get("safety_node")),
            rates=_measured(statuses, " Hz"),
            latencies=_measured(statuses, " ms"),
            values={"instruction": given},
        )

    def _remember(self, seconds: float) -> None:
        listener = self._listener
        self._joints.add(seconds, listener.joints)
        names, rows = listener.trajectories.get("controller/joint_trajectory", ((), np.empty((0, 0))))
        if len(rows):
            self._targets.add(seconds, dict(zip(names, rows[0], strict=True)))
        names, rows = listener.trajectories.get("policy/action", ((), np.empty((0, 0))))
        if len(rows):
            if self._actions is None or self._actions.labels != names:
                self._actions = History("action", names)
            self._actions.add(seconds, dict(zip(names, rows[0], strict=True)))
        here = self._figure.end_effector
        if listener.joints and (not self._trail or np.linalg.norm(here - self._trail[-1]) > NEAR):
            self._trail.append(here)

    def _paths(self) -> tuple[Path, ...]:
        """The way that was gone, and the plan of the controller."""
        names, rows = self._listener.trajectories.get("controller/joint_trajectory", ((), np.empty((0, 0))))
        gone = Path("executed", np.array(self._trail).reshape(-1, 3), EXECUTED)
        arm = [names.index(name) for name in self._robot.joint_names if name in names]
        if len(rows) < 2 or len(arm) < len(self._robot.joint_names) or not np.isfinite(rows).all():
            return (gone, Path("planned", np.empty((0, 3)), PLANNED))
        return (gone, Path("planned", self._figure.path(rows[:, arm]), PLANNED))

    def _status(self, statuses: dict[str, NodeStatus]) -> Status:
        """What the policy node says of itself."""
        listener = self._listener
        silent = time.time() - listener.heard
        if not listener.heard:
            return Status("no graph is heard: vla-agent up sim starts one; check ROS_DOMAIN_ID, --namespace", "warning")
        if silent > SILENT:
            return Status(f"the graph is silent for {silent:.0f} s", "warning")
        if listener.problem:
            return Status(listener.problem, "warning")
        if listener.switches.get("intervention"):
            return Status("a person commands", "good")
        policy = statuses.get("policy_node")
        if policy is None:
            return Status("no policy node is heard", "idle")
        message = policy.values.get("detail", policy.message)
        return Status(message, "idle" if message in QUIET else LEVELS.get(policy.level, "bad"))

    def _facts(self, statuses: dict[str, NodeStatus]) -> dict[str, str]:
        texts = self._listener.texts
        facts = {"instruction": texts.get("instruction", "") or "none", "last command": self._told or "none"}
        if "policy/refusal" in texts:
            facts["doubt"] = texts["policy/refusal"] or "none: the policy acts"
        if texts.get("policy/loaded"):
            facts["policy"] = texts["policy/loaded"][:12]
        scene = statuses.get("sim_robot_node")
        if scene is not None:
            facts |= {key: scene.values[key] for key in ("task", "seed", "steps", "success") if key in scene.values}
        facts["nodes"] = ", ".join(sorted(statuses)) or "none"
        return facts

    def command(self, command: Command) -> None:
        """Ask the graph.

        Raises:
            NodeError: it refuses, or nobody offers that.
        """
        commands = self._commands
        text = str(command.value or "").strip()
        acts: dict[str, Any] = {
            "instruction": lambda: commands.instruct(text),
            "start": lambda: commands.begin(self._wanted),
            "rest": commands.rest,
            "stop": lambda: commands.trigger(ESTOP),
            "release": lambda: commands.trigger(RELEASE),
            "next": commands.next_scene,
            "success": lambda: commands.mark(True),
            "failure": lambda: commands.mark(False),
        }
        self._told = f"{command.name}: asked"
        try:
            self._told = acts[command.name]()
        except NodeError as error:
            self._told = f"refused: {error.what}: {error.found}"
            raise

    def close(self) -> None:
        """Leave the graph."""
        self._open.close()


def _measured(statuses: Mapping[str, NodeStatus], unit: str) -> dict[str, float]:
    """What the nodes measure in ``unit``, by ``NODE WHAT``."""
    found = {}
    for name, status in sorted(statuses.items()):
        for key, text in status.values.items():
            if key.endswith(unit):
                with suppress(ValueError):
                    what = key.removesuffix(unit).removeprefix("latency ")
                    found[f"{name.removesuffix('_node')} {what}"] = float(text)
    return found


def _supervisor(stopped: bool | None, node: NodeStatus | None) -> Status:
    """The safety node's state, with its reason in words."""
    if stopped is None and node is None:
        return Status("no safety node is heard", "idle")
    words = node.values.get("detail", node.message) if node is not None else ""
    if stopped:
        return Status(words if words.startswith("stopped") else "stopped", "bad")
    level = LEVELS.get(node.level, "bad") if node is not None else "good"
    return Status(words or "not stopped", "idle" if words == "idle" else level)
