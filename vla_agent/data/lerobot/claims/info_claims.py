"""What ``meta/info.json`` claims: numbers within bounds, features with shapes, and paths that stay in the dataset."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vla_agent.data.lerobot.dataset_schema import IMAGE_PREFIX
from vla_agent.errors import DatasetError, wrong_keys
from vla_agent.files.input_limits import NAME, PICTURE_PIXELS, SIDE

MOST_FRAMES = 1_000_000_000  # 19 months at 20 Hz
MOST_COMPONENTS = 65_536  # of one feature of numbers
FILE_FIELDS = frozenset({"chunk_index", "file_index", "episode_chunk", "episode_index"})
VIDEO_FIELDS = FILE_FIELDS | {"video_key"}
PADDING = re.compile(r"(0?[1-9])?d?")  # of a number in a path
FEATURE_NAME = re.compile(r"[\w][\w .:+-]*")
Side = Annotated[int, Field(ge=1, le=SIDE)]


class _Feature(BaseModel):
    """A feature: images have three sides."""

    model_config = ConfigDict(extra="allow", strict=True)

    dtype: str = Field(max_length=NAME)
    shape: list[Side] = Field(max_length=4)

    @model_validator(mode="after")
    def _check_size(self) -> _Feature:
        size = math.prod(self.shape)
        if self.dtype in ("image", "video"):
            if len(self.shape) != 3:
                raise ValueError(f"an image has three sides, not {len(self.shape)}")
            if size > 4 * PICTURE_PIXELS:
                raise ValueError(f"{size:,} values of one image; at most {4 * PICTURE_PIXELS:,}")
        elif size > MOST_COMPONENTS:
            raise ValueError(f"{size:,} components; at most {MOST_COMPONENTS:,}")
        return self


class _Info(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    fps: float = Field(gt=0, le=10_000, strict=True)
    total_episodes: int = Field(ge=0, le=MOST_FRAMES, strict=True)
    total_frames: int = Field(ge=0, le=MOST_FRAMES, strict=True)
    chunks_size: int = Field(1000, ge=1, le=MOST_FRAMES, strict=True)
    data_path: str
    video_path: str | None = None
    robot_type: str | None = None
    features: dict[str, _Feature] = Field(max_length=4096)

    @field_validator("data_path")
    @classmethod
    def _check_data_path(cls, path: str) -> str:
        return check_template(path, FILE_FIELDS)

    @field_validator("video_path")
    @classmethod
    def _check_video_path(cls, path: str | None) -> str | None:
        return path if path is None else check_template(path, VIDEO_FIELDS)

    @model_validator(mode="after")
    def _check_videos(self) -> _Info:
        videos = [name for name, feature in self.features.items() if feature.dtype == "video"]
        if videos and self.video_path is None:
            raise ValueError(f"{videos[0]} is a video, and video_path is missing")
        return self

    @field_validator("features")
    @classmethod
    def _check_names(cls, features: dict[str, _Feature]) -> dict[str, _Feature]:
        for name in features:
            if len(name) > NAME or ".." in name or not FEATURE_NAME.fullmatch(name):
                raise ValueError(f"{name[:NAME]!r} is no name of a feature: letters, digits and . _ : + - inside")
        images = [name for name, feature in features.items() if feature.dtype in ("image", "video")]
        for name in images:
            short = name.removeprefix(IMAGE_PREFIX)
            if short != name and short in images:
                raise ValueError(f"{name} and {short} are cameras of one name")
        return features


def check_template(path: str, fields: frozenset[str]) -> str:
    """A path's template, with no other fields than ``fields``; nothing is formatted.

    Raises:
        ValueError: another field, an attribute or index of one, padding over nine digits, or a path that leaves the
            dataset.
    """
    text = ""
    for literal, field, padding, conversion in Formatter().parse(path):
        text += literal + ("" if field is None else "x")
        if field is None:
            continue
        if field not in fields or conversion or not PADDING.fullmatch(padding or ""):
            raise ValueError(f"the field {{{field[:NAME]}}} is not one of {', '.join(sorted(fields))}, as {{name:03d}}")
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or ".." in parts or "\\" in text or "\0" in text or len(text) > 1000:
        raise ValueError("the path does not stay inside of the dataset")
    return path


def check_counts(counts: Mapping[str, object]) -> None:
    """Check the whole numbers of one episode: lengths, indices, numbers of files.

    Raises:
        ValueError: one is no whole number from 0 to `MOST_FRAMES`.
    """
    for name, count in counts.items():
        if type(count) is not int or not 0 <= count <= MOST_FRAMES:
            raise ValueError(f"{name} is {str(count)[:40]}, not a whole number from 0 to {MOST_FRAMES:,}")


def check_claims(info: dict[str, Any], path: Path) -> None:
    """Check every number, shape, name and path of ``meta/info.json``.

    Raises:
        DatasetError: all that are wrong, at once.
    """
    try:
        _Info.model_validate(info)
    except ValidationError as error:
        raise DatasetError(
            "the description of the dataset is wrong",
            file=path,
            expected="numbers and shapes within bounds, and paths inside of the dataset",
            **wrong_keys(error),
            remedy="get the dataset again, or correct meta/info.json",
        ) from error
