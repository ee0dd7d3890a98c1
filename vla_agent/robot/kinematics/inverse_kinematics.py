"""Forward and inverse kinematics on a MuJoCo model, for the simulated arm and for every robot.

Inverse kinematics is damped least squares (Wampler, 1986; Buss, 2004) with a null-space pull towards a home posture.
Joint limits are kept by clipping after each iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from vla_agent.robot.kinematics.rotation import rotation_between

DAMPING = 1e-3
POSITION_FIRST = 0.05  # metres of position error that weigh as much as a radian of rotation error, under six joints


@dataclass(frozen=True)
class IKSettings:
    """Settings of `Kinematics.inverse`.

    Args:
        rounds: iterations a call.
        null_gain: fraction of the distance to the home posture that an iteration moves in the null space.
    """

    rounds: int = 4
    null_gain: float = 0.02


class Kinematics:
    """Kinematics of some joints (J,) of a model; positions in metres, rotations as quaternions wxyz.

    The base frame is the model's world frame; joints that are not named stay at their zero position.  An arm of fewer
    than six joints cannot take every pose: there the position counts more than the rotation, by `POSITION_FIRST`.
    Not for two threads at a time.

    Args:
        model: the compiled model.
        joints: names of hinge and slide joints, in the order of every (J,) vector.
        site: name of the end effector.
        home: (J,) rad, the posture that the null space moves to.
        limits: (J,) lowest and (J,) highest positions that `inverse` may give, within the model's ranges.
        settings: of `inverse`.

    Raises:
        KeyError: the model lacks a joint or the site.
        ValueError: a joint is neither a hinge nor a slide, or ``home`` has another number of joints.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        joints: Sequence[str],
        site: str,
        home: np.ndarray,
        limits: tuple[np.ndarray, np.ndarray] | None = None,
        settings: IKSettings | None = None,
    ) -> None:
        self.model, self._data = model, mujoco.MjData(model)
        self._site = model.site(site).id
        found = [model.joint(name) for name in joints]
        _require_supported(model, joints, len(home))
        self._qpos = np.array([joint.qposadr[0] for joint in found])
        self._dofs = np.array([joint.dofadr[0] for joint in found])
        ranges = np.array(
            [joint.range if model.jnt_limited[joint.id] else (-np.inf, np.inf) for joint in found], dtype=np.float64
        )
        self.low, self.high = ranges[:, 0].copy(), ranges[:, 1].copy()
        low, high = limits or (self.low, self.high)
        self._clip = np.maximum(self.low, low), np.minimum(self.high, high)
        self.home, self.settings = np.array(home, dtype=np.float64), settings or IKSettings()
        self._weight = np.ones(6)
        self._weight[3:] = POSITION_FIRST if len(found) < 6 else 1.0
        self._jacobian = np.zeros((6, model.nv))

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint positions (J,) -> end-effector position (3,) and quaternion (4,) wxyz."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self.model, self._data)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[self._site])
        return self._data.site_xpos[self._site].copy(), quaternion

    def inverse(
        self, start: np.ndarray, position: np.ndarray, quaternion: np.ndarray, rounds: int | None = None
    ) -> np.ndarray:
        """(J,) joint positions within the limits that bring the end effector from ``start`` towards the pose.

        For poses near that of ``start``, as `PoseController` commands them.  A pose far out of reach makes the joints
        jump between iterations (within the limits), because the steps are not shortened.

        Args:
            start: (J,) rad.
            position: (3,) m.
            quaternion: (4,) wxyz, unit.
            rounds: iterations; None: those of the settings.
        """
        joints, error = np.array(start, dtype=np.float64), np.empty(6)
        for _ in range(rounds or self.settings.rounds):
            reached, turned = self.forward(joints)
            mujoco.mj_comPos(self.model, self._data)
            mujoco.mj_jacSite(self.model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = np.take(self._jacobian, self._dofs, axis=1) * self._weight[:, None]
            error[:3], error[3:] = position - reached, rotation_between(turned, quaternion)
            gram = jacobian @ jacobian.T
            gram.flat[::7] += DAMPING * self._weight.min() ** 2
            rest = self.settings.null_gain * (self.home - joints)
            joints += rest + jacobian.T @ np.linalg.solve(gram, error * self._weight - jacobian @ rest)
            np.clip(joints, *self._clip, out=joints)
        return joints


def _require_supported(model: mujoco.MjModel, joints: Sequence[str], home: int) -> None:
    """Raise unless each joint is one number, and there is a home position for each."""
    kinds = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    for name in joints:
        if int(model.jnt_type[model.joint(name).id]) not in kinds:
            raise ValueError(f"{name} is neither a hinge nor a slide")
    if home != len(joints):
        raise ValueError(f"{home} home positions for {len(joints)} joints")
