"""The mapping file of a conversion: which topic, HDF5 dataset or LeRobot feature becomes which part of the contract.

One YAML file (``config/data/``) gives everything: the source of each camera and of each field of state and action, how
the sources are synchronised, the rate, where the instruction is stored and what marks a success.
"""

from __future__ import annotations

from os import PathLike
from pathlib import PurePath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml.error import YAMLError

from vla_agent.contract import Camera, Contract
from vla_agent.contract import Field as ContractField
from vla_agent.errors import DatasetError, wrong_keys
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.input_limits import PICTURE_PIXELS, SIDE
from vla_agent.files.shipped import find_shipped

EXAMPLES = "config/data/recorder.yaml and the other files there"
ROTATIONS = {"matrix columns 1, 2": 6, "rotation vector": 3}  # a contract's conventions -> numbers
# Keys of instruction and success that a format does not have.
UNAVAILABLE = {
    "bag": ("dataset", "attribute", "own"),
    "hdf5": ("topic", "custom", "own"),
    "lerobot": ("topic", "custom", "attribute"),
}
Convert = Literal["numbers", "quaternion_xyzw", "quaternion_wxyz", "forward_position", "forward_rotation"]


MOST_HZ = 1000  # control periods a second
NEAREST = 10.0  # seconds: a larger tolerance of the rule nearest was meant in milliseconds; hold may hold for long
Side = Annotated[PositiveInt, Field(le=SIDE)]
NAME = r"^[A-Za-z0-9_](\.?[A-Za-z0-9_-]){0,99}$"  # of cameras and fields: it becomes a part of features and paths
# Keys that a format does not have, of the file, its cameras and its fields: they would have no effect.
NEEDLESS: dict[str, dict[str, tuple[str, ...]]] = {
    "bag": {"file": ("episodes",), "cameras": ("channels",), "fields": ()},
    "hdf5": {
        "file": ("rule", "tolerance", "stamps", "gaps", "intervention"),
        "cameras": ("rule", "tolerance"),
        "fields": ("rule", "tolerance", "of"),
    },
    "lerobot": {
        "file": ("rule", "tolerance", "stamps", "gaps", "intervention", "episodes"),
        "cameras": ("rule", "tolerance", "channels", "range"),
        "fields": ("rule", "tolerance", "of"),
    },
}
SWITCHES = ("flip", "clip", "own")  # keys that are true or false


