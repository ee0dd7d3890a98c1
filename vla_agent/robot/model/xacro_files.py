"""A xacro file becomes a URDF, in a process of its own (see `xacro_child`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vla_agent.errors import RobotError
from vla_agent.robot.model.source import ModelSource

PATIENCE = 120.0  # seconds for the whole process on a busy machine
URDF_BYTES = 16 * 2**20
COMMAND = ("-m", "vla_agent.robot.model.xacro_child")


def expand_xacro(source: ModelSource) -> tuple[bytes, list[Path]]:
    """The URDF of a xacro file, and the installed packages that it named, in which meshes may lie.

    Args:
        source: what it includes lies below its root, or in packages.

    Raises:
        RobotError: there is no xacro here, or the file is wrong, reads other files, or takes too long.
    """
    file = source.path
    request = {
        "file": str(file.absolute()),
        "root": str(source.root.absolute()),
        "installed": source.installed,
        "arguments": dict(source.xacro),
        "packages": {name: str(Path(folder).absolute()) for name, folder in source.packages.items()},
    }
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=PATIENCE,
            cwd="/",  # nothing is imported from where the user is
            env=os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": _import_path()},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _wrong(file, f"no answer within {PATIENCE:g} s") from error
    answer = _answer(done.stdout)
    if "missing" in answer:
        raise RobotError(
            "a xacro file needs xacro",
            file=file,
            key="model",
            expected="the Python package xacro, 2.1 or later",
            found=answer["missing"],
            remedy="pip install xacro, or apt install ros-DISTRO-xacro and source its setup.bash; or expand the file "
            "yourself: xacro FILE.urdf.xacro > FILE.urdf, and name that file",
        )
    if "urdf" not in answer:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _wrong(file, answer.get("error") or f"ended with code {done.returncode} {' '.join(last)}".strip())
    return answer["urdf"].encode(), [Path(folder) for folder in answer["folders"]]


def _answer(output: bytes) -> dict[str, Any]:
    try:
        read = json.loads(output[: 2 * URDF_BYTES])
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _import_path() -> str:
    """Where this process found its packages, without the folder in which it was started; this package first."""
    here, own = os.getcwd(), str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([own, *(entry for entry in sys.path if entry and entry != here)])


def _wrong(file: Path, found: str) -> RobotError:
    return RobotError(
        "the robot's xacro file cannot be expanded",
        file=file,
        key="model, xacro",
        expected="a xacro file of a robot; its arguments are the robot file's `xacro: {NAME: VALUE}`",
        found=found[:500],
        remedy="fix it; `xacro FILE NAME:=VALUE` shows the same",
    )
