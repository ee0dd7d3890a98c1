"""The filter: the smallest change of the next joint target that keeps the arm clear of what would stop it.

A control barrier function (Ames et al., 2017, arXiv:1609.06408) a distance: in one control period the arm may use up
the part ``1 - exp(-gain * period)`` of what is left of it, and no more than it can brake in.  Of all targets that keep
this, and the limits of velocity, acceleration and jerk, a quadratic program (daqp) takes the one nearest to the
command.  The fastest stop always is among them, so that there is a solution.

An arm follows its targets late, some joints later than others, so that it may come nearer to something than any target
is.  Where the robot file has the joints' lag, the same holds for where the arm will be in the next periods.
"""

from __future__ import annotations

from dataclasses import dataclass

import daqp
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot
from vla_agent.robot.filter.clearances import Clearance, Clearances

ALLOWED = 1e-6  # metres or rad that a command may be beyond a bound before it is changed
SLACK = 1e-9  # the same that bounds are widened by: rounding must not make the program infeasible
ROUNDING = 1e-4  # metres that a distance may come below its margin where bodies are not in line with their gradient
SOLVED = 1  # daqp's exit flag
WEIGHTS = np.array([1.0] * 3 + [0.2] * 3)  # of the end effector's motion: a radian counts as 0.2 m ...
LEAST = 0.01  # ... and of the joints', squared, so that one solution is the best where there are many
ROUNDS = 4  # solutions, each with the braking of the one before
PARTS = 8  # of the way to a commanded pose, each looked at
AHEAD = np.array([1.0, 2.0])  # periods after which the arm, which follows its target, is looked at


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
class _Near:
    """Pairs of bodies that the command itself may bring together.

    ``names``, ``floor``: of walls and these, and what must be left of each, metres: nothing, or as little as there was.
    """

    pairs: list[int]
    names: list[str]
    floor: np.ndarray

    @classmethod
    def of(cls, clear: Clearance) -> _Near:
        walls = len(clear.names) - len(clear.pairs)
        near = [k for k in range(walls, len(clear.names)) if clear.distances[k] < clear.moves[k]]
        chosen = [*range(walls), *near]
        floor = np.minimum(clear.distances[chosen], 0.0) - ROUNDING
        return cls([clear.pairs[k - walls] for k in near], [clear.names[k] for k in chosen], floor)


@dataclass(frozen=True)
class _Late:
    """The arm behind its target: ``bounds`` (M,) metres that a step may bring the next places nearer, with ``rows``.

    ``follows``: (A, J), the part of the way to the target that each joint has gone after each of `AHEAD` periods.
    """

    names: list[str]
    rows: np.ndarray
    bounds: np.ndarray
    near: _Near
    arm: np.ndarray
    follows: np.ndarray

    def places(self, target: np.ndarray) -> np.ndarray:
        """(A, J) rad: where the arm will be on its way to ``target`` (J,)."""
        return self.arm + self.follows * (target - self.arm)


