"""Synchronises observations: the newest image of each camera and the joint positions of the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError
from vla_agent.robot.description import Robot
from vla_agent.robot.joint_states import LIMIT, JointPart
from vla_agent.robot.timeline import Timeline

NO_MESSAGE = "no message received yet"
JOINTS = "joint_states"
MOST_IMAGES, MOST_STATES = 64, 4096  # of each source, whatever their stamps
PARTS = 16  # different sets of joints
FROZEN_TRAVEL = 0.02  # rad that a joint moves while the images are identical, byte for byte
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Observation:
    """An observation for the policy; ``stamp``: seconds, of its oldest image or joint of the arm."""

    data: dict[str, Any]
    stamp: float


@dataclass(frozen=True)
class Limits:
    """Largest times, seconds.

    Attributes:
        tolerance: between the parts of one observation: images and joints of the arm.
        max_age: of joint states, and since the arrival of each camera's newest image.
        max_delay: from an image's stamp to its arrival.
        gripper: between the gripper's joint and the rest, and its age: drivers publish it more slowly.
    """

    tolerance: float
    max_age: float
    max_delay: float = 0.2
    gripper: float = LIMIT

    @property
    def horizon(self) -> float:
        """Seconds of messages that an observation may need."""
        return self.max_age + self.max_delay + max(self.tolerance, self.gripper)


class ObservationBuffer:
    """Collects images and joint states, and refuses observations with missing, stale, frozen or unsynchronised parts.

    Joint states may come in parts, at any rate; they are joined by joint name.  Everything is kept by time.

    Args:
        robot: its joints and gripper.
        contract: the policy's.
        forward: joints (J,) -> end effector position (3,) and quaternion (4,) wxyz.
        limits: largest times.
    """

    def __init__(
        self,
        robot: Robot,
        contract: Contract,
        forward: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        limits: Limits,
    ) -> None:
        self._robot, self._contract, self._forward, self._limits = robot, contract, forward, limits
        self._names = [*robot.joint_names, robot.gripper.joint]
        self._arm = slice(0, len(robot.joints))
        self._images: dict[str, Timeline[np.ndarray]] = {}
        self._parts: dict[tuple[int, ...], Timeline[JointPart]] = {}
        self._newest = np.empty(0)  # (J + 1,) stamp of each joint's newest position
        self._arrived: dict[str, float] = {}  # camera -> seconds
        self._late: dict[str, float] = {}  # camera -> delay of its last image, which came too late
        self._still: dict[str, np.ndarray] = {}  # camera -> joints when its image last changed
        self._travel: dict[str, float] = {}  # camera -> rad moved since then, at its newest image
        self._problems: dict[str, str] = {}
        self._causes: dict[str, str] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all messages."""
        horizon = self._limits.horizon
        self._images = {name: Timeline(horizon, MOST_IMAGES) for name in self._contract.camera_names}
        self._parts.clear()
        self._newest = np.full(len(self._names), -np.inf)
        for kept in (self._arrived, self._late, self._still, self._travel, self._problems):
            kept.clear()

    def reject(self, source: str, problem: str) -> None:
        """A message of ``source`` (a camera's name or ``joint_states``) could not be read."""
        self._problems[source] = problem

    def explain(self, source: str, cause: str) -> None:
        """The likely cause that is reported if ``source`` is missing or stale; empty: unknown."""
        self._causes[source] = cause

    # -- in ------------------------------------------------------------------------------------------------------

    def add_image(self, name: str, pixels: np.ndarray, stamp: float, arrived: float | None = None) -> None:
        """An image (H, W, 3) uint8 RGB of camera ``name``; ``arrived``: seconds, None: at its stamp."""
        wanted = next(c for c in self._contract.cameras if c.name == name)
        if pixels.shape != (wanted.height, wanted.width, 3):
            self.reject(name, f"is {pixels.shape[1]} x {pixels.shape[0]}, not {wanted.width} x {wanted.height}")
            return
        kept = self._images[name]
        if not self._follows(name, stamp, kept.newest[0] if kept else -np.inf):
            return
        delay = 0.0 if arrived is None else max(0.0, arrived - stamp)
        if delay > self._limits.max_delay + ROUNDING:
            self._late[name] = delay
            return
        self._late.pop(name, None)
        if np.isfinite(self._newest[self._arm]).all():
            arm = self._joined(stamp)[0][self._arm]  # at the image's own time: a late image is not a frozen one
            if not kept or not np.array_equal(kept.newest[1], pixels):
                self._still[name] = arm
            self._travel[name] = float(np.abs(arm - self._still.get(name, arm)).max())
        kept.add(stamp, pixels)
        self._arrived[name] = stamp + delay

    def add_state(self, joints: np.ndarray, gripper: float, stamp: float) -> None:
        """A whole joint state: (J,) rad and the gripper, 0 open to 1 closed."""
        positions = np.append(joints, self._robot.gripper.position(gripper))
        places = np.arange(len(positions))
        self.add_part(JointPart(tuple(places), places, positions, np.full(len(positions), np.nan), stamp))

    def add_part(self, part: JointPart) -> None:
        """Positions of some joints, in the order of the robot's joints and its gripper's joint."""
        whole = len(part.key) == len(self._names)
        source = JOINTS if whole else f"{JOINTS} of {', '.join(self._names[k] for k in part.key)}"
        if not np.isfinite(part.positions).all():
            self.reject(source, "contain NaN or infinity")
            return
        if part.key not in self._parts:
            if len(self._parts) == PARTS:
                self._parts.pop(next(iter(self._parts)))
            self._parts[part.key] = Timeline(self._limits.horizon, MOST_STATES)
        kept = self._parts[part.key]
        if self._follows(source, part.stamp, kept.newest[0] if kept else -np.inf):
            self._problems.pop(JOINTS, None)  # the reader's: it could not say of which part
            kept.add(part.stamp, part)
            self._newest[part.places] = np.maximum(self._newest[part.places], part.stamp)

    def _follows(self, source: str, stamp: float, last: float) -> bool:
        """Whether a message is newer than the last of its source.

        One that is not, by no more than the largest age, is left out: some drivers repeat a stamp, and a relay or a
        network may change the order.  A clock that stands is noticed by its age.
        """
        if last - stamp > self._limits.max_age:
            self.reject(source, f"go back in time by {last - stamp:.3f} s")
        elif stamp > last:
            self._problems.pop(source, None)
        return stamp > last

    # -- out -----------------------------------------------------------------------------------------------------

    def newest(self) -> float | None:
        """Stamp of the newest complete observation, None where there is none."""
        try:
            self._require_all()
            return self._match()[0]
        except ObservationError:
            return None

    def state(self) -> np.ndarray:
        """(D,) float32: the newest joint positions in the contract's layout.

        Raises:
            ObservationError: there are none.
        """
        self._require_joints()
        return self._vector(self._joined(float(self._newest.max()))[0])

    def observe(self, now: float) -> Observation:
        """The newest complete observation; ``now``: seconds, of the clock of the stamps.

        Raises:
            ObservationError: a part is missing, rejected, late, stale, frozen or out of sync; says which.
        """
        for source, problem in self._problems.items():
            raise _missing(source, problem)
        self._require_all()
        self._check_ages(now)
        stamp, images, positions = self._match()
        for name, moved in self._travel.items():
            if moved > FROZEN_TRAVEL:
                raise _missing(name, f"shows the same image although the arm moved by {moved:.2f} rad")
        return Observation({"images": images, "state": self._vector(positions)}, stamp)

    def _check_ages(self, now: float) -> None:
        most, arm, gripper = self._limits.max_age, self._newest[self._arm], float(self._newest[-1])
        for name, arrived in self._arrived.items():
            if now - arrived > most + ROUNDING:
                raise self._silent(name, f"has had no new image for {now - arrived:.3f} s; {most:.3f} s are allowed")
        joints = self._source(arm == arm.min())
        for source, stamp, allowed in (
            (joints, float(arm.min()), most),
            (f"{JOINTS} of {self._names[-1]}", gripper, max(self._limits.gripper, most)),
        ):
            if now - stamp > allowed + ROUNDING:
                raise self._silent(source, f"is {now - stamp:.3f} s old; {allowed:.3f} s are allowed")

    def _silent(self, source: str, problem: str) -> ObservationError:
        late, most = self._late.get(source), self._limits.max_delay
        tardy = "" if late is None else f"its images come {late:.3f} s after their stamps; {most:.3f} s are allowed"
        return _missing(source, "; ".join(part for part in (problem, tardy, self._causes.get(source, "")) if part))

    def _source(self, joints: np.ndarray) -> str:
        """The joint states in words; ``joints``: (J,) which of the arm's joints are meant, all of them or some."""
        if joints.all():
            return JOINTS
        return f"{JOINTS} of {', '.join(n for n, meant in zip(self._names, joints, strict=False) if meant)}"

    def _require_joints(self) -> None:
        unseen = ~np.isfinite(self._newest)
        if unseen.all():
            raise _missing(JOINTS, NO_MESSAGE)
        if unseen.any():
            names = ", ".join(name for name, missing in zip(self._names, unseen, strict=True) if missing)
            raise _missing(f"{JOINTS} of {names}", NO_MESSAGE)

    def _require_all(self) -> None:
        for name, kept in self._images.items():
            if not kept:
                raise self._silent(name, "has given no image in time" if name in self._late else NO_MESSAGE)
        self._require_joints()

    def _match(self) -> tuple[float, dict[str, np.ndarray], np.ndarray]:
        """The newest set of parts within the tolerance of each other: stamp, images, positions (J + 1,)."""
        first = next(iter(self._images.values()))
        for stamp, _ in first.backwards():
            picked = {n: kept.nearest(stamp) for n, kept in self._images.items()}
            seen = [s for s, _ in picked.values()]
            if max(seen) - min(seen) > self._limits.tolerance:
                continue
            positions, stamps = self._joined((min(seen) + max(seen)) / 2)
            arm = stamps[self._arm]
            low, high = min(*seen, float(arm.min())), max(*seen, float(arm.max()))
            apart = max(high - float(stamps[-1]), float(stamps[-1]) - low)
            if high - low <= self._limits.tolerance and apart <= max(self._limits.gripper, self._limits.tolerance):
                return low, {n: pixels for n, (_, pixels) in picked.items()}, positions
        states = float(self._newest[self._arm].min())
        newest = {n: round(kept.newest[0] - states, 3) for n, kept in self._images.items()}
        allowed = f"{self._limits.tolerance:.3f} allowed"
        raise _missing("stamps", f"are out of sync: seconds to the joint state {newest}, {allowed}")

    def _joined(self, stamp: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions (J + 1,) nearest to a time, and their stamps (J + 1,); each joint has one."""
        count, parts = len(self._names), [kept.nearest(stamp) for kept in self._parts.values()]
        if len(parts) == 1 and len(parts[0][1].key) == count:
            return parts[0][1].positions, np.full(count, parts[0][0])
        positions, stamps = np.full(count, np.nan), np.full(count, -np.inf)
        for at, part in parts:
            nearer = np.abs(at - stamp) < np.abs(stamps[part.places] - stamp)
            places = part.places[nearer]
            positions[places], stamps[places] = part.positions[nearer], at
        return positions, stamps

    def _vector(self, positions: np.ndarray) -> np.ndarray:
        joints = positions[self._arm]
        position, quaternion = self._forward(joints)
        w, x, y, z = quaternion
        columns = (
            (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
            (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        )
        parts: dict[str, Any] = {
            "ee_position": position,
            "ee_rotation": np.concatenate(columns),
            "gripper": (self._robot.gripper.fraction(float(positions[-1])),),
            "joint_position": joints,
        }
        return np.concatenate([parts[field.name] for field in self._contract.state], dtype=np.float32)


def _missing(source: str, problem: str) -> ObservationError:
    separator = ": " if problem.startswith(NO_MESSAGE) else " "
    return ObservationError(f"{source}{separator}{problem}", key=source)
