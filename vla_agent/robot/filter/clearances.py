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

    The walls of the workspace come first, then pairs of bodies: ``pairs`` are their numbers.  ``moves``: (N,) metres
    that each comes nearer at most.  ``jacobian``: (6, J), of the end effector's position (m/rad) and rotation.
    """

    names: list[str]
    distances: np.ndarray
    gradients: np.ndarray
    moves: np.ndarray
    pairs: list[int]
    jacobian: np.ndarray


@dataclass(frozen=True)
class _Pair:
    first: int  # geoms
    second: int
    arm: int  # number of the first among the guarded geoms
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
        if robot.gripper.joint in {model.joint(k).name for k in range(model.njnt)}:
            self._data.qpos[model.joint(robot.gripper.joint).qposadr[0]] = robot.gripper.open
        self._site = model.site(robot.end_effector).id
        self._guarded, self._joint_ids = np.flatnonzero(model.geom_contype), np.array([joint.id for joint in joints])
        self._pairs = [
            self._pair(arm, int(second), fingers, settings.margin, settings.finger_margin or 0.0)
            for arm, first in enumerate(self._guarded)
            for second in np.flatnonzero(model.geom_conaffinity)
            if _may_collide(model, int(model.geom_bodyid[first]), int(model.geom_bodyid[second]))
        ]
        self._low = np.array(robot.workspace.low) + settings.workspace_margin
        self._high = np.array(robot.workspace.high) - settings.workspace_margin
        self._margins = np.array([pair.margin for pair in self._pairs])
        self._arm_of = np.array([pair.arm for pair in self._pairs], dtype=int)
        self._first = np.array([pair.first for pair in self._pairs], dtype=int)
        self._second = np.array([pair.second for pair in self._pairs], dtype=int)
        self._lines_of = np.zeros((len(self._pairs), 6))
        self._lines = list(self._lines_of)  # views of it
        self._turns = model.jnt_type[self._joint_ids] == mujoco.mjtJoint.mjJNT_HINGE
        carried = _carried(model, model.geom_bodyid, self._joint_ids).astype(float)
        self._carries = carried[self._first] - carried[self._second]  # (P, J): a joint that carries both moves neither
        self._boxes, self._radii = model.geom_aabb[self._second], model.geom_rbound[self._first]
        self._carries_end = _carried(model, model.site_bodyid[[self._site]], self._joint_ids)[0]

    def _pair(self, arm: int, second: int, fingers: set[str], margin: float, finger_margin: float) -> _Pair:
        first = int(self._guarded[arm])
        owner, other = self._owner(first), self._owner(second)
        return _Pair(first, second, arm, finger_margin if owner in fingers else margin, f"{owner} near {other}")

    def _owner(self, geom: int) -> str:
        body = self._model.geom_bodyid[geom]
        return str(self._model.body(body).name if body else self._model.geom(geom).name)

    def at(self, joints: np.ndarray, travel: np.ndarray, moves: np.ndarray) -> Clearance:
        """What the arm at ``joints`` (J,) rad may reach if its joints move by ``travel`` (J,) rad, and all walls.

        ``moves``: (J,) rad, the motion that the clearance's ``moves`` are of.
        """
        model, data, distance_of = self._model, self._data, mujoco.mj_geomDistance
        self._place(joints)
        arms = self._arms()
        moved, pairs, distances = arms @ moves, [], []
        furthest = (self._margins + (arms @ travel)[self._arm_of]).tolist()
        for k in np.flatnonzero(self._apart() < furthest).tolist():
            pair = self._pairs[k]
            distance = distance_of(model, data, pair.first, pair.second, furthest[k], self._lines[k])
            if distance < furthest[k]:
                pairs.append(k)
                distances.append(distance)
        jacobian = self._end_jacobian()
        rows = [jacobian[:3], -jacobian[:3], self._gradients(np.array(pairs, dtype=int), np.array(distances))]
        return Clearance(
            names=[*SIDES, *(self._pairs[k].name for k in pairs)],
            distances=np.concatenate([self._walls(), distances - self._margins[pairs]]),
            gradients=np.concatenate(rows),
            moves=np.concatenate([[moved.max()] * len(SIDES), moved[self._arm_of[pairs]]]),
            pairs=pairs,
            jacobian=jacobian,
        )

    def least(self, joints: np.ndarray, pairs: list[int]) -> np.ndarray:
        """(6 + P,) metres: what is left of walls and pairs at ``joints`` (J,) rad; 0 where it is more than nothing."""
        self._place(joints)
        left = np.empty(len(SIDES) + len(pairs))
        left[: len(SIDES)] = self._walls()
        for k, number in enumerate(pairs, len(SIDES)):
            pair = self._pairs[number]
            near = mujoco.mj_geomDistance(self._model, self._data, pair.first, pair.second, pair.margin, None)
            left[k] = near - pair.margin
        return np.minimum(left, 0.0)

    def _place(self, joints: np.ndarray) -> None:
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)

    def _walls(self) -> np.ndarray:
        place = self._data.site_xpos[self._site]
        return np.concatenate([place - self._low, self._high - place])

    def _arms(self) -> np.ndarray:
        """(G, J) metres: from each joint to the farthest point of each guarded geom."""
        model, data = self._model, self._data
        between = data.geom_xpos[self._guarded, None] - data.xanchor[self._joint_ids]
        return np.sqrt((between**2).sum(axis=-1)) + model.geom_rbound[self._guarded, None]

    def _apart(self) -> np.ndarray:
        """(P,) metres: no pair is nearer than this, by the first's sphere and the second's box."""
        data = self._data
        between = data.geom_xpos[self._first] - data.geom_xpos[self._second]
        turned = (data.geom_xmat[self._second].reshape(-1, 3, 3) * between[:, :, None]).sum(axis=1)
        outside = np.maximum(np.abs(turned - self._boxes[:, :3]) - self._boxes[:, 3:], 0.0)
        return np.sqrt((outside**2).sum(axis=1)) - self._radii

    def _gradients(self, pairs: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """(P, J) m/rad of the distances (P,) of pairs (P,): of the nearest points, along the line between them."""
        data, lines = self._data, self._lines_of[pairs]
        normals = lines[:, :3] - lines[:, 3:]
        touching = np.abs(distances) < TOUCHING  # in a point: away from the second's
        normals[touching] = data.geom_xpos[self._first[pairs[touching]]] - lines[touching, 3:]
        length = np.where(touching, np.sqrt((normals**2).sum(axis=1)), distances)
        normals /= np.where(np.abs(length) < TOUCHING, TOUCHING, length)[:, None]
        axes, anchors = data.xaxis[self._joint_ids], data.xanchor[self._joint_ids]
        turning = _cross(lines[:, 3:], normals) @ axes.T - normals @ _cross(axes, anchors).T
        return np.where(self._turns, turning, normals @ axes.T) * self._carries[pairs]

    def _end_jacobian(self) -> np.ndarray:
        """(6, J): of the end effector's position and rotation."""
        data, turns = self._data, self._turns[:, None]
        axes, place = data.xaxis[self._joint_ids], data.site_xpos[self._site]
        turning = _cross(axes, place - data.xanchor[self._joint_ids])
        return np.concatenate([np.where(turns, turning, axes), axes * turns], axis=1).T * self._carries_end


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, 3) cross products; numpy's takes ten times as long for few."""
    return first[:, [1, 2, 0]] * second[:, [2, 0, 1]] - first[:, [2, 0, 1]] * second[:, [1, 2, 0]]


def _carried(model: mujoco.MjModel, bodies: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(B, J): whether each joint moves each body."""
    carriers = np.zeros((len(bodies), len(joints)), dtype=bool)
    for k, body in enumerate(bodies):
        while body > 0:
            carriers[k] |= model.jnt_bodyid[joints] == body
            body = model.body_parentid[body]
    return carriers


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
