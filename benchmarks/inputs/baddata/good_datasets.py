"""A small dataset without defects in every supported layout: v3.0 and v2.1, images and videos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, read
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.lerobot.media import STORAGES, VideoStorage, encode_video

EPISODES, FRAMES = 6, 30
COLOURS = ("red", "green", "blue", "yellow", "white", "black")
LAYOUTS = ("v3.0 images", "v3.0 video", "v2.1 images", "v2.1 video")
DATA, WRIST = "data/chunk-000/file-000.parquet", "videos/observation.images.wrist/chunk-000/file-000.mp4"
EARLIER_DATA = "data/chunk-000/episode_{:06d}.parquet"
EARLIER_VIDEO = "videos/chunk-000/observation.images.{}/episode_{:06d}.mp4"


def write_all(root: Path, contract: Contract) -> dict[str, Path]:
    """Write all four layouts.  None has a manifest, like datasets of other programs."""
    folders = {layout: root / layout.replace(" ", "-") for layout in LAYOUTS}
    for storage in ("images", "video"):
        encoded = [encode(_episode(k, contract), storage, round(contract.control_hz)) for k in range(EPISODES)]
        folder = write_dataset(folders[f"v3.0 {storage}"], contract, encoded, storage)
        (folder / dataset_schema.MANIFEST).unlink()
        write_earlier(read(folder), folders[f"v2.1 {storage}"])
    return folders


def _episode(number: int, contract: Contract) -> Episode:
    phase = np.arange(FRAMES)[:, None] / FRAMES + number / EPISODES
    columns = {name: np.zeros((FRAMES, f["shape"][0])) for name, f in dataset_schema.vector_features(contract).items()}
    columns[dataset_schema.CLEAN][:] = 1
    wave = np.sin(2 * np.pi * (phase + np.arange(7) / 7.3))  # (n, 7)
    columns[dataset_schema.ACTION][:, :6] = 0.01 * (1 + 0.05 * number) * wave[:, :6]
    columns[dataset_schema.ACTION][:, 6] = np.arange(FRAMES) >= FRAMES // 2
    state = contract.slices(contract.state)
    columns[dataset_schema.STATE][:, state["ee_position"]] = 0.4 + 0.1 * wave[:, :3]
    columns[dataset_schema.STATE][:, state["ee_rotation"]] = [1, 0, 0, 0, 1, 0]
    columns[dataset_schema.STATE][:, state["joint_position"]] = 0.5 * wave
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    images = {c.name: _frames(c.name, c.height, c.width, number) for c in contract.cameras}
    return Episode(f"press the {COLOURS[number]} button", columns, images, {"family": "press_button", "seed": number})


def _frames(camera: str, height: int, width: int, number: int) -> np.ndarray:
    """Images (FRAMES, H, W, 3) uint8: a bright room in front, a dark floor at the wrist, and a moving square."""
    rows, cols = np.mgrid[0:height, 0:width]
    front = np.stack([120 + rows, 110 + cols, 180 + 0 * rows], -1)
    wrist = np.stack([20 + cols // 3, 30 + (rows // 8 % 2) * 25, 60 - rows // 4], -1)
    frames = np.repeat((front if camera == "front" else wrist)[None], FRAMES, 0)
    for k in range(FRAMES):
        left = 5 + 2 * k
        frames[k, 20 + 6 * number : 28 + 6 * number, left : left + 8] = (220, 40, 40)
    return frames.clip(0, 255).astype(np.uint8)


def write_earlier(dataset: Dataset, folder: Path) -> None:
    """The same dataset in the layout of v2.1."""
    (folder / "meta").mkdir(parents=True)
    table = pq.read_table(dataset.root / DATA, partitioning=None)
    tasks = [{"task_index": i, "task": text} for i, text in dataset.tasks.items()]
    rows: list[dict[str, Any]] = []
    for e in dataset.episodes:
        rows.append({"episode_index": e.index, "tasks": [e.task], "length": e.length})
        file = folder / EARLIER_DATA.format(e.index)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(e.start, e.length), file)
        for camera in e.video_files:
            storage = STORAGES["video"]
            assert isinstance(storage, VideoStorage)
            video = folder / EARLIER_VIDEO.format(camera, e.index)
            video.parent.mkdir(parents=True, exist_ok=True)
            images = dataset.frames(camera, np.arange(e.start, e.stop))
            video.write_bytes(encode_video(images, round(dataset.fps), storage))
    info = dataset.info | {
        "codebase_version": dataset_schema.EARLIER_VERSION,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "chunks_size": 1000,
    }
    (folder / dataset_schema.INFO).write_text(json.dumps(info))
    for name, lines in (("tasks", tasks), ("episodes", rows)):
        (folder / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copy(dataset.root / dataset_schema.CONTRACT, folder / dataset_schema.CONTRACT)
