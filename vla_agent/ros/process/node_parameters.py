"""The one table of node parameters: name, default and one line each.  Nodes declare them; ``NODE --help`` prints them.

Plain data: importing it needs neither ROS nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """A ROS parameter; its default gives its type.

    Attributes:
        choices: the values that it may have; empty: any.
        low: the smallest value of a number, or of each number of a list.
        above: what a number must be more than.
        high: the largest value of a number.
        running: it takes effect when it is set while the node runs.
        configured: a lifecycle node reads it when it is configured; until it is cleaned up, it cannot be set.  All
            others are read once, when the node starts, and cannot be set after that.
    """

    default: Any
    description: str
    running: bool = False
    configured: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class NodeHelp:
    """What a node is for, and its parameters by name."""

    summary: str
    parameters: dict[str, Parameter]


_ROBOT = {"robot": Parameter("panda", "robot file: a name of config/robots, or a path")}
_PACE = {"real_time_factor": Parameter(1.0, "control seconds in one second; 1 on a real robot", low=0.001, high=100.0)}
_REAL_TIME = {
    "real_time": Parameter(True, "real-time scheduling, no deep processor sleep, locked memory, if permitted")
}
RELIABILITY = ("best_effort", "reliable")
EXECUTION_MODES = ("", "open_loop", "ensemble", "adaptive", "realtime")
SPLITS = ("seen", "wordings", "objects")
SIMULATED_FAULTS = (
    *("none", "camera_stop", "camera_frozen", "camera_size", "camera_encoding", "joints_stop", "joints_jump"),
    *("joints_nan", "gripper_force", "clock_jump"),
)
_IMAGE_QOS = {
    "image_reliability": Parameter("best_effort", "QoS of the images: best_effort or reliable", choices=RELIABILITY)
}
_IMAGE_SIZE = {"image_size": Parameter([96, 96], "height and width of the images, pixels", low=1, high=8192)}

NODES: dict[str, NodeHelp] = {
    "camera_node": NodeHelp(
        "publishes the images of the robot's cameras, cropped and resized for the policy",
        {
            **_ROBOT,
            "sources": Parameter("", "CAMERA=SOURCE,...: index, device, URL, video or image file, or image folder"),
            **_IMAGE_SIZE,
            "rate": Parameter(30.0, "images a second of a single image file or an image folder", above=0),
            **_IMAGE_QOS,
        },
    ),
    "controller_node": NodeHelp(
        "turns the policy's actions into joint targets within the robot's limits",
        {
            **_ROBOT,
            "mode": Parameter(
                "",
                "the only actions taken, ee_delta or joint_position; empty: those of the policy's contract",
                choices=("", "ee_delta", "joint_position"),
            ),
            **_PACE,
            **_REAL_TIME,
        },
    ),
    "evaluate_node": NodeHelp(
        "runs simulated episodes through the graph and writes graph.json",
        {
            **_ROBOT,
            "tasks": Parameter("", "task families, separated by commas; empty: all of the suite"),
            "episodes": Parameter(5, "episodes of each family", low=1),
            "seed": Parameter(0, "seed of the first episode; episode k has seed + k", low=0),
            "results": Parameter("runs/graph", "folder for graph.json"),
            "report": Parameter("", "report.json of `vla-agent eval` to compare with"),
        },
    ),
    "frames_node": NodeHelp(
        "publishes the robot's links, its end effector and its cameras as TF, where nobody else does; needs tf2_msgs",
        {
            **_ROBOT,
            "frame_prefix": Parameter("", "what stands before every frame's name, such as arm1/"),
            "rate": Parameter(30.0, "messages a second on /tf, at most", above=0),
        },
    ),
    "instruction_node": NodeHelp(
        "publishes the instruction that is typed, set as a parameter, or spoken; ends at the end of its input",
        {
            "text": Parameter("", "the instruction; published each time it is set; empty: the policy stops", True),
            "speech": Parameter("", "speech-recognition model: a folder or hf://OWNER/NAME; empty: none"),
            "microphone": Parameter("default", "ALSA device or audio file"),
            "loudness": Parameter(-35.0, "level that begins an utterance, dB of full scale", low=-120, high=0),
        },
    ),
    "policy_node": NodeHelp(
        "runs the policy (lifecycle node): images, joint states and an instruction in, actions out",
        {
            **_ROBOT,
            "policy": Parameter(
                "policies/tabletop-nano", "policy folder, or ws://HOST:PORT of `vla-agent serve`", configured=True
            ),
            "mode": Parameter(
                "",
                "execution mode: open_loop, ensemble, adaptive, realtime; empty: realtime if the policy supports it",
                configured=True,
                choices=EXECUTION_MODES,
            ),
            "execute": Parameter(
                0, "actions of a chunk before the policy replans; 0: the policy's own number", configured=True, low=0
            ),
            "seed": Parameter(0, "seed of the policy's noise", configured=True, low=0),
            "certificate": Parameter("", "certificate file; required on hardware", configured=True),
            "hardware": Parameter(False, "a real robot is driven"),
            "autostart": Parameter(True, "configure and activate at the start"),
            "tolerance": Parameter(
                0.6, "largest time between the parts of an observation, control periods", configured=True, above=0
            ),
            "max_age": Parameter(2.25, "largest age of an observation, control periods", configured=True, above=0),
            "max_delay": Parameter(
                0.2, "largest time from an image's stamp to its arrival, seconds", configured=True, above=0
            ),
            "stalled_after": Parameter(
                2.0, "inference time after which the policy counts as hung, seconds", configured=True, above=0
            ),
            "instruction": Parameter("", "first instruction, given at activation", configured=True),
            "interventions": Parameter(
                False, "pass on the actions of a person: teleop_node with intervene", configured=True
            ),
            "openvino": Parameter(False, "compute the policy with OpenVINO; not on hardware", configured=True),
            **_IMAGE_QOS,
            **_PACE,
            **_REAL_TIME,
        },
    ),
    "recorder_node": NodeHelp(
        "records demonstrations: one MCAP bag an episode",
        {
            **_ROBOT,
            "output": Parameter("recordings", "folder of the recorded episodes; those of another recorder are kept"),
            "include": Parameter(
                "robot", "topics, with commas, * and ?; robot: the robot's and the nodes' own; all: every one"
            ),
            "exclude": Parameter("", "topics that are left out, in the same form"),
            **_IMAGE_QOS,
        },
    ),
    "replay_node": NodeHelp(
        "replays the actions of a recorded episode through controller and safety node",
        {
            **_ROBOT,
            "bag": Parameter("", "folder of the recorded episode"),
            "start_tolerance": Parameter(0.1, "largest distance of a joint from the recording's start, rad", above=0),
            **_PACE,
        },
    ),
    "safety_node": NodeHelp(
        "checks every command; the only node that commands the robot",
        {
            **_ROBOT,
            "deadman": Parameter(False, "motion needs a pressed deadman switch, topic safety/deadman"),
            "hardware": Parameter(False, "a real robot is driven; needs policy and certificate"),
            "policy": Parameter("", "policy folder that the certificate must cover"),
            "certificate": Parameter("", "certificate file"),
            "replay": Parameter(False, "on hardware: recorded actions, of no policy, may move the robot"),
            **_PACE,
            **_REAL_TIME,
        },
    ),
    "sim_robot_node": NodeHelp(
        "the simulated robot with its cameras",
        {
            **_ROBOT,
            "task": Parameter("put_in_tray", "task family; used at the start and at a reset", True),
            "split": Parameter(
                "seen", "split of the task's objects and wordings; used at a reset", True, choices=SPLITS
            ),
            "seed": Parameter(0, "episode of the task; used at the start and at a reset", True, low=0),
            "tell": Parameter(True, "publish the scene's instruction at the start and at a reset", True),
            "fault": Parameter("none", "injected fault", True, choices=SIMULATED_FAULTS),
            "drop": Parameter(0.0, "fraction of messages dropped", True, low=0, high=1),
            "joint_noise": Parameter(0.0, "noise of the joint states, standard deviation, rad", True, low=0),
            "image_noise": Parameter(0.0, "noise of the images, standard deviation, grey levels", True, low=0),
            "delay": Parameter(0, "delay of the readings, control periods", True, low=0, high=1000),
            **_PACE,
            **_IMAGE_SIZE,
            **_IMAGE_QOS,
            **_REAL_TIME,
        },
    ),
    "task_node": NodeHelp(
        "runs an instruction to an end with a reason: action run_task",
        {"patience": Parameter(2.0, "seconds that a refusal of the policy lasts before the run ends", above=0)},
    ),
    "teleop_node": NodeHelp(
        "lets a person command the robot by keys, a gamepad or a leader arm: to record, or to correct a policy",
        {
            **_ROBOT,
            "device": Parameter("keyboard", "what commands", choices=("keyboard", "gamepad", "leader")),
            "mode": Parameter(
                "ee_delta",
                "what an action is; joint_position needs device:=leader; the policy's, where one is corrected",
                choices=("ee_delta", "joint_position"),
            ),
            "intervene": Parameter(False, "a policy node runs: it passes the person's actions on"),
            "speed": Parameter(0.1, "end effector at full deflection, m/s", above=0, high=0.5),
            "turn": Parameter(0.5, "the same, rad/s", above=0, high=3.0),
            "joy": Parameter("joy", "topic of the gamepad, sensor_msgs/Joy"),
            "axes": Parameter([2, 1, 5, 0, 0, 4], "the gamepad's axis for x, y, z, roll, pitch, yaw, from 1; 0: none"),
            "buttons": Parameter([5, 0, 1], "the gamepad's buttons: held to command, close, open; from 0", low=0),
            "leader": Parameter("leader/joint_states", "topic of the leader arm's joint states"),
            "leader_joints": Parameter("", "its joints in the robot's order, with commas; empty: the same names"),
            "leader_signs": Parameter("", "1 or -1 for each; empty: 1"),
            "leader_offsets": Parameter("", "robot joint minus sign times leader joint, rad; empty: 0"),
            "leader_gripper": Parameter("", "joint of its handle; empty: none"),
            "leader_gripper_open": Parameter(0.0, "position of the open handle"),
            "leader_gripper_closed": Parameter(1.0, "position of the closed handle"),
            "leader_tolerance": Parameter(0.2, "largest distance of a joint at the takeover, rad", above=0),
            **_PACE,
        },
    ),
}


def help_text(executable: str) -> str:
    """What ``EXECUTABLE --help`` prints: usage, parameters with their defaults, and where topics are documented."""
    node = NODES[executable]
    width = max(map(len, node.parameters)) + 2
    lines = [
        f"usage: {executable} [--help] [--ros-args -p NAME:=VALUE ...]",
        "",
        f"{executable} {node.summary}.",
        "",
        "parameters:",
    ]
    for name, parameter in node.parameters.items():
        running = "; can be set at run time" if parameter.running else ""
        running = "; can be set until the node is configured" if parameter.configured else running
        lines.append(f"  {name:<{width}}{parameter.description}{running} (default: {_literal(parameter.default)})")
    lines += ["", "Topics, services and the graphs of nodes: docs/ros2.md.", ""]
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A default as it is written after ``NAME:=``."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
