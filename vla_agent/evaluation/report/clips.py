"""Clips and film strips for the report's page: a bounded number of episodes, replayed from their actions."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.contract.tabletop import CONTROL_HZ
from vla_agent.environments.protocol import offers
from vla_agent.evaluation.play.player import Player
from vla_agent.evaluation.play.worker_protocol import Workers
from vla_agent.evaluation.report.video import film_strip, image_bytes, video_bytes
from vla_agent.evaluation.result_store import key_of

CLIPS = 12
SIZE = 192  # px
BYTES = 8_000_000  # of all clips and strips together, encoded in the page
EVERY = 2  # control steps per frame
FPS = CONTROL_HZ / EVERY
COSTLY_CLIPS, FRAMES = 6, 24  # where each frame costs a full image of an environment's camera: half a minute in all


@dataclass(frozen=True)
class Clip:
    """Video, film strip and poster of one episode, as base64.  ``note``: a remark for the caption."""

    episode: int
    row: Mapping[str, Any]
    video: str
    strip: str
    poster: str
    note: str = ""


def choose(episodes: Sequence[Mapping[str, Any]], count: int = CLIPS) -> list[int]:
    """Indices of the policy's episodes to show: failures and successes, spread over families and failure modes."""
    rows = [(i, e) for i, e in enumerate(episodes) if e["control"] == "policy"]
    failures = _spread([(i, f"{e['task']} {e['failure']}") for i, e in rows if not e["success"]])
    successes = _spread([(i, e["task"]) for i, e in rows if e["success"]])
    half = max(count // 2, count - len(successes))
    chosen = failures[:half]
    return sorted(chosen + successes[: count - len(chosen)], key=lambda i: (episodes[i]["success"], i))


def clip_count(head: Mapping[str, Any]) -> int:
    """How many clips a report gets; fewer where an environment renders no videos of its own."""
    return COSTLY_CLIPS if "film" in head.get("environment", {}).get("left_out", {}) else CLIPS


def _spread(items: Sequence[tuple[int, str]]) -> list[int]:
    """Indices with every group's first before any group's second."""
    counts: dict[str, int] = {}
    ranked = []
    for index, group in items:
        counts[group] = counts.get(group, 0) + 1
        ranked.append((counts[group], index))
    return [index for _, index in sorted(ranked)]


Item = tuple[int, Mapping[str, Any], np.ndarray]  # index of an episode, its row, its actions (N, A)


def film(
    episodes: Sequence[Mapping[str, Any]],
    chosen: Sequence[int],
    actions: Mapping[str, np.ndarray],
    workers: Workers,
    film_one: Callable[[Player, Item], Clip],
) -> list[Clip]:
    """Replay the chosen episodes and encode their video, up to `BYTES` in all."""
    clips = list(workers.map(film_one, [(i, episodes[i], actions[key_of(episodes[i])]) for i in chosen]))
    place = {i: k for k, i in enumerate(chosen)}
    clips.sort(key=lambda clip: place[clip.episode])
    used = np.cumsum([len(clip.video) + len(clip.strip) + len(clip.poster) for clip in clips])
    return [clip for clip, total in zip(clips, used, strict=True) if total <= BYTES]


def film_one(player: Player, item: Item) -> Clip:
    """One episode as a clip of its first camera.

    Where the environment renders no videos of its own, frames cost what its cameras cost: there are at most `FRAMES`.
    """
    index, row, actions = item
    contract = player.environment.contract
    every = EVERY if offers(player.environment, "film") else max(EVERY, -(-len(actions) // FRAMES))
    images = player.replay(row, actions, (), SIZE, every, contract.camera_names[:1]).frames
    return clip_of(index, row, images, contract.control_hz / every)


def clip_of(index: int, row: Mapping[str, Any], images: Sequence[Mapping[str, np.ndarray]], fps: float = FPS) -> Clip:
    """The clip of an episode from its frames, of which there are ``fps`` for each second of the episode."""
    frames = [next(iter(views.values())) for views in images]
    parts = (
        video_bytes(frames, fps),
        image_bytes(film_strip(frames)),
        image_bytes(frames[len(frames) // 2]),
    )
    return Clip(index, row, *(base64.b64encode(part).decode() for part in parts))
