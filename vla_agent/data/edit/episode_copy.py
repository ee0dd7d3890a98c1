"""Copies a piece of an episode: columns, instruction, origin, and its images as they are stored."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import av
import numpy as np

from vla_agent.contract import Contract
from vla_agent.data.edit.edit_plan import Piece
from vla_agent.data.edit.rate_change import slower_columns
from vla_agent.data.edit.video_cut import cut_video, video_frames
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_files import GET_AGAIN
from vla_agent.data.lerobot.dataset_stats import IMAGE_STRIDE, image_histogram
from vla_agent.data.lerobot.episode import PNG_STORAGE, EncodedEpisode, Episode, encode
from vla_agent.data.lerobot.frame_decoding import decode_range, encoded_images
from vla_agent.errors import DatasetError


def copy_episode(piece: Piece, contract: Contract, storage: str) -> tuple[EncodedEpisode, list[str]]:
    """A piece, encoded, and the cameras whose images had to be encoded again.

    PNGs and JPEGs are copied as they are.  A video's packets are copied where the piece begins with a key frame and
    the copy decodes to the same images, bit for bit; else its images are encoded again, with the loss of one encoding.
    At a lower rate they always are.

    Args:
        contract: of the piece's dataset.
        storage: a key of `media.STORAGES`, as the dataset has it.

    Raises:
        DatasetError: an image cannot be decoded, or a frame names an instruction that does not exist.
    """
    dataset, episode = piece.dataset, piece.episode
    columns = _columns(piece, contract)
    tasks = _instructions(piece)
    frame_tasks = tasks if len(set(tasks)) > 1 else ()
    videos, pngs, histograms, again = {}, {}, {}, []
    for camera in contract.camera_names:
        digest, sample = _digest(_images(piece, camera))
        histograms[camera] = sample
        if storage == PNG_STORAGE:
            stored = encoded_images(dataset, camera, episode, piece.first, piece.stop)
            pngs[camera] = list(islice(stored, 0, None, piece.every))
            continue
        data = _copied(piece, camera) if piece.every == 1 else None
        if data is None or _digest_of(data) != digest:
            again.append(camera)
        else:
            videos[camera] = data
    copied = EncodedEpisode(tasks[0], columns, videos, pngs, histograms, dict(episode.origin), frame_tasks)
    return (_encoded_again(piece, contract, storage, copied, again), again) if again else (copied, again)


def _encoded_again(
    piece: Piece, contract: Contract, storage: str, copied: EncodedEpisode, cameras: list[str]
) -> EncodedEpisode:
    images = {camera: np.stack(list(_images(piece, camera))) for camera in cameras}
    fps = round(contract.control_hz) // piece.every
    encoded = encode(Episode(copied.task, copied.columns, images), storage, fps)
    return replace(
        copied,
        videos={**copied.videos, **encoded.videos},
        histograms={**copied.histograms, **encoded.histograms},
    )


def _images(piece: Piece, camera: str) -> Iterator[np.ndarray]:
    """The images that are kept, in order, each (H, W, 3) uint8."""
    frames = decode_range(piece.dataset, camera, piece.episode, piece.first, piece.stop)
    return islice(frames, 0, None, piece.every)


def _columns(piece: Piece, contract: Contract) -> dict[str, np.ndarray]:
    """The vectors (n, d) of a piece that the contract and the annotations have."""
    features = piece.dataset.info["features"]
    present = (name in features for name in dataset_schema.OPTIONAL)
    wanted = dataset_schema.vector_features(contract, *present)
    columns = {}
    for name, feature in wanted.items():
        values = piece.dataset.columns[name][piece.rows]
        if values.size != len(values) * math.prod(feature["shape"]):
            raise DatasetError(
                "a column does not fit the contract",
                file=piece.dataset.root,
                key=name,
                expected=("rows", *feature["shape"]),
                found=values.shape,
                remedy=f"the dataset is damaged: {GET_AGAIN}",
            )
        columns[name] = np.asarray(values, dtype=np.float32).reshape(len(values), *feature["shape"])
    if piece.every == 1:
        return columns
    where = (piece.dataset.root, piece.episode.index, piece.first)
    return slower_columns(columns, contract, piece.every, where)


def _instructions(piece: Piece) -> tuple[str, ...]:
    """The instruction of each frame."""
    if piece.instruction is not None:
        return (piece.instruction,) * piece.length
    numbers, tasks = piece.own_tasks(), piece.dataset.tasks
    unknown = sorted(set(numbers) - set(tasks))
    if unknown:
        raise DatasetError(
            "a frame names an instruction that does not exist",
            file=piece.dataset.root,
            key=f"episode {piece.episode.index}: task_index",
            expected=", ".join(map(str, list(tasks)[:20])),
            found=", ".join(map(str, unknown[:20])),
            remedy=f"leave it out: --leave-out {piece.episode.index}; or set it: --instruction "
            f"'{piece.episode.index}=TEXT'",
        )
    return tuple(piece.renames.get(tasks[number], tasks[number]) for number in numbers)


def _copied(piece: Piece, camera: str) -> bytes | None:
    dataset, episode = piece.dataset, piece.episode
    path = dataset.video_path(camera, episode.video_files[camera])
    start = episode.video_starts[camera]
    return cut_video(path, start + piece.first, start + piece.stop, dataset.fps)


def _digest_of(data: bytes) -> str:
    try:
        return _digest(video_frames(data))[0]
    except av.FFmpegError:
        return "not a video"


def _digest(frames: Iterable[np.ndarray]) -> tuple[str, np.ndarray]:
    """SHA-256 over images, and the histogram of those that enter the statistics; one image in memory at a time."""
    sha, histogram = hashlib.sha256(), np.zeros((3, 256), np.int64)
    for k, frame in enumerate(frames):
        sha.update(np.ascontiguousarray(frame).tobytes())
        if k % IMAGE_STRIDE == 0:
            histogram += image_histogram(frame[None])
    return sha.hexdigest(), histogram
