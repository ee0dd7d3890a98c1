"""Programs in LeRobot's own environment: a training, and a policy behind our server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lerobot.lerobot_child import ROOT, lerobot_python, settings_in


def run_lerobot(words: Sequence[str], folder: Path) -> None:
    """Run a script with its arguments to its end, offline and on one thread.

    Args:
        folder: for LeRobot's caches.

    Raises:
        OptionError: LeRobot is not installed.
        CalledProcessError: it failed.
    """
    subprocess.run([str(lerobot_python()), *words], check=True, cwd=ROOT, env=settings_in(folder))


@contextmanager
def served(words: Sequence[str], folder: Path) -> Iterator[str]:
    """The address of ``python -m vla_agent.peers.serve`` with these arguments, at a free port; it ends afterwards.

    Raises:
        OptionError: LeRobot is not installed.
        RuntimeError: the server ended before it listened.
    """
    command = [str(lerobot_python()), "-m", "vla_agent.peers.serve", *words, "--port", "0"]
    settings = {k: v for k, v in settings_in(folder).items() if k != "VLA_AGENT_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=settings)
    assert process.stdout is not None
    try:
        line = next((text for text in process.stdout if text.startswith("serving")), None)
        if line is None:
            raise RuntimeError(f"the server of LeRobot's policy ended with {process.wait()}")
        yield line.split(" at ")[1].split(",")[0]
    finally:
        process.terminate()
        process.wait(60)
