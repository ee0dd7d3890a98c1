"""The robot file: one YAML file (``config/robots/NAME.yaml``) that every node reads.

Deny by default: a joint without limits, a limit that is not a positive number, or an unknown key is an error.  With an
error no node starts and nothing moves.
"""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml.error import YAMLError

from vla_agent.contract import Contract
from vla_agent.errors import RobotError, wrong_keys
from vla_agent.files.bounded_reading import as_text, read_bytes
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.files.input_limits import YAML_BYTES
from vla_agent.files.shipped import shipped_folders
from vla_agent.robot.camera_spec import CameraSpec as CameraSpec
from vla_agent.robot.camera_spec import Mount as Mount
from vla_agent.robot.camera_spec import Part, Vector3, beside
from vla_agent.robot.command_interfaces import ControllerSpec
from vla_agent.robot.filter_settings import SafetySettings
from vla_agent.robot.model.packages import resolve
from vla_agent.robot.model.source import ModelSource, locate_model

ALIASES = {"franka": "panda", "franka_panda": "panda", "franka_emika_panda": "panda"}  # other names of our robots
STATE_FIELDS = {"ee_position": 3, "ee_rotation": 6, "gripper": 1}  # and joint_position, one number a joint


class Joint(Part):
    """Limits of one joint: position (low, high) in rad; velocity rad/s, acceleration rad/s^2, jerk rad/s^3.

    ``lag``: seconds, the time constant with which the joint follows its targets; at 1 rad/s it is ``lag`` rad behind.
    The filter before the stop uses it.  None: not known, the filter then looks at targets alone.
    """

    name: str
    position: tuple[float, float]
    velocity: PositiveFloat
    acceleration: PositiveFloat
    jerk: PositiveFloat
    lag: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _check_order(self) -> Joint:
        if self.position[0] >= self.position[1]:
            raise ValueError(f"the lower limit of {self.name} is not below the upper one")
        return self


class Gripper(Part):
    """The joint that measures the gripper, and its positions when open and when closed.

    ``max_effort``: of that joint, in the unit of the joint state's effort: N m for a hinge, N for a slide.  A larger
    effort stops the robot, and so does a joint state without effort.  None: the force is not supervised.
    """

    joint: str
    open: float
    closed: float
    max_effort: PositiveFloat | None = None

    def fraction(self, position: float) -> float:
        """Joint position -> 0 open to 1 closed, clipped."""
        return min(max((position - self.open) / (self.closed - self.open), 0.0), 1.0)

    def position(self, fraction: float) -> float:
        """0 open to 1 closed -> joint position."""
        return self.open + fraction * (self.closed - self.open)


class Box(Part):
    """Allowed positions of the end effector, base frame, metres."""

    low: Vector3
    high: Vector3


class Obstacle(Part):
    """A box: half sizes and centre, base frame, metres."""

    name: str
    size: Vector3
    position: Vector3


