"""Scripted policies behind a server of this process: for the policy node in the ROS benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.serving.server import PolicyServer

STEP = 0.008  # metres a control step
SPAN = 0.12  # metres to each side
FAULTS = ("nan", "out of range", "hung", "late", "raises")


class Scripted:
    """Base of the scripted policies: the simulator's contract, and one policy for all clients."""

    execute = 8

    def __init__(self) -> None:
        self.contract = tabletop_contract()
        self._position = self.contract.slices(self.contract.state)["ee_position"]

    def __deepcopy__(self, memo: Any) -> Scripted:
        return self  # the server would give each client a copy, without `Swing.fault`

    def served(self) -> PolicyServer:
        """A server on this machine, not started yet."""
        return PolicyServer(self, type(self).__name__, port=0)


class Swing(Scripted):
    """Moves the hand from side to side without end, and fails on command.

    ``fault``: one of :data:`FAULTS`, or empty.  ``late``: seconds of the wall that a late answer takes.
    """

    def __init__(self, late: float = 1.0) -> None:
        super().__init__()
        self.fault, self.late = "", late
        self._side = 1.0
        self._go_on = threading.Event()

    def clear_fault(self) -> None:
        """No fault from here on; a hanging answer is released."""
        self.fault = ""
        self._go_on.set()

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Nothing is remembered."""

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(T, A) float32."""
        fault = self.fault
        y = float(observation["state"][self._position][1])
        if abs(y) > SPAN:
            self._side = -np.sign(y)
        chunk = np.zeros((self.contract.chunk_length, self.contract.action_dim), np.float32)
        chunk[:, 1] = STEP * self._side
        if fault == "hung":
            self._go_on.clear()
            self._go_on.wait()
        elif fault == "late":
            time.sleep(self.late)
        elif fault == "nan":
            chunk[:] = np.nan
        elif fault == "out of range":
            chunk[:, :3] = 5.0
        elif fault == "raises":
            raise ValueError("scripted to fail")
        return chunk


class Demonstrated(Scripted):
    """Leads the hand along the expert's demonstration of one episode, from where it is on it."""

    execute, looks = 4, False
    ahead = 12  # control steps of the demonstration in which the hand is looked for
    after = 6  # control steps that its last action is repeated after its success: a real arm lags

    def __init__(self, task: str, seed: int) -> None:
        super().__init__()
        env, expert = TabletopEnv(task=task), ExpertPolicy()
        instance = env.begin(seed)
        expert.bind(env.world, instance)
        expert.reset(instance.instruction, seed)
        self._path: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        left = self.after
        while left and len(self._actions) < instance.steps_limit:
            self._path.append(env.world.state()[self._position].copy())
            self._actions.append(expert.act({})[0] if left == self.after else self._actions[-1])
            env.world.step(self._actions[-1])
            left -= bool(instance.success(env.world))
        env.close()
        self._at: int | None = None

    def reset(self, instruction: str, seed: int = 0) -> None:
        """From the beginning."""
        self._at = None

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(T, A) float32."""
        hand = observation["state"][self._position]
        first = 0 if self._at is None else min(self._at + 1, len(self._path) - 1)  # on, also where the hand rests
        near = np.array(self._path[first : first + self.ahead])
        self._at = first + int(np.argmin(np.linalg.norm(near - hand, axis=1)))
        rows = self._actions[self._at : self._at + self.contract.chunk_length]
        rest = np.zeros((self.contract.chunk_length - len(rows), self.contract.action_dim), np.float32)
        rest[:, -1] = rows[-1][-1]
        chunk = np.vstack([np.array(rows, np.float32), rest])
        chunk[: self.execute, :3] += (self._path[self._at] - hand) / self.execute  # back to the path
        reach = self.contract.action[0]
        chunk[:, :3] = np.clip(chunk[:, :3], reach.low, reach.high)
        return chunk


if __name__ == "__main__":  # a Swing for whoever runs on this host, until the end
    with Swing().served() as running:
        print(running.url, flush=True)
        threading.Event().wait()
