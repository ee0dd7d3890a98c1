"""teleop_node: a person commands the robot by keys, a gamepad or a leader arm; the same gate and supervisor check it.

in:  joint_states, safety/stopped; the terminal, or joy (Joy), or leader/joint_states (JointState)
out: policy/action (JointTrajectory, see controller_node), or with ``intervene`` teleop/action, which the policy node
     with ``interventions`` passes on; intervention (Bool, latched: a person commands); safety/stop, /diagnostics
service: teleop/takeover (SetBool), for every device
parameters: see `ros.process.node_parameters` or `teleop_node --help`

Keys: space takes over and gives back; w s a d r f move, u o i k j l turn, g moves the gripper, x stops.  A gamepad
commands while its button is held.  A leader arm must stand within a tolerance of the robot before it takes over.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import NodeError, ObservationError
from vla_agent.robot.control.action_modes import action_layouts
from vla_agent.robot.control.controller_factory import make_pose_controller
from vla_agent.robot.description import load_robot
from vla_agent.robot.joint_states import JointJoiner
from vla_agent.robot.kinematics.pose_controller import MAX_ROTATION, MAX_TRANSLATION
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import (
    COMMANDS,
    JOINT_STATES,
    LATCHED,
    Node,
    StatusReporter,
    checked_factor,
    declare_parameters,
    run,
)
from vla_agent.ros.teleop.leader import LeaderMapping, PoseFollower
from vla_agent.ros.teleop.motion import HELP, Gamepad, Keyboard, Wish, ee_delta

TICKS = 8  # a control period


class TeleopNode(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("teleop_node")
        self._values = values = declare_parameters(self, "teleop_node")
        self._robot = load_robot(values["robot"])
        self._device, self._mode = str(values["device"]), str(values["mode"])
        if self._mode == "joint_position" and self._device != "leader":
            raise NodeError(
                "keys and gamepads command the end effector",
                key="mode",
                expected="ee_delta, or device:=leader",
                found=self._mode,
                remedy="leave mode out",
            )
        self._intervene = bool(values["intervene"])
        self.COMMAND_TOPIC = "teleop/action" if self._intervene else "policy/action"  # not to be remapped
        factor = checked_factor(values)
        self._names = action_layouts(len(self._robot.joints))[self._mode]
        self._joiner = JointJoiner(self._robot.joint_names, [self._robot.gripper.joint])
        self._measured: np.ndarray | None = None  # (J,) rad
        self._gripper = 0.0  # measured, 0 open to 1 closed
        self._stopped: bool | None = None
        self._began: float | None = None  # of the takeover, seconds
        self._next = 0  # control step since then
        self._asked = False  # by the service
        self._refused = ""  # why the last takeover did not begin
        self._keyboard = Keyboard()
        self._gamepad = Gamepad(values["axes"], values["buttons"])
        self._restore_terminal: Callable[[], None] = lambda: None
        self._reporter = StatusReporter(self)
        self._publisher = self.create_publisher(JointTrajectory, self.COMMAND_TOPIC, COMMANDS)
        self._told = self.create_publisher(Bool, "intervention", LATCHED)
        self._stop = self.create_publisher(String, "safety/stop", 10)
        for topic in self._robot.joint_state_topics:
            self.create_subscription(JointState, topic, self._state, JOINT_STATES)
        self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED)
        self.create_service(SetBool, "teleop/takeover", self._take_or_give)
        self._listen()
        self._told.publish(Bool(data=False))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._robot.period / TICKS / factor, self._tick, clock=steady)

    def _listen(self) -> None:
        """Begin to read the device."""
        values = self._values
        if self._device == "keyboard":
            self._restore_terminal = raw_terminal()
            threading.Thread(target=self._read_keys, daemon=True).start()
        elif self._device == "gamepad":
            self.create_subscription(Joy, str(values["joy"]), self._read_joy, 10)
        else:
            self._mapping = LeaderMapping.checked(self._robot.joint_names, values)
            handle = [self._mapping.gripper] if self._mapping.gripper else []
            self._leader = JointJoiner(self._mapping.joints, handle)
            self._led: np.ndarray | None = None  # (J,) where the leader points, rad
            self._handle = 0.0
            self._led_at = -np.inf
            self._forward = make_pose_controller(self._robot, "ee_delta").kinematics.forward
            self.create_subscription(JointState, str(values["leader"]), self._read_leader, JOINT_STATES)

    # -- devices -------------------------------------------------------------------------------------------------

    def _read_keys(self) -> None:
        if sys.stdin.isatty():
            print(HELP, flush=True)
        while key := sys.stdin.read(1):
            self._keyboard.press(key, time.monotonic())
        self._keyboard.takes = False  # the input has ended

    def _read_joy(self, message: Joy) -> None:
        self._gamepad.read(message.axes, message.buttons, time.monotonic())

    def _read_leader(self, message: JointState) -> None:
        try:
            state = self._leader.add(message)
        except ObservationError as error:
            self._refused, self._led = f"the leader arm: {error.what}: {error.key}", None
            return
        if state is None or not np.isfinite(state.positions).all():
            return
        count = len(self._robot.joints)
        self._led, self._led_at = self._mapping.targets(state.positions[:count]), time.monotonic()
        if self._mapping.gripper:
            self._handle = self._mapping.fraction(state.positions[-1])

    def _wish(self) -> Wish:
        now = time.monotonic()
        if self._device == "keyboard":
            wish = self._keyboard.wish(now)
        elif self._device == "gamepad":
            wish = self._gamepad.wish(now)
        else:
            fresh = self._led is not None and now - self._led_at < 0.5
            gripper = self._handle if self._mapping.gripper else self._gripper
            wish = Wish(np.zeros(6), gripper, self._asked and fresh)
        return wish

    def _take_or_give(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        problem = self._obstacle() if request.data else ""
        if request.data and self._device == "gamepad":
            problem = "a gamepad takes over while its button is held"
        self._keyboard.takes = self._asked = request.data and not problem
        response.success, response.message = not problem, problem or ("takes over" if request.data else "given back")
        return response

    # -- the robot -----------------------------------------------------------------------------------------------

    def _state(self, message: JointState) -> None:
        try:
            state = self._joiner.add(message)
        except ObservationError as error:
            self._reporter.report("error", f"{error.what}: {error.key}")
            return
        if state is not None:
            self._measured = state.positions[:-1]
            if np.isfinite(state.positions[-1]):
                self._gripper = self._robot.gripper.fraction(state.positions[-1])

    def _set_stopped(self, message: Bool) -> None:
        self._stopped = message.data
        if message.data:
            self._give_back()

    def _obstacle(self) -> str:
        """Why nobody can take over now; empty where one can."""
        if self._measured is None:
            return self._joiner.missing or "no joint states of the robot"
        if self._stopped is not False:
            return "stopped by the supervisor: call safety/reset" if self._stopped else "no safety node has reported"
        if not self._intervene and self.count_publishers("policy/action") > 1:
            return "another node publishes policy/action: set intervene:=true beside a policy node"
        if self._intervene and not self.count_subscribers("teleop/action"):
            return "no policy node takes teleop/action: start it with interventions:=true, or leave intervene out"
        if self._device == "leader":
            return self._misaligned()
        return self._gamepad.problem if self._device == "gamepad" else ""

    def _misaligned(self) -> str:
        if self._led is None or time.monotonic() - self._led_at >= 0.5:
            return self._refused or "no joint states of the leader arm"
        assert self._measured is not None
        apart = np.abs(self._led - self._measured)
        worst, most = int(apart.argmax()), float(self._values["leader_tolerance"])
        if apart[worst] <= most:
            return ""
        return f"the leader arm is {apart[worst]:.2f} rad from {self._robot.joint_names[worst]}: at most {most:g}"

    # -- commands ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._keyboard.stops:
            self._keyboard.stops = False
            self._stop.publish(String(data="the person at the keyboard stopped the robot"))
        wish = self._wish()
        if not wish.takes:
            self._refused = ""
            self._give_back()
        elif self._began is not None or self._take_over():
            self._command(wish)
        state = "a person commands" if self._began is not None else self._refused or f"waiting for the {self._device}"
        self._reporter.report("warn" if self._refused else "ok", state, lambda: {"actions": self._next})

    def _take_over(self) -> bool:
        self._refused = self._obstacle()
        if self._refused:
            self._keyboard.takes = self._asked = False
            return False
        assert self._measured is not None
        self._keyboard.gripper = self._gamepad.gripper = float(self._gripper > 0.5)  # nothing opens or closes by itself
        most = (MAX_TRANSLATION, MAX_ROTATION)
        if self._device == "leader":
            self._follower = PoseFollower(self._forward, self._measured, most)
        self._began, self._next = self._seconds(), 0
        self._told.publish(Bool(data=True))
        self.get_logger().info("a person commands")
        return True

    def _command(self, wish: Wish) -> None:
        assert self._began is not None
        now = self._seconds()
        due = int((now - self._began) / self._robot.period)
        if due < self._next:
            return
        stamp = self._began + due * self._robot.period
        self._next = due + 1
        row = self._action(wish)
        self._publisher.publish(conversions.trajectory_message(self._names, row[None], stamp, self._robot.period))

    def _action(self, wish: Wish) -> np.ndarray:
        """(A,) of this control step."""
        period, values = self._robot.period, self._values
        if self._device != "leader":
            step = min(float(values["speed"]) * period, MAX_TRANSLATION)
            return ee_delta(wish, step, min(float(values["turn"]) * period, MAX_ROTATION))
        assert self._led is not None
        if self._mode == "joint_position":
            return np.append(self._led, wish.gripper)
        return np.append(self._follower.step(self._led), wish.gripper)

    def _give_back(self) -> None:
        """End the stream: the robot rests, or the policy goes on."""
        self._keyboard.takes = self._asked = False
        if self._began is None:
            return
        nothing = np.empty((0, len(self._names)))
        self._publisher.publish(
            conversions.trajectory_message(self._names, nothing, self._seconds(), self._robot.period)
        )
        self._began = None
        self._told.publish(Bool(data=False))
        self.get_logger().info("given back")

    def _seconds(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def final(self) -> None:
        """Before the process ends: the stream ends."""
        self._give_back()
        self._restore_terminal()


def raw_terminal() -> Callable[[], None]:
    """Keys come at once and are not shown; returns what sets the terminal as it was before."""
    if not sys.stdin.isatty():
        return lambda: None
    import termios
    import tty

    handle = sys.stdin.fileno()
    before: Any = termios.tcgetattr(handle)
    tty.setcbreak(handle)
    return lambda: termios.tcsetattr(handle, termios.TCSADRAIN, before)


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(TeleopNode)
