"""Shapes a stream of joint targets so that it keeps the robot's velocity, acceleration and jerk limits."""

from __future__ import annotations

import numpy as np

from vla_agent.robot.description import Robot


class LimitShaper:
    """Follows targets (J,) as fast as the limits allow, one step a control period.

    Each joint takes the speed from which it can still brake to its target (the time-discrete square-root law); the
    change of speed is clipped to the acceleration and jerk limits.
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

    def step(self, target: np.ndarray) -> np.ndarray:
        """(J,) rad: the next target for the robot towards ``target`` (J,) rad."""
        dt, limit = self._period, self._acceleration_limit
        distance = np.clip(target, self._low, self._high) - self.position
        braking = limit * (np.sqrt(dt * dt / 4 + 2 * np.abs(distance) / limit) - dt / 2)
        speed = np.minimum(np.minimum(np.abs(distance) / dt, braking), self._velocity_limit)
        acceleration = (np.sign(distance) * speed - self.velocity) / dt
        low = np.maximum(-limit, self.acceleration - self._jerk_limit * dt)
        high = np.minimum(limit, self.acceleration + self._jerk_limit * dt)
        self.acceleration = np.clip(acceleration, low, high)
        self.velocity = np.clip(self.velocity + self.acceleration * dt, -self._velocity_limit, self._velocity_limit)
        self.position = np.clip(self.position + self.velocity * dt, self._low, self._high)
        return self.position.copy()

    def get_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The state that :meth:`set_state` restores."""
        return self.position.copy(), self.velocity.copy(), self.acceleration.copy()

    def set_state(self, state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Restore an earlier state."""
        self.position, self.velocity, self.acceleration = (part.copy() for part in state)
