"""Both cameras in one off-screen buffer: one scene, two viewports, one read.

Each pixel is the mean of SUPERSAMPLE x SUPERSAMPLE rendered ones, as a real camera's pixel gathers light from its whole
area.  An object of 4 cm is 7 pixels wide at 96 px; with one sample per pixel its outline shows too little of its shape.
"""

from __future__ import annotations

import weakref

import mujoco
import numpy as np
from PIL import Image

from sim.world.gl_context import RenderContext
from vla_agent.contract.tabletop import CAMERAS

SHOWN, HIDDEN = 0, 5  # geom groups: MuJoCo draws the first alone
SUPERSAMPLE = 2  # half the cost of the driver's own 4 samples per pixel


class Cameras:
    """Renders cameras of a model, by default all :data:`CAMERAS`, at one size (height, width).

    Raises:
        SimulatorError: the OpenGL backend does not work.
    """

    def __init__(self, model: mujoco.MjModel, image_size: tuple[int, int], names: tuple[str, ...] = CAMERAS) -> None:
        self._size, self._names = image_size, names
        height, width = SUPERSAMPLE * image_size[0], SUPERSAMPLE * image_size[1]
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height * len(names)
        model.vis.quality.offsamples = 0
        self._gl = RenderContext(model, width, height * len(names))
        weakref.finalize(self, self._gl.abandon).atexit = False
        self._model, self._context = model, self._gl.mujoco
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=200)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [group == SHOWN for group in range(6)]
        self._views = []
        for name in names:
            camera = mujoco.MjvCamera()
            camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
            self._views.append(camera)
        self._rects = [mujoco.MjrRect(0, k * height, width, height) for k in range(len(names))]
        self._all = mujoco.MjrRect(0, 0, width, height * len(names))
        self._buffer = np.empty((height * len(names), width, 3), np.uint8)

    def render(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Camera name -> (H, W, 3) uint8 RGB, row 0 on top."""
        self._gl.make_current()
        for k, camera in enumerate(self._views):
            self._model.geom_group[:] = np.where(self._in_view(data, camera.fixedcamid), SHOWN, HIDDEN)
            mujoco.mjv_updateScene(
                self._model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
            )
            mujoco.mjr_render(self._rects[k], self._scene, self._context)
        mujoco.mjr_readPixels(self._buffer, None, self._all, self._context)
        mean = np.asarray(Image.fromarray(self._buffer).reduce(SUPERSAMPLE))
        parts = mean.reshape(len(self._names), *self._size, 3)[:, ::-1]  # OpenGL's rows begin at the bottom
        return {name: np.ascontiguousarray(part) for name, part in zip(self._names, parts, strict=True)}

    def _in_view(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        """(ngeom,) bool: the geom's bounding sphere reaches into the view (MuJoCo draws what is out of view too)."""
        model = self._model
        local = (data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
        radius = model.geom_rbound
        half = np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
        depth = -local[:, 2]
        inside = depth > -radius
        for axis, slope in ((0, half * self._size[1] / self._size[0]), (1, half)):
            inside &= np.abs(local[:, axis]) <= slope * depth + radius * np.sqrt(1 + slope * slope)
        return inside | (radius == 0)  # planes have no bounding sphere

    def project(self, data: mujoco.MjData, camera: str, points: np.ndarray) -> np.ndarray:
        """Base-frame points (N, 3) -> (N, 3): u right, v down in [0, 1] of the image, and 1.0 where inside it."""
        index = self._model.camera(camera).id
        height, width = self._size
        local = (np.atleast_2d(points) - data.cam_xpos[index]) @ data.cam_xmat[index].reshape(3, 3)
        depth = -local[:, 2]
        scale = np.tan(np.deg2rad(self._model.cam_fovy[index]) / 2) * np.maximum(depth, 1e-6)
        u = 0.5 + 0.5 * local[:, 0] / (scale * width / height)
        v = 0.5 - 0.5 * local[:, 1] / scale
        inside = (depth > 0) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        return np.stack([u, v, inside.astype(np.float64)], 1)

    def close(self) -> None:
        """Free the OpenGL context now; what is never closed is freed when the process ends."""
        self._gl.free()
