"""Checks of images: missing, undecodable, of another size, blank, frozen, of the other camera."""

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

SAMPLE = 3  # checked images per episode and camera: first, middle, last
SIDE = 8  # pixels along a side of the thumbnails by which cameras are recognised
BLANK = 2.0  # standard deviation of an image's values (of 255) below which it is blank
Thumbnails = dict[str, dict[int, np.ndarray]]  # camera -> episode -> mean thumbnail (SIDE, SIDE, 3)


def video_findings(dataset: Dataset) -> Iterator[Finding]:
    """Videos that are missing, damaged, of another rate, or end before (before v3.0: after) their last episode does."""
    alone = dataset.info.get("codebase_version") in dataset_schema.EARLIER_VERSIONS  # one episode in each video
    for camera in dataset.cameras:
        ends: dict[tuple[int, int], list[tuple[int, EpisodeInfo]]] = {}
        for episode in dataset.episodes:
            if camera in episode.video_files:
                start = episode.video_starts[camera]
                ends.setdefault(episode.video_files[camera], []).append((start, episode))
        for file, episodes in ends.items():
            path = dataset.video_path(camera, file)
            try:
                frames = count_frames(path, dataset.fps)
                found = f"{frames} frames in {path.name}"
            except (av.FFmpegError, OSError, IndexError, ValueError, DatasetError) as error:
                frames, found = 0, f"{path.relative_to(dataset.root)}: {type(error).__name__}"
                found += f": {error}" if isinstance(error, ValueError) and not isinstance(error, av.FFmpegError) else ""
            for start, episode in episodes:
                if alone and frames > start + episode.length:
                    what, remedy = "the video has more images than the episode", "get the file again, or " + LEAVE_OUT
                    key = dataset_schema.image_key(camera)
                    yield Finding("missing images", what, episode.index, episode.length, key, found, remedy)
                if start + episode.length > frames:
                    what = "images are missing in the video"
                    missing = max(0, frames - start)
                    key, remedy = dataset_schema.image_key(camera), "get the file again, or " + LEAVE_OUT
                    yield Finding("missing images", what, episode.index, missing, key, found, remedy)


def image_findings(dataset: Dataset, episode: EpisodeInfo, thumbnails: Thumbnails) -> Iterator[Finding]:
    """Defects of an episode's first, middle and last image; enters their mean thumbnail into ``thumbnails``."""
    numbers = np.unique(np.linspace(0, episode.length - 1, SAMPLE).round().astype(int))
    for camera in dataset.cameras:
        key = dataset_schema.image_key(camera)
        try:
            images = dataset.frames(camera, episode.start + numbers)
        except (DatasetError, ValueError, TypeError, AttributeError, KeyError) as error:
            what, remedy = "an image cannot be decoded or has another size", "get the file again, or " + LEAVE_OUT
            found = str(error).splitlines()[0] if str(error) else type(error).__name__
            frame = _first_undecodable(dataset, camera, episode)
            yield Finding("missing images", what, episode.index, frame, key, found, remedy)
            continue
        thumbnails.setdefault(camera, {})[episode.index] = thumbnail(images).mean(0)
        for number, image in zip(numbers, images, strict=True):
            if image.std() < BLANK:
                what, remedy = "the image is blank", "check the camera; " + LEAVE_OUT
                found = f"all values near {image.mean():.0f} of 255"
                yield Finding("blank images", what, episode.index, int(number), key, found, remedy)
                break
        else:
            if len(images) > 1 and (images == images[0]).all() and _moves(dataset, episode):
                what, remedy = "the image does not change while the robot moves", "check its driver; " + LEAVE_OUT
                found = f"the same image in frames {', '.join(map(str, numbers))}"
                yield Finding("frozen images", what, episode.index, 0, key, found, remedy)


def _first_undecodable(dataset: Dataset, camera: str, episode: EpisodeInfo) -> int:
    """Number of the first frame whose image cannot be decoded; 0 where each can."""
    for number in range(episode.length):
        try:
            dataset.frames(camera, [episode.start + number])
        except (DatasetError, ValueError, TypeError, AttributeError, KeyError):
            return number
    return 0


def _moves(dataset: Dataset, episode: EpisodeInfo) -> bool:
    """Whether the state changes; True where there is no state."""
    state = dataset.columns.get(dataset_schema.STATE)
    rows = slice(episode.start, episode.stop)
    return state is None or bool((np.ptp(state[rows], axis=0) > 1e-3).any())


def thumbnail(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3) uint8 reduced to (n, SIDE, SIDE, 3) in [0, 1], by means of blocks."""
    n, h, w, _ = images.shape
    height, width = h // SIDE, w // SIDE
    cut = images[:, : height * SIDE, : width * SIDE].astype(np.float32) / 255
    return cut.reshape(n, SIDE, height, SIDE, width, 3).mean((2, 4))


def swapped_findings(thumbnails: Thumbnails) -> Iterator[Finding]:
    """Episodes in which two cameras are swapped: each looks like the other does elsewhere.

    The usual thumbnail of a camera is the median over all episodes, so at least half of them must be right.
    """
    cameras = list(thumbnails)
    usual = {c: np.median(np.stack(list(thumbnails[c].values())), axis=0) for c in cameras if thumbnails[c]}
    for a in range(len(cameras)):
        for b in range(a + 1, len(cameras)):
            one, two = cameras[a], cameras[b]
            for index in sorted(thumbnails[one].keys() & thumbnails[two].keys()):
                mine, theirs = thumbnails[one][index], thumbnails[two][index]
                straight = _distance(mine, usual[one]) + _distance(theirs, usual[two])
                crossed = _distance(mine, usual[two]) + _distance(theirs, usual[one])
                if crossed < 0.5 * straight:
                    what, remedy = "two cameras are swapped", "rename the two in this episode, or leave it out"
                    found = f"{one} looks like {two} in other episodes, and {two} like {one}"
                    yield Finding("swapped cameras", what, index, 0, dataset_schema.image_key(one), found, remedy)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference."""
    return float(np.abs(a - b).mean())
