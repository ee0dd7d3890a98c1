"""Names that a person gives: parameters, arguments of graphs, keys and names of robot files; numbers of other types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.robots.cases.case import Case, refused, told, unless
from vla_agent.robot.description import load_robot, robot_folders
from vla_agent.ros.process.graph_plan import Choices, plan
from vla_agent.ros.process.parameter_check import checked_values

PARAMETERS, ARGUMENTS, KEYS = "misspelled parameters", "arguments of graphs", "misspelled keys of a robot file"
NUMBERS = "an integer for a double"

MISSPELLED = {  # node -> (as it was given, the nearest)
    "safety_node": ("robott", "robot"),
    "policy_node": ("max_aeg", "max_age"),
    "controller_node": ("mod", "mode"),
    "camera_node": ("sorces", "sources"),
    "recorder_node": ("outptu", "output"),
    "teleop_node": ("intervine", "intervene"),
}
DOUBLES = {
    "policy_node": {"max_age": 3, "tolerance": 1, "stalled_after": 4},
    "camera_node": {"rate": 15},
    "teleop_node": {"turn": 1},
    "frames_node": {"rate": 10},
    "controller_node": {"real_time_factor": 1},
}
OTHER_TYPES = {
    "a double for an integer": ("policy_node", "seed", 3.5, "a whole number"),
    "a number for a boolean": ("safety_node", "deadman", 1, "a boolean"),
    "a number for a string": ("policy_node", "instruction", 5, "a string"),
    "not a number": ("policy_node", "max_age", float("nan"), "finite"),
    "an age of zero": ("policy_node", "max_age", 0, "more than 0"),
}
MISSPELLED_KEYS = {  # of panda.yaml: old text -> (new text, the nearest key)
    "joint_states: joint_states": ("joint_state: joint_states", "joint_states"),
    "end_effector:": ("endeffector:", "end_effector"),
    "guarded:": ("gaurded:", "guarded"),
    "forbidden:": ("forbiden:", "forbidden"),
    "jerk: 7500": ("jrek: 7500", "jerk"),
    "frame: camera_front": ("frme: camera_front", "frame"),
    "frame: camera_wrist": ("frame: camera_wrist, crp: [0, 0, 9, 9]", "crop"),
    "gripper_topic:": ("griper_topic:", "gripper_topic"),
    "max_effort: 3.0": ("max_efort: 3.0", "max_effort"),
    "workspace: {low: [0.20": ("workspace: {lwo: [0.20", "low"),
}
COMMANDS = {  # a command that starts nothing: its exit code, and what it says
    "up sim --robott x": (2, "did you mean '--robot'?"),
    "up dry_run --robot pand": (2, "did you mean panda?"),
    "up sim --without recorder_nod": (2, "use the names of its nodes"),
    "up dry_run --without camera_nod": (2, "did you mean camera_node?"),
    "up robot --certificat c.json": (2, "did you mean '--certificate'?"),
    "up simm": (2, "did you mean 'sim'?"),
    "up sim --log_level wran": (2, "did you mean 'warn'?"),
    "up sim --namespace arm-1": (2, "no such namespace"),
    "up sim --ros-args -p max_aeg:=3": (2, "did you mean max_age?"),
    "up sim --ros-args -p polcy_node:max_age:=3": (2, "did you mean policy_node?"),
    "up robot --ros-args -p safety_node:hardware:=false": (2, "sets this parameter itself"),
    "up sim --params_file no/such.yaml": (2, "cannot be read"),
    "robot check pand": (2, "did you mean panda?"),
    "robot chek panda": (2, "did you mean 'check'?"),
}


def _misspelled(node: str, _folder: Path) -> str:
    given, nearest = MISSPELLED[node]
    return refused(lambda: checked_values(node, {given: "x"}), given, f"did you mean {nearest}?")


def _doubles(node: str, _folder: Path) -> str:
    found = checked_values(node, DOUBLES[node])
    return unless(all(type(found[name]) is float and found[name] == DOUBLES[node][name] for name in found), found)


def _other_type(node: str, name: str, value: Any, word: str, _folder: Path) -> str:
    return refused(lambda: checked_values(node, {name: value}), name, word)


def _of_a_file(text: str, judge: Callable[[Callable[[], Any]], str], folder: Path) -> str:
    file = folder / "params.yaml"
    file.write_text(text, encoding="utf-8")
    return judge(lambda: plan("sim", {}, Choices(params_file=str(file))))


def _taken(start: Callable[[], Any]) -> str:
    policy = next(s for s in start() if s.entry.executable == "policy_node")
    return unless(policy.parameters["max_age"] == 3.0 and type(policy.parameters["max_age"]) is float, policy)


def _with_key(old: str, folder: Path) -> str:
    text = (robot_folders()[0] / "panda.yaml").read_text(encoding="utf-8")
    new, nearest = MISSPELLED_KEYS[old]
    file = folder / "mine.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return refused(lambda: load_robot(file), str(file), f"did you mean {nearest}?") if old in text else "no such text"


def _cases() -> Iterator[Case]:
    for node in MISSPELLED:
        yield Case(PARAMETERS, f"{node}: {MISSPELLED[node][0]}", partial(_misspelled, node))
    section = "policy_node:\n  ros__parameters: {{{}}}\n"
    for name, text, words in (
        ("of a parameter file", section.format("max_aeg: 3"), ("did you mean max_age?", "params.yaml")),
        (
            "section of a parameter file",
            section.format("max_age: 3").replace("policy", "polcy"),
            ("mean policy_node?",),
        ),
    ):
        judge = partial(_refused_with, words)
        yield Case(PARAMETERS, name, partial(_of_a_file, text, judge))
    for node in DOUBLES:
        yield Case(NUMBERS, f"{node}: {', '.join(DOUBLES[node])}", partial(_doubles, node))
    yield Case(NUMBERS, "in a parameter file", partial(_of_a_file, section.format("max_age: 3"), _taken))
    for name, (node, parameter, value, word) in OTHER_TYPES.items():
        yield Case(NUMBERS, f"refused: {name}", partial(_other_type, node, parameter, value, word))
    for old, (new, _) in MISSPELLED_KEYS.items():
        yield Case(KEYS, new, partial(_with_key, old))
    for command, (code, word) in COMMANDS.items():
        yield Case(ARGUMENTS, command, partial(_told, command, code, word))


def _told(command: str, code: int, word: str, _folder: Path) -> str:
    return told(command.split(), code, word)


def _refused_with(words: tuple[str, ...], call: Callable[[], Any]) -> str:
    return refused(call, *words)


CASES = tuple(_cases())
