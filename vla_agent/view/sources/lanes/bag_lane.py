"""A recorded bag in the window, read without ROS: at each control period, the newest of everything."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.browse.shown import Signal, signals
from vla_agent.data.convert.bag_messages import COMPRESSED, IMAGE, JOINTS, TRAJECTORY, image
from vla_agent.data.convert.bag_reader import custom_data, deserialized, open_bag
from vla_agent.errors import DatasetError, ObservationError
from vla_agent.robot.description import Robot
from vla_agent.view.source import Scene, Status
from vla_agent.view.sources.graph.graph_listener import reduced
from vla_agent.view.sources.lanes.lane import Place, Track
from vla_agent.view.sources.robot_figure import RobotFigure

SAFETY = "safety_node"
Events = dict[str, list[tuple[int, str]]]  # what -> (nanoseconds, text) in order


class BagLane:
    """An episode that `recorder_node` has recorded, or another bag with the robot file's topics, in any namespace.

    Args:
        robot: its joints, cameras and topics.

    Raises:
        DatasetError: the bag is damaged or has no joint states of the robot, or `rosbags` is missing.
    """

    def __init__(self, path: Path, robot: Robot, place: Place) -> None:
        self._path, self._robot = path, robot
        self._open = ExitStack()
        self._reader = self._open.enter_context(open_bag(path))
        self._names = [*robot.joint_names, robot.gripper.joint]
        self._joints: list[tuple[int, dict[str, float]]] = []
        self._actions: list[tuple[int, tuple[str, ...], np.ndarray]] = []
        self._pictures: dict[str, list[int]] = defaultdict(list)  # camera -> nanoseconds
        self._connections: dict[str, Any] = {}  # camera -> its connection
        self._shown: dict[str, tuple[int, np.ndarray]] = {}  # camera -> the last decoded image and its time
        self._events: Events = defaultdict(list)
        self._read()
        if not self._joints:
            raise _no_joints(path, robot)
        self._times = self._control_times()
        self._figure = RobotFigure(robot, place.prefix, place.offset)
        self.scene: Scene = self._figure.scene
        self.track = self._track(place)

    def _read(self) -> None:
        """Everything but the images' content."""
        cameras = {camera.image_topic: camera.name for camera in self._robot.cameras}
        uses = dict.fromkeys(self._robot.joint_state_topics, "joints") | {"policy/action": "action"}
        for connection, time, raw in self._reader.messages():
            kind, topic = connection.msgtype, connection.topic
            camera = _named(topic, cameras)
            if camera and kind in (IMAGE, COMPRESSED):
                self._pictures[camera].append(time)
                self._connections[camera] = connection
                continue
            use = _named(topic, uses)
            if (use, kind) == ("joints", JOINTS):
                message = self._message(connection, raw)
                self._joints.append((time, dict(zip(message.name, map(float, message.position), strict=False))))
            elif (use, kind) == ("action", TRAJECTORY):
                message = self._message(connection, raw)
                rows = [np.array(point.positions) for point in message.points[:1]]
                self._actions += [(time, tuple(message.joint_names), row) for row in rows]
            else:
                self._note(topic, time, connection, raw)

    def _note(self, topic: str, time: int, connection: Any, raw: Any) -> None:
        """What is said in words: instruction, refusal, the supervisor's state."""
        if said := _named(topic, {name: name for name in ("instruction", "policy/refusal", "safety/stopped")}):
            self._events[said].append((time, str(self._message(connection, raw).data)))
        elif topic == "/diagnostics":
            for status in self._message(connection, raw).status:
                if status.name.rpartition("/")[2] == SAFETY:
                    detail = {pair.key: pair.value for pair in status.values}.get("detail", status.message)
                    self._events[SAFETY].append((time, detail))

    def _message(self, connection: Any, raw: Any) -> Any:
        return deserialized(self._path, self._reader.deserialize, connection.topic, raw, connection.msgtype)

    def _control_times(self) -> np.ndarray:
        """(N,) nanoseconds of the control periods, from the first joint state to the last."""
        first, last = self._joints[0][0], self._joints[-1][0]
        return np.arange(first, last + 1, round(1e9 * self._robot.period), dtype=np.int64)

    def _track(self, place: Place) -> Track:
        states = self._held([(time, self._row(values)) for time, values in self._joints], len(self._names))
        found = [Signal("state joints", "rad", tuple(self._names), states)]
        actions = None
        if self._actions:
            names = self._actions[-1][1]
            actions = self._held([(t, row) for t, n, row in self._actions if n == names], len(names))
            found = signals("action", names, actions, {}) + found
        custom = custom_data(self._reader)
        self._states = states
        told = self._last("instruction", int(self._times[-1])) or str(custom.get("instruction", ""))
        return Track(
            hz=self._robot.control_hz,
            length=len(self._times),
            title=self._path.name,
            instruction=told,
            outcome=str(custom.get("outcome", "not recorded")),
            facts={"robot": self._robot.name, "seconds": f"{1e-9 * (self._times[-1] - self._times[0]):.1f}"},
            signals=found,
            path=self._figure.path(states[:, : len(self._robot.joints)]),
            actions=actions,
            supervised="safety/stopped" in self._events or SAFETY in self._events,
        )

    def _row(self, values: dict[str, float]) -> np.ndarray:
        return np.array([values.get(name, np.nan) for name in self._names])

    def _held(self, rows: list[tuple[int, np.ndarray]], size: int) -> np.ndarray:
        """(N, size): at each control period the newest row; NaN before the first, and where a part is missing, the
        part of the row before."""
        table = np.array([row for _, row in rows]).reshape(-1, size)
        for k in range(1, len(table)):
            gaps = np.isnan(table[k])
            table[k, gaps] = table[k - 1, gaps]
        newest = np.searchsorted([time for time, _ in rows], self._times, side="right") - 1
        return np.where((newest >= 0)[:, None], table[np.maximum(newest, 0)], np.nan)

    def _last(self, what: str, time: int) -> str:
        """The newest text at a time; empty before the first."""
        texts = [text for at, text in self._events[what] if at <= time]
        return texts[-1] if texts else ""

    def poses(self, frame: int) -> dict[str, np.ndarray]:
        return self._figure.pose(dict(zip(self._names, map(float, self._states[frame]), strict=True)))

    def images(self, frame: int) -> dict[str, np.ndarray]:
        """Camera -> its newest image, at most `graph_listener.SIDE` pixels wide.

        Raises:
            DatasetError: it is damaged.
        """
        found = {}
        for camera, times in self._pictures.items():
            newest = int(np.searchsorted(times, self._times[frame], side="right")) - 1
            if newest < 0:
                continue
            if self._shown.get(camera, (-1,))[0] != times[newest]:
                self._shown[camera] = times[newest], self._picture(camera, times[newest])
            found[camera] = self._shown[camera][1]
        return found

    def _picture(self, camera: str, time: int) -> np.ndarray:
        connection = self._connections[camera]
        for _, _, raw in self._reader.messages([connection], start=time, stop=time + 1):
            try:
                return reduced(image(self._message(connection, raw), connection.msgtype))
            except ObservationError as error:
                raise DatasetError(
                    "an image of the bag cannot be read",
                    file=self._path,
                    key=connection.topic,
                    expected=error.expected,
                    found=error.found,
                    remedy="copy the bag again, or leave this camera out of the robot file",
                ) from error
        raise DatasetError("the bag's index is wrong", file=self._path, key=connection.topic, found="no message there")

    def state(self, frame: int) -> np.ndarray | None:
        return None

    def supervisor(self, frame: int) -> Status | None:
        if not self.track.supervised:
            return None
        time = int(self._times[frame])
        stopped, words = self._last("safety/stopped", time) == "True", self._last(SAFETY, time)
        if stopped:
            return Status(words if words.startswith("stopped") else "stopped", "bad")
        refusal = self._last("policy/refusal", time)
        return (
            Status(f"the policy holds still: {refusal}", "warning")
            if refusal
            else Status(words or "not stopped", "good")
        )

    def close(self) -> None:
        self._open.close()


def _named(topic: str, names: dict[str, str]) -> str:
    """What a topic, in whatever namespace, is by its last words; empty where it is none of ``names``."""
    return next((use for name, use in names.items() if f"/{topic}".endswith(f"/{name.strip('/')}")), "")


def _no_joints(path: Path, robot: Robot) -> DatasetError:
    return DatasetError(
        "the bag has no joint states of this robot",
        file=path,
        key=", ".join(robot.joint_state_topics),
        expected=f"joint states of {robot.name}, in any namespace",
        found="none",
        remedy="name the robot whose bag it is: --robot FILE",
    )
