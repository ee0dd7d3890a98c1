"""policy_node (lifecycle): images, joint states and an instruction in, actions out at the contract's rate.

in:  the cameras' images (Image, or CompressedImage where the robot file says so), joint_states, instruction (String;
  empty: stop), safety/stopped, teleop/action (JointTrajectory: a person's actions, passed on as
  policy/action; with ``interventions`` only)
out: policy/action (JointTrajectory, see controller_node), safety/stop (String: why the robot has to stop),
  policy/loaded (String, latched: digest of the files that were loaded; empty: none), policy/contract (String, latched:
  the policy's contract as JSON), policy/refusal (String, latched: why the policy holds still instead of following the
  instruction; empty: it acts), /diagnostics
parameters: see `ros.process.node_parameters` or `policy_node --help`

Configuring reads the parameters, loads the policy and checks its contract against the robot.  Activating on hardware
needs a certificate for the files that were loaded, this robot, this execution mode, and an inference latency that this
machine keeps.  Until the node is cleaned up its parameters cannot be set.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import GateError, NodeError, VlaAgentError
from vla_agent.files.canonical_json import canonical, digest
from vla_agent.gate.certificate.enforce import Deployment, require_certificate
from vla_agent.policy.inference_timing import p99_ms
from vla_agent.policy.speed.accelerate import accelerate
from vla_agent.robot.control.controller_factory import make_pose_controller
from vla_agent.robot.description import read_robot
from vla_agent.ros.messages import conversions
from vla_agent.ros.nodes.policy_inputs import InputSettings, PolicyInputs
from vla_agent.ros.process.node_base import (
    COMMANDS,
    INSTRUCTIONS,
    LATCHED,
    StatusReporter,
    checked_factor,
    declare_parameters,
    freeze_while,
    image_qos,
    request_realtime,
    run,
)
from vla_agent.ros.process.node_parameters import NODES
from vla_agent.ros.runtime.instructions import InstructionGuard
from vla_agent.ros.runtime.observations import Limits, ObservationBuffer
from vla_agent.ros.runtime.policy_loop import PolicyLoop, PolicyLoopSettings
from vla_agent.ros.teleop.hand_over import HandOver, Step
from vla_agent.serving.session import takes_committed

TICKS = 8  # a control period
LIMITS = ("max_age", "max_delay", "tolerance", "stalled_after")  # on hardware their defaults are the most


def require_as_certified(given: Mapping[str, Any], execute: int) -> None:
    """Check what no certificate states: on hardware a policy is executed as the gate executed it.

    Args:
        given: values of the node's parameters.  execute: the policy's own number of steps of a chunk.

    Raises:
        GateError: other steps, another library than PyTorch, or limits of age and time wider than the defaults.
    """
    declared = NODES["policy_node"].parameters
    if int(given["execute"]) not in (0, execute):
        wrong, expected = "execute", f"0, or the policy's own {execute}"
    elif given["openvino"]:
        wrong, expected = "openvino", "false: the gate ran the policy with PyTorch"
    else:
        limits = ((name, float(declared[name].default)) for name in LIMITS)
        wrong, most = next(((n, most) for n, most in limits if not 0 < float(given[n]) <= most), ("", 0.0))
        expected = f"more than 0, at most {most:g}"
    if wrong:
        raise GateError(
            "the policy is not executed as it was certified",
            key=wrong,
            expected=expected,
            found=given[wrong],
            remedy=f"leave the parameter {wrong} at {declared[wrong].default}",
        )


class PolicyNode(LifecycleNode):
    """See the module."""

    COMMAND_TOPIC = "policy/action"  # not to be remapped

    def __init__(self) -> None:
        super().__init__("policy_node")
        values = declare_parameters(self, "policy_node")
        request_realtime(self, values, distance=2)
        self._robot, self._robot_file = read_robot(values["robot"])
        self._factor = checked_factor(values)
        self._qos = image_qos(values)
        self.autostart = bool(values["autostart"])
        self._reporter = StatusReporter(self)
        self._guard = InstructionGuard()
        self._loop: PolicyLoop | None = None
        self._hardware = bool(values["hardware"])
        self._given: dict[str, Any] = {}  # parameters as they were when the node was configured
        self._files: dict[str, str] = {}  # name -> SHA-256 of what was loaded
        self._latency_ms: float | None = None  # p99 of an inference on this machine; on hardware only
        self._active = self._stopped = False
        self._refused = ""  # why it could not be activated
        self._inputs: list[Any] = []
        self._sensors: PolicyInputs | None = None
        self._stop = self.create_publisher(String, "safety/stop", 10)
        self._loaded = self.create_publisher(String, "policy/loaded", LATCHED)
        self._contract_told = self.create_publisher(String, "policy/contract", LATCHED)
        self._hands = HandOver(self._robot.period)
        self._refusal = self.create_publisher(String, "policy/refusal", LATCHED)
        self._told = ""  # the refusal that was published last
        self._actions = self.create_publisher(JointTrajectory, self.COMMAND_TOPIC, COMMANDS)
        freeze_while(self, "policy_node", lambda: self._loop is not None)
        if self.autostart:
            self.trigger_configure()
            if self._loop is None:
                raise NodeError("the policy node cannot be configured", remedy="see the error above")
            self.trigger_activate()

    # -- lifecycle -----------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, check that it fits the robot, and subscribe."""
        declared = NODES["policy_node"].parameters
        self._given = {name: self.get_parameter(name).value for name in declared if declared[name].configured}
        try:
            self._load(str(self._given["policy"]))
        except VlaAgentError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # a fault of the program: rclpy would hide it
            self.get_logger().error(traceback.format_exc())
            raise
        robot = self._robot
        self._inputs += [
            *(
                self.create_subscription(String, "instruction", partial(self._instruct, copy=copy), qos)
                for qos, copy in zip(INSTRUCTIONS, (False, True, True), strict=True)
            ),
            self.create_subscription(Bool, "safety/stopped", self._set_stopped, LATCHED),
        ]
        if self._given["interventions"]:
            self._inputs.append(self.create_subscription(JointTrajectory, "teleop/action", self._take_person, COMMANDS))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        assert self._sensors is not None  # `_load` has made them
        self._timer = self.create_timer(robot.period / TICKS / self._factor, self._tick, clock=steady)
        self._monitor_timer = self.create_timer(1.0 / self._factor, self._sensors.update, clock=steady)
        self._loaded.publish(String(data=digest(self._files)))
        self._contract_told.publish(String(data=canonical(self._contract.to_dict()).decode()))
        return TransitionCallbackReturn.SUCCESS

    def _load(self, folder: str) -> None:
        from vla_agent.policy.loading import load_policy
        from vla_agent.policy.sources import is_remote, is_server

        if not is_remote(folder):  # a server computes the policy: then this process needs no torch
            import torch

            torch.set_num_threads(1)
        policy = load_policy(folder)
        self._files = dict(policy.metadata.files if is_server(folder) else getattr(policy, "files", {}))
        policy = accelerate(policy, openvino=bool(self._given["openvino"]))
        self._contract, self._execute = policy.contract, policy.execute
        self._robot.require(self._contract, folder)
        self._mode = str(self._given["mode"]) or ("realtime" if takes_committed(policy) else "open_loop")
        self._latency_ms = p99_ms(policy) if self._hardware else None
        self._names = conversions.action_names(self._contract)
        period, max_delay = self._robot.period, float(self._given["max_delay"])
        self._buffer = ObservationBuffer(
            self._robot,
            self._contract,
            make_pose_controller(self._robot, "ee_delta").kinematics.forward,
            Limits(float(self._given["tolerance"]) * period, float(self._given["max_age"]) * period, max_delay),
        )
        inputs = InputSettings(self._qos, max_delay, self._factor)
        self._sensors = PolicyInputs(self, self._robot, self._contract, self._buffer, inputs, self._tick)
        settings = PolicyLoopSettings(
            mode=self._mode,
            execute=int(self._given["execute"]) or policy.execute,
            seed=int(self._given["seed"]),
            stalled_after=float(self._given["stalled_after"]) / self._factor,
            pace=self._factor,
        )
        self._loop = PolicyLoop(policy, self._contract, self._buffer, settings)

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
        if self._loop is not None and self._given["instruction"]:
            self._loop.instruct(str(self._given["instruction"]))
        return super().on_activate(state)

    def _require_certificate(self) -> None:
        robot, hardware = self._robot, self._hardware
        deployment = Deployment(
            robot.name,
            hardware,
            robot.camera_names,
            robot.control_hz,
            self._latency_ms,
            self._mode,
            robot_file=self._robot_file,
            files=self._files,
        )
        require_certificate(str(self._given["policy"]), str(self._given["certificate"]), deployment)
        if hardware:
            require_as_certified(self._given, self._execute)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the stream of actions: the robot rests."""
        self._end()
        self._active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the policy."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the stream of actions and release the policy."""
        self._end()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        self._active, self._refused = False, ""
        self._given, self._files, self._latency_ms = {}, {}, None
        self._loaded.publish(String(data=""))
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        if self._sensors is not None:
            self._sensors.close()
            self._sensors = None
        if self._loop is not None:
            self._timer.cancel()
            self._monitor_timer.cancel()
            self._loop.close()
            self._loop = None

    # -- in ------------------------------------------------------------------------------------------------------

    def _instruct(self, message: String, copy: bool = False) -> None:
        if self._loop is None or not self._active:
            return
        if excess := self._guard.excess(message.data.strip(), time.monotonic(), copy):
            if not self._stopped:
                self._request_stop(excess)
            return
        if message.data.strip() == self._loop.instruction:
            return
        self._end()
        self._loop.instruct(message.data)
        self.get_logger().info(f'instruction: "{message.data}"' if message.data.strip() else "no instruction: idle")

    def _set_stopped(self, message: Bool) -> None:
        if self._loop is not None and message.data != self._stopped:
            self._loop.restart()
            self._hands.release()
        self._stopped = message.data

    # -- out -----------------------------------------------------------------------------------------------------

    def _take_person(self, message: JointTrajectory) -> None:
        """Pass on the actions of a person who takes over (`teleop_node`); then the policy observes anew."""
        if self._loop is None or not self._active or self._stopped:
            return
        if (count := self.count_publishers("teleop/action")) > 1:
            self._request_stop(f"{count} nodes publish on teleop/action")
            return
        row = np.array(message.points[0].positions) if message.points else None
        stamp = conversions.to_seconds(message.header.stamp)
        step = self._hands.take(message.joint_names, row, self._names, stamp)
        if step is Step.PASS:
            self._actions.publish(message)
        elif step is Step.REFUSE:
            self.get_logger().warning("teleop/action has other components than the policy's actions", once=True)
        if row is None:
            self._loop.restart()

    def _wait_for_policy(self, loop: PolicyLoop, now: float) -> None:
        """After a person's last action: hold the arm until the policy acts."""
        step = self._hands.wait(now, bool(loop.instruction))
        if step is Step.HOLD:
            row, stamp = self._hands.hold()
            self._actions.publish(conversions.trajectory_message(self._names, row[None], stamp, self._robot.period))
        elif step is Step.END:
            self._end_stream(now)

    def _tick(self) -> None:
        loop = self._loop
        if loop is None or not self._active or self._stopped or not (loop.instruction or self._hands.active):
            quiet = "stopped by the supervisor" if self._stopped else "idle"
            self._report("error" if self._refused else "ok", self._refused or quiet)
            return
        if self._hands.taken:
            self._report("ok", "a person commands")
            return
        now = self.get_clock().now().nanoseconds * 1e-9
        decision = loop.tick(now)
        self._tell(loop.refusal)
        if decision is None:
            self._wait_for_policy(loop, now)
            if not loop.moving:
                problem = loop.observation_problem(now)
                self._report("warn" if problem else "ok", f"waiting: {problem}" if problem else "inference running")
            return
        if decision.stop:
            self._request_stop(decision.stop)
            loop.restart()
            return
        assert decision.actions is not None
        if not self._hands.fits(decision.stamp):  # right after a person's last action
            return
        self._actions.publish(
            conversions.trajectory_message(self._names, decision.actions, decision.stamp, self._robot.period)
        )
        if loop.refusal:
            self._report("warn", f"holding still: {loop.refusal}")
            return
        self._report("ok", "acting")

    def _tell(self, refusal: str) -> None:
        """Publish a refusal when it begins, changes and ends."""
        if refusal != self._told:
            self._told = refusal
            self._refusal.publish(String(data=refusal))
            self.get_logger().warning(f"holding still: {refusal}" if refusal else "following the instruction again")

    def _request_stop(self, why: str) -> None:
        self._stop.publish(String(data=why))
        self._report("error", why)

    def _report(self, level: str, message: str) -> None:
        warning = "" if self._sensors is None else self._sensors.warning
        if level == "ok" and warning:
            level, message = "warn", f"{message}; {warning}"
        self._reporter.report(level, message, self._values)

    def _values(self) -> dict[str, object]:
        loop = self._loop
        if loop is None:
            return {}
        delay = {"delay_steps": loop.expected_delay} if loop.moving else {}
        refusal = {"refusal": loop.refusal} if loop.refusal else {}
        sensed = {} if self._sensors is None else self._sensors.values()
        return {"instruction": loop.instruction} | refusal | loop.diagnostics() | sensed | delay

    def _end(self) -> None:
        """An empty trajectory ends the stream: the supervisor has the robot rest, without a fault."""
        self._tell("")
        if self._loop is not None and (self._loop.moving or self._hands.active):
            self._end_stream(self.get_clock().now().nanoseconds * 1e-9)
            self._hands.release()
            self._loop.restart()

    def _end_stream(self, now: float) -> None:
        nothing = np.empty((0, len(self._names)))
        self._actions.publish(conversions.trajectory_message(self._names, nothing, now, self._robot.period))

    def final(self) -> None:
        """Before the process ends: end the stream."""
        self._end()
        self._release()


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(PolicyNode)
