"""Turns a policy's actions into joint targets: inverse kinematics, shaping to the robot's limits, then the filter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import RobotError
from vla_agent.robot.control.controller_factory import make_pose_controller
from vla_agent.robot.control.limit_shaper import LimitShaper
from vla_agent.robot.description import Robot
from vla_agent.robot.filter.barrier_filter import BarrierFilter, Filtered, Motion

# States that differ by less count as the previewed ones: far over rounding errors, far below what moves an arm.
PREVIEW_TOLERANCE = 1e-6

MODES = {"ee_translation": "ee_delta", "joint_position": "joint_position"}


def action_mode(contract: Contract) -> str:
    """``ee_delta`` or ``joint_position``, by the first field of the contract's action.

    Raises:
        RobotError: neither.
    """
    first = contract.action[0].name
    if first not in MODES:
        raise RobotError(
            "the controller does not support this action",
            key=first,
            expected=sorted(MODES),
            found=[field.name for field in contract.action],
            remedy="use a policy with end-effector deltas or joint positions",
        )
    return MODES[first]


class PreviewStep(NamedTuple):
    """A previewed step: its action (A,), its joint target (J,), the states after it, whether the filter changed it.

    ``following``: (A,) the action after it, None where it was the last.  ``arm``: (J,) rad, where the arm will be.
    """

    action: np.ndarray
    following: np.ndarray | None
    target: np.ndarray
    controller: tuple[np.ndarray, ...]
    shaper: tuple[np.ndarray, np.ndarray, np.ndarray]
    arm: np.ndarray
    filtered: bool


class Arm(NamedTuple):
    """Where the arm is, each (J,) rad: ``measured``; ``expected``, a period later; ``late``, as the filter takes it."""

    measured: np.ndarray
    expected: np.ndarray
    late: np.ndarray


class ArmController:
    """End-effector deltas (7,) or joint positions (J + 1,), each with the gripper last, to joint targets (J,) rad.

    Raises:
        RobotError: the robot's joints do not fit the kinematic model.
    """

    def __init__(self, robot: Robot, mode: str) -> None:
        self._controller = make_pose_controller(robot, mode)
        kinematics = self._controller.kinematics
        if len(robot.joints) != len(kinematics.low) or not (
            (robot.low >= kinematics.low - 1e-6).all() and (robot.high <= kinematics.high + 1e-6).all()
        ):
            raise RobotError(
                "the robot's joints do not fit the kinematic model",
                key="joints",
                expected=f"ranges within {kinematics.low.tolist()} to {kinematics.high.tolist()}",
                found=f"{robot.low.tolist()} to {robot.high.tolist()}",
                remedy="fix the joints, or use the kinematic model of this robot",
            )
        self._shaper = LimitShaper(robot)
        self._filter = BarrierFilter(robot) if robot.safety.filter.enabled else None
        self.filtered: Filtered | None = None  # the last command's, where the filter changed it
        self._starting, self._period = True, robot.period
        self._arm = np.array(robot.home)  # rad, where the filter takes the arm to be after the last target
        self._before = np.array(robot.home)  # rad, where the arm was measured at the last command
        self._farthest = robot.limits("velocity") * robot.period  # rad, of a period
        self._preview_steps: list[PreviewStep] = []
        self.gripper = 0.0

    @property
    def mode(self) -> str:
        """What an action is: ``ee_delta`` or ``joint_position``; to be set before `rest` alone."""
        return self._controller.mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._controller.mode = mode

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (J,) -> end effector position (3,) m and quaternion (4,) wxyz, base frame."""
        return self._controller.kinematics.forward(np.asarray(joints, dtype=np.float64))

    def rest(self, joints: np.ndarray, gripper: float) -> None:
        """Restart: the robot rests at ``joints`` (J,) rad, its gripper at ``gripper`` (0 open to 1 closed)."""
        joints = np.array(joints, dtype=np.float64)
        controller = self._controller
        controller.joints = joints
        controller.position, controller.quaternion = self.forward(joints)
        controller.gripper = self.gripper = float(gripper)
        self._shaper.rest(joints)
        self._starting, self._arm, self._before = True, joints, joints

    def pause(self) -> None:
        """A command was missed: the robot rests at the last target."""
        self._shaper.rest(self._shaper.position)

    def command(self, actions: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """(J,) rad: the joint target of this period.

        The first target after `rest` is where the robot rests, so that every stream starts at standstill; the motion
        of the first action is caught up in the following periods.

        Args:
            actions: (N, A), of this period and, where they are known, the next ones: the arm follows a motion that
                goes on without delay.  One action, (A,) or (1, A), is braked at.
            measured: (J,) rad.

        Raises:
            RobotError: the filter has no solution, or a number is not finite.  The robot must be stopped.
        """
        rows, joints = np.atleast_2d(actions), np.array(measured, dtype=np.float64)
        if not np.isfinite(rows).all():
            raise RobotError(
                "an action is NaN or infinite", key="actions", expected="finite numbers", found=str(rows.tolist())
            )
        moved = np.clip(joints - self._before, -self._farthest, self._farthest)
        self._before = joints
        return self._command(rows[0], rows[1] if len(rows) > 1 else None, Arm(joints, joints + moved, joints))

    def _command(self, action: np.ndarray, following: np.ndarray | None, arm: Arm) -> np.ndarray:
        controller = self._controller
        controller.command(np.asarray(action, dtype=np.float64), *self.forward(arm.measured))
        self.gripper, self.filtered = controller.gripper, None
        if self._starting:
            self._starting = False
            return self._shaper.position.copy()
        before = Motion(*self._shaper.get_state())
        after = None if following is None else self._joints_after(following, arm.expected)
        target = self._shaper.step(controller.joints, after)
        return target if self._filter is None else self._filter_target(self._filter, before, target, arm.late)

    def _joints_after(self, action: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """(J,) rad: the commanded joints one more ``action`` (A,) later, with the arm at ``expected`` (J,) rad.

        It changes nothing.  An arm that stands still, since something is in its way, is not led any farther.
        """
        controller = self._controller
        saved = controller.get_state()
        controller.command(np.asarray(action, dtype=np.float64), *self.forward(expected))
        joints = controller.joints
        controller.set_state(saved)
        return joints

    def _filter_target(
        self, barrier_filter: BarrierFilter, before: Motion, target: np.ndarray, arm: np.ndarray
    ) -> np.ndarray:
        """(J,) rad: ``target`` (J,), or what the filter allows of it.

        What it only slows down is caught up later: the commanded pose is kept as far as it is clear.
        """
        filtered = barrier_filter.apply(before, target, arm)
        self._arm = barrier_filter.follow(arm, filtered.joints)
        if filtered.limit:
            self.filtered, controller = filtered, self._controller
            velocity = (filtered.joints - before.position) / self._period
            self._shaper.set_state((filtered.joints, velocity, (velocity - before.velocity) / self._period))
            if (kept := barrier_filter.clear_part(filtered.joints, controller.joints)) is not controller.joints:
                controller.joints = kept
                controller.position, controller.quaternion = self.forward(kept)
        return filtered.joints

    def preview(self, actions: np.ndarray, most_steps: int | None = None) -> np.ndarray:
        """(M, J) rad: the joint targets that ``actions`` (N, A) would give next, M <= N; changes nothing.

        Each is followed by the next, and the last of ``actions`` by rest.  Where the filter changes one, that is the
        last target: what comes after it depends on what the policy sees then.  Steps that the previous preview has
        computed from the same state with the same actions are reused.

        Args:
            actions: (N, A), the next ones.
            most_steps: M at most; None: N.
        """
        wanted = len(actions) if most_steps is None else min(len(actions), most_steps)
        saved, shaped, gripper = self._controller.get_state(), self._shaper.get_state(), self.gripper
        filtered, arm = self.filtered, self._arm
        steps = self._reusable_steps(actions)[:wanted]
        if steps:
            self._controller.set_state(steps[-1].controller)
            self._shaper.set_state(steps[-1].shaper)
            self._arm = steps[-1].arm
        for k in range(len(steps), wanted):
            if steps and steps[-1].filtered:
                break
            following = actions[k + 1] if k + 1 < len(actions) else None
            at = self._shaper.position
            target = self._command(actions[k], following, Arm(at, at + self._shaper.velocity * self._period, self._arm))
            states = self._controller.get_state(), self._shaper.get_state()
            steps.append(PreviewStep(actions[k], following, target, *states, self._arm, self.filtered is not None))
        self._controller.set_state(saved)
        self._shaper.set_state(shaped)
        self.gripper, self.filtered, self._arm, self._preview_steps = gripper, filtered, arm, steps
        return np.array([step.target for step in steps]).reshape(len(steps), len(shaped[0]))

    def _reusable_steps(self, actions: np.ndarray) -> list[PreviewStep]:
        """Steps of the previous preview that ``actions`` begin with, if its first step led to the present state."""
        if not self._preview_steps:
            return []
        present = (*self._controller.get_state(), *self._shaper.get_state())
        previewed = (*self._preview_steps[0].controller, *self._preview_steps[0].shaper)
        if any(np.abs(a - b).max() > PREVIEW_TOLERANCE for a, b in zip(present, previewed, strict=True)):
            return []
        same = 0
        for step, action, following in zip(self._preview_steps[1:], actions, [*actions[1:], None], strict=False):
            if not np.array_equal(step.action, action) or not _same(step.following, following):
                break
            same += 1
        return self._preview_steps[1 : 1 + same]


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
