"""safety_node: passes commands to the robot only through `robot.safety.command_gate.CommandGate`.

in:  controller/joint_trajectory, joint_states, safety/stop (String: any node may stop), safety/deadman (Bool),
     policy/loaded (String, latched: digest of the policy that runs)
out: the robot's commands (robot file, ``controller``; without ``hardware`` under sim/), safety/stopped (Bool, latched),
     /diagnostics
services: safety/estop, safety/reset (Trigger)
parameters: see `ros.process.node_parameters` or `safety_node --help`

On hardware it checks the certificate itself, whatever the policy node does (`ros.runtime.certificate_watch`).  Without
a valid one for exactly the files of ``policy``, this robot, and an inference latency that this machine keeps (the node
times the policy itself, once, in a separate process) nothing at all is sent, and a reset is refused.  Commands are
refused until the policy node has announced the certified digest (with ``replay``, where there is none).  Once a second
it checks again what may have changed, and who else publishes commands; where something is wrong it stops the robot,
and then sends nothing.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from vla_agent.errors import ObservationError
from vla_agent.gate.certificate.enforce import Deployment
from vla_agent.robot.description import read_robot
from vla_agent.robot.joint_states import JointJoiner
from vla_agent.robot.safety.command_gate import CommandGate
from vla_agent.robot.safety.supervisor import STOPPED, Command, Supervisor
from vla_agent.ros.messages import conversions
from vla_agent.ros.outputs.robot_output import RobotOutput
from vla_agent.ros.process.node_base import (
    COMMANDS,
    JOINT_STATES,
    LATCHED,
    SENSORS,
    ControlClock,
    Node,
    StatusReporter,
    checked_factor,
    declare_parameters,
    request_realtime,
    run,
)
from vla_agent.ros.runtime.certificate_watch import PATIENCE, Background, CertificateWatch
from vla_agent.ros.runtime.timing_statistics import RateMeter, quantiles

TICKS = 8  # a control period
ONE_PUBLISHER = ("policy/action", "controller/joint_trajectory")  # on hardware
OVERDUE = f"not certified: the files could not be checked within {PATIENCE:g} s"
UNANNOUNCED = "no certified policy is announced on policy/loaded"
UNCHECKED = "not certified: the certificate was not checked yet"


class SafetyNode(Node):
    """See the module."""

    COMMANDS_ROBOT = True  # this node alone

    def __init__(self) -> None:
        super().__init__("safety_node")
        values = declare_parameters(self, "safety_node")
        request_realtime(self, values)
        self._robot, robot_file = read_robot(values["robot"])
        self._factor = checked_factor(values)
        self._now = ControlClock(self._factor)
        self._names = [*self._robot.joint_names, self._robot.gripper.joint]
        self._joints = JointJoiner(self._robot.joint_names, [self._robot.gripper.joint])
        self._reporter = StatusReporter(self)
        self._latencies: deque[float] = deque(maxlen=400)  # seconds from a command's arrival to its publication
        self._ages: deque[float] = deque(maxlen=400)  # seconds from the stamp of an approved command to its publication
        self._rate = RateMeter()
        self._stopped = self.create_publisher(Bool, "safety/stopped", LATCHED)
        self._published_stop: bool | None = None
        self._loaded = ""  # digest of the policy that runs, as the policy node says
        self._supervisor = Supervisor(self._robot, deadman=bool(values["deadman"]))
        hardware, self._replay = bool(values["hardware"]), bool(values["replay"])
        self._output = output = RobotOutput(self, self._robot, hardware)
        self._problem = output.problem  # why commands would not reach the robot
        self._gate = CommandGate(
            self._supervisor,
            lambda target: output.send(target, self._ros_time()),
            UNCHECKED if hardware else "",
            output.prepare,
        )
        self._watch: CertificateWatch | None = None
        self._background = Background()
        if hardware:
            robot = self._robot
            deployment = Deployment(
                robot.name, True, cameras=robot.camera_names, control_hz=robot.control_hz, robot_file=robot_file
            )
            self._watch = CertificateWatch(str(values["policy"]), str(values["certificate"]), deployment)
            self._one_publisher = (*ONE_PUBLISHER, *output.topics)
            self._check_certificate()
        self._subscribe()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._robot.period / TICKS / self._factor, self._tick, clock=steady)
        if hardware:
            self.create_timer(1.0, self._check_again, clock=steady)
        self._publish_stopped()

    def _subscribe(self) -> None:
        self.create_subscription(JointTrajectory, "controller/joint_trajectory", self._command, COMMANDS)
        for topic in self._robot.joint_state_topics:
            self.create_subscription(JointState, topic, self._receive_state, JOINT_STATES)
        self.create_subscription(String, "safety/stop", self._stop_on_request, 10)
        self.create_subscription(Bool, "safety/deadman", self._deadman, SENSORS)
        self.create_subscription(String, "policy/loaded", self._note_loaded, LATCHED)
        self.create_service(Trigger, "safety/estop", self._estop)
        self.create_service(Trigger, "safety/reset", self._reset)

    # -- certificate ---------------------------------------------------------------------------------------------

    def _check_certificate(self) -> None:
        """Everything: open the gate, or close it."""
        if self._watch is None:
            return
        self._background.result(PATIENCE)  # it was about what is read anew here
        if self._background.overdue:
            self._withdraw(OVERDUE)
            return
        refused = self._watch.check() or self._watch.recheck(self._loaded) or self._other_publishers()
        if refused:
            self._withdraw(refused)
        else:
            self._gate.permit()

    def _check_again(self) -> None:
        """What may change while the gate is open; the files are read in another thread, see `_take_check`."""
        if self._watch is None or self._gate.refused:
            return
        self._background.start(partial(self._watch.recheck, self._loaded))
        if refused := self._other_publishers():
            self._withdraw(refused)

    def _take_check(self) -> None:
        """Several times a period: close the gate where the last check says so, or the certificate's time is over."""
        if self._watch is None or self._gate.refused:
            return
        if refused := self._background.result() or (OVERDUE if self._background.overdue else ""):
            self._withdraw(refused)
        elif self._watch.expired:
            self._withdraw("not certified: the certificate has expired")

    def _withdraw(self, refused: str) -> None:
        self.get_logger().error(refused)
        self._gate.withdraw(refused, self._now())

    def _other_publishers(self) -> str:
        """Who else sends commands; empty where nobody does."""
        for topic in self._one_publisher:
            name = self.resolve_topic_name(topic)
            found = [publisher.node_name for publisher in self.get_publishers_info_by_topic(name)]
            if len(found) > 1:
                return f"not certified: {len(found)} nodes publish on {name}: {', '.join(sorted(found))}"
            if self.count_clients(f"{name}/_action/send_goal") > 1:
                return f"not certified: another node sends goals to {name}"
        return ""

    def _note_loaded(self, message: String) -> None:
        self._loaded = message.data
        self._check_again()

    @property
    def _unannounced(self) -> bool:
        """On hardware, with a certificate: whether nobody has said that the certified policy is what acts."""
        if self._watch is None or self._replay or self._gate.refused:
            return False
        return not self._watch.covers(self._loaded)

    # -- in ------------------------------------------------------------------------------------------------------

    def _command(self, message: JointTrajectory) -> None:
        self._take_command(message)
        self._publish_stopped()

    def _take_command(self, message: JointTrajectory) -> None:
        began = time.perf_counter()
        now = self._now()
        try:
            rows = conversions.trajectory_points(message, self._names)
        except ObservationError as error:
            self._gate.stop("command", f"{error.what}: {error.found}", now)
            return
        if not len(rows):
            self._gate.end()
            return
        if self._unannounced:
            self._supervisor.counts[f"refused: {UNANNOUNCED}"] += 1
            return
        if self._problem:
            self._supervisor.counts["refused: the robot cannot be commanded"] += 1
            return
        stamp = conversions.to_seconds(message.header.stamp)
        fraction = self._fraction(rows[0, -1])
        command = Command(rows[0, :-1], fraction, stamp, rows[1:, :-1])
        self._gate.command(command, self._ros_time() - stamp, now)
        self._latencies.append(time.perf_counter() - began)
        if self._gate.runs:
            self._ages.append(self._ros_time() - stamp)

    def _receive_state(self, message: JointState) -> None:
        self._take_state(message)
        self._publish_stopped()

    def _take_state(self, message: JointState) -> None:
        now = self._now()
        try:
            state = self._joints.add(message)
        except ObservationError as error:
            self._gate.stop("joint state", f"{error.what}: {error.key}", now)
            return
        if state is not None:
            positions, effort = state.positions, float(state.efforts[-1])
            self._gate.on_joint_state(positions[:-1], self._fraction(positions[-1]), state.stamp, now, effort)
        elif self._gate.runs and (missing := self._joints.missing):
            self._gate.stop("joint state", missing, now)

    def _stop_on_request(self, message: String) -> None:
        if self._supervisor.mode != STOPPED:
            self._gate.stop("asked", message.data, self._now())
            self._publish_stopped()

    def _deadman(self, message: Bool) -> None:
        self._gate.on_deadman(message.data, self._now())
        self._publish_stopped()

    def _estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._gate.stop("e-stop", "the service safety/estop was called", self._now())
        self._publish_stopped()
        response.success, response.message = True, self._supervisor.reason
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        now = self._now()  # before the files are checked: that takes longer than a joint state stays fresh
        if self._gate.stopped and self._gate.brakes:
            response.success, response.message = False, "still braking"  # its next target is due: check no files now
            return response
        if self._gate.stopped:
            self._check_certificate()  # everything again: files may have changed
        if not self._gate.runs:
            self._output.clear()  # what was refused may be taken now
        response.success, response.message = self._gate.reset(now)
        self._publish_stopped()
        return response

    # -- out -----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._take_check()
        self._gate.tick(self._now(), self._ros_time())
        self._check_output()
        self._publish_stopped()
        level = "error" if self._gate.stopped else "warn" if self._problem else "ok"
        self._reporter.report(level, self._message(), self._values)

    def _check_output(self) -> None:
        """Whether commands reach the robot; one that moves is stopped where they do not."""
        self._problem = self._output.problem
        if self._problem and self._gate.runs:
            self._gate.stop("output", self._problem, self._now())

    def _message(self) -> str:
        supervisor, refused = self._supervisor, self._gate.refused
        missing = self._joints.missing
        if supervisor.mode != STOPPED:
            return refused or (UNANNOUNCED if self._unannounced else missing or self._problem or self._mode())
        more = [reason for reason in (refused, missing, self._problem) if reason and reason not in supervisor.reason]
        return "; ".join([f"stopped: {supervisor.reason}", *more])

    def _mode(self) -> str:
        mode = str(self._supervisor.mode)
        return f"{mode}; replay: of no policy" if self._watch is not None and self._replay else mode

    def _values(self) -> dict[str, object]:
        counts = self._supervisor.counts
        values: dict[str, object] = dict(sorted(counts.items()))
        values |= {"last stop": self._supervisor.last_stop, "commands Hz": self._rate(counts["commands"])}
        values |= self._output.values()
        return values | quantiles("latency", self._latencies) | quantiles("camera to command", self._ages)

    def _publish_stopped(self) -> None:
        stopped = self._gate.stopped or bool(self._problem)
        if stopped != self._published_stop:
            self._published_stop = stopped
            self._stopped.publish(Bool(data=stopped))

    def _fraction(self, position: float) -> float:
        """Gripper joint position -> 0 open to 1 closed, neither NaN nor values out of range are changed."""
        gripper = self._robot.gripper
        return float((position - gripper.open) / (gripper.closed - gripper.open))

    def _ros_time(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def final(self) -> None:
        """Before the process ends: the robot is commanded to rest."""
        self._gate.final(self._now(), lambda: time.sleep(self._robot.period / self._factor))
        self._background.close()
        self._reporter.report("warn", "ended", self._values)


def main() -> None:
    """Run the node; see `ros.process.start`."""
    run(SafetyNode)
