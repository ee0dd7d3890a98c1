"""Wrong observations for a loaded policy, and wrong chunks from one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import INSTRUCTION, TASK, Good
from vla_agent.errors import ContractError, ObservationError


def _act(spoil: Callable[[dict[str, Any]], None]) -> Mistake:
    """Give a loaded policy an observation that ``spoil`` changed in place."""

    def mistake(place: Path, good: Good) -> Callable[[], object]:
        from vla_agent.policy.loading import load_policy

        policy = load_policy(good.policy)
        policy.reset(INSTRUCTION)
        observation = good.observation()
        spoil(observation)
        return lambda: policy.act(observation)

    return mistake


def _no_wrist(observation: dict[str, Any]) -> None:
    del observation["images"]["wrist"]


def _no_images(observation: dict[str, Any]) -> None:
    del observation["images"]


def _large(observation: dict[str, Any]) -> None:
    observation["images"]["front"] = np.zeros((224, 224, 3), np.uint8)


def _channels_first(observation: dict[str, Any]) -> None:
    observation["images"]["front"] = np.moveaxis(observation["images"]["front"], -1, 0)


def _floats(observation: dict[str, Any]) -> None:
    observation["images"]["front"] = observation["images"]["front"].astype(np.float32) / 255


def _nan(observation: dict[str, Any]) -> None:
    observation["state"][3] = np.nan


def _short(observation: dict[str, Any]) -> None:
    observation["state"] = observation["state"][:7]


class _Stub:
    """A policy that returns a given chunk."""

    execute, looks = 8, False

    def __init__(self, chunk: Any) -> None:
        self.chunk = chunk

    def reset(self, instruction: str) -> None: ...

    def act(self, observation: Any) -> Any:
        return self.chunk


def _run_policy(chunk: Any) -> Mistake:
    """Let a policy that returns ``chunk`` control the simulated arm."""

    def mistake(place: Path, good: Good) -> Callable[[], object]:
        from sim.env import TabletopEnv
        from sim.rollout import run_episode

        def run() -> None:
            env = TabletopEnv(task=TASK)
            try:
                run_episode(env, _Stub(chunk), seed=0)
            finally:
                env.close()

        return run

    return mistake


CASES = (
    Case("camera missing", _act(_no_wrist), ObservationError, ("images.wrist", "front")),
    Case("no images at all", _act(_no_images), ObservationError, ("images",)),
    Case("image of another size", _act(_large), ObservationError, ("images.front", "(96, 96, 3)", "(224, 224, 3)")),
    Case("image with the channels first", _act(_channels_first), ObservationError, ("images.front", "(3, 96, 96)")),
    Case("image of floats", _act(_floats), ObservationError, ("images.front", "uint8", "float32")),
    Case("NaN in the state", _act(_nan), ObservationError, ("state", "finite")),
    Case("state of another length", _act(_short), ObservationError, ("state", "(17,)", "(7,)")),
    Case("policy returns NaN", _run_policy(np.full((16, 7), np.nan, np.float32)), ContractError, ("act()", "NaN")),
    Case(
        "policy returns six numbers a step", _run_policy(np.zeros((16, 6), np.float32)), ContractError, ("act()", "7")
    ),
    Case("policy returns a dictionary", _run_policy({"action": 0}), ContractError, ("act()", "dict")),
)
