"""Policies behind a server of openpi, which sends no contract: a YAML file describes its inputs and outputs.

    url: ws://gpu:8000
    contract: sim               # or a policy's or dataset's folder, or a JSON file that holds a contract
    images: {front: observation/image, wrist: observation/wrist_image}     # our camera -> the server's key
    state: observation/state
    chunk_length: 10            # rows of the server's actions; execute: rows that run before the next inference
    execute: 5
    image_size: [224, 224]      # height, width of the server's input, padded with black; omitted: as in the contract

Keys and sizes are translated, numbers are not: state and actions have to be in the contract's units and conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from ruamel.yaml.error import YAMLError

from vla_agent.contract import Contract
from vla_agent.errors import OptionError, wrong_keys
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.serving.connection import Connection
from vla_agent.serving.remote_policy import TIMEOUT, chunk_of


class Description(BaseModel):
    """The file, see the module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^wss?://")
    contract: str
    images: dict[str, str] = Field(min_length=1)
    state: str | None = "observation/state"
    prompt: str = "prompt"
    actions: str = "actions"
    chunk_length: PositiveInt
    execute: PositiveInt
    image_size: tuple[PositiveInt, PositiveInt] | None = None


def read_description(file: Path) -> Description:
    """Read the description of a server.

    Raises:
        OptionError: it cannot be read, or keys are missing, unknown or invalid; names all of them.
    """
    try:
        return Description.model_validate(read_yaml(file, OptionError))
    except (OSError, YAMLError, ValidationError) as error:
        unread = {"found": " ".join(str(error).split())}
        raise OptionError(
            "the description of a policy server cannot be read",
            file=file,
            expected=f"a YAML file with {', '.join(Description.model_fields)}",
            **(wrong_keys(error, Description) if isinstance(error, ValidationError) else unread),
            remedy="fix these keys; docs/serving.md has an example",
        ) from error


class OpenPiPolicy:
    """A policy behind a server of openpi.

    Raises:
        OptionError: the description does not fit its contract.
        ServingError: no server listens there, or it refuses the connection.
    """

    def __init__(
        self, description: Description, contract: Contract, token: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._description = description
        wrong = [name for name in description.images if name not in contract.camera_names]
        if wrong or description.execute > description.chunk_length:
            raise OptionError(
                "the description of a policy server does not fit its contract",
                file=description.url,
                key="images" if wrong else "execute",
                expected=f"cameras of {', '.join(contract.camera_names)}; execute at most chunk_length",
                found=f"cameras {', '.join(description.images)}; {description.execute} of {description.chunk_length}",
                remedy="fix the description",
            )
        cameras = tuple(c for c in contract.cameras if c.name in description.images)
        self.contract = replace(contract, cameras=cameras, chunk_length=description.chunk_length)
        self.execute, self._prompt = description.execute, ""
        self._token, self._timeout = token, timeout
        self._connection = self._connect()

    def _connect(self) -> Connection:
        return Connection(self._description.url, self._token, self._timeout)

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin an episode; a lost connection is opened again.  ``seed`` has no effect: openpi has none."""
        if not self._connection.open:
            self._connection = self._connect()
        self._prompt = instruction

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """One observation -> chunk (T, A) float32.

        Raises:
            ObservationError: the observation does not fit the contract.
            ServingError: no server, no answer in time, or no chunk.
            ContractError: NaN or infinity.
        """
        self.contract.check_observation(observation)
        description = self._description
        message: dict[str, Any] = {description.prompt: self._prompt}
        for name, key in description.images.items():
            put(message, key, resize_with_padding(observation["images"][name], description.image_size))
        if description.state is not None:
            put(message, description.state, np.asarray(observation["state"], np.float32))
        reply = self._connection.ask(message)
        return chunk_of({"actions": reply.get(description.actions)}, self.contract, description.url)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def put(message: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a key; a dot descends into a nested map, as in ``images.cam_high``."""
    *path, last = key.split(".")
    for name in path:
        message = message.setdefault(name, {})
    message[last] = value


def resize_with_padding(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3), the whole image with its aspect ratio kept, padded with black."""
    if size is None or image.shape[:2] == tuple(size):
        return np.ascontiguousarray(image)
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.zeros((*size, 3), np.uint8)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
    canvas[top : top + height, left : left + width] = np.asarray(resized)
    return canvas
