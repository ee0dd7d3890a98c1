"""The simulated Panda's kinematics and controller, with its limits."""

from __future__ import annotations

import numpy as np

from sim.world.model import ARM_JOINTS, build_arm
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MAX_ROTATION, MAX_TRANSLATION, MotionLimits, PoseController

HOME = np.array([0.0, 0.195, 0.0, -2.43, 0.0, 2.62, 0.785])  # rad; the gripper points down, elbow up
MAX_JOINT_STEP = np.array([0.109] * 4 + [0.13] * 3)  # radians per control period: the Panda's joint speed limits
WORKSPACE = (np.array([0.22, -0.42, 0.004]), np.array([0.80, 0.42, 0.50]))  # of the commanded position
IK = IKSettings(rounds=2, null_gain=0.05)
ACTION_LIMITS = {  # mode -> lowest and highest action
    "ee_delta": (
        np.array([-MAX_TRANSLATION] * 3 + [-MAX_ROTATION] * 3 + [0.0], np.float32),
        np.array([MAX_TRANSLATION] * 3 + [MAX_ROTATION] * 3 + [1.0], np.float32),
    ),
    "joint_position": (
        np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973, 0.0], np.float32),
        np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973, 1.0], np.float32),
    ),
}


def down_quaternion(yaw: float) -> np.ndarray:
    """(4,) wxyz of the end effector pointing down; at yaw 0 its x is the base's x and the fingers close along y."""
    return np.array([0.0, np.cos(yaw / 2), np.sin(yaw / 2), 0.0])


def panda_kinematics() -> Kinematics:
    """Kinematics of the arm alone."""
    return Kinematics(build_arm(), ARM_JOINTS, "ee", HOME, settings=IK)


class PandaController(PoseController):
    """The arm's controller in the simulator; see `PoseController`."""

    def __init__(self, mode: str) -> None:
        super().__init__(panda_kinematics(), MotionLimits(MAX_JOINT_STEP, *WORKSPACE), mode)

    def start(self, position: np.ndarray, yaw: float, gripper: float) -> np.ndarray:
        """Command a gripper-down pose at once; returns the joint positions (7,) that reach it."""
        self.position, self.quaternion = np.array(position, dtype=np.float64), down_quaternion(yaw)
        self.joints = self.kinematics.inverse(HOME, self.position, self.quaternion, rounds=60)
        self.gripper = float(gripper)
        return self.joints
