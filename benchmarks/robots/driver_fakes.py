"""Five robots as the sources of their ROS 2 drivers publish and take things: what each is.  `driver_fake` runs one.

Read from franka_ros2 (franka_bringup, franka_gripper), Universal_Robots_ROS2_Driver (ur_robot_driver),
ros2_robotiq_gripper, xarm_ros2 (xarm_api, xarm_controller) and so101_ros2: names, order of joints, rates, what velocity
and effort hold, images, interfaces of arm and gripper.
"""

from __future__ import annotations

from dataclasses import dataclass

NAN, REAL, NONE = "nan", "real", "none"


@dataclass(frozen=True)
class StateTopic:
    """A publisher of joint states: names in its order, Hz; velocity and effort are real, NaN, or left out."""

    topic: str
    names: tuple[str, ...]
    hz: float
    velocity: str = REAL
    effort: str = REAL


@dataclass(frozen=True)
class CameraTopic:
    """A publisher of images: (width, height), encoding, Hz, and seconds from exposure to arrival."""

    topic: str
    frame: str
    encoding: str = "rgb8"
    size: tuple[int, int] = (640, 480)
    hz: float = 30.0
    delay: float = 0.03


@dataclass(frozen=True)
class Fake:
    """A robot: its robot file, what it publishes, and where its gripper's action is.

    ``gripper``: (package, action) of each action server, by its name.  ``mode``: of the policy that is to drive it.
    """

    robot: str
    states: tuple[StateTopic, ...]
    cameras: tuple[CameraTopic, ...]
    gripper: tuple[tuple[str, str, str], ...]
    mode: str = "ee_delta"


def realsenses() -> tuple[CameraTopic, ...]:
    """Two RealSenses: colour images of realsense2_camera."""
    topics = ((name, f"/cameras/{name}/color/image_raw") for name in ("front", "wrist"))
    return tuple(CameraTopic(topic, f"{name}_color_optical_frame") for name, topic in topics)


def franka(name: str) -> Fake:
    """The arm with 1 kHz, the hand with 15 Hz, and both merged by joint_state_publisher with 30 Hz."""
    arm = tuple(f"{name}_joint{k}" for k in range(1, 8))
    hand = (f"{name}_finger_joint1", f"{name}_finger_joint2")
    states = (
        StateTopic("franka/joint_states", arm, 1000.0),
        StateTopic("franka_gripper/joint_states", hand, 15.0),
        StateTopic("joint_states", (*arm, *hand), 30.0),
    )
    actions = (("franka_msgs", "Move", "franka_gripper/move"), ("franka_msgs", "Grasp", "franka_gripper/grasp"))
    return Fake(name, states, realsenses(), actions)


UR = ("shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint", "shoulder_pan_joint")
XARM = tuple(f"joint{k}" for k in range(1, 8))
XARM_GRIPPER = (
    "drive_joint",
    "left_finger_joint",
    "left_inner_knuckle_joint",
    "right_outer_knuckle_joint",
    "right_finger_joint",
    "right_inner_knuckle_joint",
)
SO101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

FAKES = {
    "fer": franka("fer"),
    "fr3": franka("fr3"),
    "ur5e": Fake(
        "ur5e",
        (StateTopic("joint_states", (*UR, "robotiq_85_left_knuckle_joint"), 500.0, effort=NAN),),
        realsenses(),
        (("control_msgs", "ParallelGripperCommand", "robotiq_gripper_controller/gripper_cmd"),),
        "joint_position",
    ),
    "so101": Fake(
        "so101",
        (StateTopic("joint_states", SO101, 20.0, effort=NONE),),
        (
            CameraTopic("cam_front/image_raw", "cam_front"),
            CameraTopic("cam_wrist/image_raw", "cam_wrist", "yuv422_yuy2"),
        ),
        (("control_msgs", "GripperCommand", "gripper_controller/gripper_cmd"),),
        "joint_position",
    ),
    "xarm7": Fake(
        "xarm7",
        (
            StateTopic("joint_states", XARM, 150.0, effort=NAN),
            StateTopic("xarm/joint_states", XARM_GRIPPER, 10.0, NAN, NAN),
        ),
        realsenses(),
        (("control_msgs", "GripperCommand", "xarm/xarm_gripper/gripper_action"),),
    ),
}
