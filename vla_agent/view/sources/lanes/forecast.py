"""What a policy would do at a moment of a recorded episode: its chunk, beside what was done, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import OptionError
from vla_agent.view.policy_eyes import PolicyEyes
from vla_agent.view.source import Picture, Plot
from vla_agent.view.sources.lanes.lane import Lane


class Forecast:
    """A policy that looks at a recorded episode, and moves nothing.

    Attributes:
        chunk: (T, A) of the last look; None before.
        pictures: camera -> what it saw.
        reason: why it would hold still; empty where it would act.

    Args:
        folder: the policy's.
        lane: the episode; its images and state must be those of the policy's contract.

    Raises:
        CheckpointError: the policy cannot be read.
        OptionError: the episode has other cameras, state or images than the policy takes.
    """

    def __init__(self, folder: str, lane: Lane) -> None:
        from vla_agent.policy.loading import load_policy

        self._policy: Any = load_policy(folder)
        self._contract: Contract = self._policy.contract
        self._lane = lane
        self._require_fit(folder)
        self._policy.reset(lane.track.instruction)
        self._eyes = PolicyEyes(self._policy)
        self._eyes.begin(lane.track.instruction)
        self.chunk: np.ndarray | None = None
        self.pictures: dict[str, Picture] = {}
        self.reason = ""
        self.at = -1

    @property
    def execute(self) -> int:
        """Rows of a chunk after which the policy looks again."""
        return int(self._policy.execute)

    def _require_fit(self, folder: str) -> None:
        images, state = self._lane.images(0), self._lane.state(0)
        sizes = {name: image.shape[:2] for name, image in images.items()}
        wanted = {camera.name: (camera.height, camera.width) for camera in self._contract.cameras}
        lacking = {name: size for name, size in wanted.items() if sizes.get(name) != size}
        dimension = None if state is None else len(state)
        if lacking or dimension != self._contract.state_dim:
            raise OptionError(
                "the policy cannot look at this episode",
                file=folder,
                key="--policy",
                expected=f"images {wanted}, a state of {self._contract.state_dim} numbers",
                found=f"images {sizes}, a state of {dimension}",
                remedy="show an episode of the robot and cameras that the policy was trained for",
            )

    def look(self, frame: int) -> None:
        """Look at a frame, once."""
        if frame == self.at:
            return
        images = {name: self._lane.images(frame)[name] for name in self._contract.camera_names}
        self.chunk = self._policy.act({"images": images, "state": self._lane.state(frame)})
        self.pictures = self._eyes.look(images)
        self.reason = getattr(self._policy, "refusal", None) or ""
        self.at = frame

    def path(self) -> np.ndarray:
        """(T + 1, 3) metres: where the chunk leads the end effector from where it is; (0, 3) where nothing says so."""
        start, state = self._lane.track.path, self._lane.state(max(self.at, 0))
        if self.chunk is None or start is None or state is None:
            return np.empty((0, 3))
        return chunk_path(self._contract, self.chunk, start[self.at])

    def plot(self) -> Plot:
        """The chunk's largest differences from what was recorded: the first action components of both."""
        recorded, chunk = self._lane.track.actions, self.chunk
        if recorded is None or chunk is None:
            return Plot("predicted and recorded", np.empty(0), {})
        rows = np.full(chunk.shape, np.nan)
        have = recorded[self.at : self.at + len(chunk)]
        rows[: len(have)] = have
        names = [
            f"{field.name} {k}" if field.size > 1 else field.name
            for field in self._contract.action
            for k in range(field.size)
        ]
        lines = {}
        for column in range(min(3, chunk.shape[1])):
            lines[f"{names[column]} predicted"] = chunk[:, column].astype(np.float64)
            lines[f"{names[column]} recorded"] = rows[:, column]
        return Plot("predicted and recorded", np.arange(len(chunk)) / self._contract.control_hz, lines)

    def error(self) -> str:
        """Mean absolute difference of the first ``execute`` rows, in the contract's units, field by field."""
        recorded, chunk = self._lane.track.actions, self.chunk
        if recorded is None or chunk is None:
            return ""
        rows = min(self.execute, len(recorded) - self.at)
        away = np.abs(chunk[:rows] - recorded[self.at : self.at + rows])
        words, first = [], 0
        for field in self._contract.action:
            some = away[:, first : first + field.size]
            first += field.size
            if np.isfinite(some).any():
                words.append(f"{field.name} {np.nanmean(some):.3g} {field.unit}")
        return ", ".join(words)

    @property
    def facts(self) -> Mapping[str, str]:
        """What is said of the policy."""
        return {
            "policy would": f"hold still: {self.reason}" if self.reason else "act",
            "away from recorded": self.error(),
        }


def chunk_path(contract: Contract, chunk: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(T + 1, 3) metres: the end effector's way from ``start`` (3,) by a chunk of translations, as it is meant.

    (0, 3) where the contract's action has no ``ee_translation``.
    """
    first = 0
    for field in contract.action:
        if field.name == "ee_translation":
            return np.vstack([start, start + np.cumsum(chunk[:, first : first + 3], axis=0)])
        first += field.size
    return np.empty((0, 3))
