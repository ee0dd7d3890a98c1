"""Meta-World for collecting demonstrations: the same tasks and seeds, rendered fast, and what the expert aims at.

Images are rendered at twice their size, not at 480 pixels, without multisampling and reflections, and with coarse
shadows: several times faster than in `metaworld`, and less than 2 of 255 apart in the mean (a test compares them).
Evaluate in `metaworld`, not here.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from vla_agent.environments.adapters.metaworld import CAMERA, MetaWorld

TARGET, GOAL = slice(4, 7), slice(-3, None)  # of the observation: the first object, and where it is to go; metres

SHADOWS = 512  # pixels of the map of shadows; as shipped: 4096


class MetaWorldDemonstrations(MetaWorld):
    """`MetaWorld` with ``annotations``.  ``size``: of the image, pixels."""

    def __init__(self, size: str = "120") -> None:
        super().__init__(size, rendered=2 * int(size))

    def reset(self, task: str, seed: int) -> str:
        other = task != self._task
        sentence = super().reset(task, seed)
        if other:
            model = self._env.model
            model.vis.quality.offsamples, model.vis.quality.shadowsize = 0, SHADOWS  # before the first image
            model.mat_reflectance[:] = 0.0
        return sentence

    def annotations(self) -> dict[str, Any]:
        """See `vla_agent.environments.protocol`."""
        located = np.stack([self._seen[TARGET], self._seen[GOAL]]).astype(np.float32)
        return {"located": located, "points": {CAMERA: self._project(located)}}

    def _project(self, places: np.ndarray) -> np.ndarray:
        """(R, 3) metres -> (R, 3) u, v, inside; the image is mirrored in both axes."""
        model, data = self._env.model, self._env.data
        camera = model.camera(CAMERA).id
        mujoco.mj_camlight(model, data)
        right, down, away = ((places - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3) * (1, -1, -1)).T
        half = np.tan(np.deg2rad(model.cam_fovy[camera]) / 2) * away
        u, v = 0.5 - right / half / 2, 0.5 - down / half / 2
        inside = (away > 0) & (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        return np.stack([u, v, inside], axis=1).astype(np.float32)
