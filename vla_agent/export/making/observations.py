"""Observations on which an exported policy is compared with the one that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.contract.state_units import COLUMNS
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.policy.policy import VLAPolicy

FIRST_SEED = 3_000_000  # of the scenes: no evaluation and no training uses them
CHUNKS = 10  # of an episode
Observed = tuple[str, dict[str, Any]]  # instruction and observation


def fits_simulator(policy: VLAPolicy) -> bool:
    """Whether the policy can act in the simulator."""
    differences = policy.contract.differences(tabletop_contract())
    return not [d for d in differences if not d.key.startswith(("chunk_length", "language"))]


class Scenes:
    """Episodes of all task families in turn, which the compared policy itself plays.

    Args:
        instructions: given in place of the tasks' own; empty: these.
    """

    def __init__(self, instructions: Sequence[str], seed: int = FIRST_SEED) -> None:
        from sim.env import TabletopEnv
        from sim.tasks.task import load_suite

        self._instructions, self._seed = instructions, seed
        self._families = load_suite("tabletop")
        self._env = TabletopEnv
        self._chunk: np.ndarray | None = None

    def took(self, chunk: np.ndarray) -> None:
        """The chunk (n, A) to execute before the next observation."""
        self._chunk = chunk

    def observations(self, count: int) -> Iterator[Observed]:
        """As many observations as asked for."""
        number = 0
        while number < count:
            yield from self._episode(number // CHUNKS, min(CHUNKS, count - number))
            number += CHUNKS

    def _episode(self, episode: int, chunks: int) -> Iterator[Observed]:
        names = sorted(self._families)
        env = self._env(task=names[episode % len(names)])
        observation, info = env.reset(seed=self._seed + episode)
        given = self._instructions
        instruction = given[episode % len(given)] if given else info["instruction"]
        done = False
        for _ in range(chunks):
            yield instruction, observation
            for action in self._chunk if self._chunk is not None and not done else ():
                observation, _, success, timeout, info = env.step(action)
                if done := success or timeout:
                    break
        env.close()


class Drawn:
    """Random images and states within what the policy normalises to -1 and 1: for contracts of other robots."""

    def __init__(self, policy: VLAPolicy, instructions: Sequence[str], seed: int = FIRST_SEED) -> None:
        self._contract, self._instructions, self._seed = policy.contract, instructions, seed
        shift, scale = (getattr(policy.state_normaliser, name).numpy() for name in ("shift", "scale"))
        self._low, self._high = shift - scale, shift + scale

    def took(self, chunk: np.ndarray) -> None:
        """Nothing is executed."""

    def observations(self, count: int) -> Iterator[Observed]:
        """As many observations as asked for."""
        rng = np.random.default_rng(self._seed)
        for k in range(count):
            found = blank_observation(self._contract)
            for name, image in found["images"].items():
                coarse = rng.integers(0, 256, (-(-image.shape[0] // 8), -(-image.shape[1] // 8), 3), dtype=np.uint8)
                found["images"][name] = coarse.repeat(8, 0).repeat(8, 1)[: image.shape[0], : image.shape[1]].copy()
            for field, place in zip(
                self._contract.state, self._contract.slices(self._contract.state).values(), strict=True
            ):
                if field.rotation != COLUMNS:
                    low, high = self._low[place], self._high[place]
                    found["state"][place] = rng.uniform(low, high).clip(field.low, field.high)
            yield self._instructions[k % len(self._instructions)], found
