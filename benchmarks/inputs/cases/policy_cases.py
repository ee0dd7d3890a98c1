"""Observations, actions and the renderer: what a policy, its server and the simulator must refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.cases.asked import Asked, Wrong
from benchmarks.inputs.silent.observations import good
from vla_agent.contract.tabletop import tabletop_contract

ROOT = Path(__file__).parents[3]


def _observed(change: Callable[[np.ndarray], None], way: str, folder: Path) -> None:
    """The state as a policy's `act` checks it, and as a server reads it."""
    from vla_agent.serving.protocol_messages import read_request
    from vla_agent.serving.wire import pack, unpack

    contract = tabletop_contract()
    observation = good(contract)
    change(observation["state"])
    if way == "act":
        contract.check_observation(observation)
    else:
        read_request(unpack(pack(observation)), contract)


def _gripper(state: np.ndarray) -> None:
    state[9] = 255


def _degrees(state: np.ndarray) -> None:
    state[10:] = np.rad2deg(state[10:])


def _no_rotation(state: np.ndarray) -> None:
    state[3:9] = 0


def _millimetres(state: np.ndarray) -> None:
    state[:3] *= 1000


def _stepped(action: Any, folder: Path) -> None:
    from sim.env import TabletopEnv

    env = TabletopEnv(task="press_button")
    try:
        env.reset(seed=0)
        env.step(action)
    finally:
        env.close()


def _renderer(name: str, folder: Path) -> None:
    """Evaluate with a GL backend that is not installed, in a process of its own."""
    command = [sys.executable, "-m", "vla_agent", "eval", "random", "--tasks", "press_button", "--episodes", "1"]
    command += ["--workers", "1", "--controls", "none", "--out", str(folder / "out")]
    settings = os.environ | {"MUJOCO_GL": name, "PYTHONPATH": str(ROOT), "VLA_AGENT_DEBUG": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=settings, cwd=folder)
    if done.returncode != 2 or "Traceback" in done.stderr:
        raise Wrong(f"exit code {done.returncode}: {done.stderr[-200:]}")
    if f"MUJOCO_GL={name}" not in done.stderr or "remedy:" not in done.stderr:
        raise Wrong(f"the error says neither the backend nor a remedy: {done.stderr[-200:]}")


def cases() -> Iterator[Asked]:
    """All of them."""
    states = {
        "gripper 255": (_gripper, ("gripper", "255")),
        "joints in degrees": (_degrees, ("joint_position", "degrees")),
        "a rotation of zeros": (_no_rotation, ("ee_rotation",)),
        "position in millimetres": (_millimetres, ("ee_position", "millimetres")),
    }
    for name, (change, words) in states.items():
        for way in ("act", "server"):
            yield Asked("state", f"{name}, {way}", partial(_observed, change, way), words)
    actions = {
        "NaN": np.full(7, np.nan),
        "infinity": np.full(7, np.inf),
        "six numbers": np.ones(6),
        "eight numbers": np.ones(8),
        "a chunk": np.ones((2, 7)),
        "text": "left",
    }
    for name, action in actions.items():
        yield Asked("action", name, partial(_stepped, action), ("action",))
    for backend in ("osmesa", "glfw", "vulkan"):
        yield Asked("renderer", backend, partial(_renderer, backend))
