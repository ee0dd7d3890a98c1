"""A MuJoCo model as geometry for the window: what its cameras would draw, one part a body and colour."""

from __future__ import annotations

from collections import defaultdict

import mujoco
import numpy as np

from vla_agent.view.source import CameraModel, Part, Scene

CAMERA = "camera:"  # before a camera's name, among the bodies


def scene_of(model: mujoco.MjModel, prefix: str = "", groups: tuple[int, ...] = (0, 1, 2)) -> Scene:
    """The visible geometry of a model as it is now, and its cameras.

    Args:
        prefix: before every body's name; tells two models apart in one scene.
        groups: geom groups that are drawn.  By convention collision shapes are in group 3 and above.
    """
    from mjviser.conversions import merge_geoms

    alike: dict[tuple[int, tuple[float, ...]], list[int]] = defaultdict(list)
    for geom in range(model.ngeom):
        rgba = tuple(float(c) for c in _colour(model, geom))
        if rgba[3] > 0 and model.geom_group[geom] in groups and model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE:
            alike[int(model.geom_bodyid[geom]), rgba].append(geom)
    parts = []
    for (body, rgba), geoms in alike.items():
        mesh = merge_geoms(model, geoms)
        vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)
        parts.append(Part(prefix + body_name(model, body), vertices, faces, (rgba[0], rgba[1], rgba[2], rgba[3])))
    return Scene(tuple(parts), tuple(_camera(model, index, prefix) for index in range(model.ncam)))


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
