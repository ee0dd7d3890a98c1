"""The robot's chain in simulation: controller, filter and supervisor, with the plan that comes with each action."""

from __future__ import annotations

import numpy as np

from vla_agent.evaluation.robot_chain import RobotChain
from vla_agent.robot.description import load_robot

PANDA = load_robot("panda")
STEP, STEPS, LAST = 0.05, 15, 3  # rad of the second joint in each control period, to the back


def behind(known: int) -> np.ndarray:
    """(STEPS,) rad from the joint's target to its commanded position, with ``known`` actions a time."""
    chain, joints = RobotChain(PANDA, "joint_position"), np.array(PANDA.home)
    way = np.tile(np.append(joints, 0.0), (STEPS + known, 1))
    way[:, 1] -= STEP * np.arange(1, 1 + len(way))
    found = []
    for k in range(STEPS):
        target = chain.step(way[k : k + known], joints, 0.0, 0.0)
        assert target is not None and not chain.stopped
        joints = target.joints
        found.append(joints[1] - way[k, 1])
    return np.array(found)


def test_with_its_plan_the_arm_comes_up_with_an_even_motion_and_stays_with_it():
    assert np.abs(behind(4)[-LAST:]).max() < 1e-6
    assert behind(1)[-LAST:].min() > 0.02, "where nothing more is known, each action is braked at"
