"""The robot's model with physics: what its links and fingers really touch while they are driven by targets."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_agent.robot.description import Robot
from vla_agent.robot.safety.lookahead import guarded_spec

SUBSTEPS, LOOK = 25, 5  # of 2 ms; contacts are looked for every 10 ms
AT_END = 0.001  # rad from the end of a joint's range: it is driven against it


class PhysicalArm:
    """The arm of a robot file, with its obstacles; bodies from the first guarded one outwards can touch them.

    Position actuators, as the model has them: they follow their targets with a delay.
    """

    def __init__(self, robot: Robot, start: np.ndarray) -> None:
        self._robot = robot
        spec = guarded_spec(robot)
        guarded = set(robot.lookahead.guarded)
        for geom in spec.geoms:
            geom.margin = 0.0
            body, moving = geom.parent, False
            while body is not None and body.name != "world":
                moving, body = moving or body.name in guarded, body.parent
            geom.contype = int(moving)
        spec.option.timestep = robot.period / SUBSTEPS
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._qpos = np.array([self._model.joint(name).qposadr[0] for name in robot.joint_names])
        self._site = self._model.site(robot.end_effector).id
        self._data.qpos[self._qpos], self._data.ctrl[: len(start)] = start, start
        mujoco.mj_forward(self._model, self._data)

    @property
    def joints(self) -> np.ndarray:
        """(J,) rad."""
        return self._data.qpos[self._qpos].copy()

    @property
    def place(self) -> np.ndarray:
        """(3,) metres: the end effector."""
        return self._data.site_xpos[self._site].copy()

    def step(self, target: np.ndarray) -> set[str]:
        """One control period towards ``target`` (J,) rad; what was touched, left or reached the end meanwhile."""
        self._data.ctrl[: len(target)] = target
        found: set[str] = set()
        for _ in range(SUBSTEPS // LOOK):
            mujoco.mj_step(self._model, self._data, LOOK)
            found |= self._touched()
        return found

    def _touched(self) -> set[str]:
        data, robot, found = self._data, self._robot, set()
        for k in range(data.ncon):
            if data.contact.dist[k] < 0:
                found.add("contact: " + " and ".join(self._owner(geom) for geom in data.contact.geom[k]))
        joints, place = self.joints, self.place
        ends = np.minimum(joints - robot.low, robot.high - joints)
        found |= {f"end of {name}" for name, left in zip(robot.joint_names, ends, strict=True) if left < AT_END}
        if (place < robot.workspace.low).any() or (place > robot.workspace.high).any():
            found.add("outside the workspace")
        return found

    def _owner(self, geom: int) -> str:
        body = self._model.geom_bodyid[geom]
        return str(self._model.body(body).name if body else self._model.geom(geom).name)
