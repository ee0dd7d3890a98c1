"""A child process in LeRobot's own environment that does what it is told, a line of JSON at a time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"


class LeRobotChild:
    """A script of this folder, offline and on one thread.

    Args:
        script: its name.
        words: its arguments.
        folder: where LeRobot may keep what it wants to keep.

    Raises:
        OptionError: LeRobot is not installed.
    """

    def __init__(self, script: str, words: list[str], folder: Path) -> None:
        python = Path(os.environ.get("VLA_AGENT_LEROBOT_PYTHON", PYTHON))
        if not python.exists():
            raise OptionError(
                "LeRobot is not installed",
                file=python,
                expected="its own environment",
                found="nothing there",
                remedy="make lerobot-check",
            )
        settings = {k: v for k, v in os.environ.items() if not k.startswith(("_ROS", "LD_LIBRARY"))}
        settings |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        settings |= {"HF_HOME": str(folder / "hf")}
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / script), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=settings,
            cwd=ROOT,
        )

    def ask(self, question: Any) -> dict[str, Any]:
        """Its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self.said()

    def said(self) -> dict[str, Any]:
        """The next thing that it says."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # LeRobot's own words may come between
                return json.loads(line)
        raise RuntimeError(f"the child in LeRobot's environment ended with {self._process.wait()}")

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
