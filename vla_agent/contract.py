"""The contract: what a policy sees and what it emits.  Read this first.

Shapes, everywhere in this project (one notation)::

    B  batch          V  view (camera)      H, W  image height and width
    T  chunk step     A  action dimension   D     state dimension

    observation["images"][camera]   (H, W, 3) uint8, RGB, row 0 on top
    observation["state"]            (D,)      float32, layout `Contract.state`
    action chunk                    (T, A)    float32, layout `Contract.action`, one row per control period

The contract travels inside a checkpoint, a dataset and a simulator, and is compared wherever two of them meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vla_agent.errors import ContractError, ObservationError

VERSION = 1


@dataclass(frozen=True)
class Camera:
    """One RGB camera."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Field:
    """A slice of the state or action vector: ``size`` numbers of one unit in one frame."""

    name: str
    size: int
    unit: str
    frame: str = ""


@dataclass(frozen=True)
class Contract:
    """What a policy sees (cameras, state) and emits (action chunks at ``control_hz``)."""

    cameras: tuple[Camera, ...]
    state: tuple[Field, ...]
    action: tuple[Field, ...]
    control_hz: float
    chunk_length: int
    version: int = VERSION

    @property
    def state_dim(self) -> int:
        return sum(f.size for f in self.state)

    @property
    def action_dim(self) -> int:
        return sum(f.size for f in self.action)

    @property
    def camera_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.cameras)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], file: str | None = None) -> Contract:
        """Read a contract from plain data.

        Raises:
            ContractError: a key is missing or unknown, or the version is newer than this code.
        """
        try:
            contract = cls(
                cameras=tuple(Camera(**c) for c in data["cameras"]),
                state=tuple(Field(**f) for f in data["state"]),
                action=tuple(Field(**f) for f in data["action"]),
                control_hz=float(data["control_hz"]),
                chunk_length=int(data["chunk_length"]),
                version=int(data["version"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                "the contract cannot be read",
                file=file,
                key=str(error).strip("'\""),
                expected="cameras, state, action, control_hz, chunk_length, version",
                found=sorted(data) if isinstance(data, Mapping) else type(data).__name__,
                remedy="the file is damaged or of another project: get it again or train anew",
            ) from error
        if contract.version != VERSION:
            raise ContractError(
                "the contract has another version",
                file=file,
                key="version",
                expected=VERSION,
                found=contract.version,
                remedy="install the vla-agent release that wrote it, or train anew",
            )
        return contract

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form: equal contracts have equal hashes on every machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def differences(self, other: Contract) -> list[str]:
        """Every difference at once, one line each: ``name: mine against theirs``."""
        lines = []
        mine, theirs = _flatten(self.to_dict()), _flatten(other.to_dict())
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                lines.append(f"{key}: {mine.get(key, 'absent')} against {theirs.get(key, 'absent')}")
        return lines

    def require(self, other: Contract, mine: str, theirs: str, *, ignore: tuple[str, ...] = ()) -> None:
        """Raise unless both contracts agree.  ``ignore`` names keys that may differ (e.g. ``"chunk_length"``).

        Raises:
            ContractError: with every difference listed and both sides named.
        """
        lines = [d for d in self.differences(other) if not d.startswith(ignore)] if ignore else self.differences(other)
        if lines:
            raise ContractError(
                f"{mine} and {theirs} do not fit together",
                key="; ".join(line.split(":")[0] for line in lines),
                expected=f"the same contract on both sides ({mine} against {theirs})",
                found="; ".join(lines),
                remedy="use the cameras, image size, layout and rate the policy was trained with, or train for these",
            )

    def check_observation(self, observation: Mapping[str, Any]) -> None:
        """Raise unless the observation has every camera and the state, in the right shape and type, finite.

        Raises:
            ObservationError: naming the key, what was expected and what was found.
        """
        for key in ("images", "state"):
            if key not in observation:
                raise ObservationError(
                    "the observation lacks a part",
                    key=key,
                    expected=["images", "state"],
                    found=sorted(observation),
                    remedy="pass the dictionary that the simulator or the policy node builds",
                )
        images = observation["images"]
        for camera in self.cameras:
            if camera.name not in images:
                raise ObservationError(
                    "a camera is missing",
                    key=f"images.{camera.name}",
                    expected=list(self.camera_names),
                    found=sorted(images),
                    remedy="rename or add the camera: the policy was trained with exactly these",
                )
            image = np.asarray(images[camera.name])
            shape = (camera.height, camera.width, 3)
            if image.shape != shape or image.dtype != np.uint8:
                raise ObservationError(
                    "an image has the wrong shape or type",
                    key=f"images.{camera.name}",
                    expected=f"{shape} uint8",
                    found=f"{image.shape} {image.dtype}",
                    remedy="resize to the contract's size and pass RGB bytes",
                )
        state = np.asarray(observation["state"])
        if state.shape != (self.state_dim,):
            raise ObservationError(
                "the state has the wrong shape",
                key="state",
                expected=f"({self.state_dim},): " + ", ".join(f"{f.name}[{f.size}]" for f in self.state),
                found=state.shape,
                remedy="build the state in the contract's layout",
            )
        if not np.isfinite(state).all():
            raise ObservationError(
                "the state holds NaN or infinity",
                key="state",
                expected="finite numbers",
                found=state.tolist(),
                remedy="check the joint state source",
            )

    def check_chunk(self, chunk: Any) -> np.ndarray:
        """The chunk as (T, A) float32, T at least 1; raise where it is not that.

        Raises:
            ContractError: wrong shape, NaN or infinity.
        """
        array = np.asarray(chunk, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] != self.action_dim or array.shape[0] < 1 or not np.isfinite(array).all():
            raise ContractError(
                "the policy returned a chunk that is not one",
                key="act()",
                expected=f"(T, {self.action_dim}) finite numbers, T at least 1",
                found=f"{array.shape}" + ("" if np.isfinite(array).all() else " with NaN or infinity"),
                remedy=f"return per control period one row of {', '.join(f'{f.name}[{f.size}]' for f in self.action)}",
            )
        return array


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists of named things as dotted keys: ``cameras.front.height``."""
    if isinstance(data, Mapping):
        return {k: v for key, value in data.items() for k, v in _flatten(value, f"{prefix}{key}.").items()}
    if isinstance(data, (list, tuple)) and data and all(isinstance(d, Mapping) and "name" in d for d in data):
        flat = {f"{prefix}order": [d["name"] for d in data]}
        for d in data:
            flat |= _flatten({k: v for k, v in d.items() if k != "name"}, f"{prefix}{d['name']}.")
        return flat
    return {prefix.rstrip("."): data}
