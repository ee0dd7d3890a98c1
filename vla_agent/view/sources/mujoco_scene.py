"""A MuJoCo model as geometry for the window: what its cameras would draw, one part a body and colour."""

from __future__ import annotations

from collections import defaultdict

import mujoco
import numpy as np

from vla_agent.view.source import CameraModel, Part, Scene

CAMERA = "camera:"  # before a camera's name, among the bodies


class Geometry:
    """The visible geometry of a model; parts that have not changed since the last call are the same objects.

    Args:
        prefix: before every body's name; tells two models apart in one scene.
        groups: geom groups that are drawn.  By convention collision shapes are in group 3 and above.
    """

    def __init__(self, model: mujoco.MjModel, prefix: str = "", groups: tuple[int, ...] = (0, 1, 2)) -> None:
        self._model, self._prefix, self._groups = model, prefix, groups
        self._parts: dict[tuple[object, ...], Part] = {}

    def scene(self) -> Scene:
        """As the model is now, with its cameras."""
        model = self._model
        alike: dict[tuple[int, tuple[float, ...]], list[int]] = defaultdict(list)
        for geom in range(model.ngeom):
            rgba = tuple(float(c) for c in _colour(model, geom))
            endless = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE and not model.geom_size[geom, :2].all()
            if rgba[3] > 0 and model.geom_group[geom] in self._groups and not endless:
                alike[int(model.geom_bodyid[geom]), rgba].append(geom)
        self._parts = dict(self._part(*one) for one in alike.items())
        cameras = tuple(_camera(model, index, self._prefix) for index in range(model.ncam))
        return Scene(tuple(self._parts.values()), cameras=cameras)

    def _part(self, look: tuple[int, tuple[float, ...]], geoms: list[int]) -> tuple[tuple[object, ...], Part]:
        from mjviser.conversions import merge_geoms

        model, (body, rgba) = self._model, look
        fields = (model.geom_type, model.geom_dataid, model.geom_size, model.geom_pos, model.geom_quat)
        key = (*look, *(field[geoms].tobytes() for field in fields))
        if key in self._parts:
            return key, self._parts[key]
        mesh = merge_geoms(model, geoms)
        vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)
        colour = (rgba[0], rgba[1], rgba[2], rgba[3])
        return key, Part(self._prefix + body_name(model, body), vertices, faces, colour)


def scene_of(model: mujoco.MjModel, prefix: str = "", groups: tuple[int, ...] = (0, 1, 2)) -> Scene:
    """The visible geometry of a model that does not change; see `Geometry`."""
    return Geometry(model, prefix, groups).scene()


def poses_of(model: mujoco.MjModel, data: mujoco.MjData, prefix: str = "") -> dict[str, np.ndarray]:
    """Body -> (7,) of every body and camera; see `Frame.poses`."""
    poses = {
        prefix + body_name(model, body): np.concatenate([data.xpos[body], data.xquat[body]])
        for body in range(model.nbody)
    }
    for camera in range(model.ncam):
        rotation = data.cam_xmat[camera].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, rotation.ravel())
        poses[prefix + CAMERA + model.camera(camera).name] = np.concatenate([data.cam_xpos[camera], quaternion])
    return poses


def body_name(model: mujoco.MjModel, body: int) -> str:
    """Its name, or its number where it has none."""
    return model.body(body).name or f"body{body}"


def _colour(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Of its material, as far as the geom has no colour of its own."""
    material = model.geom_matid[geom]
    own = model.geom_rgba[geom]
    return model.mat_rgba[material] if material >= 0 and np.allclose(own, (0.5, 0.5, 0.5, 1.0)) else own


def _camera(model: mujoco.MjModel, index: int, prefix: str) -> CameraModel:
    camera = model.camera(index)
    return CameraModel(camera.name, prefix + CAMERA + camera.name, float(np.deg2rad(model.cam_fovy[index])), 1.0)
