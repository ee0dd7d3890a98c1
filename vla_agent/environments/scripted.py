"""Policies for any environment that need no learning: its own expert, and random actions within its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.environments.protocol import Environment, action_limits
from vla_agent.errors import EnvironmentFault

RANDOM_STREAM = 102  # as in `sim.policies.RandomPolicy`


class EnvironmentExpert:
    """The environment's scripted expert, asked in every control period."""

    execute = 1
    looks = False

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def reset(self, instruction: str) -> None:
        """Nothing: the environment's reset begins the expert's episode, too."""

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(1, A) float32."""
        return np.asarray(self._environment.expert(), np.float32)[None]  # type: ignore[attr-defined]  # optional


class RandomActions:
    """Draws one action uniformly within the contract's limits and holds it for ``execute`` control periods.

    Raises:
        EnvironmentFault: an action has no limits.
    """

    looks = False

    def __init__(self, contract: Contract, execute: int = 8) -> None:
        limits = action_limits(contract)
        if limits is None:
            raise EnvironmentFault(
                "random actions need limits",
                key=", ".join(f"action.{f.name}" for f in contract.action if f.low is None or f.high is None),
                expected="low and high in the contract",
                found="none",
                remedy="write the limits into the contract, or evaluate with --controls none",
            )
        self._low, self._high, self.execute = *limits, execute
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._random = np.random.default_rng([seed, RANDOM_STREAM])

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(execute, A) float32."""
        action = self._random.uniform(self._low, self._high).astype(np.float32)
        return np.tile(action, (self.execute, 1))
