"""The filter: the smallest change of the next joint target that keeps the arm clear of what would stop it.

A control barrier function (Ames et al., 2017, arXiv:1609.06408) a distance: in one control period the arm may use up
the part ``1 - exp(-gain * period)`` of what is left of it, and no more than it can brake in.  Of all targets that keep
this, and the limits of velocity, acceleration and jerk, a quadratic program (daqp) takes the one nearest to the
command.  The fastest stop always is among them, so that there is a solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import daqp
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.filter.clearances import Clearances

ALLOWED = 1e-6  # metres or rad that a command may be beyond a bound before it is changed
SLACK = 1e-9  # the same that bounds are widened by: rounding must not make the program infeasible
SOLVED = 1  # daqp's exit flag
WEIGHTS = np.array([1.0] * 3 + [0.2] * 3)  # of the end effector's motion: a radian counts as 0.2 m ...
LEAST = 0.01  # ... and of the joints', squared, so that one solution is the best where there are many


@dataclass(frozen=True)
class Motion:
    """Where a stream of targets is: position (J,) rad, velocity (J,) rad/s, acceleration (J,) rad/s^2."""

    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray


@dataclass(frozen=True)
class Filtered:
    """A target (J,) rad; ``limit``: what changed it, or empty; ``change``: rad, the largest of a joint."""

    joints: np.ndarray
    limit: str = ""
    change: float = 0.0


@dataclass(frozen=True)
class _Barriers:
    """Rows (N, J) and bounds (N,) with their names: ``-rows @ step <= bounds``.  ``weight``: (J, J) of a change."""

    names: list[str]
    rows: np.ndarray
    bounds: np.ndarray
    weight: np.ndarray


class BarrierFilter:
    """Filters joint targets, one a control period; it keeps no state between them.  Not for two threads at a time.

    It never makes a step longer, and a step that is the fastest stop (or no motion) stays as it is.

    Raises:
        RobotError: the model cannot be read, or lacks a joint, a body or the end effector.
    """

    def __init__(self, robot: Robot) -> None:
        self._clearances = Clearances(robot)
        settings, self._period = robot.safety.filter, robot.period
        self._names = robot.joint_names
        self._used = 1.0 - float(np.exp(-settings.gain * self._period))  # part of a distance, in a period
        self._low, self._high = robot.low + settings.joint_margin, robot.high - settings.joint_margin
        self._velocity, self._acceleration = robot.limits("velocity"), robot.limits("acceleration")
        self._jerk = robot.limits("jerk")

    def apply(self, motion: Motion, target: np.ndarray) -> Filtered:
        """The target (J,) rad that comes next in place of ``target`` (J,) rad, which keeps the limits of ``motion``.

        Raises:
            RobotError: a number is not finite, or there is no solution.  The robot must be stopped.
        """
        step = target - motion.position
        if not np.isfinite(step).all():
            raise _unsolved("a joint target is NaN or infinite", str(target.tolist()))
        low, high = self._reachable(motion)
        stop = np.clip(0.0, low, high)
        if (np.abs(step - stop) <= SLACK).all():
            return Filtered(target)
        barriers = self._barriers(motion.position, step, stop)
        over = -(barriers.rows @ step) - barriers.bounds
        worst = int(np.argmax(over))
        if over[worst] <= ALLOWED:
            return Filtered(target)
        changed = _nearest(step, np.minimum(low, step), np.maximum(high, step), barriers)
        changed = _no_longer(changed, stop, float(np.linalg.norm(step)))
        return Filtered(motion.position + changed, barriers.names[worst], float(np.abs(changed - step).max()))

    def _reachable(self, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """(J,) rad: the lowest and highest steps that the limits of velocity, acceleration and jerk allow."""
        period = self._period
        low = np.maximum(-self._acceleration, motion.acceleration - self._jerk * period)
        high = np.minimum(self._acceleration, motion.acceleration + self._jerk * period)
        low = np.clip(motion.velocity + low * period, -self._velocity, self._velocity)
        high = np.clip(motion.velocity + high * period, -self._velocity, self._velocity)
        return low * period, high * period

    def _barriers(self, position: np.ndarray, step: np.ndarray, stop: np.ndarray) -> _Barriers:
        braking = self._braking_path(step)
        clear = self._clearances.at(position, np.abs(step) / self._used + np.abs(braking).max(axis=0))
        identity = np.eye(len(step))
        names = [*(f"lower end of {n}" for n in self._names), *(f"upper end of {n}" for n in self._names), *clear.names]
        rows = np.concatenate([identity, -identity, clear.gradients])
        left = np.concatenate([position - self._low, self._high - position, clear.distances]).clip(min=0.0)
        nearer, later = -(rows @ step), -(rows @ braking.T).min(axis=1, initial=0.0)
        bounds = self._allowed(left, nearer, later, -(rows @ stop))
        weighted = clear.jacobian * WEIGHTS[:, None]
        return _Barriers(names, rows, bounds, weighted.T @ weighted + LEAST * identity)

    def _allowed(self, left: np.ndarray, nearer: np.ndarray, later: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """(N,) how much nearer the arm may come in this period.

        Args:
            left: (N,) of the distances, at least 0.
            nearer: (N,) how much nearer the command comes.
            later: (N,) and how much nearer still while it brakes after that, which grows with the square of the speed.
            stop: (N,) how much nearer the fastest stop comes; it is always allowed.
        """
        square = later / np.maximum(nearer, ALLOWED) ** 2
        brakes = 2 * left / (1 + np.sqrt(1 + 4 * left * square))
        return np.maximum(np.minimum(self._used * left, brakes), np.maximum(stop, 0.0)) + SLACK

    def _braking_path(self, step: np.ndarray) -> np.ndarray:
        """(J, J) rad: how far every joint goes on after ``step`` (J,) until each of them has braked to rest."""
        speed = np.abs(step) / self._period
        rest = speed / self._acceleration
        times = np.minimum(rest[:, None], rest[None])  # at the time that joint k rests, joint j has braked so long
        return np.sign(step) * (speed * times - self._acceleration * times**2 / 2)


def _nearest(step: np.ndarray, low: np.ndarray, high: np.ndarray, barriers: _Barriers) -> np.ndarray:
    """(J,) the step nearest to ``step``, within ``low`` to ``high``, that keeps the barriers."""
    upper = np.concatenate([high, np.full(len(barriers.rows), np.inf)])
    lower = np.concatenate([low, -barriers.bounds])
    weight = barriers.weight
    found, _, flag, _ = daqp.solve(weight, -(weight @ step), barriers.rows, upper, lower, primal_tol=1e-10)
    if flag != SOLVED or not np.isfinite(found).all():
        raise _unsolved("no motion keeps all limits", f"daqp ended with {flag}")
    return np.clip(found, low, high)


def _no_longer(step: np.ndarray, stop: np.ndarray, length: float) -> np.ndarray:
    """``step`` (J,) moved towards ``stop`` (J,) until it is no longer than ``length``."""
    towards = step - stop
    a, b, c = towards @ towards, stop @ towards, stop @ stop - length**2
    if a == 0 or a + 2 * b + c <= 0:
        return step
    return stop + towards * max(0.0, (-b + np.sqrt(max(0.0, b * b - a * c))) / a)


def _unsolved(what: str, found: str) -> RobotError:
    return RobotError(
        f"the filter before the stop: {what}",
        key="safety: filter",
        expected="a step that keeps every limit",
        found=found,
        remedy="the robot is stopped; move it away from what it is near, then reset",
    )
