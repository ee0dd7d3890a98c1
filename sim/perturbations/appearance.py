"""Perturbations of appearance: light, cameras, colours, and the images themselves."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np
from PIL import Image, ImageFilter

from sim.perturbations.variation import Effect
from sim.tasks.task import TaskInstance
from sim.world.textures import PATTERNS, PLAIN, material
from sim.world.world import World
from vla_agent.errors import OptionError

LIGHT = (0.15, 0.30, 0.50)  # relative change of the brightness; of each colour channel, half of it
LAMP = (0.2, 0.5, 0.9)  # change of the lamp's direction, per component
CAMERA_SHIFT = (0.01, 0.02, 0.04)  # metres
CAMERA_TURN = (1.0, 2.0, 4.0)  # degrees, each axis; and of the field of view
TABLE = (0.08, 0.18, 0.35)  # change of the table's colour, per channel
REPEATS = (2.0, 12.0)  # tiles of a pattern per metre
HUE = (0.02, 0.03, 0.045)  # of the colour circle; neighbouring colour names are 0.08 apart
BRIGHTNESS = (0.10, 0.20, 0.30)
NOISE = (6.0, 12.0, 24.0)  # standard deviation, of 255
BLUR = (0.6, 0.9, 1.4)  # radius, pixels
DROPPED = (0.1, 0.25, 0.5)  # probability that an image repeats the previous one


def lighting(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Brightness and colour of the light, direction of the lamp."""
    amount = LIGHT[severity - 1]
    brightness, tint, direction = rng.uniform(-1, 1), rng.uniform(-0.5, 0.5, 3), rng.uniform(-1, 1, 3)
    factor = (1 + amount * brightness) * (1 + amount * tint)

    def vary(world: World) -> None:
        for name in ("vis.headlight.ambient", "vis.headlight.diffuse"):
            world.alter(name, slice(None), np.clip(_present(world, name) * factor, 0, 1))
        world.alter("light_diffuse", 0, np.clip(world.model.light_diffuse[0] * factor, 0, 1))
        turned = world.model.light_dir[0] + LAMP[severity - 1] * direction * (1, 1, 0)
        world.alter("light_dir", 0, turned / np.linalg.norm(turned))

    return Effect(task, vary, detail=f"light x {factor.round(2).tolist()}")


def _present(world: World, name: str) -> np.ndarray:
    part: object = world.model
    for key in name.split("."):
        part = getattr(part, key)
    return np.array(part)


def camera(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Pose and field of view of the front camera; the wrist camera moves by a quarter of that."""
    draws = rng.uniform(-1, 1, (2, 7))

    def vary(world: World) -> None:
        for name, draw, scale in (("front", draws[0], 1.0), ("wrist", draws[1], 0.25)):
            index = world.model.camera(name).id
            turn, quaternion = np.empty(4), np.empty(4)
            vector = np.deg2rad(CAMERA_TURN[severity - 1] * scale) * draw[3:6]
            mujoco.mju_euler2Quat(turn, vector, "xyz")
            mujoco.mju_mulQuat(quaternion, world.model.cam_quat[index], turn)
            shift = CAMERA_SHIFT[severity - 1] * scale * draw[:3]
            world.alter("cam_pos", index, world.model.cam_pos[index] + shift)
            world.alter("cam_quat", index, quaternion)
            fov = world.model.cam_fovy[index] + CAMERA_TURN[severity - 1] * scale * draw[6]
            world.alter("cam_fovy", index, fov)

    shift = (100 * CAMERA_SHIFT[severity - 1] * draws[0, :3]).round(1).tolist()
    return Effect(task, vary, detail=f"front camera moved by {shift} cm")


def background(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Colour of the table, a pattern on it (one table in seven stays plain), and a shade of the fixtures."""
    table, shade = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3)
    amount = TABLE[severity - 1]
    pattern = str(rng.choice([PLAIN, *PATTERNS]))
    repeats = np.exp(rng.uniform(*np.log(REPEATS)))

    def vary(world: World) -> None:
        model = world.model
        index = model.geom("table").id
        world.alter("geom_rgba", (index, slice(3)), np.clip(model.geom_rgba[index, :3] + amount * table, 0, 1))
        if pattern != PLAIN:
            worn = model.material(material(pattern, severity)).id
            world.alter("mat_texrepeat", worn, repeats)
            world.alter("geom_matid", index, worn)
        for body in ("tray", "cabinet", "drawer"):
            first, count = model.body(body).geomadr[0], model.body(body).geomnum[0]
            geoms = slice(first, first + count)
            colours = np.clip(model.geom_rgba[geoms, :3] + 0.3 * amount * shade, 0, 1)
            world.alter("geom_rgba", (geoms, slice(3)), colours)

    return Effect(task, vary, detail=f"table {pattern}, colour {(amount * table).round(2).tolist()}")


