"""A child process in LeRobot's own environment that answers requests, one line of JSON each."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"


def lerobot_python() -> Path:
    """The Python of LeRobot's own environment.

    Raises:
        OptionError: LeRobot is not installed.
    """
    python = Path(os.environ.get("VLA_AGENT_LEROBOT_PYTHON", PYTHON))
    if not python.exists():
        raise OptionError(
            "LeRobot is not installed",
            file=python,
            expected="its own environment",
            found="nothing there",
            remedy="make lerobot-check",
        )
    return python


def settings_in(folder: Path) -> dict[str, str]:
    """The variables of a program in that environment: offline, one thread, LeRobot's caches in ``folder``."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith(("_ROS", "LD_LIBRARY"))}
    settings |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return settings | {"HF_HOME": str(folder / "hf")}


class LeRobotChild:
    """A script of this folder, offline and on one thread.

    Args:
        script: its name.
        arguments: of the script.
        folder: for LeRobot's caches.

    Raises:
        OptionError: LeRobot is not installed.
    """

    def __init__(self, script: str, arguments: list[str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(lerobot_python()), str(Path(__file__).with_name(script)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=settings_in(folder),
            cwd=ROOT,
        )

    def ask(self, request: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """Its next answer."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # LeRobot prints other lines as well
                return json.loads(line)
        raise RuntimeError(f"the child in LeRobot's environment ended with {self._process.wait()}")

    def end(self) -> None:
        """Let it exit."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
