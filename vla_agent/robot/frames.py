"""The robot's frames: where each link of the model, the end effector and the cameras are, from joint positions.

Names are those of the model's bodies; the base frame is the robot file's.  A body that has the base frame's name, and
is somewhere else, is named after its parent, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import CameraSpec, Robot
from vla_agent.robot.model.loading import load_model

SAME = 1e-9  # metres, and in a quaternion
OPTICAL = np.array([0.0, 1.0, 0.0, 0.0])  # from MuJoCo's camera (looks along -z, y up) to ROS's (along z, y down)


@dataclass(frozen=True)
class Frame:
    """A frame in its parent: position (3,) m, quaternion (4,) wxyz."""

    parent: str
    child: str
    position: np.ndarray
    quaternion: np.ndarray


class FrameTree:
    """The tree of a robot's frames.

    ``fixed``: frames that never move in their parent.

    Raises:
        RobotError: the model cannot be read, or a camera is mounted on a frame that is not there.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._model = load_model(robot.model_source(), geometry=False).spec.compile()
        self._data = mujoco.MjData(self._model)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._names = self._name_bodies()
        self._joints = {
            self._model.joint(k).name: k for k in range(self._model.njnt) if self._model.jnt_type[k] in (2, 3)
        }
        moving = [b for b in self._names if b and self._model.body_jntnum[b]]
        self._moving = [b for b in moving if self._of(b) != self._robot.base_frame]
        bodies = [b for b in self._names if b and b not in moving and self._of(b) != robot.base_frame]
        self.fixed = [self._frame(body) for body in bodies]
        self.fixed += [*self._end_effector(), *(self._camera(camera) for camera in robot.cameras if self._has(camera))]

    def moving(self, positions: Mapping[str, float]) -> list[Frame]:
        """Frames that joints move, as far as ``positions`` (joint -> rad or m) says where they are."""
        known = self._followed({name: value for name, value in positions.items() if name in self._joints})
        for name, value in known.items():
            self._data.qpos[self._model.jnt_qposadr[self._joints[name]]] = value
        mujoco.mj_kinematics(self._model, self._data)
        return [self._frame(body) for body in self._moving if self._joints_of(body) <= set(known)]

    def _followed(self, known: dict[str, float]) -> dict[str, float]:
        """The same with joints that follow others (a URDF's ``mimic``, MuJoCo's ``equality``)."""
        model, found = self._model, dict(known)
        for k in range(model.neq):
            if model.eq_type[k] != mujoco.mjtEq.mjEQ_JOINT or not model.eq_active0[k] or model.eq_obj2id[k] < 0:
                continue
            follower, leader = (model.joint(int(j)).name for j in (model.eq_obj1id[k], model.eq_obj2id[k]))
            factors, (f0, l0) = model.eq_data[k, :5], (self._zero(follower), self._zero(leader))
            if leader in found and follower not in found:
                found[follower] = f0 + float(np.polyval(factors[::-1], found[leader] - l0))
            elif follower in found and leader not in found and factors[1] and not factors[2:].any():
                found[leader] = l0 + (found[follower] - f0 - float(factors[0])) / float(factors[1])
        return found

    def _zero(self, joint: str) -> float:
        return float(self._model.qpos0[self._model.joint(joint).qposadr[0]])

    def _joints_of(self, body: int) -> set[str]:
        first = self._model.body_jntadr[body]
        return {self._model.joint(first + k).name for k in range(self._model.body_jntnum[body])}

    def _name_bodies(self) -> dict[int, str]:
        """Body -> frame; bodies without a name have none, and the world is the base."""
        names = {0: self._robot.base_frame}
        for body in range(1, self._model.nbody):
            name = self._model.body(body).name
            if name == self._robot.base_frame and not self._is_base(body):
                name = f"{self._model.body(int(self._model.body_parentid[body])).name}_{name}"
            if name:
                names[body] = name
        return names

    def _is_base(self, body: int) -> bool:
        away = np.abs(self._data.xpos[body]).max(), 1 - abs(self._data.xquat[body][0])
        return max(away) < SAME and not self._model.body_weldid[body]

    def _of(self, body: int) -> str:
        return self._names[body]

    def _parent(self, body: int) -> int:
        """The nearest body above that has a frame."""
        parent = int(self._model.body_parentid[body])
        while parent not in self._names:
            parent = int(self._model.body_parentid[parent])
        return parent

    def _frame(self, body: int) -> Frame:
        above = self._parent(body)
        return self._between(above, self._of(body), self._data.xpos[body], self._data.xquat[body])

    def _between(self, above: int, child: str, position: np.ndarray, quaternion: np.ndarray) -> Frame:
        """The frame of a pose of the world, in body ``above``."""
        back, place, turn = np.empty(4), np.empty(3), np.empty(4)
        mujoco.mju_negQuat(back, self._data.xquat[above])
        mujoco.mju_rotVecQuat(place, position - self._data.xpos[above], back)
        mujoco.mju_mulQuat(turn, back, quaternion)
        return Frame(self._of(above), child, place, turn)

    def _end_effector(self) -> list[Frame]:
        name = self._robot.end_effector
        if name in self._names.values():
            return []  # it is a link
        site, quaternion = self._model.site(name), np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[site.id])
        above = int(site.bodyid[0])
        above = above if above in self._names else self._parent(above)
        return [self._between(above, name, self._data.site_xpos[site.id], quaternion)]

    def _in_model(self, camera: CameraSpec) -> int:
        return mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, camera.name)

    def _has(self, camera: CameraSpec) -> bool:
        """Whether robot file or model says where a camera is."""
        return camera.mount is not None or self._in_model(camera) >= 0

    def _camera(self, camera: CameraSpec) -> Frame:
        """The camera's optical frame: z into the picture, x to its right, y down."""
        mount = camera.mount
        if mount is None:
            index, quaternion = self._in_model(camera), np.empty(4)
            mujoco.mju_mat2Quat(quaternion, self._data.cam_xmat[index])
            turn = np.empty(4)
            mujoco.mju_mulQuat(turn, quaternion, OPTICAL)
            above = int(self._model.cam_bodyid[index])
            above = above if above in self._names else self._parent(above)
            return self._between(above, camera.frame, self._data.cam_xpos[index], turn)
        known = {*self._names.values(), self._robot.end_effector}
        if mount.parent not in known:
            near = get_close_matches(mount.parent, known, 1, 0.5)
            raise RobotError(
                f"the camera {camera.name} is mounted on a frame that is not there",
                key=f"cameras.{camera.name}.mount.parent",
                expected=", ".join(sorted(known)),
                found=mount.parent,
                remedy=f"did you mean {near[0]}?" if near else "use one of these",
            )
        return Frame(mount.parent, camera.frame, np.array(mount.position), mount.quaternion())
