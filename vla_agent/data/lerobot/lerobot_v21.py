"""The layout of LeRobotDataset v2.1: one parquet file and one MP4 a camera for every episode, tables as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vla_agent.errors import DatasetError

TASKS, EPISODES = "meta/tasks.jsonl", "meta/episodes.jsonl"
E = TypeVar("E")


def tasks(root: Path) -> tuple[str, ...]:
    """The instructions by ``task_index``."""
    rows = _rows(root / TASKS, ("task_index", "task"))
    return tuple(row["task"] for row in sorted(rows, key=lambda row: row["task_index"]))


def episodes(root: Path, info: dict[str, Any], make: Callable[..., E]) -> tuple[E, ...]:
    """The episodes in order; ``make`` is `vla_agent.data.lerobot.dataset_tables.EpisodeInfo`."""
    prefix = "observation.images."
    videos = [k.removeprefix(prefix) for k, f in info["features"].items() if f["dtype"] == "video"]
    found, start = [], 0
    for row in sorted(_rows(root / EPISODES, ("episode_index", "tasks", "length")), key=lambda r: r["episode_index"]):
        file = (row["episode_index"] // info.get("chunks_size", 1000), row["episode_index"])
        found.append(
            make(
                index=row["episode_index"],
                task=row["tasks"][0] if row["tasks"] else "",
                start=start,
                stop=start + row["length"],
                data_file=file,
                data_start=0,
                video_files=dict.fromkeys(videos, file),
                video_starts=dict.fromkeys(videos, 0),
            )
        )
        start += row["length"]
    return tuple(found)


def _rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = sorted({key for row in rows for key in keys if key not in row})
        if missing or not rows:
            raise ValueError(f"lines without {', '.join(missing)}" if missing else "no lines")
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(
            "a table of the dataset cannot be read",
            file=path,
            expected=f"JSON lines with {', '.join(keys)}",
            found=f"{type(error).__name__}: {error}",
            remedy="get the dataset again",
        ) from error
    return rows
