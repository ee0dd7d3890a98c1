"""Clips of what a gate's policy got wrong: a bounded number of episodes, simulated again with their variations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vla_agent.evaluation.gallery import CLIPS, EVERY, SIZE, Clip, Item, clip_of
from vla_agent.evaluation.player import Player
from vla_agent.gate.plan import CONTROL
from vla_agent.gate.play import NOT_DONE, REFRAIN, play_again


def choose(episodes: Sequence[Mapping[str, Any]], checks: Mapping[str, Any], count: int = CLIPS) -> list[int]:
    """Indices of wrong outcomes: a third of them unperturbed, spread over families and failure classes; the others
    spread over the conditions, those first whose check failed."""
    wrong = [(i, e) for i, e in enumerate(episodes) if not e["outcome"]]
    plain = _spread([(i, f"{e['task']} {e['failure']}", False) for i, e in wrong if e["control"] == CONTROL])
    varied = _spread(
        [(i, e["control"], checks[e["control"]]["verdict"] == "fail") for i, e in wrong if e["control"] != CONTROL]
    )
    own = max(count // 3, count - len(varied))
    return [*plain[:own], *varied[: count - len(plain[:own])]]


def _spread(items: Sequence[tuple[int, str, bool]]) -> list[int]:
    """Indices of (index, group, first) with every group's first before any group's second."""
    seen: Counter[str] = Counter()
    ranked = []
    for index, group, first in items:
        seen[group] += 1
        ranked.append((seen[group], not first, index))
    return [index for _, _, index in sorted(ranked)]


def what(row: Mapping[str, Any]) -> str:
    """What was wrong in an episode, in words."""
    name = row["control"].removeprefix("probe.")
    if name in NOT_DONE:
        return "did the task all the same"
    if name in REFRAIN:
        return "did not refrain"
    if row.get("original"):
        return "went for the first target"
    return str(row["failure"]).replace("_", " ")


def film_one(player: Player, item: Item) -> Clip:
    """One episode as a clip.  It shows the world; what the policy was shown may have been noisy or black."""
    index, row, actions = item
    film = player.film(player.environment(row["task"]), SIZE)
    return clip_of(index, row, play_again(player, row, actions, (), EVERY, film).frames)
