"""What a robot is commanded while no stream of commands moves it: the fastest stop, then rest.

A robot's own controller keeps the last target that it got.  So where a hand moves the arm or the gripper away from the
held target, the target follows: the robot is never pulled back to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vla_agent.robot.safety.stream_limits import StreamLimits

DISPLACED = 0.02  # rad away from the held target, beyond what the arm's own error explains: it was moved
OPENED = 0.1  # of the gripper's opening: the same for the gripper
SAG = 0.1  # rad of error that the arm's own controller may leave at rest
SETTLE = 0.5  # seconds at rest until the arm has come to the held target
SURE = 3  # targets at rest that are sent in any case: a message may be lost


@dataclass(frozen=True)
class Target:
    """A target for the robot: joint positions (J,) rad and gripper (0 open to 1 closed).

    ``start``: (J,) rad, the target before it; the same as ``joints`` where it is to rest.  ``plan``: (N, J) rad, what
    comes after it where no other target is sent: it ends at rest, and was checked as the target was; N may be 0.
    """

    joints: np.ndarray
    gripper: float
    start: np.ndarray
    plan: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def path(self) -> np.ndarray:
        """(N + 1, J) rad: the target and its plan, one row a control period."""
        return np.vstack([self.joints[None], self.plan]) if len(self.plan) else self.joints[None]

    @property
    def rests(self) -> bool:
        """Whether the arm is to stay where it was commanded before."""
        return bool(np.array_equal(self.joints, self.start))


class Hold:
    """Holds the arm of ``limits``, and its gripper.  ``period``: of the control, seconds.

    While the arm brakes and settles, its distance from the target may only shrink, up to what it moves within two
    periods; at rest, only stay.  Where it grows by more than `DISPLACED` in a joint, all joints are held where they are
    measured, with the error that the arm's own controller left before (its load pulls as it did), at most `DISPLACED`.
    """

    def __init__(self, limits: StreamLimits, period: float) -> None:
        self._limits, self._period = limits, period
        self.gripper = 0.0  # its target, 0 open to 1 closed
        self.begin(limits.position, 0.0, -np.inf)

    def begin(self, measured: np.ndarray, gripper: float, now: float) -> None:
        """From now on the robot is held, from where and with the velocity that it was commanded.

        Args:
            measured: (J,) rad.
            gripper: measured, 0 open to 1 closed.
            now: seconds, of a steady clock.
        """
        self._slack: np.ndarray | float = DISPLACED + 2 * self._period * np.abs(self._limits.velocity)
        self._near = np.abs(self._limits.position - measured) + self._slack
        self._error = np.zeros_like(self._limits.position)
        self._gripper_near = abs(self.gripper - gripper) + OPENED
        self._settles_at = now + self._limits.braking_time + SETTLE
        self._resting, self._lost = 0, False

    def lose(self) -> None:
        """The joint states are not to be believed: the arm is stopped, and then nothing is commanded."""
        self._lost = True

    def on_joint_state(self, joints: np.ndarray, gripper: float, now: float) -> None:
        """Follow the robot where it was moved.  ``joints``: (J,) rad; ``gripper``: 0 open to 1 closed."""
        if self._lost:
            return
        self._hold_gripper(gripper)
        error = self._limits.position - joints
        if (np.abs(error) > self._near).any():
            self._hold_at(joints, np.clip(self._error, -DISPLACED, DISPLACED))
        elif now >= self._settles_at:
            self._error, self._slack, self._settles_at = np.clip(error, -SAG, SAG), DISPLACED, np.inf
            if (self._error != error).any():
                self._hold_at(joints, self._error)
        self._near = np.minimum(self._near, np.abs(self._limits.position - joints) + self._slack)

    def _hold_at(self, joints: np.ndarray, error: np.ndarray) -> None:
        """Hold the arm at ``joints`` (J,) rad, with a target that is ``error`` (J,) rad away."""
        self._limits.rest(joints + error)
        self._error, self._slack, self._near = error, DISPLACED, np.full_like(error, np.inf)

    def _hold_gripper(self, measured: float) -> None:
        distance = abs(self.gripper - measured)
        if distance > self._gripper_near:
            self.gripper, self._gripper_near = min(max(measured, 0.0), 1.0), OPENED
        self._gripper_near = min(self._gripper_near, distance + OPENED)

    def target(self, fresh: bool) -> Target | None:
        """The target of this period; ``fresh``: whether the joint states are new enough to say where the arm is.

        None where nothing may be commanded: it is not known where the arm is, or it is outside of its limits.
        """
        start, joints = self._limits.position, self._limits.decelerated()
        self._limits.accept(joints)
        target = Target(joints, self.gripper, start, self._limits.stop_to_rest())
        self._resting += target.rests
        known = fresh and not self._lost
        if (self._resting > SURE and not known) or not self._limits.within(start):
            return None
        return target
