"""The same demonstrations in three forms: with the simulator's annotations, without, and written by LeRobot itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lerobot.lerobot_child import LeRobotChild
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import PNG_STORAGE, EncodedEpisode, Episode, encode

VECTORS = (dataset_schema.STATE, dataset_schema.ACTION)
WHOLE = ".whole"  # LeRobot's class writes in place: a file of this ending beside it says that it came to the end


def write_plain(source: Path, out: Path) -> Path:
    """The dataset ``source`` without annotations, in ``out``, written by this project; kept where it is there."""
    if not out.exists():
        dataset = load(source)
        write_dataset(out, dataset.contract, _episodes(dataset), PNG_STORAGE)
    return out


def _episodes(dataset: Dataset) -> Iterator[EncodedEpisode]:
    for episode in dataset.episodes:
        rows = range(episode.start, episode.stop)
        columns = {name: dataset.columns[name][episode.start : episode.stop] for name in VECTORS}
        images = {camera: dataset.frames(camera, rows) for camera in dataset.cameras}
        yield encode(Episode(episode.task, columns, images), PNG_STORAGE, round(dataset.fps))


def write_with_lerobot(source: Path, out: Path) -> Path:
    """The dataset ``source`` in ``out``, as LeRobot's own class writes it: videos, and no contract.

    Raises:
        OptionError: LeRobot is not installed (make lerobot-check).
    """
    whole = out.with_name(out.name + WHOLE)
    if not whole.exists():
        shutil.rmtree(out, ignore_errors=True)
        child = LeRobotChild("lerobot_writing.py", [str(source.absolute()), str(out.absolute())], out.parent)
        written = child.read()
        child.end()
        whole.write_text(f"{written['episodes']} episodes, {written['frames']} frames\n")
    return out
