"""Bombs in YAML, JSON and XML: sizes, depth, aliases, numbers, and what is no file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

NAME = "bomb.yaml"


def _write(data: bytes, name: str = NAME) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def _sparse(size: int, name: str = NAME) -> Callable[[Path], Any]:
    """A file of zeros that takes no space on the disk."""

    def make(folder: Path) -> None:
        (folder / name).touch()
        os.truncate(folder / name, size)

    return make


def _aliases() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join(lines + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12)]).encode()


def _yaml_bombs() -> dict[str, Callable[[Path], Any]]:
    return {
        "aliases to 10^12 values": _write(_aliases()),
        "an alias inside of itself": _write(b"a: &a [*a]"),
        "200,000 nested lists": _write(b"[" * 200_000),
        "30,000 nested maps in block style": _write(b"- " * 100_000),
        "10 GB": _sparse(10 * 2**30),
        "8 MB of empty maps": _write(b"[" + b"{}," * 2_700_000 + b"]"),
        "80,000 keys": _write(b"".join(b"%x: 0\n" % k for k in range(30_000))),
        "a number of 250,000 digits": _write(b"a: " + b"9" * 250_000),
        "a call of Python": _write(b"a: !!python/object/apply:os.system [sleep 20]"),
        "a FIFO": lambda folder: os.mkfifo(folder / NAME),
        "a link to /dev/zero": lambda folder: (folder / NAME).symlink_to("/dev/zero"),
    }


def _yaml_readers() -> dict[str, Callable[[Path], Any]]:
    from sim.tasks.task_file import read as read_task
    from vla_agent.data.convert.mapping import load_mapping
    from vla_agent.gate.decision.gate_file import load_gate
    from vla_agent.robot.cameras.calibration import read_calibration
    from vla_agent.robot.description import load_robot
    from vla_agent.serving.openpi import read_description
    from vla_agent.training.recipe import load_recipe

    return {
        "robot file": load_robot,
        "gate file": load_gate,
        "mapping file": load_mapping,
        "camera file": read_calibration,
        "task file": read_task,
        "server description": read_description,
        "training recipe": load_recipe,
    }


def _reading(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: read(folder / NAME)


def _models() -> dict[str, bytes]:
    """Models of a robot: XML that grows when it is read, or elements that MuJoCo allocates."""
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 12))
    bodies = {
        "a height field of 10^10 points": b'<asset><hfield nrow="100000" ncol="100000" size="1 1 1 1"/></asset>',
        "an arena of 64 GB": b'<size memory="64G"/>',
        "10^9 replicas": b'<worldbody><replicate count="1000000000"><geom size="1"/></replicate></worldbody>',
        "300,000 nested bodies": b"<worldbody>" + b"<body>" * 300_000,
        "a texture of 10^10 pixels": b'<asset><texture builtin="flat" width="100000" height="100000"/></asset>',
    }
    return {
        "entities to 10^12 letters": f'<!DOCTYPE m [<!ENTITY e0 "x">{entities}]><mujoco>&e11;</mujoco>'.encode(),
        "an entity of another file": b'<!DOCTYPE m [<!ENTITY e SYSTEM "/dev/zero">]><mujoco>&e;</mujoco>',
    } | {name: b"<mujoco>" + body + b"</mujoco>" for name, body in bodies.items()}


def _read_model(folder: Path) -> Any:
    from vla_agent.robot.control.controller_factory import make_kinematics
    from vla_agent.robot.description import load_robot

    panda = Path(__file__).parents[2] / "config" / "robots" / "panda.yaml"
    text = "\n".join(line for line in panda.read_text().splitlines() if not line.startswith("model:"))
    (folder / "robot.yaml").write_text(text + "\nmodel: model.xml\n")
    robot = load_robot(folder / "robot.yaml")
    return make_kinematics(robot.model_copy(update={"model": str(folder / "model.xml")}))


def cases() -> Iterator[Case]:
    """Every YAML bomb on the robot file; three of them on each of the other readers; models."""
    readers, bombs = _yaml_readers(), _yaml_bombs()
    for reader, read in readers.items():
        for bomb, make in bombs.items():
            if reader == "robot file" or bomb in ("aliases to 10^12 values", "10 GB", "a FIFO"):
                yield Case(reader, bomb, make, _reading(read))
    for name, data in _models().items():
        yield Case("robot model", name, _write(data, "model.xml"), _read_model)
