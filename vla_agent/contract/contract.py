"""The contract: what a policy sees and what it emits.  Read this first.

Shapes, everywhere in this project (the whole notation: docs/architecture.md#notation)::

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
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from vla_agent.contract.differences import Difference, compare
from vla_agent.contract.layout import VERSION, Camera, Field, Layout
from vla_agent.contract.state_units import other_units
from vla_agent.contract.validation import impossible_values
from vla_agent.contract.version_1 import from_version_1
from vla_agent.errors import ContractError, ObservationError


@dataclass(frozen=True)
class Contract(Layout):
    """What a policy sees (cameras, state, instructions in ``language``) and emits (action chunks at ``control_hz``).

    Normalisation is not part of it: all numbers are in the units named here.  A checkpoint holds its affine map in its
    weights (`vla_agent.models.normaliser`), not statistics that could be read in two ways.
    """

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], file: str | None = None) -> Contract:
        """Read a contract from plain data.  Version 1 is converted to version 2.

        Raises:
            ContractError: a key is missing, unknown or has an impossible value, or the version is newer than this code.
        """
        known = [f.name for f in fields(cls)]
        try:
            version = data["version"]
            if type(version) is not int or version > VERSION:
                raise ContractError(
                    "the contract has another version",
                    file=file,
                    key="version",
                    expected=f"at most {VERSION}",
                    found=repr(version),
                    remedy="install the vla-agent release that wrote it, or retrain",
                )
            unknown = sorted(set(data) - set(known))
            if unknown:
                raise KeyError(*unknown)
            contract = cls(
                cameras=tuple(Camera(**c) for c in data["cameras"]),
                state=tuple(Field(**f) for f in data["state"]),
                action=tuple(Field(**f) for f in data["action"]),
                control_hz=data["control_hz"],
                chunk_length=_whole(data, "chunk_length"),
                version=VERSION,
                language=data.get("language", "en"),
            )
            wrong = impossible_values(contract)
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                "the contract cannot be read",
                file=file,
                key=str(error).strip("'\""),
                expected=", ".join(known),
                found=sorted(data) if isinstance(data, Mapping) else type(data).__name__,
                remedy="the file is damaged or of another project: get it again or retrain",
            ) from error
        if wrong:
            raise ContractError(
                "the contract has impossible values",
                file=file,
                key=", ".join(wrong),
                expected="names that occur once and are no paths, units in words, positive sizes and rates, low below "
                "high, rgb or bgr",
                found=", ".join(wrong.values()),
                remedy="the file is damaged: get it again or retrain",
            )
        contract = replace(contract, control_hz=float(contract.control_hz))
        return from_version_1(contract) if version == 1 else contract

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form: equal contracts have equal hashes on every machine."""
        plain = json.dumps(_canonical(self.to_dict()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()

    def differences(self, other: Contract) -> list[Difference]:
        """Every difference at once: where, mine, theirs, and the nearest fix."""
        return compare(self, other)

    def require(self, other: Contract, mine: str, theirs: str, *, ignore: tuple[str, ...] = ()) -> None:
        """Raise unless both contracts agree.  ``ignore`` names keys that may differ (e.g. ``"chunk_length"``).

        Raises:
            ContractError: with every difference listed and both sides named, and a fix for each.
        """
        found = [d for d in self.differences(other) if not d.key.startswith(ignore)] if ignore else compare(self, other)
        if found:
            raise ContractError(
                f"{mine} and {theirs} do not fit together",
                key="; ".join(d.key for d in found),
                expected=f"the same contract on both sides ({mine} against {theirs})",
                found="; ".join(str(d) for d in found),
                remedy="; ".join(dict.fromkeys(d.fix for d in found)),
            )

    def check_observation(self, observation: Mapping[str, Any]) -> None:
        """Raise unless the observation has every camera and the state, in the right shape, type and unit, finite.

        The unit is judged by the fields' ranges, and rotations have to be some: see `vla_agent.contract.state_units`.

        Raises:
            ObservationError: naming the key, what was expected and what was found.
        """
        _require_mapping(observation, "observation", "images, state")
        for key in ("images", "state"):
            if key not in observation:
                raise ObservationError(
                    "a part of the observation is missing",
                    key=key,
                    expected=["images", "state"],
                    found=sorted(map(str, observation)),
                    remedy="pass the dictionary that the simulator or the policy node builds",
                )
        images = observation["images"]
        _require_mapping(images, "images", ", ".join(self.camera_names))
        for camera in self.cameras:
            if camera.name not in images:
                raise ObservationError(
                    "a camera is missing",
                    key=f"images.{camera.name}",
                    expected=list(self.camera_names),
                    found=sorted(map(str, images)),
                    remedy="rename or add the camera: the policy was trained with exactly these",
                )
            image = _as_array(images[camera.name], f"images.{camera.name}")
            shape = (camera.height, camera.width, 3)
            if image.shape != shape or image.dtype != np.uint8:
                raise ObservationError(
                    "an image has the wrong shape or type",
                    key=f"images.{camera.name}",
                    expected=f"{shape} uint8",
                    found=f"{image.shape} {image.dtype}",
                    remedy="resize to the contract's size and pass RGB bytes",
                )
        self._check_state(_as_array(observation["state"], "state"))

    def _check_state(self, state: np.ndarray) -> None:
        if state.shape != (self.state_dim,):
            raise ObservationError(
                "the state has the wrong shape",
                key="state",
                expected=f"({self.state_dim},): " + ", ".join(f"{f.name}[{f.size}]" for f in self.state),
                found=state.shape,
                remedy="build the state in the contract's layout",
            )
        with np.errstate(over="ignore"):  # a policy sees float32
            finite = state.dtype.kind in "biuf" and np.isfinite(state.astype(np.float32)).all()
        if not finite:
            raise ObservationError(
                "the state holds NaN, infinity or what is no number",
                key="state",
                expected="finite numbers",
                found=state.tolist(),
                remedy="check the joint state source",
            )
        wrong = other_units(self.state, state)
        if wrong:
            raise ObservationError(
                "the state cannot be in the contract's units",
                key=", ".join(wrong),
                expected=", ".join(f"{f.name} in {f.unit}" + _range(f) for f in self.state),
                found="; ".join(f"{name}: {text}" for name, text in wrong.items()),
                remedy="convert the state to the contract's units, or check what publishes it",
            )

    def check_chunk(self, chunk: Any) -> np.ndarray:
        """The chunk as (T, A) float32, T at least 1; raise unless it is valid.

        Raises:
            ContractError: wrong shape, NaN or infinity.
        """
        try:
            array = np.asarray(chunk, dtype=np.float32)
            found = f"{array.shape}" + ("" if np.isfinite(array).all() else " with NaN or infinity")
        except (ValueError, TypeError) as error:  # rows of unequal length, or no numbers
            array, found = np.empty(0, np.float32), f"{type(chunk).__name__}: {error}"
        if array.ndim != 2 or array.shape[1] != self.action_dim or array.shape[0] < 1 or not np.isfinite(array).all():
            raise ContractError(
                "the policy returned an invalid chunk",
                key="act()",
                expected=f"(T, {self.action_dim}) finite numbers, T at least 1",
                found=found,
                remedy=f"return per control period one row of {', '.join(f'{f.name}[{f.size}]' for f in self.action)}",
            )
        return array


def _whole(data: Mapping[str, Any], key: str) -> int:
    """A whole number of the plain data.

    Raises:
        ValueError: it is something else, such as 16.5 or "16".
    """
    value = data[key]
    if type(value) is not int:
        raise ValueError(f"{key} is {value!r:.40}, no whole number")
    return value


def _require_mapping(value: Any, key: str, names: str) -> None:
    if not isinstance(value, Mapping):
        raise ObservationError(
            "a part of the observation has no names",
            key=key,
            expected=f"a dictionary with {names}",
            found=type(value).__name__,
            remedy="pass the dictionary that the simulator or the policy node builds",
        )


def _as_array(value: Any, key: str) -> np.ndarray:
    """An array of what was passed, if it is one: rows of unequal length and other objects are none.

    Raises:
        ObservationError: naming ``key``.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ObservationError(
            "a part of the observation is no array",
            key=key,
            expected="a NumPy array, or lists of equal length",
            found=f"{type(value).__name__}: {error}",
            remedy="pass what the simulator or the policy node builds",
        ) from error


def _range(field: Field) -> str:
    return "" if field.low is None or field.high is None else f" ({field.low:g} to {field.high:g})"


def _canonical(value: Any) -> Any:
    """Plain data in which 20 and 20.0 are written the same."""
    if isinstance(value, Mapping):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return float(value) if isinstance(value, (int, float)) else value
