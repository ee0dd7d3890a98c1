"""The simulated robot with the interface of a real one: joint targets in, images and joint states out, and faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.env import TabletopEnv
from sim.world.model import ARM_JOINTS
from vla_agent.errors import OptionError, RobotError
from vla_agent.robot.description import Robot

FAULTS = (
    "none",
    "camera_stop",
    "camera_frozen",
    "camera_size",
    "camera_encoding",
    "joints_stop",
    "joints_jump",
    "joints_nan",
    "gripper_force",
    "clock_jump",
)
SUPPORTED = ("joint_trajectory", "forward_position")
GRIPPER_JOINT = "right_driver_joint"
EXCESSIVE = 10.0  # N m at the gripper's joint, of the fault gripper_force; its actuator gives at most 2.5


@dataclass(frozen=True)
class Disturbance:
    """Disturbances between the robot and its subscribers.

    ``fault``: one of :data:`FAULTS`; camera faults affect the first camera.  ``drop``: fraction of messages lost.
    ``joint_noise``: standard deviation, rad.  ``image_noise``: standard deviation, grey levels.
    """

    fault: str = "none"
    drop: float = 0.0
    joint_noise: float = 0.0
    image_noise: float = 0.0


@dataclass(frozen=True)
class Reading:
    """The messages of one control period; lost ones are missing."""

    joints: np.ndarray | None  # (J,) rad
    efforts: np.ndarray  # (J + 1,) N m, of the actuators; the gripper's joint last
    gripper: float  # 0 open to 1 closed
    images: dict[str, np.ndarray]  # camera -> (H, W, 3) uint8 RGB
    encoding: str = "rgb8"


class SimRobot:
    """A `sim.world.world.World` that holds its last target, as a position-controlled arm does.

    Args:
        robot: its joints and cameras.
        image_size: (height, width).
        seed: of noise and losses.

    Raises:
        TaskError: no such task family.
        RobotError: the robot is not the simulated one, or its controller type is not supported.
    """

    def __init__(self, robot: Robot, task: str, image_size: tuple[int, int], seed: int = 0) -> None:
        if robot.joint_names != ARM_JOINTS:
            raise RobotError(
                "the simulator has another robot",
                key="joints",
                expected=", ".join(ARM_JOINTS),
                found=f"{', '.join(robot.joint_names)} ({robot.name})",
                remedy="simulate the panda; for your own robot run the graph `robot`",
            )
        others = [kind for kind, _ in robot.controller.outputs(hardware=False) if kind not in SUPPORTED]
        gripper = robot.controller.gripper_output
        others += ["gripper: open, closed"] if gripper is not None and gripper.open is not None else []
        if others:
            raise RobotError(
                "the simulated robot does not support this controller type",
                key="controller: type",
                expected=", ".join(SUPPORTED),
                found=", ".join(others),
                remedy="simulate with one of these; for your own robot run the graph `robot`",
            )
        self._env = TabletopEnv(task=task, image_size=image_size, control="joint_position")
        self._robot = robot
        self._rng = np.random.default_rng(seed)
        self._frozen: np.ndarray | None = None
        self.disturbance = Disturbance()
        self.reset(task, "seen", seed)

    def reset(self, task: str, split: str, seed: int) -> str:
        """Start the episode of ``seed`` and return its instruction."""
        if task != self._env.family.name or split != self._env.split:
            self._env.reset(seed=seed, options={"task": task, "split": split})
        self.task = self._env.begin(seed)
        world = self._env.world
        self._target = world.data.ctrl[: len(self._robot.joints)].copy()
        self._gripper = world.gripper
        self.seed, self.steps, self.success = seed, 0, False
        return self.task.instruction

    def disturb(self, **changes: object) -> None:
        """Change the disturbance.

        Raises:
            OptionError: no such fault.
        """
        changed = replace(self.disturbance, **changes)  # type: ignore[arg-type]  # names come from a ROS parameter; replace refuses others
        if changed.fault not in FAULTS:
            raise OptionError("there is no such fault", key="fault", expected=FAULTS, found=changed.fault)
        self.disturbance, self._frozen = changed, None

    def set_targets(self, names: Sequence[str], positions: np.ndarray) -> None:
        """New targets (n,) of these joints, the gripper's possibly among them, from the next control period on."""
        if np.shape(positions) != (len(names),) or not np.isfinite(positions).all():
            return
        for name, position in zip(names, positions, strict=True):
            if name == self._robot.gripper.joint:
                self.set_gripper_target(self._robot.gripper.fraction(float(position)))
            else:
                self._target[self._robot.joint_names.index(name)] = position

    def set_gripper_target(self, fraction: float) -> None:
        """New gripper target, 0 open to 1 closed."""
        if np.isfinite(fraction):
            self._gripper = float(np.clip(fraction, 0.0, 1.0))

    def step(self) -> None:
        """One control period."""
        self._env.world.step(np.append(self._target, self._gripper))
        self.steps += 1
        self.success = self.success or bool(self.task.success(self._env.world))

    @property
    def joints(self) -> np.ndarray:
        """(J,) rad: the present joint positions."""
        world = self._env.world
        return np.array([world.data.joint(name).qpos[0] for name in self._robot.joint_names])

    @property
    def efforts(self) -> np.ndarray:
        """(J + 1,) N m: the actuators' efforts at the arm's joints and at the gripper's."""
        data = self._env.world.data
        return np.array([data.joint(name).qfrc_actuator[0] for name in (*self._robot.joint_names, GRIPPER_JOINT)])

    def read(self) -> Reading:
        """The sensors' messages now, with disturbances."""
        disturbance, rng = self.disturbance, self._rng
        joints: np.ndarray | None = self.joints + disturbance.joint_noise * rng.standard_normal(self._target.shape)
        efforts = self.efforts
        images = {n: self._noisy(p) for n, p in self._env.world.render().items() if rng.random() >= disturbance.drop}
        first, encoding = next(c.name for c in self._robot.cameras), "rgb8"
        if disturbance.fault == "camera_stop":
            images.pop(first, None)
        elif disturbance.fault == "camera_frozen" and first in images:
            self._frozen = images[first] if self._frozen is None else self._frozen
            images[first] = self._frozen
        elif disturbance.fault == "camera_size" and first in images:
            images[first] = images[first][::2, ::2]
        elif disturbance.fault == "camera_encoding":
            encoding = "16UC1"  # a depth image, without the range that would say what its numbers mean
        elif disturbance.fault == "joints_stop":
            joints = None
        elif disturbance.fault == "joints_jump" and joints is not None:
            joints = joints + 0.5
        elif disturbance.fault == "joints_nan" and joints is not None:
            joints = np.full_like(joints, np.nan)
        elif disturbance.fault == "gripper_force":
            efforts[-1] = EXCESSIVE
        if rng.random() < disturbance.drop:
            joints = None
        return Reading(joints, efforts, self._env.world.gripper, images, encoding)

    def diagnostics(self) -> dict[str, object]:
        """Scene, time and success for /diagnostics."""
        scene = self.task.scene
        objects = [f"{item.colour} {item.shape}" for item in scene.objects]
        objects += [f"{button.colour} button" for button in scene.buttons] + [f"{z.colour} zone" for z in scene.zones]
        return {
            "task": self.task.family,
            "seed": self.seed,
            "steps": self.steps,
            "limit": self.task.steps_limit,
            "success": self.success,
            "instruction": self.task.instruction,
            "objects": ", ".join([*objects, "tray", "drawer"]),
        }

    def _noisy(self, pixels: np.ndarray) -> np.ndarray:
        if not self.disturbance.image_noise:
            return pixels
        noise = self.disturbance.image_noise * self._rng.standard_normal(pixels.shape)
        return np.clip(pixels + noise, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()
