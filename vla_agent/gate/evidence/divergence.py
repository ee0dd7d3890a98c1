"""Where a failed episode first diverges from the demonstration of its own scene.

The nearest demonstration of a scene that training never used is the expert's own episode in that scene, under the same
perturbation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.policies import ExpertPolicy
from sim.rollout import EpisodeSettings, run_episode
from vla_agent.evaluation.play.player import Player
from vla_agent.gate.decision.plan import CONTROL
from vla_agent.gate.evidence.gate_player import environment_of, job_of

DIVERGED = 0.05  # metres from the nearest point of the demonstrated path: more than the spread around a grasp
AXES = "axis."


def first_divergence(path: np.ndarray, demonstrated: np.ndarray) -> int | None:
    """First point of a path (N, 3) that is further than `DIVERGED` from all of ``demonstrated`` (M, 3), m; or None.

    Points are compared regardless of time: a slower motion is no divergence.
    """
    distance = np.linalg.norm(path[:, None] - demonstrated[None], axis=2).min(axis=1)
    far = np.flatnonzero(distance > DIVERGED)
    return int(far[0]) if len(far) else None


def comparable(row: Mapping[str, Any]) -> bool:
    """Whether the expert does the same task as the policy: episodes of the control, and of the axes."""
    return row["control"] == CONTROL or str(row["control"]).startswith(AXES)


def demonstrate(player: Player, row: Mapping[str, Any]) -> np.ndarray:
    """(M, 3) m: the hand's path when the expert does the episode of a row."""
    env, path = environment_of(player, job_of(row)), []
    settings = EpisodeSettings(before_step=lambda world, _: path.append(world.state()[:3].copy()))
    run_episode(env, ExpertPolicy(), row["seed"], settings)
    return np.array(path)


def divergence_note(step: int | None, every: int, control_hz: float) -> str:
    """The divergence in words; ``step`` counts points at intervals of ``every`` control steps."""
    if step is None:
        return "stays near the expert's path"
    return f"leaves the expert's path after {step * every / control_hz:.1f} s"
