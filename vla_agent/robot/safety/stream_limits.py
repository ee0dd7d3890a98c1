"""Limits of a stream of joint targets, one a control period, by finite differences."""

from __future__ import annotations

import numpy as np

from vla_agent.robot.description import Robot

TOLERANCE = 1e-3  # relative: what rounding may add
ROUNDING = 1e-6  # rad: the same for positions


class StreamLimits:
    """Checks each joint target (J,) against the ones before it: position, velocity, acceleration, jerk.

    The robot takes one target a period and should reach it within the period.  Differences are therefore divided by the
    period, whatever the jitter of the stamps.  After a gap in the stream the robot rests at its last target.
    """

    def __init__(self, robot: Robot) -> None:
        self._names = robot.joint_names
        self._period = robot.period
        self._low, self._high = robot.low, robot.high
        self._velocity = robot.limits("velocity")
        self._acceleration = robot.limits("acceleration")
        self._jerk = robot.limits("jerk")
        self.position = np.array(robot.home)
        self.velocity = np.zeros(len(self._names))
        self._last_acceleration = np.zeros(len(self._names))

    def rest(self, joints: np.ndarray) -> None:
        """The robot rests at ``joints`` (J,) rad."""
        self.position = np.array(joints, dtype=np.float64)
        self.velocity = np.zeros_like(self.position)
        self._last_acceleration = np.zeros_like(self.position)

    def check(self, joints: np.ndarray) -> str | None:
        """None where ``joints`` (J,) may come next, else the first limit that it breaks."""
        if joints.shape != self.position.shape:
            return f"{joints.shape[0]} joint targets for {self.position.shape[0]} joints"
        if not np.isfinite(joints).all():
            return "a joint target is NaN or infinite"
        if not self.within(joints):
            k = int(np.argmax(np.maximum(self._low - joints, joints - self._high)))  # the one that is farthest outside
            return f"{self._names[k]} position {joints[k]:.3f} outside {self._low[k]:.3f} to {self._high[k]:.3f} rad"
        velocity = (joints - self.position) / self._period
        acceleration = (velocity - self.velocity) / self._period
        jerk = (acceleration - self._last_acceleration) / self._period
        return self._fastest(velocity[None], acceleration[None], jerk[None])

    def check_path(self, path: np.ndarray) -> str | None:
        """The same for each row of ``path`` (N, J) after the one before, the first after what was accepted last."""
        outside = ~((path >= self._low - ROUNDING) & (path <= self._high + ROUNDING))
        if outside.any():
            row, k = np.argwhere(outside)[0]
            return f"{self._names[k]} position {path[row, k]:.3f} outside {self._low[k]:.3f} to {self._high[k]:.3f} rad"
        velocity = np.diff(np.vstack([self.position, path]), axis=0) / self._period
        acceleration = np.diff(np.vstack([self.velocity, velocity]), axis=0) / self._period
        jerk = np.diff(np.vstack([self._last_acceleration, acceleration]), axis=0) / self._period
        return self._fastest(velocity, acceleration, jerk)

    def _fastest(self, velocity: np.ndarray, acceleration: np.ndarray, jerk: np.ndarray) -> str | None:
        """The first limit that one of the rows (N, J) breaks; None where none does."""
        for what, unit, values, limit in (
            ("velocity", "rad/s", velocity, self._velocity),
            ("acceleration", "rad/s^2", acceleration, self._acceleration),
            ("jerk", "rad/s^3", jerk, self._jerk),
        ):
            share = np.abs(values) / limit
            if (share > 1 + TOLERANCE).any():
                row, k = np.unravel_index(np.argmax(share), share.shape)
                return f"{self._names[k]} {what} {values[row, k]:.2f} over {limit[k]:.2f} {unit}"
        return None

    def within(self, joints: np.ndarray) -> bool:
        """Whether ``joints`` (J,) are within the position limits."""
        return bool(((joints >= self._low - ROUNDING) & (joints <= self._high + ROUNDING)).all())

    @property
    def braking_steps(self) -> int:
        """Number of targets of the fastest stop from here, the first that rests included; 0 where the arm rests."""
        return self.steps_to_rest(self.velocity)

    @property
    def braking_time(self) -> float:
        """Seconds of the fastest stop from here."""
        return float((np.abs(self.velocity) / self._acceleration).max())

    def accept(self, joints: np.ndarray) -> None:
        """``joints`` (J,) was sent to the robot."""
        velocity = (joints - self.position) / self._period
        self._last_acceleration = (velocity - self.velocity) / self._period
        self.position, self.velocity = np.array(joints, dtype=np.float64), velocity

    def decelerated(self) -> np.ndarray:
        """(J,) the next target of the fastest stop that the acceleration limits allow; changes nothing."""
        return stopping(self.position, self.velocity, self._acceleration, self._period, 1, self._low, self._high)[0]

    def stop_to_rest(self) -> np.ndarray:
        """(N, J) targets of the fastest stop from here, up to the first that rests; N = 0 where the arm rests."""
        return self.stop_path(self.position, self.velocity, self.braking_steps)

    def steps_to_rest(self, velocity: np.ndarray) -> int:
        """Number of targets of the fastest stop from ``velocity`` (J,) rad/s, the first that rests included."""
        steps = (np.abs(velocity) / (self._acceleration * self._period)).max()
        return int(np.ceil(steps)) + int(steps > 0)  # one more: rounding may leave a last bit of motion

    def stop_path(self, position: np.ndarray, velocity: np.ndarray, steps: int) -> np.ndarray:
        """(steps, J) targets of the fastest stop from ``position`` (J,) rad at ``velocity`` (J,) rad/s."""
        return stopping(position, velocity, self._acceleration, self._period, steps, self._low, self._high)


def stopping(
    position: np.ndarray,
    velocity: np.ndarray,
    acceleration: np.ndarray,
    period: float,
    steps: int,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """(steps, J) positions while every joint brakes as hard as its acceleration limit (J,) allows, then rests."""
    path = np.empty((steps, len(position)))
    for k in range(steps):
        velocity = np.sign(velocity) * np.maximum(np.abs(velocity) - acceleration * period, 0.0)
        position = np.clip(position + velocity * period, low, high)
        path[k] = position
    return path
