"""The one MuJoCo model: robot, table, fixtures and :data:`sim.world.scene.MAX_OBJECTS` empty object slots.

A slot is a free body with :data:`objects.MAX_PARTS` placeholder geoms.  :class:`Catalogue` holds the compiled geoms
of every shape, and :meth:`Catalogue.put` copies one shape's geoms into a slot: any scene is laid out without compiling.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from sim.world.objects import MASS, MAX_PARTS, meshes, shape_of
from sim.world.scene import MAX_OBJECTS, SHAPES
from sim.world.textures import add_textures
from vla_agent.errors import SimulatorError

ASSETS = Path(__file__).parents[1] / "assets"
ARM_JOINTS = tuple(f"joint{i}" for i in range(1, 8))
INERTIA = 3.0e-5  # kg m^2 about each axis, the same for every shape
GEOM_FIELDS = ("type", "size", "pos", "quat", "rbound", "aabb", "condim", "friction")


# A box with its own four corners per side, so that the sides are shaded flat.
BOX_CORNERS = np.array(
    [
        np.roll((side, a * side, b), axis)
        for axis in range(3)
        for side in (-1.0, 1.0)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
)
BOX_FACES = np.array([(4 * k + i, 4 * k + i + 1, 4 * k + (i + 2) % 4) for k in range(6) for i in (0, 2)])


def _load(name: str) -> mujoco.MjSpec:
    try:
        return mujoco.MjSpec.from_file(str(ASSETS / name))
    except ValueError as error:
        raise SimulatorError(
            "the model file cannot be read",
            file=ASSETS / name,
            expected="the model and meshes that come with the package",
            found=str(error).splitlines()[0],
            remedy="reinstall vla-agent; sim/assets must be complete",
        ) from error


def _add_meshes(spec: mujoco.MjSpec) -> None:
    for shape, (vertices, faces) in meshes().items():
        mesh = spec.add_mesh(name=shape, uservert=vertices.ravel(), userface=faces.ravel())
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL


def _draw_as_one(spec: mujoco.MjSpec, name: str) -> None:
    """Draw a body's boxes of one colour as one mesh and hide the boxes: each drawn geom costs about 30 us per image."""
    body = spec.body(name)
    colours: dict[tuple[float, ...], list[mujoco.MjsGeom]] = {}
    for geom in body.geoms:
        colours.setdefault(tuple(geom.rgba), []).append(geom)
    for k, (rgba, geoms) in enumerate(colours.items()):
        vertices = np.concatenate([geom.pos + BOX_CORNERS * geom.size for geom in geoms])
        faces = np.concatenate([BOX_FACES + len(BOX_CORNERS) * i for i in range(len(geoms))])
        mesh = spec.add_mesh(name=f"{name}.{k}", uservert=vertices.ravel(), userface=faces.ravel())
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        for geom in geoms:
            geom.rgba = (0, 0, 0, 0)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, rgba=rgba, contype=0, conaffinity=0, mass=0)


def build_model() -> mujoco.MjModel:
    """Compile the tabletop with empty object slots ``slot0``, ``slot1``, ..."""
    spec = _load("tabletop.xml")
    _add_meshes(spec)
    add_textures(spec)
    for name in ("tray", "cabinet", "drawer"):
        _draw_as_one(spec, name)
    for shape in meshes():  # keeps the meshes in the model, with their convex hulls; never seen
        spec.worldbody.add_geom(
            name=f"keep.{shape}", type=mujoco.mjtGeom.mjGEOM_MESH, meshname=shape, rgba=(0, 0, 0, 0), pos=(0, 0, -1)
        )
    for k in range(MAX_OBJECTS):
        body = spec.worldbody.add_body(name=f"slot{k}", pos=(0, 0, 0))
        body.add_freejoint(name=f"slot{k}")
        body.explicitinertial, body.mass, body.inertia, body.gravcomp = True, MASS, (INERTIA,) * 3, 1
        for part in range(MAX_PARTS):  # as large as any shape: the compiled bounding volumes must cover them all
            body.add_geom(name=f"slot{k}.{part}", size=(0.06, 0, 0), mass=0, contype=1, conaffinity=1)
    model = spec.compile()
    kept = [model.geom(f"keep.{shape}").id for shape in meshes()]
    model.geom_contype[kept] = model.geom_conaffinity[kept] = 0  # only now, or no hull would be computed
    return model


def build_arm() -> mujoco.MjModel:
    """The seven arm joints and the site ``ee`` alone, for kinematics."""
    spec = _load("robot.xml")
    for element in (*spec.equalities, *spec.actuators, *spec.tendons, *spec.geoms, *spec.cameras):
        spec.delete(element)
    for side in ("left", "right"):
        for link in ("driver", "spring_link"):
            spec.delete(spec.body(f"{side}_{link}"))
    for mesh in list(spec.meshes):
        spec.delete(mesh)
    return spec.compile()


class Catalogue:
    """The compiled geoms of every shape, to be copied into the slots of ``model``."""

    def __init__(self, model: mujoco.MjModel) -> None:
        spec = mujoco.MjSpec()
        _add_meshes(spec)
        kinds = {k: getattr(mujoco.mjtGeom, f"mjGEOM_{k.upper()}") for k in ("box", "cylinder", "sphere", "mesh")}
        for shape in SHAPES:
            rolls = shape_of(shape).rolls
            body = spec.worldbody.add_body(name=shape)
            for k, part in enumerate(shape_of(shape).parts):
                size = (*part.size, 0, 0, 0)[:3]
                geom = body.add_geom(name=f"{shape}.{k}", type=kinds[part.kind], size=size, pos=part.pos)
                geom.condim, geom.friction = (6, (0.8, 0.005, 0.001)) if rolls else (3, (0.8, 0.005, 0.0001))
                if part.kind == "mesh":
                    geom.meshname = shape
        self._source = spec.compile()
        self._model = model
        self._slots = np.array([[model.geom(f"slot{k}.{p}").id for p in range(MAX_PARTS)] for k in range(MAX_OBJECTS)])
        model.geom_sameframe[self._slots.ravel()] = 0  # positions now differ from the compiled ones
        self._slot_bodies = [model.body(f"slot{k}").id for k in range(MAX_OBJECTS)]
        self._mesh_ids = {shape: model.mesh(shape).id for shape in meshes()}

    def clear(self) -> None:
        """Switch every slot off: no contact, no weight, not drawn."""
        model, geoms = self._model, self._slots.ravel()
        model.geom_contype[geoms] = model.geom_conaffinity[geoms] = 0
        model.geom_rgba[geoms] = 0
        model.body_gravcomp[self._slot_bodies] = 1

    def put(self, slot: int, shape: str, rgba: tuple[float, float, float, float]) -> None:
        """Make the (cleared) slot that shape in that colour."""
        model, source = self._model, self._source
        model.body_gravcomp[self._slot_bodies[slot]] = 0
        for k, part in enumerate(shape_of(shape).parts):
            geom, original = self._slots[slot, k], source.geom(f"{shape}.{k}").id
            for field in GEOM_FIELDS:
                getattr(model, f"geom_{field}")[geom] = getattr(source, f"geom_{field}")[original]
            model.geom_dataid[geom] = self._mesh_ids[shape] if part.kind == "mesh" else -1
            model.geom_contype[geom] = model.geom_conaffinity[geom] = int(part.solid)
            if part.visible:
                model.geom_rgba[geom] = rgba