def object_look(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """A little hue and more brightness of every object; the colours keep their names."""
    draws = rng.uniform(-1, 1, (len(task.scene.objects), 2))

    def vary(world: World) -> None:
        for slot, (hue, value) in enumerate(draws):
            body = world.model.body(f"slot{slot}")
            for geom in range(body.geomadr[0], body.geomadr[0] + body.geomnum[0]):
                h, s, v = colorsys.rgb_to_hsv(*world.model.geom_rgba[geom, :3])
                h = (h + HUE[severity - 1] * hue) % 1
                v = min(1.0, v * (1 + BRIGHTNESS[severity - 1] * value))
                world.alter("geom_rgba", (geom, slice(3)), colorsys.hsv_to_rgb(h, s, v))

    return Effect(task, vary)


@dataclass
class _Noise:
    rng: np.random.Generator
    deviation: float

    def __call__(self, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        noisy = {k: p + self.rng.normal(0, self.deviation, p.shape) for k, p in images.items()}
        return {k: np.clip(p, 0, 255).astype(np.uint8) for k, p in noisy.items()}


@dataclass
class _Blur:
    radius: float

    def __call__(self, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        blur = ImageFilter.GaussianBlur(self.radius)
        return {k: np.asarray(Image.fromarray(p).filter(blur)) for k, p in images.items()}


@dataclass
class _Drops:
    rng: np.random.Generator
    probability: float
    last: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self.last or self.rng.random() >= self.probability:
            self.last = images
        return self.last


def sensor(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """One of: noise, blur, dropped images."""
    kind = str(rng.choice(["noise", "blur", "dropped"]))
    seed = int(rng.integers(2**31))

    def vary(world: World) -> None:
        if kind == "blur":
            world.image_filter = _Blur(BLUR[severity - 1])
        elif kind == "noise":
            world.image_filter = _Noise(np.random.default_rng(seed), NOISE[severity - 1])
        else:
            world.image_filter = _Drops(np.random.default_rng(seed), DROPPED[severity - 1])

    return Effect(task, vary, detail=kind)


# The axes that change how a scene looks and nothing else: training images can be varied by them.
APPEARANCE_AXES = {
    "lighting": lighting,
    "camera": camera,
    "background": background,
    "object_look": object_look,
    "sensor": sensor,
}
APPEARANCE_PROBABILITY = 0.5  # of each chosen axis, in each training episode or image


def domain_randomisation(task: TaskInstance, axes: Sequence[str], rng: np.random.Generator) -> Callable[[World], None]:
    """Domain randomisation (Tobin et al. 2017) for `World.reset`: each axis or not, at a severity of 1 to 3.

    Raises:
        OptionError: there is no such axis.
    """
    check_appearance_axes(axes)
    drawn = [(APPEARANCE_AXES[name], int(rng.integers(1, 4))) for name in axes if rng.random() < APPEARANCE_PROBABILITY]
    effects = [axis(task, severity, rng) for axis, severity in drawn]

    def vary(world: World) -> None:
        for effect in effects:
            if effect.vary is not None:
                effect.vary(world)

    return vary


def check_appearance_axes(axes: Sequence[str]) -> None:
    """Check names that a user gave.

    Raises:
        OptionError: there is no such axis.
    """
    unknown = [name for name in axes if name not in APPEARANCE_AXES]
    if unknown:
        raise OptionError(
            "there is no such appearance axis",
            key="--vary",
            expected=", ".join(APPEARANCE_AXES),
            found=unknown[0],
            remedy="name some of these, separated by commas",
        )
