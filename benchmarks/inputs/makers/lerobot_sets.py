"""LeRobotDatasets, small and good, in every layout that is read; and changes of their tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.baddata.good_datasets import DATA, write_earlier
from benchmarks.inputs.makers.pictures import coded
from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import read
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode

EPISODES, FRAMES, SIDE = 3, 12, 16
HZ = 20.0
TASKS = ("push the cup", "lift the cup", "push the cup")
PRIVATE = (dataset_schema.CONTRACT, dataset_schema.MANIFEST, dataset_schema.COLLECTION)


def contract() -> Contract:
    """One camera, two joints and a gripper."""
    state = (Field("joints", 2, "rad", low=-3.0, high=3.0), Field("gripper", 1, "opening", low=0.0, high=1.0))
    action = (Field("u", 2, "rad", low=-0.5, high=0.5), Field("grip", 1, "opening", low=0.0, high=1.0))
    return Contract((Camera("front", SIDE, SIDE),), state, action, control_hz=HZ, chunk_length=4)


def episode(number: int, frames: int = FRAMES) -> Episode:
    """Numbers that tell frame and episode; pictures that move."""
    k = np.arange(frames)[:, None] / frames
    state = np.concatenate([0.2 * number + 0.4 * k, 0.1 * number - 0.3 * k, 0.2 + 0.5 * k], axis=1)
    action = np.concatenate([0.02 + 0.03 * k * (number + 1), 0.05 * np.sin(3 * k + number), (k > 0.5)], axis=1)
    columns = {
        dataset_schema.STATE: state.astype(np.float32),
        dataset_schema.ACTION: action.astype(np.float32),
    }
    images = np.stack([_picture(number, frame) for frame in range(frames)])
    return Episode(TASKS[number % len(TASKS)], columns, {"front": images}, {"seed": number})


def _picture(number: int, frame: int) -> np.ndarray:
    picture = coded(20 * frame + number, SIDE, SIDE)
    picture[4:12, frame % SIDE] = (10, 250, 10)
    return picture


def write_good(folder: Path, layout: str = "v3.0 images", manifest: bool = False) -> Path:
    """A good dataset; ``layout`` as of `good_datasets.LAYOUTS`; without its manifest, so that it may be changed."""
    version, storage = layout.split()
    target = folder if version == "v3.0" else folder.with_name(f"{folder.name}-v3")
    encoded = [encode(episode(k), storage, round(HZ)) for k in range(EPISODES)]
    write_dataset(target, contract(), encoded, storage)
    if not manifest:
        (target / dataset_schema.MANIFEST).unlink()
    if version != "v3.0":
        write_earlier(read(target), folder)
    return folder


def foreign(folder: Path, layout: str = "v3.0 images") -> Path:
    """The same without the project's own files, as another program writes it."""
    write_good(folder, layout)
    for name in PRIVATE:
        (folder / name).unlink(missing_ok=True)
    return folder


def change_info(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``meta/info.json`` in place."""
    path = folder / dataset_schema.INFO
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_table(folder: Path, change: Callable[[Any], Any], name: str = DATA) -> None:
    """Replace a parquet file by the table that ``change`` makes of it."""
    import pyarrow.parquet as pq

    pq.write_table(change(pq.read_table(folder / name, partitioning=None)), folder / name)


def with_column(table: Any, name: str, values: Any) -> Any:
    """The table with other values (an Arrow array) in one column, or with one more column."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)
