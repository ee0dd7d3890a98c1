"""Look-ahead: a kinematic rollout of the next joint targets on the robot's model, checked for forbidden contacts."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.model.loading import load_model

MARGIN = 0.01  # metres; a smaller distance counts as contact


def guarded_spec(robot: Robot) -> mujoco.MjSpec:
    """The robot's model with the obstacles of its file: guarded geoms have ``contype`` 1, forbidden ``conaffinity`` 1.

    Raises:
        RobotError: the model cannot be read, or lacks a joint, a body or the end effector.
    """
    source, spec_of = robot.model_source(), robot.lookahead
    spec = load_model(source).spec
    bodies = {body.name: body for body in spec.bodies}
    joints = {joint.name for joint in spec.joints}
    missing = [f"body {n}" for n in (*spec_of.guarded, *spec_of.forbidden) if n not in bodies]
    missing += [f"joint {n}" for n in robot.joint_names if n not in joints]
    if missing:
        raise RobotError(
            "names of the robot file are missing in the robot's model",
            file=source.path,
            key=", ".join(missing),
            expected=f"bodies {sorted(bodies)}; joints {sorted(joints)}",
            found="no such name in the model",
            remedy="use the model's own names",
        )
    bare = [name for name in (*spec_of.guarded, *spec_of.forbidden) if not bodies[name].geoms]
    if bare:
        raise RobotError(
            "bodies that the look-ahead guards have no shape in the robot's model",
            file=source.path,
            key=", ".join(bare),
            expected=f"bodies with collision shapes: {', '.join(n for n, b in bodies.items() if b.geoms)}",
            found="none",
            remedy="guard other bodies, or give these a <collision> in the model",
        )
    for k, geom in enumerate(spec.geoms):
        name = geom.parent.name
        geom.contype = int(name in spec_of.guarded)
        geom.conaffinity = int(name in spec_of.forbidden)
        geom.margin = MARGIN if geom.contype else 0.0
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH or not geom.name:
            geom.name = f"{name}.{geom.meshname or 'geom'}.{k}"
    for box in spec_of.obstacles:
        spec.worldbody.add_geom(
            name=box.name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=box.size,
            pos=box.position,
            contype=0,
            conaffinity=1,
        )
    return spec


class LookAhead:
    """The robot's model with its guarded bodies and the obstacles of its description; nothing else collides.

    Collision shapes are the convex hulls of the bodies' meshes, grown by :data:`MARGIN`.

    Raises:
        RobotError: the model cannot be read, or lacks a joint, a body or the end effector.
    """

    def __init__(self, robot: Robot) -> None:
        spec = guarded_spec(robot)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._qpos = np.array([self._model.joint(name).qposadr[0] for name in robot.joint_names])
        self._joints, self._end = self._data.qpos, self._data.site_xpos[self._model.site(robot.end_effector).id]
        self._low, self._high = robot.workspace.low, robot.workspace.high
        self._allowed: set[bytes] = set()  # joint positions of the last path; all of them passed

    def check(self, joints: np.ndarray) -> str | None:
        """None where the robot may be at ``joints`` (J,) rad, else what it would touch or leave."""
        model, data = self._model, self._data
        self._joints[self._qpos] = joints
        mujoco.mj_kinematics(model, data)
        position = self._end.tolist()  # three numbers are compared faster than an array
        if not all(low <= x <= high for low, x, high in zip(self._low, position, self._high, strict=True)):
            where = ", ".join(f"{x:.3f}" for x in position)
            return f"the end effector would be at ({where}) m, outside its workspace"
        mujoco.mj_collision(model, data)
        for k in range(data.ncon):
            first, second = data.contact.geom[k]
            return f"{self._owner(first)} would touch {self._owner(second)}"
        return None

    def end_effector(self, joints: np.ndarray) -> np.ndarray:
        """(3,) metres, base frame: where the end effector is at ``joints`` (J,) rad."""
        self._joints[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._end.copy()

    def path(self, start: np.ndarray, targets: np.ndarray) -> str | None:
        """The same for the path from ``start`` (J,) through ``targets`` (N, J), with one point between any two.

        Joint positions that the previous path had (bit for bit) are not checked again: a plan moves by a row a period.
        """
        previous, known, self._allowed = start, self._allowed, set()
        for k, target in enumerate(targets):
            for joints in ((previous + target) / 2, target):
                place = joints.tobytes()
                wrong = None if place in known else self.check(joints)
                if wrong:
                    return f"{wrong} {'now' if k == 0 else f'within {k + 1} periods'}"
                self._allowed.add(place)
            previous = target
        return None

    def _owner(self, geom: int) -> str:
        body = self._model.geom_bodyid[geom]
        return self._model.body(body).name if body else self._model.geom(geom).name
