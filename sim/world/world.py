"""The simulated tabletop: lay out a scene, step the arm, render, and query poses and contacts.

Positions are metres in the base frame (see :mod:`sim.world.scene`); rotations are matrices unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import mujoco
import numpy as np

from sim.world.cameras import Cameras
from sim.world.model import ARM_JOINTS, Catalogue, build_model
from sim.world.objects import half_extents
from sim.world.panda import ACTION_LIMITS, PandaController
from sim.world.scene import CABINET_HALF, CABINET_HEIGHT, COLOURS, MAX_OBJECTS, Object, Scene, Start, Zone
from vla_agent.errors import OptionError

SUBSTEPS = 25  # of 2 ms: one control period of 50 ms
SETTLE = 50  # substeps after a reset, so that objects rest
PRESS_DEPTH = 0.005  # metres
GRIPPER_RANGE = 0.8  # radians of the driver joint from open to closed
TRAY_HALF = (0.075, 0.065)  # inside the walls
TRAY_FLOOR = 0.004
DRAWER_FLOOR = 0.006
DRAWER_HALF = (0.061, 0.055)  # inside the walls
DRAWER_CENTRE = 0.004  # of the floor, along x from the drawer body
DRAWER_TRAVEL = 0.13
FIXTURES = ("table", "tray", "drawer", "cabinet", "gripper", "button")


@dataclass(frozen=True)
class Snapshot:
    """The exact state of a world; belongs to the scene it was taken in."""

    scene: Scene
    physics: np.ndarray
    control: tuple[np.ndarray, ...]
    pressed: tuple[bool, ...]


class World:
    """One compiled model that any :class:`~sim.world.scene.Scene` is laid out in.

    Args:
        image_size: (height, width) of both cameras, pixels.
        control: ``"ee_delta"`` or ``"joint_position"``.

    Raises:
        OptionError: an unknown control mode, or an image size out of range.
        SimulatorError: the model cannot be read.
    """

    TRAY_HALF = TRAY_HALF

    def __init__(self, image_size: tuple[int, int] = (96, 96), control: str = "ee_delta") -> None:
        if control not in ACTION_LIMITS:
            raise OptionError(
                "unknown control mode",
                key="control",
                expected=sorted(ACTION_LIMITS),
                found=control,
                remedy="use one of these",
            )
        if len(image_size) != 2 or not all(isinstance(n, int | np.integer) and 16 <= n <= 2048 for n in image_size):
            raise OptionError(
                "the image size is out of range",
                key="image_size",
                expected="(height, width), each 16 to 2048 pixels",
                found=image_size,
                remedy="pass two integers, for instance (96, 96)",
            )
        self.control = control
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.model = build_model()
        self.data = mujoco.MjData(self.model)
        self.controller = PandaController(control)
        self._catalogue = Catalogue(self.model)
        self._cameras: Cameras | None = None
        self._index()
        self.scene: Scene | None = None
        self._slots: dict[str, int] = {}
        self._pressed = [False] * 3
        self._contacts: np.ndarray | None = None
        self._unaltered: dict[str, np.ndarray] = {}
        self.image_filter: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
        self.action_filter: Callable[[np.ndarray], np.ndarray] | None = None

    def _index(self) -> None:
        """Look up every id once."""
        model = self.model
        self._arm = np.array([model.joint(name).qposadr[0] for name in ARM_JOINTS])
        self._fingers = {
            side: [model.joint(f"{side}_{link}_joint").qposadr[0] for link in ("driver", "spring_link", "follower")]
            for side in ("right", "left")
        }
        self._ee = model.site("ee").id
        self._drawer_qpos = model.joint("drawer").qposadr[0]
        self._button_qpos = [model.joint(f"button{k}").qposadr[0] for k in range(3)]
        self._handle = model.geom("handle").id
        self._bodies = {name: model.body(name).id for name in ("tray", "cabinet", "drawer")}
        self._slot_bodies = [model.body(f"slot{k}").id for k in range(MAX_OBJECTS)]
        self._slot_qpos = [model.joint(f"slot{k}").qposadr[0] for k in range(MAX_OBJECTS)]
        self._pads = {model.geom("left_pad").id: 0, model.geom("right_pad").id: 1}
        self._owner = np.full(model.ngeom, -1)  # geom -> index into FIXTURES, or len(FIXTURES) + slot
        for geom in range(model.ngeom):
            self._owner[geom] = self._owner_of(model.geom_bodyid[geom])
        self._owner[model.geom("table").id] = FIXTURES.index("table")

    def _owner_of(self, body: int) -> int:
        while body > 0:
            name = self.model.body(body).name
            if name.startswith("slot"):
                return len(FIXTURES) + int(name[4:])
            name = name.rstrip("012")
            name = "gripper" if name == "base" else name
            if name in FIXTURES:
                return FIXTURES.index(name)
            body = self.model.body_parentid[body]
        return -1

    # -- scene ---------------------------------------------------------------------------------------------------

    def reset(self, scene: Scene, vary: Callable[[World], None] | None = None) -> None:
        """Lay the scene out and let it settle.  The same scene gives the same bits, whatever happened before.

        ``vary(world)`` is called before anything moves.  Its changes by `alter` and the filters last until the next
        reset (see `sim.perturbations.catalogue`).
        """
        model, data = self.model, self.data
        for name, values in self._unaltered.items():
            attrgetter(name)(model)[:] = values
        self._unaltered.clear()
        self.image_filter = self.action_filter = None
        mujoco.mj_resetData(model, data)
        self.scene = scene
        self._lay_fixtures(scene)
        self._catalogue.clear()
        self._slots = {item.name: slot for slot, item in enumerate(scene.objects)}
        for slot in range(MAX_OBJECTS):  # unused slots hover far below the table
            data.qpos[self._slot_qpos[slot] : self._slot_qpos[slot] + 7] = (0, 0, -2 - slot, 1, 0, 0, 0)
        for item in scene.objects:
            slot = self._slots[item.name]
            self._catalogue.put(slot, item.shape, COLOURS[item.colour])
            place = (*item.xy, self._rest_height(item), np.cos(item.yaw / 2), 0, 0, np.sin(item.yaw / 2))
            data.qpos[self._slot_qpos[slot] : self._slot_qpos[slot] + 7] = place
        data.qpos[self._drawer_qpos] = DRAWER_TRAVEL * scene.drawer_open
        self._pressed = [False] * 3
        self._place_arm(scene.start)
        if vary is not None:
            vary(self)
        mujoco.mj_step(model, data, SETTLE)
        data.time = 0.0
        self._refresh()

    def alter(self, name: str, index: object, value: object) -> None:
        """Write ``value`` into the model's array ``name`` (such as ``"light_dir"``, ``"vis.headlight.ambient"``)."""
        array = attrgetter(name)(self.model)
        self._unaltered.setdefault(name, array.copy())
        array[index] = value

    def _lay_fixtures(self, scene: Scene) -> None:
        model = self.model
        model.body("tray").pos[:2] = scene.tray_xy
        model.body("cabinet").pos[:2] = scene.cabinet_xy
        for k, button in enumerate(scene.buttons):
            model.body(f"button{k}").pos[:2] = button.xy
            model.geom_rgba[model.body(f"cap{k}").geomadr[0]] = COLOURS[button.colour]
        for k, zone in enumerate(scene.zones):
            geom = model.body(f"zone{k}").geomadr[0]
            model.body(f"zone{k}").pos[:2] = zone.xy
            model.geom_size[geom, :2] = zone.half
            model.geom_rgba[geom] = COLOURS[zone.colour]

    def _rest_height(self, item: Object) -> float:
        """Height of the centre of an object that stands upright on its support in the scene, metres."""
        assert self.scene is not None
        half = float(half_extents(item.shape)[2])
        surfaces = {"table": 0.0, "tray": TRAY_FLOOR, "drawer": DRAWER_FLOOR}
        if item.on in surfaces:
            return surfaces[item.on] + half
        below = next(other for other in self.scene.objects if other.name == item.on)
        return self._rest_height(below) + float(half_extents(below.shape)[2]) + half

    def _place_arm(self, start: Start) -> None:
        data = self.data
        data.qpos[self._arm] = self.controller.start(np.array(start.xyz), start.yaw, start.gripper)
        angle = GRIPPER_RANGE * start.gripper
        for joints in self._fingers.values():
            data.qpos[joints] = (angle, angle, -angle)
        data.ctrl[:7] = self.controller.joints
        data.ctrl[7] = 255.0 * start.gripper

    def move_arm(self, start: Start) -> None:
        """Put the arm somewhere else at once, without physics; for generated images."""
        self._place_arm(start)
        self.data.qvel[:] = 0
        self._refresh()

    def move_object(self, name: str, xyz: np.ndarray, yaw: float = 0.0) -> None:
        """Put an object (its centre, upright) somewhere else at once, without physics; for generated images."""
        address = self._slot_qpos[self._slots[name]]
        self.data.qpos[address : address + 7] = (*xyz, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        self.data.qvel[:] = 0
        self._refresh()

    # -- time ----------------------------------------------------------------------------------------------------

    def step(self, action: np.ndarray) -> None:
        """One control period (50 ms).  ``action``: (7,) ``ee_delta`` or (8,) ``joint_position``; clipped."""
        data, controller = self.data, self.controller
        if self.action_filter is not None:
            action = self.action_filter(action)
        controller.command(np.asarray(action, dtype=np.float64), self.ee_position, self._ee_quaternion())
        data.ctrl[:7] = controller.joints
        data.ctrl[7] = 255.0 * controller.gripper
        mujoco.mj_step(self.model, data, SUBSTEPS)
        self._refresh()

    def _refresh(self) -> None:
        """Bring poses and contacts up to the state that the last substep left."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        self._contacts = None
        for k, address in enumerate(self._button_qpos):
            if self.data.qpos[address] < -PRESS_DEPTH:
                self._pressed[k] = True

    def snapshot(self) -> Snapshot:
        """The exact state, for :meth:`restore`."""
        assert self.scene is not None, "reset first"
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, physics, kind)
        return Snapshot(self.scene, physics, self.controller.get_state(), tuple(self._pressed))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot exactly, of this episode or of another one."""
        if snapshot.scene != self.scene:
            self.reset(snapshot.scene)
        mujoco.mj_setState(self.model, self.data, snapshot.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        self.controller.set_state(snapshot.control)
        self._pressed = list(snapshot.pressed)
        self._refresh()

    # -- what the policy observes ---------------------------------------------------------------------------------

    @property
    def cameras(self) -> Cameras:
        """The renderer; started at first use, so that a world without images needs no OpenGL."""
        if self._cameras is None:
            self._cameras = Cameras(self.model, self.image_size)
        return self._cameras

    def render(self) -> dict[str, np.ndarray]:
        """``front`` and ``wrist``: (H, W, 3) uint8 RGB."""
        images = self.cameras.render(self.data)
        return self.image_filter(images) if self.image_filter else images

    def state(self) -> np.ndarray:
        """(17,) float32: position (m) 3, first two columns of the rotation 6, gripper 1, joint positions (rad) 7."""
        rotation = self.ee_rotation
        parts = (self.ee_position, rotation[:, 0], rotation[:, 1], (self.gripper,), self.data.qpos[self._arm])
        return np.concatenate(parts, dtype=np.float32)

    def project(self, camera: str, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) -> (N, 3): u right, v down in [0, 1] of the image, and 1.0 where inside it."""
        return self.cameras.project(self.data, camera, points)

    def close(self) -> None:
        """Free the renderer.  Optional: it is freed when the process ends, too."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None

    # -- queries: arm --------------------------------------------------------------------------------------------

    @property
    def ee_position(self) -> np.ndarray:
        """(3,) the point between the finger tips."""
        return self.data.site_xpos[self._ee].copy()

    @property
    def ee_rotation(self) -> np.ndarray:
        """(3, 3); its z points out of the gripper, its y along the closing direction."""
        return self.data.site_xmat[self._ee].reshape(3, 3).copy()

    def _ee_quaternion(self) -> np.ndarray:
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self.data.site_xmat[self._ee])
        return quaternion

    @property
    def ee_yaw(self) -> float:
        """Angle of the end effector's x axis about the base's z, radians."""
        return float(np.arctan2(self.data.site_xmat[self._ee, 3], self.data.site_xmat[self._ee, 0]))

    @property
    def gripper(self) -> float:
        """Measured: 0 open, 1 closed."""
        angle = self.data.qpos[self._fingers["right"][0]] + self.data.qpos[self._fingers["left"][0]]
        return float(min(max(angle / (2 * GRIPPER_RANGE), 0.0), 1.0))

    @property
    def command_position(self) -> np.ndarray:
        """(3,) the commanded end-effector position."""
        return self.controller.position.copy()

    # -- queries: objects ----------------------------------------------------------------------------------------

    def _body(self, name: str) -> int:
        return self._slot_bodies[self._slots[name]]

    def object(self, name: str) -> Object:
        """The scene's entry of that name."""
        assert self.scene is not None, "reset first"
        return self.scene.objects[self._slots[name]]

    def object_position(self, name: str) -> np.ndarray:
        """(3,) centre."""
        return self.data.xpos[self._body(name)].copy()

    def object_rotation(self, name: str) -> np.ndarray:
        """(3, 3)."""
        return self.data.xmat[self._body(name)].reshape(3, 3).copy()

    def object_yaw(self, name: str) -> float:
        """Angle of the object's x axis about the base's z, radians."""
        matrix = self.data.xmat[self._body(name)]
        return float(np.arctan2(matrix[3], matrix[0]))

    def object_half_extents(self, name: str) -> np.ndarray:
        """(3,) half of the bounding box in the object's own frame."""
        return half_extents(self.object(name).shape)

    def _pairs(self) -> np.ndarray:
        """(N, 2) geom ids in contact."""
        if self._contacts is None:
            self._contacts = np.array(self.data.contact.geom, dtype=np.int64).reshape(-1, 2)
        return self._contacts

    def held(self, name: str) -> bool:
        """Whether both finger pads touch the object."""
        owner = len(FIXTURES) + self._slots[name]
        touched = set()
        for a, b in self._pairs():
            if self._owner[b] == owner and a in self._pads:
                touched.add(self._pads[a])
            elif self._owner[a] == owner and b in self._pads:
                touched.add(self._pads[b])
        return len(touched) == 2

    def touching(self, a: str, b: str) -> bool:
        """Whether two bodies touch, by the names of objects or of :data:`FIXTURES`."""
        owners = {self._owner_index(a), self._owner_index(b)}
        return any({int(self._owner[i]), int(self._owner[j])} == owners for i, j in self._pairs())

    def _owner_index(self, name: str) -> int:
        return len(FIXTURES) + self._slots[name] if name in self._slots else FIXTURES.index(name)

    # -- queries: fixtures ---------------------------------------------------------------------------------------

    def drawer_opening(self) -> float:
        """0 closed to 1 open."""
        return float(self.data.qpos[self._drawer_qpos] / DRAWER_TRAVEL)

    def drawer_handle(self) -> np.ndarray:
        """(3,) centre of the upright bar."""
        return self.data.geom_xpos[self._handle].copy()

    def drawer_interior(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre (3,) of the drawer's floor and half extents (2,) inside its walls, wherever it stands."""
        return self.data.xpos[self._bodies["drawer"]] + (DRAWER_CENTRE, 0.0, DRAWER_FLOOR), np.array(DRAWER_HALF)

    def cabinet_top(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre (3,) of the cabinet's upper side and its half extents (2,)."""
        return self.data.xpos[self._bodies["cabinet"]] + (0.0, 0.0, CABINET_HEIGHT), np.array(CABINET_HALF)

    def tray(self) -> np.ndarray:
        """(3,) centre of the tray's floor; its half extents inside are :data:`TRAY_HALF`."""
        return self.data.xpos[self._bodies["tray"]] + (0.0, 0.0, TRAY_FLOOR)

    def _button(self, colour: str) -> int:
        assert self.scene is not None, "reset first"
        return next(k for k, button in enumerate(self.scene.buttons) if button.colour == colour)

    def button_pressed(self, colour: str) -> bool:
        """Whether the button was pressed more than :data:`PRESS_DEPTH` since the reset."""
        return self._pressed[self._button(colour)]

    def button_position(self, colour: str) -> np.ndarray:
        """(3,) centre of the cap's top."""
        geom = self.model.body(f"cap{self._button(colour)}").geomadr[0]
        return self.data.geom_xpos[geom] + (0.0, 0.0, self.model.geom_size[geom, 1])

    def zone(self, colour: str) -> Zone:
        """The painted square of that colour."""
        assert self.scene is not None, "reset first"
        return next(zone for zone in self.scene.zones if zone.colour == colour)