@dataclass(frozen=True)
class _Barriers:
    """Gradients (N, J) of distances, those of a late arm last; what is left of the others, metres or rad.

    ``weight``: (J, J), of a change.
    """

    names: list[str]
    rows: np.ndarray
    left: np.ndarray
    weight: np.ndarray
    near: _Near
    late: _Late | None

    def over(self, step: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """(N,) how much nearer a step (J,) comes than ``bounds`` (N,) allow."""
        return -(self.rows @ step) - bounds


class BarrierFilter:
    """Filters joint targets, one a control period; it keeps no state between them.  Not for two threads at a time.

    It never makes a step longer, and a step that is the fastest stop (or no motion) stays as it is.

    Raises:
        RobotError: the model cannot be read, or lacks a joint, a body or the end effector.
    """

    def __init__(self, robot: Robot) -> None:
        self._clearances = Clearances(robot)
        settings, self._period = robot.safety.filter, robot.period
        ends = [f"{side} end of {name}" for side in ("lower", "upper") for name in robot.joint_names]
        self._ends, self._identity = ends, np.eye(len(robot.joints))
        self._used = 1.0 - float(np.exp(-settings.gain * self._period))  # part of a distance, in a period
        self._low, self._high = robot.low + settings.joint_margin, robot.high - settings.joint_margin
        self._velocity, self._acceleration = robot.limits("velocity"), robot.limits("acceleration")
        self._jerk = robot.limits("jerk")
        self._follows = None if robot.lag is None else _follows(robot.lag, self._period)

    def follow(self, arm: np.ndarray, target: np.ndarray) -> np.ndarray:
        """(J,) rad: where an arm at ``arm`` (J,) rad is after a period with ``target`` (J,) rad."""
        return target if self._follows is None else arm + self._follows[0] * (target - arm)

    def clear_part(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(J,) rad: the last of `PARTS` poses on the way from ``start`` (J,) to ``goal`` (J,) that keeps every margin.

        It ends before the first that does not; ``start`` is not looked at.
        """
        kept = start
        for part in range(1, PARTS):
            pose = start + part / PARTS * (goal - start)
            if not self._is_clear(pose):
                return kept
            kept = pose
        return goal if self._is_clear(goal) else kept

    def _is_clear(self, joints: np.ndarray) -> bool:
        """Whether an arm that rests at ``joints`` (J,) rad keeps every margin."""
        if (joints < self._low).any() or (joints > self._high).any():
            return False
        rest = np.zeros(len(joints))
        return bool((self._clearances.at(joints, rest, rest).distances >= 0).all())

    def apply(self, motion: Motion, target: np.ndarray, arm: np.ndarray | None = None) -> Filtered:
        """The target (J,) rad that comes next in place of ``target`` (J,) rad, which keeps the limits of ``motion``.

        ``arm``: (J,) rad, where the arm is; None: at the last target.

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
        arm = motion.position if arm is None else arm
        limits = self._barriers(motion.position, np.abs(step), arm)
        over = limits.over(step, self._bounds(limits, step, stop))
        worst = int(np.argmax(over))
        limit = limits.names[worst] if over[worst] > ALLOWED else self._too_near(motion.position, step, limits)
        if not limit:
            return Filtered(target)
        low, high = np.minimum(low, step), np.maximum(high, step)
        limits = self._barriers(motion.position, np.maximum(np.abs(low), np.abs(high)), arm)
        changed = self._nearest(motion.position, step, stop, (low, high), limits)
        changed = _no_longer(changed, stop, float(np.linalg.norm(step)))
        return Filtered(motion.position + changed, limit, float(np.abs(changed - step).max()))

    def _nearest(
        self,
        position: np.ndarray,
        step: np.ndarray,
        stop: np.ndarray,
        reach: tuple[np.ndarray, np.ndarray],
        limits: _Barriers,
    ) -> np.ndarray:
        """(J,) the step nearest to ``step``, within ``reach`` (lowest, highest), that keeps the barriers.

        How much a step may use up depends on the step, by its braking: bounds are those of all steps tried.  Gradients
        are of the nearest points alone: where other points come too near, the step is moved towards the fastest stop.
        """
        bounds, candidate = self._bounds(limits, step, stop), stop
        for _ in range(ROUNDS):
            candidate = _solve(step, reach, limits, bounds)
            allowed = self._bounds(limits, candidate, stop)
            if limits.over(candidate, allowed).max() <= ALLOWED:
                break
            bounds = np.minimum(bounds, allowed)
        for _ in range(ROUNDS):
            if not self._too_near(position, candidate, limits):
                return candidate
            candidate = (candidate + stop) / 2
        return stop

    def _too_near(self, position: np.ndarray, step: np.ndarray, limits: _Barriers) -> str:
        """What the arm comes too near to after ``step`` (J,) from ``position`` (J,), and while it brakes; or empty."""
        after, braking = position + step, self._braking_path(step)
        order = np.argsort(np.abs(step) / self._acceleration)  # in which the joints come to rest
        places = [after, after + braking[order[len(order) // 2]], after + braking[order[-1]]]
        looked = [(place, limits.near) for place in places]
        if limits.late is not None:
            looked += [(place, limits.late.near) for place in limits.late.places(after)]
        for place, near in looked:
            below = self._clearances.least(place, near.pairs) - near.floor
            if below.min() < 0:
                return near.names[int(np.argmin(below))]
        return ""

    def _reachable(self, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """(J,) rad: the lowest and highest steps that the limits of velocity, acceleration and jerk allow."""
        period = self._period
        low = np.maximum(-self._acceleration, motion.acceleration - self._jerk * period)
        high = np.minimum(self._acceleration, motion.acceleration + self._jerk * period)
        low = np.clip(motion.velocity + low * period, -self._velocity, self._velocity)
        high = np.clip(motion.velocity + high * period, -self._velocity, self._velocity)
        return low * period, high * period

    def _barriers(self, position: np.ndarray, steps: np.ndarray, arm: np.ndarray) -> _Barriers:
        """What the target at ``position`` (J,) rad may come near to with steps of up to ``steps`` (J,) rad.

        And where the arm's joints are known to lag, what the arm at ``arm`` (J,) rad may come near to.
        """
        braking = (steps / self._period) ** 2 / (2 * self._acceleration)
        clear = self._clearances.at(position, steps / self._used + braking, steps + braking)
        rows = np.concatenate([self._identity, -self._identity, clear.gradients])
        left = np.concatenate([position - self._low, self._high - position, clear.distances]).clip(min=0.0)
        weighted = clear.jacobian * WEIGHTS[:, None]
        late = None if self._follows is None else self._late(self._follows, arm, position, steps)
        return _Barriers(
            names=[*self._ends, *clear.names, *(late.names if late else [])],
            rows=rows if late is None else np.concatenate([rows, late.rows]),
            left=left,
            weight=weighted.T @ weighted + LEAST * self._identity,
            near=_Near.of(clear),
            late=late,
        )

    def _late(self, follows: np.ndarray, arm: np.ndarray, position: np.ndarray, steps: np.ndarray) -> _Late:
        """The same for where the arm at ``arm`` (J,) rad goes, with its target at ``position`` (J,) rad."""
        behind = position - arm
        moves = np.abs(behind) + steps
        clear = self._clearances.at(arm, moves / self._used, moves)
        rows = clear.gradients * follows[:, None]  # (A, N, J)
        used = 1.0 - (1.0 - self._used) ** AHEAD
        bounds = used[:, None] * clear.distances.clip(min=0.0) + rows @ behind
        return _Late(
            names=clear.names * len(AHEAD),
            rows=rows.reshape(-1, len(arm)),
            bounds=bounds.reshape(-1),
            near=_Near.of(clear),
            arm=arm,
            follows=follows,
        )

    def _bounds(self, limits: _Barriers, step: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """(N,) how much nearer the arm may come in this period with ``step`` (J,).

        At most the used part of what is left; and so much that the arm can brake in the rest, where the way of braking
        grows with the square of the speed.  What the fastest stop ``stop`` (J,) uses is always allowed.
        """
        rows = limits.rows[: len(limits.left)]
        nearer = np.maximum(-(rows @ step), ALLOWED)
        braking = -(rows @ self._braking_path(step).T).min(axis=1, initial=0.0)
        brakes = 2 * limits.left / (1 + np.sqrt(1 + 4 * limits.left * braking / nearer**2))
        bounds = np.minimum(self._used * limits.left, brakes)
        if limits.late is not None:
            bounds = np.concatenate([bounds, limits.late.bounds])
        return np.maximum(bounds, -(limits.rows @ stop)).clip(min=0.0) + SLACK

    def _braking_path(self, step: np.ndarray) -> np.ndarray:
        """(J, J) rad: how far each joint (second axis) has gone on after ``step`` (J,) when a joint (first) rests."""
        speed = np.abs(step) / self._period
        rest = speed / self._acceleration
        times = np.minimum(rest[:, None], rest)
        return np.sign(step) * (speed * times - self._acceleration * times**2 / 2)


def _follows(lag: np.ndarray, period: float) -> np.ndarray:
    """(A, J): the part of the way to a target that joints with ``lag`` (J,) seconds have gone after `AHEAD` periods."""
    with np.errstate(divide="ignore"):  # no lag: all of it
        return 1.0 - np.exp(-AHEAD[:, None] * period / lag)


def _solve(step: np.ndarray, reach: tuple[np.ndarray, np.ndarray], limits: _Barriers, bounds: np.ndarray) -> np.ndarray:
    """(J,) the step nearest to ``step``, within ``reach`` (lowest, highest) and ``bounds`` (N,)."""
    low, high = reach
    upper = np.concatenate([high, np.full(len(bounds), np.inf)])
    lower = np.concatenate([low, -bounds])
    found, _, flag, _ = daqp.solve(limits.weight, -(limits.weight @ step), limits.rows, upper, lower, primal_tol=1e-10)
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
