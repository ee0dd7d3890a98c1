"""Checks of the tables: counts, frame numbers, timestamps, instructions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo, first_off_rate
from vla_agent.data.validate.findings import LEAVE_OUT, Finding

SHORT = 5  # frames


def count_findings(dataset: Dataset) -> Iterator[Finding]:
    """Numbers of frames and episodes on which the tables disagree."""
    info, rows = dataset.info, len(dataset.columns["index"])
    named = sum(e.length for e in dataset.episodes)
    for key, stated, found in (
        ("total_episodes", info["total_episodes"], len(dataset.episodes)),
        ("total_frames", info["total_frames"], rows),
    ):
        if stated != found:
            what, remedy = "info.json states a wrong number", "correct info.json, or get the dataset again"
            yield Finding("counts", what, None, None, key, f"{stated} stated, {found} in the tables", remedy)
    if named != rows:
        owner = dataset.columns["episode_index"]
        for episode in dataset.episodes:
            count = int((owner == episode.index).sum())
            if count != episode.length:
                what = "the episode has another number of frames than the table of episodes states"
                text = f"{count} of {episode.length} frames"
                yield Finding("missing frames", what, episode.index, count, "length", text, LEAVE_OUT)


def unnamed_findings(dataset: Dataset) -> Iterator[Finding]:
    """Data files and videos that no table of episodes names: nothing reads them, and their episodes are missing."""
    for name in dataset.unnamed_files():
        what, remedy = "no table of episodes names this file", "get meta/episodes again, or delete the file"
        size = dataset.files[name].size
        yield Finding("counts", what, None, None, name, f"{size:,} bytes that are not read", remedy, error=False)


def frame_findings(dataset: Dataset, episode: EpisodeInfo, rows: slice) -> Iterator[Finding]:
    """Frames that are missing, repeated or out of order; timestamps that jump, stand still or drift."""
    numbers, times = dataset.columns["frame_index"][rows], dataset.columns["timestamp"][rows].astype(float)
    if not np.isfinite(numbers.astype(float)).all():
        return  # reported by the check of values
    wrong = np.flatnonzero(numbers != np.arange(len(numbers)))
    if len(wrong):
        k = int(wrong[0])
        before = int(numbers[k - 1]) if k else -1
        gap = int(numbers[k]) - before - 1
        what = f"{gap} frame(s) are missing" if gap > 0 else "a frame is repeated or out of order"
        found = f"frame {numbers[k]} after frame {before}"
        yield Finding("missing frames", what, episode.index, k, "frame_index", found, LEAVE_OUT)
    if not np.isfinite(times).all():
        return  # reported by the check of values
    first = first_off_rate(times, numbers, dataset.fps)
    if first is not None:
        k = first
        off = times[k] - times[0] - (numbers[k] - numbers[0]) / dataset.fps
        steps = np.diff(times)
        rate = f", {1 / np.median(steps):.2f} Hz by the timestamps" if len(steps) and np.median(steps) > 0 else ""
        what = "the timestamps deviate from the dataset's rate"
        found = f"{times[k]:.3f} s in frame {k}, {off * 1000:+.0f} ms off at {dataset.fps:g} Hz{rate}"
        remedy = "resample the episode to the rate, correct fps in info.json, or leave the episode out"
        yield Finding("time stamps", what, episode.index, k, "timestamp", found, remedy)
    if len(numbers) < SHORT:
        what = "the episode is too short to learn from"
        yield Finding("short", what, episode.index, 0, "length", f"{len(numbers)} frames", LEAVE_OUT, error=False)


def instruction_findings(dataset: Dataset, episode: EpisodeInfo, rows: slice) -> Iterator[Finding]:
    """Instructions that are empty, without words, or do not exist."""
    indices = dataset.columns["task_index"][rows]
    unknown = np.flatnonzero(~np.isin(indices, list(dataset.tasks)))
    if len(unknown):
        k = int(unknown[0])
        found = f"task {indices[k]}; there are {', '.join(map(str, list(dataset.tasks)[:20]))}"
        what, remedy = (
            "the frame names an instruction that does not exist",
            "add it to meta/tasks, or correct the index",
        )
        yield Finding("instructions", what, episode.index, k, "task_index", found, remedy)
        return
    texts = [dataset.tasks[i] for i in np.unique(indices).tolist()]
    for text, index in zip(texts, np.unique(indices), strict=True):
        if not isinstance(text, str) or not any(c.isalpha() for c in text):
            k = int(np.flatnonzero(indices == index)[0])
            what, remedy = "the instruction is empty", "describe the episode in meta/tasks"
            yield Finding("instructions", what, episode.index, k, "task", repr(text), remedy)
    if not any(c.isalpha() for c in episode.task):
        what, remedy = "the instruction in the table of episodes is empty", LEAVE_OUT
        yield Finding("instructions", what, episode.index, 0, "tasks", repr(episode.task), remedy)
    elif len(indices) and episode.task not in texts:
        what = "the table of episodes has another instruction than the frames, which count"
        remedy = "correct the table, or the frames' task_index"
        found = f"'{episode.task}'; the frames have {', '.join(map(repr, texts))}"
        yield Finding("instructions", what, episode.index, 0, "tasks", found, remedy, error=False)
