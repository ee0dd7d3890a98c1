"""Synchronises observations: the newest image of each camera and the joint state of the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError
from vla_agent.robot.description import Robot

NO_MESSAGE = "no message received yet"
BUFFERED = 8  # messages of each source
FROZEN_TRAVEL = 0.02  # rad that a joint moves while the images are identical, byte for byte


@dataclass(frozen=True)
class Observation:
    """An observation for the policy; ``stamp``: seconds, of its oldest part."""

    data: dict[str, Any]
    stamp: float


@dataclass(frozen=True)
class _State:
    stamp: float
    joints: np.ndarray
    gripper: float


class ObservationBuffer:
    """Collects images and joint states, and refuses observations with missing, stale, frozen or unsynchronised parts.

    Args:
        robot: its joints and gripper.
        contract: the policy's.
        forward: joints (J,) -> end effector position (3,) and quaternion (4,) wxyz.
        tolerance: largest time between the parts of one observation, seconds.
        max_age: largest age of an observation, seconds.
    """

    def __init__(
        self,
        robot: Robot,
        contract: Contract,
        forward: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        tolerance: float,
        max_age: float,
    ) -> None:
        self._robot, self._contract, self._forward = robot, contract, forward
        self._tolerance, self._max_age = tolerance, max_age
        self._images: dict[str, deque[tuple[float, np.ndarray]]] = {}
        self._states: deque[_State] = deque(maxlen=BUFFERED)
        self._still: dict[str, np.ndarray] = {}  # camera -> joints when its image last changed
        self._travel: dict[str, float] = {}  # camera -> rad moved since then, at its newest image
        self._problems: dict[str, str] = {}
        self._causes: dict[str, str] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all messages."""
        self._images = {name: deque(maxlen=BUFFERED) for name in self._contract.camera_names}
        self._states.clear()
        self._still.clear()
        self._travel.clear()
        self._problems.clear()

    def reject(self, source: str, problem: str) -> None:
        """A message of ``source`` (a camera's name or ``joint_states``) could not be read."""
        self._problems[source] = problem

    def explain(self, source: str, cause: str) -> None:
        """The likely cause that is reported if ``source`` is missing or stale; empty: unknown."""
        self._causes[source] = cause

    def add_image(self, name: str, pixels: np.ndarray, stamp: float) -> None:
        """An image (H, W, 3) uint8 RGB of camera ``name``."""
        wanted = next(c for c in self._contract.cameras if c.name == name)
        if pixels.shape != (wanted.height, wanted.width, 3):
            self.reject(name, f"is {pixels.shape[1]} x {pixels.shape[0]}, not {wanted.width} x {wanted.height}")
            return
        if not self._fresh(name, stamp, self._images[name][-1][0] if self._images[name] else None):
            return
        if self._states:  # the joints at the image's own time: a late image is not a frozen one
            joints = min(self._states, key=lambda s: abs(s.stamp - stamp)).joints
            if not self._images[name] or not np.array_equal(self._images[name][-1][1], pixels):
                self._still[name] = joints
            self._travel[name] = float(np.abs(joints - self._still.get(name, joints)).max())
        self._images[name].append((stamp, pixels))

    def add_state(self, joints: np.ndarray, gripper: float, stamp: float) -> None:
        """A joint state: (J,) rad and the gripper, 0 open to 1 closed."""
        if not np.isfinite(joints).all() or not np.isfinite(gripper):
            self.reject("joint_states", "contain NaN or infinity")
            return
        if self._fresh("joint_states", stamp, self._states[-1].stamp if self._states else None):
            self._states.append(_State(stamp, joints, gripper))

    def _fresh(self, source: str, stamp: float, last: float | None) -> bool:
        if last is not None and stamp <= last:
            self.reject(source, f"go back in time by {last - stamp:.3f} s")
            return False
        self._problems.pop(source, None)
        return True

    def newest(self) -> float | None:
        """Stamp of the newest complete observation, None where there is none."""
        try:
            return self._match()[0]
        except ObservationError:
            return None

    def state(self) -> np.ndarray:
        """(D,) float32: the newest joint state in the contract's layout.

        Raises:
            ObservationError: there is none.
        """
        if not self._states:
            raise _missing("joint_states", NO_MESSAGE)
        return self._vector(self._states[-1])

    def observe(self, now: float) -> Observation:
        """The newest complete observation.

        Raises:
            ObservationError: a part is missing, rejected, stale, frozen or out of sync; says which.
        """
        for source, problem in self._problems.items():
            raise _missing(source, problem)
        stamp, images, state = self._match()
        for name, kept in self._images.items():
            self._check_age(name, kept[-1][0], now)
            moved = self._travel.get(name, 0.0)
            if moved > FROZEN_TRAVEL:
                raise _missing(name, f"shows the same image although the arm moved by {moved:.2f} rad")
        self._check_age("joint_states", self._states[-1].stamp, now)
        return Observation({"images": images, "state": self._vector(state)}, stamp)

    def _check_age(self, source: str, stamp: float, now: float) -> None:
        if now - stamp > self._max_age + 1e-6:
            raise self._silent(source, f"is {now - stamp:.3f} s old; {self._max_age:.3f} s are allowed")

    def _silent(self, source: str, problem: str) -> ObservationError:
        cause = self._causes.get(source, "")
        return _missing(source, f"{problem}; {cause}" if cause else problem)

    def _match(self) -> tuple[float, dict[str, np.ndarray], _State]:
        """The newest set of parts within the tolerance of each other."""
        for name, kept in self._images.items():
            if not kept:
                raise self._silent(name, NO_MESSAGE)
        if not self._states:
            raise _missing("joint_states", NO_MESSAGE)
        first = next(iter(self._images.values()))
        for stamp, _ in reversed(first):
            picked = {n: min(kept, key=lambda item: abs(item[0] - stamp)) for n, kept in self._images.items()}
            state = min(self._states, key=lambda s: abs(s.stamp - stamp))
            stamps = [s for s, _ in picked.values()] + [state.stamp]
            if max(stamps) - min(stamps) <= self._tolerance:
                return min(stamps), {n: pixels for n, (_, pixels) in picked.items()}, state
        newest = {n: round(kept[-1][0] - self._states[-1].stamp, 3) for n, kept in self._images.items()}
        raise _missing("stamps", f"are out of sync: seconds to the joint state {newest}, {self._tolerance:.3f} allowed")

    def _vector(self, state: _State) -> np.ndarray:
        position, quaternion = self._forward(state.joints)
        w, x, y, z = quaternion
        columns = (
            (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
            (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        )
        parts: dict[str, Any] = {
            "ee_position": position,
            "ee_rotation": np.concatenate(columns),
            "gripper": (state.gripper,),
            "joint_position": state.joints,
        }
        return np.concatenate([parts[field.name] for field in self._contract.state], dtype=np.float32)


def _missing(source: str, problem: str) -> ObservationError:
    separator = ": " if problem.startswith(NO_MESSAGE) else " "
    return ObservationError(f"{source}{separator}{problem}", key=source)
