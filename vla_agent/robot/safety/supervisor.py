"""The supervisor: every command passes through it, and on any fault it stops the robot itself and stays stopped.

Modes: ``idle`` (no motion yet, or a stream ended properly), ``running``, ``stopped`` (latched: only
:meth:`Supervisor.reset` leaves it).  ``now``: seconds of a steady clock in control time.

A stopped robot brakes within its limits and is then held where it is measured (`robot.safety.hold`): an arm that is
moved by hand is not pulled back, and the next stream of commands begins where the arm is then.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from vla_agent.robot.description import Robot
from vla_agent.robot.safety.hold import Hold, Target
from vla_agent.robot.safety.lookahead import LookAhead
from vla_agent.robot.safety.stream_limits import StreamLimits

IDLE, RUNNING, STOPPED = "idle", "running", "stopped"


@dataclass(frozen=True)
class Command:
    """Joint targets (J,) rad and gripper (0 open to 1 closed) for one control period, and what is planned after it.

    ``stamp``: seconds, of the control step; ``plan``: (N, J) rad, the targets of the next N periods, N may be 0.
    """

    joints: np.ndarray
    gripper: float
    stamp: float
    plan: np.ndarray


@dataclass(frozen=True)
class Timing:
    """Largest times, in control periods where no unit is given."""

    stale: float = 1.75  # since the last command, and since the last joint state
    age: float = 3.0  # of a command, from its control step to here
    gap: int = 2  # missing control steps in the stream
    clock_jump: float = 0.25  # seconds
    deadman: float = 0.5  # seconds since the last press
    start_distance: float = 0.01  # rad from the joints, measured within ``age``, to the first command
    start_shift: float = 0.001  # metres, the same for the end effector
    start_motion: float = 0.05  # rad from the newest measured joints to the first command: a moving arm is ahead of it
    lag: float = 0.4  # rad from the measured joints to any command
    jump: float = 0.1  # rad between two joint states beyond what the velocity limits allow


@dataclass
class Supervisor:
    """See the module.  ``deadman``: motion needs a pressed deadman switch."""

    robot: Robot
    timing: Timing = field(default_factory=Timing)
    deadman: bool = False

    def __post_init__(self) -> None:
        self.mode, self.reason = IDLE, ""
        self.last_stop = ""  # the reason of the last stop, kept after the reset
        self.counts: Counter[str] = Counter()
        self._limits = StreamLimits(self.robot)
        self._lookahead = LookAhead(self.robot)
        self._steps = max(1, round(self.robot.lookahead.seconds / self.robot.period))
        self._hold = Hold(self._limits, self.robot.period)
        self._measured: np.ndarray | None = None
        self._measured_gripper: float  # known with the joints
        self._recent: deque[tuple[float, np.ndarray]] = deque()  # (now, joints) that a stream may begin from
        self._measured_at = self._measured_stamp = -np.inf
        self._commanded_at = self._stamp = -np.inf
        self._held_at = -np.inf
        self._pressed_at = -np.inf
        self._clock: tuple[float, float] | None = None
        self._overload = ""  # what is wrong with the gripper's effort

    # -- inputs --------------------------------------------------------------------------------------------------

    def on_joint_state(
        self, joints: np.ndarray, gripper: float, stamp: float, now: float, effort: float | None = None
    ) -> Target | None:
        """A joint state: positions (J,) rad, gripper (0 open to 1 closed), stamp in seconds.

        ``effort``: of the gripper's joint, in the robot file's unit; None where the joint state has none.
        Returns a target where the joint state is a reason to stop.  A gripper that presses too hard is held where it is
        measured.
        """
        joints = np.asarray(joints, dtype=np.float64)
        if joints.shape != self._limits.position.shape or not np.isfinite(joints).all() or not np.isfinite(gripper):
            return self.stop("joint state", f"not {len(self.robot.joints)} finite positions and a gripper", now)
        jumped, first = self._jump(joints, stamp, now), self._measured is None
        target = self.stop("joint state", jumped, now) if jumped and self.mode == RUNNING else None
        self._measured, self._measured_gripper = joints, gripper
        self._measured_at, self._measured_stamp = now, stamp
        self._recent.append((now, joints))
        while now - self._recent[0][0] > self.timing.age * self.robot.period:
            self._recent.popleft()
        if first:
            self._limits.rest(joints)
            self._hold.gripper = gripper
            self._hold.begin(joints, gripper, now)
        elif self.mode != RUNNING:
            if jumped:
                self._hold.lose()
            self._hold.on_joint_state(joints, gripper, now)
        self._overload = self._overload_of(effort)
        if self._overload:
            self._hold.gripper = min(max(gripper, 0.0), 1.0)
            target = self.stop("gripper force", self._overload, now) or target
        return target

    def _jump(self, joints: np.ndarray, stamp: float, now: float) -> str:
        """Which joint moved faster than it can since the last joint state; empty where none did."""
        if self._measured is None:
            return ""
        elapsed = max(now - self._measured_at, stamp - self._measured_stamp, self.robot.period)
        step = np.abs(joints - self._measured) - self.robot.limits("velocity") * elapsed - self.timing.jump
        if not (step > 0).any():
            return ""
        k = int(np.argmax(step))
        return f"{self.robot.joint_names[k]} jumped by {joints[k] - self._measured[k]:.3f} rad"

    def on_deadman_pressed(self, now: float) -> None:
        """The deadman switch is pressed."""
        self._pressed_at = now

    def on_deadman_released(self, now: float) -> Target | None:
        """The deadman switch was released.  Returns a target where that stops the robot."""
        self._pressed_at = -np.inf
        if self.deadman and self.mode == RUNNING:
            return self.stop("deadman", "the switch was released", now)
        return None

    def command(self, command: Command, age: float, now: float) -> Target | None:
        """The target for the robot: ``command`` itself, a stop, or None (nothing is sent).

        ``age``: seconds since the control step of the command, by the clock that stamped it.
        """
        if self.mode == STOPPED:
            self.counts["refused while stopped"] += 1
            return None
        wrong = self._refusal(command, age, now)
        if wrong:
            return self.stop(*wrong, now)
        if self.mode == IDLE:
            if self._starts_elsewhere(command.joints):
                return self.stop("start", "the first command is not at the robot's position", now)
            self._limits.rest(command.joints)
        else:
            missing = round((command.stamp - self._stamp) / self.robot.period) - 1
            if missing > self.timing.gap:
                return self.stop("sequence", f"{missing} commands are missing", now)
            if missing > 0:
                self.counts["missing commands"] += missing
                self._limits.rest(self._limits.position)
        broken = self._limits.check(command.joints)
        if broken:
            return self.stop("limit", broken, now)
        if np.abs(command.joints - self._measured).max() > self.timing.lag:
            return self.stop("following", "the robot does not follow its commands", now)
        start, path = self._limits.position, self._rollout(command)
        wrong = self._path_problem(start, path, 1 + len(command.plan[: self._steps - 1]))
        if wrong:
            return self.stop(*wrong, now)
        self._limits.accept(command.joints)
        self.mode, self._stamp, self._commanded_at = RUNNING, command.stamp, now
        self._hold.gripper = command.gripper
        self.counts["commands"] += 1
        return Target(command.joints.copy(), command.gripper, start, path[1:])

    def end(self) -> Target | None:
        """The stream of commands ends properly: the robot rests at its last target, and may be started again.

        Returns that target, once.
        """
        if self.mode != RUNNING:
            return None
        self.mode = IDLE
        self._limits.rest(self._limits.position)
        self._begin_hold(self._measured_at)
        return Target(self._limits.position, self._hold.gripper, self._limits.position)

    # -- stopping and starting -----------------------------------------------------------------------------------

    def stop(self, kind: str, reason: str, now: float) -> Target | None:
        """Stop and latch; the first reason is kept.  Returns the first target of the braking motion.

        None before the first joint state: the position to hold is unknown.  None while stopped, once the target of this
        period has been sent: reasons may come more often than the arm can brake.
        """
        if self.mode == STOPPED:
            return self._due(now)
        if self.mode == RUNNING:
            self._begin_hold(now)
        self.mode, self.reason = STOPPED, f"{kind}: {reason}"
        self.last_stop = self.reason
        self.counts[f"stop: {kind}"] += 1
        return self._held(now)

    def _begin_hold(self, now: float) -> None:
        assert self._measured is not None  # nothing runs before the first joint state
        self._hold.begin(self._measured, self._measured_gripper, now)

    def reset(self, now: float) -> tuple[bool, str]:
        """Leave the stop if nothing speaks against it: (done, reason)."""
        if self.mode != STOPPED:
            return True, f"not stopped, {self.mode}"
        if now - self._measured_at > self.timing.stale * self.robot.period:
            return False, "no fresh joint state"
        if self._overload:
            return False, f"gripper force: {self._overload}"
        if np.abs(self._limits.velocity).max() > 0:
            return False, "still braking"
        if self.deadman and now - self._pressed_at > self.timing.deadman:
            return False, "the deadman switch is not pressed"
        previous, self.mode, self.reason = self.reason, IDLE, ""
        self._clock = None
        assert self._measured is not None  # it is fresh
        self._recent = deque([(self._measured_at, self._measured)])  # where it was before is no place to begin
        self._limits.rest(self._measured)
        self._begin_hold(now)
        return True, f"was stopped: {previous}"

    def tick(self, now: float, clock: float) -> Target | None:
        """The watchdogs; call it several times a period.  ``clock``: seconds of the clock that stamps messages.

        Returns a target once a period while stopped (brake, then hold), else None.
        """
        if self.mode == RUNNING:
            stale = self.timing.stale * self.robot.period
            if self._clock and abs((clock - self._clock[1]) - (now - self._clock[0])) > self.timing.clock_jump:
                moved, passed = clock - self._clock[1], now - self._clock[0]
                return self.stop("clock", f"advanced by {moved:.2f} s while {passed:.2f} s passed", now)
            if now - self._commanded_at > stale:
                return self.stop("command", f"none for {now - self._commanded_at:.3f} s", now)
            if now - self._measured_at > stale:
                return self.stop("joint state", f"none for {now - self._measured_at:.3f} s", now)
            if self.deadman and now - self._pressed_at > self.timing.deadman:
                return self.stop("deadman", "the switch is silent", now)
        self._clock = (now, clock)
        return self._due(now) if self.mode == STOPPED else None

    def final(self, now: float) -> list[Target]:
        """The last targets before this program ends, one a control period: the fastest stop, then a rest.

        None at all before the first command, after a stream's end, and where nothing may be commanded while stopped.
        """
        if self.mode == IDLE:
            return []
        first = self.stop("end", "the program ends", now) if self.mode == RUNNING else None
        targets = [first, *(self._held(now) for _ in range(max(1, self._limits.braking_steps)))]
        return [target for target in targets if target is not None]

    @property
    def braking_steps(self) -> int:
        """Number of targets of the fastest stop from here, the first rest included; 0 where the robot rests."""
        return self._limits.braking_steps

    # -- internals -------------------------------------------------------------------------------------------------

    def _due(self, now: float) -> Target | None:
        """The stop's next target, once a period."""
        return self._held(now) if now - self._held_at >= self.robot.period * 0.99 else None

    def _held(self, now: float) -> Target | None:
        if self._measured is None:
            return None
        self._held_at = now
        return self._hold.target(now - self._measured_at <= self.timing.stale * self.robot.period)

    def _starts_elsewhere(self, joints: np.ndarray) -> bool:
        """Whether ``joints`` (J,) is not where the arm was measured within the age that a command may have."""
        if np.abs(joints - self._measured).max() > self.timing.start_motion:
            return True
        seen = min((seen for _, seen in self._recent), key=lambda seen: float(np.abs(joints - seen).max()))
        shift = np.linalg.norm(self._lookahead.end_effector(joints) - self._lookahead.end_effector(seen))
        return bool(np.abs(joints - seen).max() > self.timing.start_distance or shift > self.timing.start_shift)

    def _overload_of(self, effort: float | None) -> str:
        """What is wrong with the effort of the gripper's joint; empty where nothing is."""
        most = self.robot.gripper.max_effort
        if most is None:
            return ""
        if effort is None or np.isnan(effort):
            return "no effort in the joint states"
        return f"effort {effort:.2f} over {most:.2f}" if abs(effort) > most else ""

    def _rollout(self, command: Command) -> np.ndarray:
        """(N, J): the command, its plan within the horizon, then the fastest stop: to rest, and up to the horizon."""
        plan = np.vstack([command.joints[None], command.plan[: self._steps - 1]])
        before = plan[-2] if len(plan) > 1 else self._limits.position
        velocity = (plan[-1] - before) / self.robot.period
        steps = max(self._steps - len(plan), self._limits.steps_to_rest(velocity), 1)
        return np.vstack([plan, self._limits.stop_path(plan[-1], velocity, steps)])

    def _path_problem(self, start: np.ndarray, path: np.ndarray, planned: int) -> tuple[str, str] | None:
        """What speaks against ``path`` (N, J) from ``start`` (J,): kind and reason; None where nothing does.

        ``planned``: rows before the stop, which may brake without a limit of jerk.
        """
        if contact := self._lookahead.path(start, path):
            return "look-ahead", contact
        broken = self._limits.check_path(path[:planned])
        return ("limit", f"{broken} in the plan") if broken else None

    def _refusal(self, command: Command, age: float, now: float) -> tuple[str, str] | None:
        """Why a command is refused before its limits are checked: (kind, reason); None where it is not."""
        period, stale = self.robot.period, self.timing.stale * self.robot.period
        if not np.isfinite(command.gripper) or not -1e-3 <= command.gripper <= 1 + 1e-3:
            return "gripper", f"{command.gripper} is not within 0 to 1"
        if command.joints.shape != self._limits.position.shape:
            return "limit", f"{command.joints.shape[0]} targets for {len(self.robot.joints)} joints"
        if not np.isfinite(command.joints).all() or not np.isfinite(command.plan).all():
            return "limit", "a joint target is NaN or infinite"
        if command.plan.ndim != 2 or command.plan.shape[1:] != command.joints.shape:
            return "limit", "the plan has another number of joints"
        if self._measured is None or now - self._measured_at > stale:
            return "joint state", "none, or too old"
        if self.deadman and now - self._pressed_at > self.timing.deadman:
            return "deadman", "the switch is not pressed"
        if not -period <= age <= self.timing.age * period:
            return "late", f"the command is {age:.3f} s old"
        if self.mode == RUNNING and command.stamp - self._stamp < 0.5 * period:
            return "rate", f"{command.stamp - self._stamp:.4f} s after the one before"
        return None
