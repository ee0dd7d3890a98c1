"""Shapes a stream of joint targets so that it keeps the robot's velocity, acceleration and jerk limits."""

from __future__ import annotations

import numpy as np

from vla_agent.robot.description import Robot


class LimitShaper:
    """Follows targets (J,) as fast as the limits allow, one step a control period.

    Each joint takes the speed of its target (from the target after it, where that is known), and makes up what it is
    behind as fast as it can still brake.  It is never faster than it can brake at the farther of both targets: where
    another one comes in its place, the joint passes its target by no more than that.  Where it has to gain speed, it
    begins a period early.  The change of speed is clipped to the acceleration and jerk limits.
    """

    def __init__(self, robot: Robot) -> None:
        self._period = robot.period
        self._low, self._high = robot.low, robot.high
        self._velocity_limit = robot.limits("velocity")
        self._acceleration_limit = robot.limits("acceleration")
        self._jerk_limit = robot.limits("jerk")
        self.rest(np.array(robot.home))

    def rest(self, joints: np.ndarray) -> None:
        """Restart from rest at ``joints`` (J,) rad."""
        self.position = np.array(joints, dtype=np.float64)
        self.velocity = np.zeros_like(self.position)
        self.acceleration = np.zeros_like(self.position)

    def step(self, target: np.ndarray, following: np.ndarray | None = None) -> np.ndarray:
        """(J,) rad: the next target for the robot.

        Args:
            target: (J,) rad, where it should be after this period.
            following: (J,) rad, where it should be a period later; None: unknown, it comes to rest at ``target``.
        """
        dt = self._period
        target = np.clip(target, self._low, self._high)
        following = target if following is None else np.clip(following, self._low, self._high)
        rate = np.clip((following - target) / dt, -self._velocity_limit, self._velocity_limit)
        speed = rate + self._approach(target - self.position - rate * dt)
        slowest = self._approach(np.minimum(target, following) - self.position)
        fastest = self._approach(np.maximum(target, following) - self.position)
        limit = self._acceleration_limit
        acceleration = (np.clip(speed, slowest, fastest) - self.velocity) / dt
        low = np.maximum(-limit, self.acceleration - self._jerk_limit * dt)
        high = np.minimum(limit, self.acceleration + self._jerk_limit * dt)
        self.acceleration = np.clip(acceleration, low, high)
        self.velocity = np.clip(self.velocity + self.acceleration * dt, -self._velocity_limit, self._velocity_limit)
        self.position = np.clip(self.position + self.velocity * dt, self._low, self._high)
        return self.position.copy()

    def _approach(self, distance: np.ndarray) -> np.ndarray:
        """(J,) rad/s: the highest speed from which a joint stops after ``distance`` (J,) rad, in whole periods.

        In n periods of full braking it goes n (n + 1) / 2 times ``part``; what is left is spread over one more.
        """
        dt, limit, way = self._period, self._acceleration_limit, np.abs(distance)
        part = limit * dt * dt
        n = np.floor((np.sqrt(1 + 8 * way / part) - 1) / 2)
        speed = n * limit * dt + (way - n * (n + 1) / 2 * part) / ((n + 1) * dt)
        return np.sign(distance) * np.minimum(speed, self._velocity_limit)

    def get_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The state that :meth:`set_state` restores."""
        return self.position.copy(), self.velocity.copy(), self.acceleration.copy()

    def set_state(self, state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Restore an earlier state."""
        self.position, self.velocity, self.acceleration = (part.copy() for part in state)
