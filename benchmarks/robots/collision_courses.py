"""Planted collision courses: a seed -> a robot file with its obstacle, where the arm starts, and where it is driven.

Five kinds: into the table and into a box, half of them as end-effector deltas and half as joint positions; into the
robot's own body, to the end of a joint's range, through a wall of the workspace, as joint positions.  After the course
the arm is driven back to where it started: a run that was not stopped goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_agent.robot.control.controller_factory import make_kinematics
from vla_agent.robot.description import Box, Obstacle, Robot
from vla_agent.robot.filter.clearances import Clearances
from vla_agent.robot.kinematics.inverse_kinematics import Kinematics
from vla_agent.robot.kinematics.rotation import rotate
from vla_agent.robot.safety.lookahead import LookAhead

KINDS = ("table", "obstacle", "own body", "joint range", "workspace")
PERIODS, BACK = 50, 50  # control periods of the course, and of the way back
CHUNK, EXECUTE = 16, 8  # as the shipped policy's
FREE = 0.03  # metres around the start
STEP = 0.025  # metres of an action, at most
ANYWHERE = Box(low=(-2.0, -2.0, -1.0), high=(2.0, 2.0, 2.0))
NOISE = 0.003  # metres of an action


@dataclass(frozen=True)
class Course:
    """``mode`` of its actions; ``way`` (PERIODS, A); ``start`` (J,) rad, and its end effector's ``place`` (3,) m."""

    kind: str
    mode: str
    robot: Robot
    start: np.ndarray
    place: np.ndarray
    way: np.ndarray

    def chunk(self, step: int, joints: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(CHUNK, A): what a policy would send at this step, with the arm at ``joints`` (J,) and ``place`` (3,)."""
        if step < PERIODS:
            rows = self.way[step : step + CHUNK]
            return np.concatenate([rows, np.repeat(self.way[-1:], CHUNK - len(rows), axis=0)])
        if self.mode == "joint_position":
            part = np.minimum(np.arange(1, CHUNK + 1) / EXECUTE, 1.0)[:, None]
            return np.column_stack([joints + part * (self.start - joints), np.zeros(CHUNK)])
        ahead = np.clip((self.place - place) / EXECUTE, -STEP, STEP)
        rows = np.zeros((CHUNK, 7))
        rows[:EXECUTE, :3] = ahead
        return rows


def make_course(base: Robot, seed: int) -> Course:
    """The course of a seed; kinds and modes take turns."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    mode = "ee_delta" if kind in ("table", "obstacle") and seed // len(KINDS) % 2 == 0 else "joint_position"
    kinematics = make_kinematics(base)
    if kind in ("own body", "joint range"):
        base = base.model_copy(update={"workspace": ANYWHERE})
    while True:  # until a start and a way from it are found
        start = np.clip(
            np.array(base.home) + 0.2 * rng.standard_normal(len(base.home)), base.low + 0.1, base.high - 0.1
        )
        place, quaternion = kinematics.forward(start)
        robot = base
        if kind == "obstacle":
            robot, goal = _with_box(base, place, rng)
        elif kind in ("table", "workspace"):
            goal = _beyond_wall(base, kind, place, rng)
        else:
            goal = np.empty(0)
        if not _is_free(robot, start):
            continue
        straight = mode == "ee_delta"
        way = (
            _straight(place, goal, kind, rng)
            if straight
            else _joint_way(robot, kinematics, start, rng, kind, goal, quaternion)
        )
        if way is not None:
            return Course(kind, mode, robot, start, place, way)


def _is_free(robot: Robot, joints: np.ndarray) -> bool:
    clear = Clearances(robot).at(joints, np.full(len(joints), 1.0), np.zeros(len(joints)))
    return LookAhead(robot).check(joints) is None and bool((clear.distances > FREE).all())


def _with_box(base: Robot, place: np.ndarray, rng: np.random.Generator) -> tuple[Robot, np.ndarray]:
    """The robot with a box somewhere around the end effector, and the box's centre (3,)."""
    angle, size = rng.uniform(-np.pi, np.pi), rng.uniform(0.03, 0.08, 3)
    reach = rng.uniform(0.1, 0.25) + size[:2].max()
    centre = place + [reach * np.cos(angle), reach * np.sin(angle), rng.uniform(-0.08, 0.15)]
    box = Obstacle(name="box", size=tuple(size), position=tuple(centre))
    ahead = base.lookahead.model_copy(update={"obstacles": (*base.lookahead.obstacles, box)})
    return base.model_copy(update={"lookahead": ahead}), centre


def _beyond_wall(base: Robot, kind: str, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) a place below the table, or beyond a wall of the workspace."""
    goal = place + rng.uniform(-0.1, 0.1, 3)
    if kind == "table":
        goal[2] = -0.1
        return goal
    axis, side = int(rng.integers(3)), int(rng.integers(2))
    if axis == 2:
        side = 1  # below is the table
    goal[axis] = (base.workspace.low, base.workspace.high)[side][axis] + (0.1 if side else -0.1)
    return goal


def _straight(place: np.ndarray, goal: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(PERIODS, 7) deltas from ``place`` towards ``goal``; into the table with a hand that tilts."""
    speed = rng.uniform(0.4, 1.0) * STEP
    way = np.zeros((PERIODS, 7))
    way[:, :3] = speed * (goal - place) / np.linalg.norm(goal - place) + NOISE * rng.standard_normal((PERIODS, 3))
    if kind == "table":
        way[:8, 3:6] = rng.uniform(-0.06, 0.06, 3) * [1, 1, 0]
    return np.clip(way, [-STEP] * 3 + [-0.15] * 3 + [0], [STEP] * 3 + [0.15] * 3 + [1])


def _joint_way(
    robot: Robot,
    kinematics: Kinematics,
    start: np.ndarray,
    rng: np.random.Generator,
    kind: str,
    goal: np.ndarray,
    quaternion: np.ndarray,
) -> np.ndarray | None:
    """(PERIODS, J + 1) joint positions on a line to where the arm collides; None where this start has none."""
    if kind == "own body":
        end = rng.uniform(robot.low, robot.high)
        if "would touch link" not in (LookAhead(robot).check(end) or ""):
            return None
    elif kind == "joint range":
        end, k = start.copy(), int(rng.integers(len(start)))
        end[k] = (robot.low, robot.high)[int(rng.integers(2))][k]
    else:
        turned = rotate(quaternion, rng.uniform(-0.3, 0.3, 3))
        end = kinematics.inverse(start, goal, turned, rounds=50)
    fastest = robot.limits("velocity") * robot.period * rng.uniform(0.3, 0.9)
    steps = max(1, int(np.ceil((np.abs(end - start) / fastest).max())))
    part = np.minimum(np.arange(1, PERIODS + 1) / steps, 1.0)[:, None]
    return np.column_stack([start + part * (end - start), np.zeros(PERIODS)])
