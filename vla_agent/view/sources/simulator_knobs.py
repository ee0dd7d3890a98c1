"""Light, camera and table of the simulator as sliders: what they are set to holds for every later episode too."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.world.textures import PATTERNS, PLAIN, material
from sim.world.world import World
from vla_agent.view.source import Choice, Control, Slider, Value

GROUP = "Light, camera, table"
PATTERN_STRENGTH, REPEATS = 3, 4.0  # of 1 to 3; tiles a metre
LIGHT, LAMP, SHIFT, LIFT, TURN, HUE, PATTERN = "light", "lamp", "camera_y", "camera_z", "camera_turn", "tint", "table"
CONTROLS: tuple[Control, ...] = (
    Slider(LIGHT, "brightness", 0.2, 2.0, 0.05, 1.0, "x", "of all lamps", GROUP),
    Slider(LAMP, "lamp from the side", -1.0, 1.0, 0.1, 0.0, "", "direction of the lamp along y", GROUP),
    Slider(HUE, "warm light", -0.5, 0.5, 0.05, 0.0, "", "more red and less blue, or the reverse", GROUP),
    Slider(SHIFT, "front camera, sideways", -0.15, 0.15, 0.01, 0.0, "m", "", GROUP),
    Slider(LIFT, "front camera, up", -0.15, 0.15, 0.01, 0.0, "m", "", GROUP),
    Slider(TURN, "front camera, turned", -15.0, 15.0, 1.0, 0.0, "deg", "about its own axis of view", GROUP),
    Choice(PATTERN, "table", (PLAIN, *PATTERNS), PLAIN, "a pattern on the table", GROUP),
)
NAMES = tuple(control.name for control in CONTROLS)


class Knobs:
    """The settings, and how they are brought into a world, on top of what an episode itself varies."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {c.name: c.value for c in CONTROLS if isinstance(c, Slider | Choice)}

    def dress(self, world: World) -> None:
        """For `World.reset`: remember what the episode itself looks like, and lay the settings on."""
        model = world.model
        self._camera, self._table = model.camera("front").id, model.geom("table").id
        headlight = model.vis.headlight
        self._light = np.array(headlight.ambient), np.array(headlight.diffuse), model.light_diffuse[0].copy()
        self._direction, self._worn = model.light_dir[0].copy(), int(model.geom_matid[self._table])
        self._position, self._turn = model.cam_pos[self._camera].copy(), model.cam_quat[self._camera].copy()
        self.apply(world)

    def apply(self, world: World) -> None:
        """Write the settings into the world, at any time after `dress`.  Defaults leave the episode as it is."""
        warm = self._number(HUE)
        factor = self._number(LIGHT) * np.array([1 + warm, 1.0, 1 - warm])
        ambient, diffuse, lamp = (np.clip(light * factor, 0, 1) for light in self._light)
        world.alter("vis.headlight.ambient", slice(None), ambient)
        world.alter("vis.headlight.diffuse", slice(None), diffuse)
        world.alter("light_diffuse", 0, lamp)
        aside = self._number(LAMP)
        direction = self._direction + (0.0, aside, 0.0)
        world.alter("light_dir", 0, direction / np.linalg.norm(direction) if aside else self._direction)
        self._apply_camera(world)
        pattern = str(self.values[PATTERN])
        if pattern == PLAIN:
            world.alter("geom_matid", self._table, self._worn)
        else:
            worn = world.model.material(material(pattern, PATTERN_STRENGTH)).id
            world.alter("mat_texrepeat", worn, REPEATS)
            world.alter("geom_matid", self._table, worn)
        mujoco.mj_camlight(world.model, world.data)

    def _number(self, name: str) -> float:
        return float(self.values[name])  # type: ignore[arg-type]  # a slider's

    def _apply_camera(self, world: World) -> None:
        world.alter("cam_pos", self._camera, self._position + (0.0, self._number(SHIFT), self._number(LIFT)))
        angle, turned = np.deg2rad(self._number(TURN)), self._turn.copy()
        if angle:
            roll = np.empty(4)
            mujoco.mju_axisAngle2Quat(roll, np.array([0.0, 0.0, 1.0]), angle)
            mujoco.mju_mulQuat(turned, self._turn, roll)
        world.alter("cam_quat", self._camera, turned)
