"""The one table of graphs: which nodes run together and with which parameters.  `launch/` and `vla-agent up` read it.

Plain data: importing it needs neither ROS nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Value = str | int | float | bool


@dataclass(frozen=True)
class Argument:
    """An argument of a graph; its default gives its type.  ``choices``: the values that it may have; empty: any."""

    default: Value
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A node: its executable, parameters that are graph arguments of the same name, and parameters that are fixed.

    ``finishes``: the node may end without ending the graph.  ``completes``: when it ends, the graph has
    finished, and all nodes end.  ``needs``: a package without which the node is left out.
    """

    executable: str
    arguments: tuple[str, ...] = ()
    fixed: tuple[tuple[str, Value], ...] = ()
    finishes: bool = False
    completes: bool = False
    needs: str = ""


ARGUMENTS: dict[str, Argument] = {
    "robot": Argument("panda", "robot file: a name of config/robots, or a path"),
    "policy": Argument("policies/tabletop-nano", "policy folder, or ws://HOST:PORT of `vla-agent serve`"),
    "mode": Argument(
        "",
        "execution mode of chunks: open_loop, ensemble, adaptive, realtime; empty: realtime if the policy supports it",
    ),
    "openvino": Argument(False, "compute the policy with OpenVINO: faster on a CPU (extra openvino)"),
    "task": Argument("put_in_tray", "task family of the simulated scene"),
    "seed": Argument(0, "episode of the task, and of the policy's noise"),
    "instruction": Argument("", "first instruction; in simulation the scene publishes its own"),
    "real_time_factor": Argument(1.0, "simulated seconds in one second; less than 1 for a slow machine"),
    "certificate": Argument("", "certificate of the policy; required on hardware"),
    "deadman": Argument(False, "motion needs safety/deadman"),
    "replay": Argument(False, "recorded actions (replay_node), of no policy, may move the robot"),
    "sources": Argument("", "CAMERA=SOURCE,...: index, device, URL or video file of each camera"),
    "output": Argument("recordings", "folder of recorded demonstrations"),
    "bag": Argument("", "folder of the recorded episode"),
    "tasks": Argument("", "task families, separated by commas; empty: all of the suite"),
    "episodes": Argument(5, "episodes of each family; episode k has seed + k, as in `vla-agent eval`"),
    "results": Argument("runs/graph", "folder for graph.json"),
    "report": Argument("", "report.json of `vla-agent eval` to compare with"),
    "image_reliability": Argument("best_effort", "QoS of the images: best_effort or reliable"),
    "autostart": Argument(True, "the policy node configures and activates itself; else by `ros2 lifecycle`"),
}

# What every graph takes besides; `graph_plan` gives it to the nodes.
OPTIONS: dict[str, Argument] = {
    "without": Argument("", "nodes that are not started, separated by commas: you run your own, or none"),
    "params_file": Argument("", "ROS parameter file (YAML); what is given as an argument comes before it"),
    "log_level": Argument(
        "", "least severity that is logged; empty: info", ("", "debug", "info", "warn", "error", "fatal")
    ),
    "namespace": Argument("", "namespace of all nodes, topics and services, such as arm1"),
    "discovery": Argument(
        "",
        "which hosts see the nodes: localhost or subnet; empty: as ROS_AUTOMATIC_DISCOVERY_RANGE says, else localhost",
        ("", "localhost", "subnet"),
    ),
}

_POLICY = (
    "robot",
    "policy",
    "mode",
    "seed",
    "instruction",
    "real_time_factor",
    "certificate",
    "image_reliability",
    "openvino",
    "autostart",
)
_NOT_ON_HARDWARE = ("real_time_factor", "openvino")
_SIM_TIME = (("use_sim_time", True),)
_SIMULATED = (
    Entry("sim_robot_node", ("robot", "task", "seed", "real_time_factor", "image_reliability")),
    Entry("safety_node", ("robot", "real_time_factor", "deadman"), _SIM_TIME),
    Entry("controller_node", ("robot", "real_time_factor"), _SIM_TIME),
)
_CAMERA = Entry("camera_node", ("robot", "sources", "image_reliability"))
_FRAMES = Entry("frames_node", ("robot",), needs="tf2_msgs")

# In the order of the start; they end in reverse order, so that the safety node ends after the nodes that command it.
GRAPHS: dict[str, tuple[Entry, ...]] = {
    "sim": (*_SIMULATED, Entry("policy_node", _POLICY, _SIM_TIME), replace(_FRAMES, fixed=_SIM_TIME)),
    "replay": (
        *_SIMULATED,
        Entry("replay_node", ("robot", "bag", "real_time_factor"), _SIM_TIME, completes=True),
    ),
    "evaluate": (
        replace(_SIMULATED[0], fixed=(("tell", False),)),  # evaluate_node alone gives instructions
        *_SIMULATED[1:],
        Entry("policy_node", _POLICY, _SIM_TIME),
        Entry("evaluate_node", ("robot", "tasks", "episodes", "seed", "results", "report"), _SIM_TIME, completes=True),
    ),
    "robot": (
        _CAMERA,
        Entry("safety_node", ("robot", "deadman", "policy", "certificate", "replay"), (("hardware", True),)),
        Entry("controller_node", ("robot",)),
        Entry("policy_node", tuple(a for a in _POLICY if a not in _NOT_ON_HARDWARE), (("hardware", True),)),
        _FRAMES,
    ),
    "dry_run": (  # the robot's cameras and joint states; commands go to topics under sim/, where no motor listens
        _CAMERA,
        Entry("safety_node", ("robot", "deadman"), (("hardware", False),)),
        Entry("controller_node", ("robot",)),
        Entry(
            "policy_node",
            tuple(a for a in _POLICY if a not in (*_NOT_ON_HARDWARE, "certificate")),
            (("hardware", False),),
        ),
        _FRAMES,
    ),
    "record": (
        _CAMERA,
        Entry("recorder_node", ("robot", "output", "image_reliability")),
    ),
}


def arguments_of(graph: str) -> dict[str, Argument]:
    """The arguments that some node of a graph takes, in the order of :data:`ARGUMENTS`."""
    used = {name for entry in GRAPHS[graph] for name in entry.arguments}
    return {name: argument for name, argument in ARGUMENTS.items() if name in used}
