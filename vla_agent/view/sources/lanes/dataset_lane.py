"""An episode of a LeRobotDataset in the window: its images, numbers, and the robot where its joints were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from vla_agent.data.browse.dataset_source import outcomes_of, signals_of
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_schema import ACTION, STATE
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.validate.check_values import names_of
from vla_agent.errors import OptionError
from vla_agent.robot.description import Robot
from vla_agent.view.source import Scene, Status
from vla_agent.view.sources.lanes.lane import Place, Track
from vla_agent.view.sources.robot_figure import RobotFigure

BLOCK = 24  # frames that are decoded together: a video is read from its last whole picture on


class DatasetLane:
    """An episode of a dataset.

    Args:
        robot: whose joints the state's ``joint_position`` are; None: no robot is drawn.

    Raises:
        OptionError: there is no such episode.
    """

    def __init__(self, dataset: Dataset, index: int, robot: Robot | None, place: Place) -> None:
        self._dataset, self._episode = dataset, _episode(dataset, index)
        self._rows = slice(self._episode.start, self._episode.stop)
        self._block: tuple[int, dict[str, np.ndarray]] = (-1, {})
        self._names = names_of(dataset, STATE) if STATE in dataset.columns else []
        states = dataset.columns.get(STATE)
        self._states = None if states is None else states[self._rows].reshape(self._episode.length, -1)
        self._robot = robot
        joints = self._columns("joint_position")
        fits = robot is not None and len(joints) == len(robot.joints)
        self._joints = joints if fits else []
        self._figure = RobotFigure(robot, place.prefix, place.offset) if robot is not None and fits else None
        self.scene: Scene = self._figure.scene if self._figure is not None else Scene()
        self.track = self._track(place)

    def _columns(self, field: str) -> list[int]:
        """Columns of a field of the state, by name; none where it has another name."""
        return [k for k, name in enumerate(self._names) if name.partition(".")[0] == field]

    def _track(self, place: Place) -> Track:
        dataset, episode = self._dataset, self._episode
        success = outcomes_of(dataset).get(episode.index)
        hand = self._columns("ee_position")
        path = self._states[:, hand] + np.array(place.offset) if self._states is not None and len(hand) == 3 else None
        action = dataset.columns.get(ACTION)
        return Track(
            hz=float(dataset.fps),
            length=episode.length,
            title=dataset.root.resolve().name,
            instruction=str(episode.task),
            outcome={True: "success", False: "no success", None: "not recorded"}[success],
            facts={k: str(v) for k, v in episode.origin.items() if v is not None} | self._not_drawn(),
            signals=signals_of(dataset, self._rows),
            path=path,
            actions=None if action is None else action[self._rows].reshape(episode.length, -1),
        )

    def _not_drawn(self) -> dict[str, str]:
        """Why the named robot is not to be seen."""
        if self._robot is None or self._figure is not None:
            return {}
        has, wanted = len(self._columns("joint_position")), len(self._robot.joints)
        return {"robot": f"not drawn: {self._robot.name} has {wanted} joints, the state has joint_position[{has}]"}

    def poses(self, frame: int) -> dict[str, np.ndarray]:
        if self._figure is None or self._robot is None or self._states is None:
            return {}
        state, robot = self._states[frame], self._robot
        positions = dict(zip(robot.joint_names, map(float, state[self._joints]), strict=True))
        if gripper := self._columns("gripper"):
            positions[robot.gripper.joint] = robot.gripper.position(float(state[gripper[0]]))
        return self._figure.pose(positions)

    def images(self, frame: int) -> dict[str, np.ndarray]:
        """Camera -> image; decoded in blocks, of which the last is kept.

        Raises:
            DatasetError: the file is damaged.
        """
        block = frame // BLOCK
        if self._block[0] != block:
            numbers = np.arange(block * BLOCK, min((block + 1) * BLOCK, self._episode.length)) + self._episode.start
            self._block = block, {camera: self._dataset.frames(camera, numbers) for camera in self._dataset.cameras}
        return {camera: images[frame - block * BLOCK] for camera, images in self._block[1].items()}

    def state(self, frame: int) -> np.ndarray | None:
        return None if self._states is None else self._states[frame]

    def supervisor(self, frame: int) -> Status | None:
        return None

    def close(self) -> None:
        self._block = -1, {}


def _episode(dataset: Dataset, index: int) -> EpisodeInfo:
    known: Sequence[EpisodeInfo] = dataset.episodes
    with suppress(StopIteration):
        return next(episode for episode in known if episode.index == index)
    numbers = [episode.index for episode in known]
    raise OptionError(
        "there is no such episode in the dataset",
        file=dataset.root,
        key="--episode",
        expected=f"{min(numbers, default=0)} to {max(numbers, default=0)}",
        found=index,
        remedy="vla-agent data inspect says how many there are",
    )
