"""Clips of a gate's wrong episodes: a bounded number, simulated again with their variations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vla_agent.evaluation.play.player import Player
from vla_agent.evaluation.report.clips import CLIPS, EVERY, SIZE, Clip, Item, clip_of
from vla_agent.gate.decision.plan import CONTROL
from vla_agent.gate.evidence.divergence import comparable, demonstrate, divergence_note, first_divergence
from vla_agent.gate.evidence.gate_player import NOT_DONE, REFRAIN, replay_episode


def choose(episodes: Sequence[Mapping[str, Any]], checks: Mapping[str, Any], count: int = CLIPS) -> list[int]:
    """Indices of wrong outcomes: a third of them unperturbed, spread over families and failure modes; the others
    spread over the conditions, those first whose check failed."""
    wrong = [(i, e) for i, e in enumerate(episodes) if not e["outcome"]]
    varied = [(i, e["control"], _scene(e)) for i, e in wrong if e["control"] != CONTROL]
    varied.sort(key=lambda item: checks[item[1]]["verdict"] != "fail")
    own = max(count // 3, count - len(varied))
    shown: Counter[object] = Counter()
    plain = [(i, f"{e['task']} {e['failure']}", _scene(e)) for i, e in wrong if e["control"] == CONTROL]
    chosen = _spread(plain, shown, own)
    return chosen + _spread(varied, shown, count - len(chosen))


def _scene(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["task"], row["seed"]


def _spread(items: Sequence[tuple[int, str, object]], shown: Counter[object], count: int) -> list[int]:
    """Indices of (index, group, scene): each group's first before any group's second, the least shown scene first."""
    groups: dict[str, list[tuple[int, object]]] = {}
    for index, group, scene in items:
        groups.setdefault(group, []).append((index, scene))
    chosen: list[int] = []
    while any(groups.values()):
        for rows in filter(None, groups.values()):
            index, scene = min(rows, key=lambda row: (shown[row[1]], row[0]))
            rows.remove((index, scene))
            if len(chosen) == count:
                return chosen
            chosen.append(index)
            shown[scene] += 1
    return chosen


def failure_text(row: Mapping[str, Any]) -> str:
    """What went wrong in an episode, in words."""
    name = row["control"].removeprefix("probe.")
    if name in NOT_DONE:
        return "did the task anyway"
    if name in REFRAIN:
        return "did not refrain"
    if row.get("original"):
        return "went for the first target"
    return str(row["failure"]).replace("_", " ")


def film_one(player: Player, item: Item) -> Clip:
    """One episode as a clip.  It shows the scene; the policy's own images may have been noisy or black."""
    index, row, actions = item
    env = player.tabletop(row["task"])
    take, path = player.film(SIZE, ("front",)), []

    def film() -> dict[str, np.ndarray]:
        path.append(env.world.state()[:3].copy())
        return take()

    clip = clip_of(index, row, replay_episode(player, row, actions, EVERY, film).frames)
    if not comparable(row):
        return clip
    step = first_divergence(np.array(path), demonstrate(player, row))
    return replace(clip, note=divergence_note(step, EVERY, env.contract.control_hz))