class _Part(BaseModel):
    """A part of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, given: Any, info: ValidationInfo) -> Any:
        """True is not the number 1."""
        values = given if isinstance(given, (list, tuple)) else [given]
        if info.field_name not in SWITCHES and any(isinstance(value, bool) for value in values):
            raise ValueError("true or false, where a number or a text belongs")
        return given


class Source(_Part):
    """Where a camera or field comes from, and how its messages are matched to control periods.

    name: of the contract's camera or field: letters, digits, and . _ - inside, no two dots in a row.
    at: topic of a bag, dataset of an HDF5 file below the episode's group, or feature of a LeRobotDataset.
    rule: ``nearest`` message in time, or ``hold``: the last one before.  tolerance: largest distance in seconds.
    """

    name: str = Field(pattern=NAME)
    at: str
    rule: Literal["nearest", "hold"] | None = None
    tolerance: float | None = Field(None, gt=0)


class CameraSource(Source):
    """A camera of the contract; images of another size are cropped to its aspect ratio and resized.

    flip: ``rows`` (or true) where the first row is the lowest one, as OpenGL renders; ``both``: rotated by 180 degrees,
        as from a camera that hangs upside down.  Columns alone are never turned: left would be right.
    channels: of HDF5: ``bgr`` where blue comes first, as in pictures that OpenCV encoded from RGB arrays (ALOHA).
    range: of pictures of 16 bits: the values that become 0 and 255; those outside of it become the nearer end.
    """

    height: Side
    width: Side
    flip: bool | Literal["rows", "both"] = False
    channels: Literal["rgb", "bgr"] = "rgb"
    range: tuple[float, float] | None = None

    @field_validator("flip", mode="before")
    @classmethod
    def _no_mirror(cls, given: Any) -> Any:
        if given in ("columns", "horizontal"):
            raise ValueError(
                f"{given}: left would be right, against the instructions' words and the actions; both: a rotation by "
                "180 degrees"
            )
        return given

    def upright(self, images: np.ndarray) -> np.ndarray:
        """Images (..., H, W, 3) as ``flip`` says."""
        if self.flip == "both":
            return images[..., ::-1, ::-1, :]
        return images[..., ::-1, :, :] if self.flip else images

    @model_validator(mode="after")
    def _check_range(self) -> CameraSource:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("the range's first value is not below its second")
        if self.height * self.width > PICTURE_PIXELS:
            raise ValueError(f"{self.width} x {self.height}, at most {PICTURE_PIXELS:,} pixels")
        return self


class FieldSource(Source):
    """A field of the contract's state or action.

    pick: names of joints (JointState, JointTrajectory), paths such as ``pose.position.x`` or ``data[0]`` (any other
        message), columns (HDF5, LeRobot), or the names that ``meta/info.json`` gives them (LeRobot), in the field's
        order.
    of: of a JointState: position, velocity or effort.
    convert: ``quaternion_xyzw`` and ``quaternion_wxyz`` make four numbers the field's ``rotation``;
        ``forward_position`` and ``forward_rotation`` make joint positions of ``robot`` the end effector's pose.
    scale, offset: applied after that, to get the unit (with ``forward``: before, to get rad).
    delta: ``next``: the change to the next control period, so that recorded poses or joints become the action that
        leads from one to the next; an episode loses its last frame.  Angles (``unit`` rad or deg) go the shorter way
        around.
    clip: limits the result to low and high.
    """

    pick: tuple[str | int, ...] = Field(min_length=1)
    of: Literal["position", "velocity", "effort"] = "position"
    convert: Convert = "numbers"
    scale: float = 1.0
    offset: float = 0.0
    delta: Literal["next"] | None = None
    clip: bool = False
    unit: str
    frame: str = ""
    low: float | None = None
    high: float | None = None
    rotation: str = ""

    @model_validator(mode="after")
    def _check_conversion(self) -> FieldSource:
        rotates = self.convert.startswith("quaternion") or self.convert == "forward_rotation"
        if rotates and self.rotation not in ROTATIONS:
            raise ValueError(f"convert: {self.convert} needs rotation: one of {', '.join(ROTATIONS)}")
        if self.convert.startswith("quaternion") and len(self.pick) != 4:
            raise ValueError(f"a quaternion has 4 numbers, pick has {len(self.pick)}")
        if self.clip and (self.low is None or self.high is None):
            raise ValueError("clip needs low and high")
        if self.scale == 0:
            raise ValueError("scale 0 makes every number the same")
        if self.delta and self.rotation not in ("", "rotation vector"):
            raise ValueError("delta of a rotation needs rotation: rotation vector")
        return self

    @property
    def size(self) -> int:
        """Number of components."""
        if self.convert == "numbers":
            return len(self.pick)
        return 3 if self.convert == "forward_position" else ROTATIONS[self.rotation]

    def field(self) -> ContractField:
        """The field of the contract."""
        return ContractField(self.name, self.size, self.unit, self.frame, self.low, self.high, self.rotation)


class Instruction(_Part):
    """Where the instruction is stored: exactly one of these.

    text: the instruction itself.  topic: a std_msgs/String, the last one before the episode's end.  custom: a key of
    the bag's custom data (rosbag2 metadata).  attribute: of the episode's group or its parents (HDF5); ``key`` where it
    holds JSON.  own: true: the episode's task in the dataset (LeRobot).
    """

    text: str | None = None
    topic: str | None = None
    custom: str | None = None
    attribute: str | None = None
    key: str | None = None
    own: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Instruction:
        if sum(v is not None for v in (self.text, self.topic, self.custom, self.attribute, self.own)) != 1:
            raise ValueError("give exactly one of text, topic, custom, attribute, own")
        if self.text is not None and not self.text.strip():
            raise ValueError("text is empty: say what is done in the episodes")
        return self


class Success(_Part):
    """Where the outcome is stored: exactly one of these.  Without ``success`` every episode counts as a success.

    topic: std_msgs/Bool or String; each message ends an episode, so that one bag may hold many.  custom: a key of the
    bag's custom data.  ``value``: the text that means success.  dataset: of an HDF5 file, or a feature of a
    LeRobotDataset (``next.success``): a success where any value reaches ``at_least``.
    """

    topic: str | None = None
    custom: str | None = None
    dataset: str | None = None
    value: str = "success"
    at_least: float = 1.0

    @model_validator(mode="after")
    def _exactly_one(self) -> Success:
        if sum(v is not None for v in (self.topic, self.custom, self.dataset)) != 1:
            raise ValueError("give exactly one of topic, custom, dataset")
        return self


class Mapping(_Part):
    """A mapping file.

    control_hz: rate of the dataset.  stamps: times of the ``header``, or when the bag ``received`` a message (always so
    without a header).  gaps: an episode with control periods for which some source has no message in time:
    ``leave_out``, or ``longest``: keep its longest stretch without gaps.
    """

    format: Literal["bag", "hdf5", "lerobot"]
    control_hz: Annotated[PositiveInt, Field(le=MOST_HZ)]
    chunk_length: PositiveInt = 16
    language: str = "en"
    robot: str | None = Field(None, description="robot file for forward_position and forward_rotation")
    robot_type: str | None = None
    storage: Literal["video", "images"] = "video"
    stamps: Literal["header", "received"] = "header"
    rule: Literal["nearest", "hold"] = "nearest"
    tolerance: float = Field(0.05, gt=0)
    gaps: Literal["leave_out", "longest"] = "leave_out"
    shortest: PositiveInt = Field(5, description="frames; a shorter episode is left out")
    exclude: tuple[str, ...] = Field(
        (), description="patterns of recordings, groups and episodes that are left out, such as failed/* or demo_7"
    )
    episodes: str = Field("data/*", description="hdf5: pattern of the episodes' groups; /: the file is one episode")
    cameras: tuple[CameraSource, ...] = Field(min_length=1)
    state: tuple[FieldSource, ...] = Field(min_length=1)
    action: tuple[FieldSource, ...] = Field(min_length=1)
    instruction: Instruction
    success: Success | None = None
    intervention: str | None = Field(None, description="bag: topic (std_msgs/Bool) that says where a person commands")
    keep: Literal["success", "all"] = "success"

    @field_validator("exclude")
    @classmethod
    def _below(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [p for p in patterns if not PurePath(p).parts or PurePath(p).is_absolute() or ".." in PurePath(p).parts]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))}: patterns are of paths below the folder of recordings")
        return patterns

    @model_validator(mode="after")
    def _check_format(self) -> Mapping:
        for part in (self.instruction, self.success):
            for key in UNAVAILABLE[self.format]:
                if part is not None and getattr(part, key, None) is not None:
                    raise ValueError(f"'{key}' is not for format: {self.format}")
        needless = NEEDLESS[self.format]
        parts: list[tuple[BaseModel, str, str]] = [(self, "file", "")]
        parts += [(c, "cameras", f" of {c.name}") for c in self.cameras]
        parts += [(f, "fields", f" of {f.name}") for f in (*self.state, *self.action)]
        told = [f"'{k}'{of}" for part, kind, of in parts for k in needless[kind] if k in part.model_fields_set]
        if told:
            raise ValueError(f"{', '.join(told)}: not for format: {self.format}, where it has no effect")
        names = [camera.name.casefold() for camera in self.cameras]
        twice = [camera.name for camera in self.cameras if names.count(camera.name.casefold()) > 1]
        if twice:
            raise ValueError(f"cameras {', '.join(twice)}: one name but for capitals, which some disks ignore")
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Mapping:
        for source in self.sources:
            rule, tolerance = self.rule_of(source)
            if rule == "nearest" and tolerance > NEAREST:
                raise ValueError(
                    f"{source.name}: tolerance {tolerance:g} is in seconds, at most {NEAREST:g} for nearest"
                )
        for field in (*self.state, *self.action):
            self._check_field(field)
        for field in self.state:
            if field.delta:
                raise ValueError(f"{field.name}: delta is for actions; a state has no next value")
        return self

    def _check_field(self, field: FieldSource) -> None:
        """Raise where a field's ``pick`` or ``convert`` is not for this format."""
        columns = [p for p in field.pick if isinstance(p, int)]
        if self.format == "hdf5" and len(columns) < len(field.pick):
            raise ValueError(f"{field.name}: pick names columns, such as [0, 1, 2]")
        if any(column < 0 for column in columns):
            raise ValueError(f"{field.name}: pick counts columns from 0")
        if self.format == "bag" and columns:
            raise ValueError(f"{field.name}: pick names joints or paths, such as [joint1] or ['data[0]']")
        if field.convert.startswith("forward") and self.robot is None:
            raise ValueError(f"{field.name}: convert: {field.convert} needs robot: a robot file")

    def excluded_by(self, name: PurePath) -> str | None:
        """The first pattern of ``exclude`` that names something, or a folder or file that it is in; None where none is.

        A pattern is matched from the right, folder by folder, ``*`` within one; with capitals as they are.

        Args:
            name: its path below the folder of recordings: of a file, of a group in it, or with an episode's number.
        """
        parts = [part for part in (name, *name.parents) if part.parts]
        return next((pattern for pattern in self.exclude if any(part.match(pattern) for part in parts)), None)

    @property
    def fewest(self) -> int:
        """Frames that an episode needs: a delta takes one away."""
        return max(self.shortest, 2 if any(field.delta for field in self.action) else 1)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Cameras, state and action."""
        return (*self.cameras, *self.state, *self.action)

    def rule_of(self, source: Source) -> tuple[str, float]:
        """Rule and tolerance (seconds) of a source: its own, or those of the whole file."""
        return source.rule or self.rule, source.tolerance or self.tolerance

    def contract(self, file: str | None = None) -> Contract:
        """The contract of the dataset.

        Args:
            file: the mapping file, for the error.

        Raises:
            ContractError: a name occurs twice, or a range is empty.
        """
        made = Contract(
            cameras=tuple(Camera(c.name, c.height, c.width) for c in self.cameras),
            state=tuple(f.field() for f in self.state),
            action=tuple(f.field() for f in self.action),
            control_hz=float(self.control_hz),
            chunk_length=self.chunk_length,
            language=self.language,
        )
        return Contract.from_dict(made.to_dict(), file=file)


def load_mapping(path: str | PathLike[str]) -> Mapping:
    """Read a mapping file.

    Raises:
        DatasetError: no such file, not YAML, or keys that are missing, unknown or invalid (all of them at once).
        ContractError: the resulting contract is invalid.
    """
    file = find_shipped(path)
    try:
        data: Any = read_yaml(file, DatasetError)
    except (OSError, YAMLError) as error:
        raise DatasetError(
            "the mapping file cannot be read",
            file=file,
            expected=f"YAML like {EXAMPLES}",
            found=" ".join(str(error).split()),
            remedy="check the path, or fix the line",
        ) from error
    try:
        mapping = Mapping.model_validate(data)
    except ValidationError as error:
        raise DatasetError(
            "the mapping file is wrong",
            file=file,
            expected=f"the keys of {EXAMPLES}",
            **wrong_keys(error, Mapping),
            remedy="fix these keys; docs/data.md explains each",
        ) from error
    mapping.contract(str(file))
    return mapping
