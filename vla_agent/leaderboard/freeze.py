"""Makes a frozen suite's file.  ``python -m vla_agent.leaderboard.freeze OUT.json`` writes ``tabletop-1`` anew.

A published suite is never made again: another choice of episodes is another suite.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sim.perturbations.catalogue import find_effect
from sim.tasks.task import load_suite
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.files.write_aside import write_text
from vla_agent.gate.decision.plan import CONTROL, GateJob, variation_of
from vla_agent.gate.evidence.gate_player import environment_of
from vla_agent.leaderboard.fingerprint import fingerprint, instruction_of
from vla_agent.leaderboard.frozen_suite import GROUNDING, ROBUSTNESS, SUCCESS, FrozenEpisode

NAME, SPLIT, FIRST_SEED = "tabletop-1", "seen", 7_900_000
EACH = 20  # unperturbed episodes of a family, and episodes of every other cell
SEVERITIES = {"lighting": 2, "camera": 1, "background": 2, "distractors": 2, "object_pose": 2, "object_look": 1}
SEVERITIES |= {"sensor": 1, "physics": 2, "actuation": 1, "layout": 1, "paraphrase": 1, "typo": 1, "language": 1}
PROBES = ("swap", "blank", "blind", "removed", "absent", "contradict")
PARTS = {
    SUCCESS: (CONTROL,),
    ROBUSTNESS: tuple(f"axis.{name}.{severity}" for name, severity in SEVERITIES.items()),
    GROUNDING: tuple(f"probe.{name}" for name in PROBES),
}


def jobs() -> Iterator[GateJob]:
    """The episodes: `EACH` of a family without a change; of each other cell the first that admit its variation."""
    families = load_suite("tabletop")
    scenes = [(task, FIRST_SEED + k) for k in range(EACH) for task in families]
    for cell in (cell for cells in PARTS.values() for cell in cells):
        variation = variation_of(cell)
        if variation is None:
            yield from (GateJob(cell, task, seed, i) for i, (task, seed) in enumerate(scenes))
            continue
        admitted = (
            (task, seed)
            for task, seed in scenes
            if find_effect(variation, families[task].episode(seed, SPLIT), seed) is not None
        )
        yield from (GateJob(cell, task, seed, i) for i, (task, seed) in zip(range(EACH), admitted, strict=False))


def frozen(player: Player, job: GateJob) -> FrozenEpisode:
    """The episode of a job, laid out once."""
    env = environment_of(player, job)
    task = env.begin(job.seed)
    return FrozenEpisode(job.control, job.task, job.seed, instruction_of(env, task), fingerprint(env, task))


def player_of(families: Any = None) -> Player:
    """A player without a policy, whose world lays the episodes out."""
    return Player(PlayerSettings("expert", TabletopChoice(families or load_suite("tabletop"), SPLIT)))


def suite_text() -> str:
    """The suite's file: one line an episode."""
    with closing(player_of()) as player:
        rows = [json.dumps(frozen(player, job)) for job in jobs()]
    head = {
        "format": 1,
        "name": NAME,
        "split": SPLIT,
        "made_with": {name: version(name) for name in ("mujoco", "numpy")},
        "parts": PARTS,
    }
    return json.dumps(head)[:-1] + ', "episodes": [\n' + ",\n".join(rows) + "\n]}\n"


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), suite_text())
