"""policy_node (lifecycle): pictures, joint states and an instruction in, actions out at the contract's rate.

in:  the cameras' images (Image, or CompressedImage where the robot file says so), joint_states, instruction (String;
  empty: stop), safety/stopped
out: policy/action (JointTrajectory, see controller_node), safety/stop (String: why the robot has to stop), /diagnostics
parameters: policy (folder, or ws://HOST:PORT of a server), robot, mode (open_loop, ensemble, adaptive, realtime;
  empty: realtime where the policy can continue a chunk, else open_loop), execute (0: what the policy says), seed,
  certificate (file), hardware (false), autostart (true: configures and activates itself), tolerance and max_age
  (control periods), stalled_after (s), instruction (""), image_reliability, real_time_factor,
  openvino (false: PyTorch computes the policy)

Configuring loads the policy and checks its contract against the robot.  Activating on hardware needs a certificate for
these files, this robot, this way of execution, and a latency that this machine keeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import GateError, NodeError, ObservationError, VlaAgentError
from vla_agent.gate.certificate.enforce import require_certificate
from vla_agent.policy.inference_timing import p99_ms
from vla_agent.policy.speed.accelerate import accelerate
from vla_agent.robot.control.robot_controller import controller_of
from vla_agent.ros.messages import conversions
from vla_agent.ros.process.node_base import (
    COMMANDS,
    LATCHED,
    SENSORS,
    Reporter,
    Steady,
    image_qos,
    listen,
    make_prompt,
    pace_of,
    robot_of,
    run,
)
from vla_agent.ros.runtime.agent import Agent
from vla_agent.ros.runtime.arrivals import Arrivals
from vla_agent.ros.runtime.instructions import InstructionGuard
from vla_agent.ros.runtime.observations import ObservationBuffer
from vla_agent.serving.session import takes_committed

TICKS = 8  # a control period


class PolicyNode(LifecycleNode):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        make_prompt(self, before=2)
        self._robot = robot_of(self)
        self._factor = pace_of(self)
        self._qos = image_qos(self)
        defaults: dict[str, Any] = {
            "policy": "policies/tabletop-nano",
            "mode": "",
            "execute": 0,
            "seed": 0,
            "certificate": "",
            "hardware": False,
            "tolerance": 0.6,
            "max_age": 2.25,
            "stalled_after": 2.0,
            "instruction": "",
            "openvino": False,
        }
        for name, default in defaults.items():
            self.declare_parameter(name, default)
        self.autostart = bool(self.declare_parameter("autostart", True).value)
        self._reporter = Reporter(self)
        self._guard = InstructionGuard()
        self._agent: Agent | None = None
        self._latency_ms: float | None = None  # of an inference on this machine, 99th percentile; where it is hardware
        self._active = self._stopped = False
        self._refused = ""  # why it could not be activated
        self._inputs: list[Any] = []
        self._pictures: dict[str, Any] = {}  # the cameras' subscriptions
        self._stop = self.create_publisher(String, "safety/stop", 10)
        self._actions = self.create_publisher(JointTrajectory, "policy/action", COMMANDS)
        if self.autostart:
            self.trigger_configure()
            if self._agent is None:
                raise NodeError("the policy node cannot be configured", remedy="see the error above")
            self.trigger_activate()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    # -- lifecycle -----------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, check that it fits the robot, and listen."""
        try:
            self._load(str(self._value("policy")))
        except VlaAgentError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        robot = self._robot
        self._warning = ""  # pictures that come too seldom, and why
        for camera in robot.cameras:
            if camera.name in self._contract.camera_names:
                transport = conversions.TRANSPORTS[camera.transport]
                take = partial(self._image, camera.name, transport.read)
                subscription = self._listen(camera.name, transport.message, camera.image_topic, take, self._qos)
                self._pictures[camera.name] = subscription
        self._inputs += [
            *self._pictures.values(),
            self._listen("joint_states", JointState, robot.joint_states, self._state, SENSORS),
            self.create_subscription(String, "instruction", self._instruct, LATCHED),
            self.create_subscription(String, "instruction", self._instruct, 10),  # of publishers that do not latch
            self.create_subscription(Bool, "safety/stopped", self._stopping, LATCHED),
        ]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(robot.period / TICKS / self._factor, self._tick, clock=steady)
        self._stock = self.create_timer(1.0 / self._factor, self._take_stock, clock=steady)
        return TransitionCallbackReturn.SUCCESS

    def _listen(self, name: str, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> Any:
        arrivals = self._arrivals
        return listen(self, kind, topic, take, qos, partial(arrivals.lose, name), partial(arrivals.mismatch, name))

    def _load(self, folder: str) -> None:
        from vla_agent.policy.loading import load_policy
        from vla_agent.policy.sources import is_remote

        if not is_remote(folder):  # a server thinks for us: then this process needs no torch
            import torch

            torch.set_num_threads(1)
        policy = accelerate(load_policy(folder), openvino=bool(self._value("openvino")))
        self._contract, self._execute = policy.contract, policy.execute
        self._robot.require(self._contract, folder)
        self._mode = str(self._value("mode")) or ("realtime" if takes_committed(policy) else "open_loop")
        self._latency_ms = p99_ms(policy) if self._value("hardware") else None
        self._names = conversions.action_names(self._contract)
        period = self._robot.period
        self._buffer = ObservationBuffer(
            self._robot,
            self._contract,
            controller_of(self._robot, "ee_delta").kinematics.forward,
            float(self._value("tolerance")) * period,
            float(self._value("max_age")) * period,
        )
        self._arrivals = Arrivals(
            {c.name: c.hz or self._contract.control_hz for c in self._contract.cameras}
            | {"joint_states": self._robot.control_hz},
            float(self._value("max_age")) * period,
            self._qos.reliability == ReliabilityPolicy.RELIABLE,
            Steady(self._factor),
        )
        self._agent = Agent(
            policy,
            self._contract,
            self._buffer,
            mode=self._mode,
            execute=int(self._value("execute")) or policy.execute,
            seed=int(self._value("seed")),
            stalled_after=float(self._value("stalled_after")) / self._factor,
            pace=self._factor,
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Act on instructions from here on; on hardware only with a valid certificate."""
        try:
            self._require_certificate()
        except VlaAgentError as error:
            self.get_logger().error(str(error))
            self._refused = f"not activated: {error.what}: {error.key}"
            return TransitionCallbackReturn.FAILURE
        self._refused = ""
        self._active = True
        if self._agent is not None and self._value("instruction"):
            self._agent.instruct(str(self._value("instruction")))
        return super().on_activate(state)

    def _require_certificate(self) -> None:
        robot, hardware = self._robot, bool(self._value("hardware"))
        require_certificate(
            str(self._value("policy")),
            str(self._value("certificate")),
            robot.name,
            hardware,
            cameras=robot.camera_names,
            control_hz=robot.control_hz,
            latency_ms=self._latency_ms,
            execution=self._mode,
        )
        if hardware and int(self._value("execute")) not in (0, self._execute):
            raise GateError(
                "the policy is not executed as it was certified",
                key="execute",
                expected=f"0, or the policy's own {self._execute}",
                found=self._value("execute"),
                remedy="leave the parameter execute at 0",
            )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the stream of actions; the robot rests."""
        self._end()
        self._active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the stream of actions and forget the policy."""
        self._end()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        self._active = False
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self._pictures.clear()
        if self._agent is not None:
            self._timer.cancel()
            self._stock.cancel()
            self._agent.close()
            self._agent = None

    # -- in ------------------------------------------------------------------------------------------------------

    def _image(self, name: str, read: Callable[[Any], np.ndarray], message: Any) -> None:
        stamp = self._count(name, message, len(message.data))
        try:
            pixels = read(message)
        except ObservationError as error:
            self._refuse(name, f"cannot be read: {error.key} {error.found}")
            return
        self._buffer.add_image(name, pixels, stamp)
        self._tick()  # what was waited for may be complete now

    def _state(self, message: JointState) -> None:
        stamp = self._count("joint_states", message)
        names = [*self._robot.joint_names, self._robot.gripper.joint]
        try:
            positions = conversions.joint_positions(message, names)
        except ObservationError as error:
            self._refuse("joint_states", f"lack {error.key}")
            return
        gripper = self._robot.gripper.fraction(positions[-1])
        self._buffer.add_state(positions[:-1], gripper, stamp)

    def _count(self, name: str, message: Any, size: int = 0) -> float:
        """Count a message; seconds of its stamp."""
        stamp = conversions.seconds(message.header.stamp)
        self._arrivals.came(name, self.get_clock().now().nanoseconds * 1e-9 - stamp, size)
        return stamp

    def _refuse(self, name: str, problem: str) -> None:
        self._arrivals.refuse(name)
        self._buffer.refuse(name, problem)

    def _take_stock(self) -> None:
        """Once a second of control time: rates, and why pictures do not come."""
        arrivals, warnings = self._arrivals, []
        arrivals.count()
        for name, subscription in self._pictures.items():
            slow = arrivals.slow(name)
            publishers = self.get_publishers_info_by_topic(subscription.topic_name) if slow else []
            arrivals.offer(name, [publisher.node_name for publisher in publishers])
            cause = arrivals.likely(name)
            self._buffer.explain(name, cause)
            if slow and cause:
                warnings.append(f"{name} comes too seldom: {cause}")
        self._warning = "; ".join(warnings)

    def _instruct(self, message: String) -> None:
        if self._agent is None or not self._active:
            return
        if flood := self._guard.flood(message.data.strip(), time.monotonic()):
            if not self._stopped:
                self._ask_to_stop(flood)
            return
        if message.data.strip() == self._agent.instruction:
            return
        self._end()
        self._agent.instruct(message.data)
        self.get_logger().info(f'instruction: "{message.data}"' if message.data.strip() else "no instruction: idle")

    def _stopping(self, message: Bool) -> None:
        if self._agent is not None and message.data != self._stopped:
            self._agent.again()
        self._stopped = message.data

    # -- out -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        agent = self._agent
        if agent is None or not self._active or self._stopped or not agent.instruction:
            calm = "stopped by the supervisor" if self._stopped else "idle"
            self._report("error" if self._refused else "ok", self._refused or calm)
            return
        now = self.get_clock().now().nanoseconds * 1e-9
        decision = agent.tick(now)
        if decision is None:
            if not agent.moving:
                blind = agent.problem(now)
                self._report("warn" if blind else "ok", f"waiting: {blind}" if blind else "thinking")
            return
        if decision.stop:
            self._ask_to_stop(decision.stop)
            agent.again()
            return
        assert decision.actions is not None
        self._actions.publish(conversions.trajectory(self._names, decision.actions, decision.stamp, self._robot.period))
        self._report("ok", "acting")

    def _ask_to_stop(self, why: str) -> None:
        self._stop.publish(String(data=why))
        self._report("error", why)

    def _report(self, level: str, message: str) -> None:
        if level == "ok" and self._warning:
            level, message = "warn", f"{message}; {self._warning}"
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        agent = self._agent
        if agent is None:
            return {}
        delay = {"delay_steps": agent.expected_delay} if agent.moving else {}
        return agent.figures() | self._arrivals.values() | delay

    def _end(self) -> None:
        """An empty trajectory ends the stream: the supervisor has the robot rest, without a fault."""
        if self._agent is not None and self._agent.moving:
            now = self.get_clock().now().nanoseconds * 1e-9
            nothing = np.empty((0, len(self._names)))
            self._actions.publish(conversions.trajectory(self._names, nothing, now, self._robot.period))
            self._agent.again()

    def final(self) -> None:
        """Before the process ends: end the stream."""
        self._end()
        self._release()


def main() -> None:
    """Run the node; see `nodes.start`."""
    run(PolicyNode)