class LookAheadSpec(Part):
    """Guarded bodies of the model, what they may not touch, and the look-ahead time.

    ``srdf``: of a URDF: pairs of links that this file disables are no contact, beside neighbours.
    """

    guarded: tuple[str, ...] = Field(min_length=1)
    forbidden: tuple[str, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    seconds: PositiveFloat = 0.5
    srdf: str | None = None

    @field_validator("srdf")
    @classmethod
    def _resolve_srdf(cls, path: str | None, info: ValidationInfo) -> str | None:
        return path if path is None else beside(path, info)


class KinematicsSpec(Part):
    """Inverse kinematics on the model, see `vla_agent.robot.kinematics.inverse_kinematics.IKSettings`.

    ``workspace``: of the commanded position; left out: the robot's.
    """

    rounds: PositiveInt = 4
    null_gain: float = Field(default=0.02, ge=0, lt=1)
    workspace: Box | None = None


# Values of ``kinematics`` in older robot files -> settings.
OLDER_KINEMATICS: dict[Any, dict[str, Any]] = {
    "model": {},
    "package://sim": {
        "rounds": 2,
        "null_gain": 0.05,
        "workspace": {"low": [0.22, -0.42, 0.004], "high": [0.80, 0.42, 0.50]},
    },
}


class Robot(Part):
    """A robot file; vectors over joints follow the order of ``joints``.

    ``model``: MJCF, URDF or xacro, of which ``xacro`` gives the arguments; ``packages``: folders of ROS packages that
    are not installed.  ``end_effector``: a link (body), frame or site of the model.
    """

    name: str
    model: str
    xacro: dict[str, str] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    kinematics: KinematicsSpec = Field(default_factory=lambda: KinematicsSpec())
    base_frame: str
    end_effector: str
    control_hz: PositiveFloat
    home: tuple[float, ...]
    joints: tuple[Joint, ...] = Field(min_length=1)
    gripper: Gripper
    workspace: Box
    lookahead: LookAheadSpec
    controller: ControllerSpec
    cameras: tuple[CameraSpec, ...]
    joint_states: str | tuple[str, ...]  # topics, whose parts are joined by joint name
    safety: SafetySettings = Field(default_factory=SafetySettings)
    _folder: Path | None = PrivateAttr(None)  # of the robot file

    @field_validator("model")
    @classmethod
    def _resolve_model(cls, path: str, info: ValidationInfo) -> str:
        return beside(path, info)

    @field_validator("packages")
    @classmethod
    def _resolve_packages(cls, folders: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        return {name: beside(folder, info) for name, folder in folders.items()}

    @field_validator("xacro", mode="before")
    @classmethod
    def _read_arguments(cls, given: Any) -> Any:
        """YAML's numbers and booleans become the text that xacro takes."""
        if not isinstance(given, dict):
            return given
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in given.items()}

    @field_validator("kinematics", mode="before")
    @classmethod
    def _read_older_kinematics(cls, given: Any) -> Any:
        return OLDER_KINEMATICS.get(given, given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _remember_folder(self, info: ValidationInfo) -> Robot:
        self._folder = info.context["folder"] if info.context else None
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> Robot:
        if len(self.home) != len(self.joints):
            raise ValueError(f"home has {len(self.home)} positions for {len(self.joints)} joints")
        if len(set(self.joint_names)) != len(self.joints):
            raise ValueError("two joints have the same name")
        if 0 < sum(joint.lag is not None for joint in self.joints) < len(self.joints):
            raise ValueError("some joints have a lag and some have none; give it for all of them, or for none")
        self.controller.require_each_once(self.joint_names, self.gripper.joint)
        if not self.joint_state_topics or len(set(self.joint_state_topics)) != len(self.joint_state_topics):
            raise ValueError("joint_states names no topic, or one twice")
        topics = [camera.info_topic for camera in self.cameras if camera.calibration is not None]
        if len(set(topics)) != len(topics):
            raise ValueError(f"two calibrated cameras share a topic; give each its own namespace: {', '.join(topics)}")
        return self

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def joint_state_topics(self) -> tuple[str, ...]:
        """Topics of the joint states."""
        return (self.joint_states,) if isinstance(self.joint_states, str) else self.joint_states

    @property
    def camera_names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    @property
    def period(self) -> float:
        """Control period, seconds."""
        return 1.0 / self.control_hz

    def limits(self, kind: Literal["velocity", "acceleration", "jerk"]) -> np.ndarray:
        """(J,) largest magnitude of one kind."""
        return np.array([getattr(joint, kind) for joint in self.joints])

    @property
    def lag(self) -> np.ndarray | None:
        """(J,) seconds that the joints are behind their targets; None where that is not known."""
        lags = [joint.lag for joint in self.joints if joint.lag is not None]
        return np.array(lags) if lags else None

    @property
    def low(self) -> np.ndarray:
        """(J,) lowest joint positions, rad."""
        return np.array([joint.position[0] for joint in self.joints])

    @property
    def high(self) -> np.ndarray:
        """(J,) highest joint positions, rad."""
        return np.array([joint.position[1] for joint in self.joints])

    def model_path(self) -> Path:
        """The model file (MJCF, URDF or xacro); ``package://PACKAGE/PATH`` is resolved in the package.

        Raises:
            RobotError: it is missing, or names files outside of the robot file's folder or the package.
        """
        return self.model_source().path

    def model_source(self) -> ModelSource:
        """What `vla_agent.robot.model.loading.load_model` reads, checked.

        Raises:
            RobotError: see `model_path`.
        """
        path, root, installed = locate_model(self.model, self.packages, self._folder)
        srdf = None if self.lookahead.srdf is None else resolve(self.lookahead.srdf, self.packages)
        names = (self.end_effector, self.base_frame)
        return ModelSource(path, root, *names, self.packages, self.xacro, srdf, installed)

    def require(self, contract: Contract, policy: str) -> None:
        """Raise unless a policy of this contract can drive this robot.

        Raises:
            RobotError: with every mismatch in one message.
        """
        wrong = self.mismatches(contract)
        if wrong:
            raise RobotError(
                f"the policy does not fit the robot '{self.name}'",
                file=policy,
                key="; ".join(line.split(":")[0] for line in wrong),
                expected="cameras, state, action and rate that the robot has",
                found="; ".join(wrong),
                remedy="use a policy that was trained for this robot, or fix the robot file",
            )

    def mismatches(self, contract: Contract) -> list[str]:
        """Every mismatch between the robot and a policy's contract, one line each."""
        cameras = {camera.name for camera in self.cameras}
        lines = [f"camera {n}: the robot has {sorted(cameras)}" for n in contract.camera_names if n not in cameras]
        lines += [
            f"camera {c.name}: {c.color} images, the nodes give rgb" for c in contract.cameras if c.color != "rgb"
        ]
        if contract.control_hz != self.control_hz:
            lines.append(f"control_hz: policy {contract.control_hz:g}, robot {self.control_hz:g}")
        sizes = STATE_FIELDS | {"joint_position": len(self.joints)}
        for field in contract.state:
            if sizes.get(field.name) != field.size:
                lines.append(f"state {field.name}[{field.size}]: the robot has {sizes}")
            if field.frame not in ("", self.base_frame):
                lines.append(f"state {field.name}: frame '{field.frame}', robot '{self.base_frame}'")
        layout = tuple((field.name, field.size) for field in contract.action)
        supported = {
            "ee_delta": (("ee_translation", 3), ("ee_rotation", 3), ("gripper", 1)),
            "joint_position": (("joint_position", len(self.joints)), ("gripper", 1)),
        }
        if layout not in supported.values():
            lines.append(f"action {layout}: the controller takes {supported}")
        for field in contract.action:
            if field.frame not in ("", self.base_frame):
                lines.append(f"action {field.name}: frame '{field.frame}', robot '{self.base_frame}'")
        return lines


def robot_folders() -> list[Path]:
    """Where robot files are looked for: the source tree, then installed shares."""
    return [folder / "config" / "robots" for folder in shipped_folders()]


def robot_names() -> list[str]:
    """Names that `load_robot` finds, with the aliases of each in brackets."""
    names = sorted({file.stem for folder in robot_folders() for file in folder.glob("*.yaml")})
    aliases = {name: [alias for alias, meant in ALIASES.items() if meant == name] for name in names}
    return [f"{name} (or {', '.join(aliases[name])})" if aliases[name] else name for name in names]


def canonical_name(name: str) -> str:
    """The one name of a robot: that of its file, for an alias such as ``franka``, too."""
    return ALIASES.get(name.lower(), name)


def load_robot(name: str | PathLike[str]) -> Robot:
    """Read a robot file by name (``panda``, or an alias such as ``franka``) or path.

    Raises:
        RobotError: no such file, or keys are missing, unknown or impossible; all of them at once.
    """
    return read_robot(name)[0]


def read_robot(name: str | PathLike[str]) -> tuple[Robot, str]:
    """The same, and the SHA-256 of the robot file's bytes as they were read.

    Raises:
        RobotError: see `load_robot`.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        candidates = [folder / f"{canonical_name(str(name))}.yaml" for folder in robot_folders()]
        path = next((c for c in candidates if c.is_file()), candidates[0])
    try:
        content = read_bytes(path, RobotError, YAML_BYTES)
        data: Any = parse_yaml(as_text(content, path, RobotError), path, RobotError)
    except (OSError, YAMLError) as error:
        names = [*ALIASES, *(file.stem for folder in robot_folders() for file in folder.glob("*.yaml"))]
        near = get_close_matches(path.stem, names, 1) if isinstance(error, FileNotFoundError) else []
        raise RobotError(
            "the robot file cannot be read",
            file=path,
            expected=f"a YAML file like config/robots/panda.yaml; robots here: {', '.join(robot_names())}",
            found=" ".join(str(error).split()),
            remedy=(f"did you mean {near[0]}? " if near and near[0] != path.stem else "")
            + "give the name of a robot in config/robots, or the path of a file",
        ) from error
    try:
        return Robot.model_validate(data, context={"folder": path.parent}), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        raise RobotError(
            "the robot file is wrong; nothing will move",
            file=path,
            expected="the keys of config/robots/panda.yaml; every joint with position, velocity, acceleration, jerk",
            **wrong_keys(error, Robot),
            remedy="fix these keys; a limit is never assumed",
        ) from error
