"""What training asks of a dataset: a contract, an instruction for each frame, one size of images; annotations or none.

A dataset that another program recorded has no contract: the recipe names one.  Annotations may be missing for single
frames (``annotation.known`` is 0 there) or altogether; they are NaN then.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.frame_cache import Resize
from vla_agent.errors import ContractError, DatasetError
from vla_agent.files.bounded_reading import read_json
from vla_agent.models.resizing import resized
from vla_agent.policy.sources import contract_of

ROLES = 2
SIDE = 4  # a side of an image is a multiple of this: a cell of the pointing maps


def read_contract(name: str) -> Contract:
    """The contract of a JSON file, of a dataset's or policy's folder, or of the simulator (``sim``).

    Raises:
        CheckpointError, ContractError: there is none, or it cannot be read.
    """
    if not Path(name).is_file():
        return contract_of(name)
    try:
        data = read_json(Path(name), ContractError)
    except (OSError, ValueError) as error:
        raise ContractError(
            "the contract cannot be read",
            file=name,
            key="data.contract",
            expected="JSON of the form of meta/contract.json",
            found=f"{type(error).__name__}: {error}",
            remedy="write it again: docs/policy.md has an example",
        ) from error
    return Contract.from_dict(data, file=name)


def to_size(size: tuple[int, ...]) -> Resize | None:
    """How images get this height and width, as the policy does it; None where ``size`` is empty."""
    if not size:
        return None
    height, width = size

    def change(image: np.ndarray) -> np.ndarray:
        return resized(torch.from_numpy(image.copy()), (height, width)).numpy()

    return Resize((height, width), change)


def require_trainable(folder: str, dataset: Dataset, contract: Contract, any_size: bool = False) -> None:
    """Raise where no policy can be trained on a dataset.

    Args:
        any_size: whether images are resized.

    Raises:
        DatasetError: its rate is not its contract's, a frame has no instruction, or its cameras have different sizes.
    """
    if dataset.fps != contract.control_hz:
        raise DatasetError(
            "a dataset's rate is not its contract's",
            file=Path(folder) / dataset_schema.INFO,
            key="fps",
            expected=f"{contract.control_hz:g}",
            found=f"{dataset.fps:g}",
            remedy="correct the wrong one: vla-agent data validate compares both with the time stamps",
        )
    used = np.unique(dataset.columns["task_index"]).tolist()
    empty = [number for number in used if not dataset.tasks[number].strip()]
    if empty:
        frame = int(np.flatnonzero(dataset.columns["task_index"] == empty[0])[0])
        raise DatasetError(
            "a frame has no instruction",
            file=Path(folder) / dataset_schema.TASKS,
            key=f"task_index {empty[0]}, frame {frame}",
            expected="a sentence that says what is done",
            found=repr(dataset.tasks[empty[0]]),
            remedy="describe the task there, or: vla-agent data convert with instruction: {text: ...} in the mapping",
        )
    sizes = {c.name: (c.height, c.width) for c in contract.cameras}
    if len(set(sizes.values())) > 1 and not any_size:
        raise DatasetError(
            "the cameras have different sizes",
            file=Path(folder) / dataset_schema.CONTRACT,
            key="contract.cameras",
            expected="one height and width for all cameras",
            found=", ".join(f"{name} {h} x {w}" for name, (h, w) in sizes.items()),
            remedy="--set data.image_size=[96,96] with the stage end_to_end; or vla-agent data convert, with one size "
            "for all cameras in the mapping (docs/data.md)",
        )


def columns_of(folder: str, dataset: Dataset, contract: Contract, annotated: bool) -> dict[str, np.ndarray]:
    """A dataset's columns with all annotations: NaN where they are not known.

    Args:
        annotated: refuse a dataset without them.

    Raises:
        DatasetError: columns are missing, or an annotation is not of the contract's cameras.
    """
    columns, frames = dataset.arrays(), len(dataset)
    sizes = {dataset_schema.POINTS: len(contract.cameras) * ROLES * 3, dataset_schema.SUBGOAL: ROLES * 3}
    missing = [k for k in (*sizes, dataset_schema.CLEAN) if k not in columns]
    if annotated and missing:
        raise DatasetError(
            "the demonstrations lack columns that this training needs",
            file=folder,
            key=missing[0],
            expected=", ".join((*sizes, dataset_schema.CLEAN)),
            found=", ".join(sorted(columns)),
            remedy="train them end to end, without annotations (policies/plain.yaml); or collect them with vla-agent "
            "collect",
        )
    known = columns.get(dataset_schema.KNOWN, np.ones(frames)).reshape(-1) > 0.5
    for key, size in sizes.items():
        values = columns.get(key, np.full((frames, size), np.nan)).astype(np.float32).reshape(frames, -1)
        if values.shape[1] != size:
            raise DatasetError(
                "an annotation is not of the contract's cameras and roles",
                file=folder,
                key=key,
                expected=f"{size} numbers a frame",
                found=str(values.shape[1]),
                remedy="leave the column out, or write it for every camera, target and goal (docs/architecture.md)",
            )
        columns[key] = np.where(known[:, None], values, np.nan)
    clean = columns.setdefault(dataset_schema.CLEAN, np.ones(frames))
    if not (clean > 0.5).any():
        raise DatasetError(
            "no frame may be learned from",
            file=folder,
            key=dataset_schema.CLEAN,
            expected="1 in the frames that show what to do",
            found="0 in all of them",
            remedy="correct the column, or leave it out: then every frame is learned from",
        )
    return columns
