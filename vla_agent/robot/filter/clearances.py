"""How far the arm is from what it should keep clear of, and how each distance changes with its joints."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vla_agent.robot.description import Robot
from vla_agent.robot.safety.lookahead import guarded_spec

TOUCHING = 1e-6  # metres; nearer than this two bodies have no direction between them
SIDES = tuple(f"{side} wall of the workspace in {axis}" for side in ("lower", "upper") for axis in "xyz")


@dataclass(frozen=True)
class Clearance:
    """Distances beyond their margins (N,) metres, their gradients (N, J) m/rad, and what each is between.

    ``jacobian``: (6, J), of the end effector's position (m/rad) and rotation (rad/rad).
    """

    names: list[str]
    distances: np.ndarray
    gradients: np.ndarray
    jacobian: np.ndarray


@dataclass(frozen=True)
class _Pair:
    first: int  # geoms
    second: int
    margin: float
    name: str


class Clearances:
    """Clearances of a robot: guarded bodies and fingers from what they may not touch, the end effector from its walls.

    The model is that of the look-ahead.  The gripper's joint is where the robot file has it open: fingers that close
    come nearer to each other, and to little else.  Not for two threads at a time.

    Raises:
        RobotError: the model cannot be read, or lacks a joint, a body or the end effector.
    """

    def __init__(self, robot: Robot) -> None:
        settings = robot.safety.filter
        spec = guarded_spec(robot)
        fingers = set() if settings.finger_margin is None else _beyond(spec, robot.lookahead.guarded)
        fingers -= {*robot.lookahead.guarded, *robot.lookahead.forbidden}
        for geom in spec.geoms:
            if geom.parent.name in fingers:
                geom.contype = 1  # as guarded geoms have; without it a mesh has no convex hull
        self._model = model = spec.compile()
        self._data = mujoco.MjData(model)
        joints = [model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        if robot.gripper.joint in {model.joint(k).name for k in range(model.njnt)}:
            self._data.qpos[model.joint(robot.gripper.joint).qposadr[0]] = robot.gripper.open
        self._site = model.site(robot.end_effector).id
        self._pairs = [
            self._pair(int(first), int(second), fingers, settings.margin, settings.finger_margin or 0.0)
            for first in np.flatnonzero(model.geom_contype)
            for second in np.flatnonzero(model.geom_conaffinity)
            if _may_collide(model, int(model.geom_bodyid[first]), int(model.geom_bodyid[second]))
        ]
        self._low = np.array(robot.workspace.low) + settings.workspace_margin
        self._high = np.array(robot.workspace.high) - settings.workspace_margin
        self._jacobians = np.zeros((2, 3, model.nv))
        self._guarded, self._joint_ids = np.flatnonzero(model.geom_contype), np.array([joint.id for joint in joints])

    def _pair(self, first: int, second: int, fingers: set[str], margin: float, finger_margin: float) -> _Pair:
        owner, other = self._owner(first), self._owner(second)
        return _Pair(first, second, finger_margin if owner in fingers else margin, f"{owner} near {other}")

    def _owner(self, geom: int) -> str:
        body = self._model.geom_bodyid[geom]
        return str(self._model.body(body).name if body else self._model.geom(geom).name)

    def at(self, joints: np.ndarray, travel: np.ndarray) -> Clearance:
        """What the arm at ``joints`` (J,) rad may reach if its joints move by ``travel`` (J,) rad, and all walls."""
        model, data = self._model, self._data
        data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        reach = dict(zip(self._guarded.tolist(), self._reach(travel).tolist(), strict=True))
        names, distances, gradients = list(SIDES), [], []
        line = np.zeros(6)
        for pair in self._pairs:
            furthest = pair.margin + reach[pair.first]
            distance = mujoco.mj_geomDistance(model, data, pair.first, pair.second, furthest, line)
            if distance < furthest:
                names.append(pair.name)
                distances.append(distance - pair.margin)
                gradients.append(self._gradient(pair, distance, line))
        mujoco.mj_jacSite(model, data, *self._jacobians, self._site)
        jacobian, place = np.concatenate(self._jacobians)[:, self._dofs], data.site_xpos[self._site]
        walls = np.concatenate([place - self._low, self._high - place])
        rows = [jacobian[:3], -jacobian[:3], np.reshape(gradients, (len(gradients), len(joints)))]
        return Clearance(names, np.concatenate([walls, distances]), np.concatenate(rows), jacobian)

    def _reach(self, travel: np.ndarray) -> np.ndarray:
        """(G,) metres that each guarded geom moves at most where the joints move by ``travel`` (J,) rad."""
        model, data = self._model, self._data
        between = data.geom_xpos[self._guarded, None] - data.xanchor[self._joint_ids]
        radius = model.geom_rbound[self._guarded, None]
        return (np.sqrt((between**2).sum(axis=-1)) + radius) @ travel

    def _gradient(self, pair: _Pair, distance: float, line: np.ndarray) -> np.ndarray:
        """(J,) m/rad of a distance between the ends of ``line`` (6,): nearest points of first and second geom."""
        model, data = self._model, self._data
        if abs(distance) > TOUCHING:
            normal = (line[:3] - line[3:]) / distance
        else:  # they touch in a point: away from each other's centres
            normal = data.geom_xpos[pair.first] - line[3:]
            normal = normal / max(float(np.linalg.norm(normal)), TOUCHING)
        first, second = self._jacobians
        mujoco.mj_jac(model, data, first, None, line[:3], model.geom_bodyid[pair.first])
        mujoco.mj_jac(model, data, second, None, line[3:], model.geom_bodyid[pair.second])
        return (normal @ (first - second))[self._dofs]


def _beyond(spec: mujoco.MjSpec, guarded: tuple[str, ...]) -> set[str]:
    """Names of the bodies that the guarded ones carry."""
    carried: set[str] = set()
    bodies = [spec.body(name) for name in guarded]
    while bodies:
        below = list(bodies.pop().bodies)
        carried |= {body.name for body in below}
        bodies += below
    return carried


def _may_collide(model: mujoco.MjModel, first: int, second: int) -> bool:
    """Whether MuJoCo looks for contacts of two bodies, as the look-ahead does: no neighbours, no excluded pairs."""
    one, other = int(model.body_weldid[first]), int(model.body_weldid[second])
    parents = [int(model.body_weldid[model.body_parentid[body]]) for body in (one, other)]
    neighbours = 0 not in (one, other) and (one == parents[1] or other == parents[0])
    low, high = sorted((first, second))
    return one != other and not neighbours and (low << 16) + high not in model.exclude_signature
