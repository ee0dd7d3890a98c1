"""Findings in pictures: missing, undecodable, of another size, black, frozen, of the other camera."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.lerobot.media import count_frames
from vla_agent.data.validate.findings import LEAVE_OUT, Finding
from vla_agent.errors import DatasetError

SAMPLE = 3  # pictures an episode that are looked at: first, middle, last
SIDE = 8  # cells along a side of the thumbnail that tells cameras apart
DARK = 2.0  # standard deviation of a picture's values below which nothing is to be seen
Looks = dict[str, dict[int, np.ndarray]]  # camera -> episode -> thumbnail


def video_findings(dataset: Dataset) -> Iterator[Finding]:
    """Videos that are missing, damaged, or end before their last episode does."""
    for camera in dataset.cameras:
        ends: dict[tuple[int, int], list[tuple[int, EpisodeInfo]]] = {}
        for episode in dataset.episodes:
            if camera in episode.video_files:
                start = episode.video_starts[camera]
                ends.setdefault(episode.video_files[camera], []).append((start, episode))
        for file, held in ends.items():
            path = dataset.video_path(camera, file)
            try:
                frames = count_frames(path)
                found = f"{frames} frames in {path.name}"
            except (av.FFmpegError, OSError, IndexError) as error:
                frames, found = 0, f"{path.relative_to(dataset.root)}: {type(error).__name__}"
            for start, episode in held:
                if start + episode.length > frames:
                    what = "pictures are missing in the video"
                    missing = max(0, frames - start)
                    key, remedy = dataset_schema.image_key(camera), "get the file again, or " + LEAVE_OUT
                    yield Finding("missing pictures", what, episode.index, missing, key, found, remedy)


def picture_findings(dataset: Dataset, episode: EpisodeInfo, looks: Looks) -> Iterator[Finding]:
    """What is wrong with an episode's first, middle and last picture; their thumbnails go to ``looks``."""
    numbers = np.unique(np.linspace(0, episode.length - 1, SAMPLE).round().astype(int))
    for camera in dataset.cameras:
        key = dataset_schema.image_key(camera)
        try:
            pictures = dataset.frames(camera, episode.start + numbers)
        except (DatasetError, ValueError, TypeError, AttributeError, KeyError) as error:
            what, remedy = "a picture cannot be decoded or has another size", "get the file again, or " + LEAVE_OUT
            found = str(error).splitlines()[0] if str(error) else type(error).__name__
            frame = _first_bad(dataset, camera, episode)
            yield Finding("missing pictures", what, episode.index, frame, key, found, remedy)
            continue
        looks.setdefault(camera, {})[episode.index] = thumbnail(pictures).mean(0)
        for number, picture in zip(numbers, pictures, strict=True):
            if picture.std() < DARK:
                what, remedy = "the picture shows nothing", "check the camera; " + LEAVE_OUT
                found = f"all values near {picture.mean():.0f} of 255"
                yield Finding("blank pictures", what, episode.index, int(number), key, found, remedy)
                break
        else:
            if len(pictures) > 1 and (pictures == pictures[0]).all() and _moves(dataset, episode):
                what, remedy = "the camera stands still while the robot moves", "check its driver; " + LEAVE_OUT
                found = f"the same picture in frames {', '.join(map(str, numbers))}"
                yield Finding("frozen pictures", what, episode.index, 0, key, found, remedy)


def _first_bad(dataset: Dataset, camera: str, episode: EpisodeInfo) -> int:
    for number in range(episode.length):
        try:
            dataset.frames(camera, [episode.start + number])
        except (DatasetError, ValueError, TypeError, AttributeError, KeyError):
            return number
    return 0


def _moves(dataset: Dataset, episode: EpisodeInfo) -> bool:
    state = dataset.columns.get(dataset_schema.STATE)
    rows = slice(episode.start, episode.stop)
    return state is None or bool((np.ptp(state[rows], axis=0) > 1e-3).any())


def thumbnail(pictures: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) -> (n, SIDE, SIDE, 3) means of blocks, as shares of 255."""
    n, h, w, _ = pictures.shape
    height, width = h // SIDE, w // SIDE
    cut = pictures[:, : height * SIDE, : width * SIDE].astype(np.float32) / 255
    return cut.reshape(n, SIDE, height, SIDE, width, 3).mean((2, 4))


def swapped_findings(looks: Looks) -> Iterator[Finding]:
    """Episodes whose cameras look like each other's: plugged in the other way round for a while.

    The usual look of a camera is the median over all episodes, so that at least half of them must be right.
    """
    cameras = list(looks)
    usual = {c: np.median(np.stack(list(looks[c].values())), axis=0) for c in cameras if looks[c]}
    for a in range(len(cameras)):
        for b in range(a + 1, len(cameras)):
            one, two = cameras[a], cameras[b]
            for index in sorted(looks[one].keys() & looks[two].keys()):
                mine, theirs = looks[one][index], looks[two][index]
                straight = _far(mine, usual[one]) + _far(theirs, usual[two])
                crossed = _far(mine, usual[two]) + _far(theirs, usual[one])
                if crossed < 0.5 * straight:
                    what, remedy = "two cameras are swapped", "rename the two in this episode, or leave it out"
                    found = f"{one} looks like {two} elsewhere, and the other way round"
                    yield Finding("swapped cameras", what, index, 0, dataset_schema.image_key(one), found, remedy)


def _far(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())
