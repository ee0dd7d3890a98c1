"""Training data: generated images with questions, and demonstrations with their action chunks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_checks import check_contract
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_reader import load as load_dataset
from vla_agent.errors import DatasetError
from vla_agent.files.bounded_arrays import read_arrays
from vla_agent.files.bounded_reading import read_lines
from vla_agent.training.plain_data import columns_of, read_contract, require_trainable, to_size

SIGHTED = (  # what the sight learns, one array a shard
    "named",
    "named_points",
    "named_sizes",
    "named_positions",
    "named_places",
    "fixtures",
    "fixture_points",
)
SHARD = ("images", "picture", "points", "located", "asked", *SIGHTED)


@dataclass(frozen=True)
class Questions:
    """Generated images with prompts, answers and points (see `sim.questions.generate`).

    images: an (n, V, H, W, 3) uint8 array for each shard.  Per item: ``shard`` and ``row`` of its image, prompt,
    answer, points (items, V, R, 3) = u, v, inside (NaN where the item has no points), located (items, R, 3) metres,
    asked (items, 2, 2) shape and colour of the objects that the prompt names, -1 where it names none.
    """

    images: list[np.ndarray]
    shard: np.ndarray
    row: np.ndarray
    prompts: list[str]
    answers: list[str]
    points: np.ndarray
    located: np.ndarray
    asked: np.ndarray
    named: list[np.ndarray]  # per shard: (n, O, 2) shape and colour of every object, -1 where there is none
    named_points: list[np.ndarray]  # per shard: (n, V, O, 3) u, v, inside
    named_sizes: list[np.ndarray]  # per shard: (n, V, O, 2) width and height of its box, as fractions of the image
    named_positions: list[np.ndarray]  # per shard: (n, O, 3) metres
    named_places: list[np.ndarray]  # per shard: (n, O) on table, in tray, in drawer; -1 in the gripper
    fixtures: list[np.ndarray]  # per shard: (n, F, 2) kind and colour of buttons and zones
    fixture_points: list[np.ndarray]  # per shard: (n, V, F, 3) u, v, inside

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Demonstrations:
    """Demonstration datasets, concatenated.

    images: per dataset (camera order of the contract) memory maps (n, H, W, 3).  Columns over all frames: state (N, D),
    action (N, A), points (N, V, R, 3), located (N, R, 3), clean (N,), episode (N,), frame (N,), task index (N,).
    Points and located are NaN where a frame has no annotation.
    """

    contract: Contract
    images: list[list[np.ndarray]]
    first: np.ndarray  # first frame of each dataset in the concatenation
    state: np.ndarray
    action: np.ndarray
    points: np.ndarray
    located: np.ndarray
    clean: np.ndarray
    episode: np.ndarray
    frame: np.ndarray
    task: np.ndarray
    instructions: list[str]
    hashes: list[str]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def episode_count(self) -> int:
        """Number of episodes."""
        return int(self.episode.max()) + 1

    @property
    def pointed(self) -> np.ndarray:
        """(N,) whether a frame has annotated points."""
        return ~np.isnan(self.points).all(axis=(1, 2, 3))

    @property
    def placed(self) -> np.ndarray:
        """(N,) whether the target's position is annotated."""
        return ~np.isnan(self.located[:, 0, 0])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of `images_of`."""
        height, width = self.images[0][0].shape[1:3]
        return height, width

    def images_of(self, frames: np.ndarray) -> np.ndarray:
        """The images of frames: (n, V, H, W, 3) uint8."""
        out = np.empty((len(frames), len(self.contract.cameras), *self.image_size, 3), np.uint8)
        owner = np.searchsorted(self.first, frames, side="right") - 1
        for number in np.unique(owner):
            at = np.flatnonzero(owner == number)
            for view, images in enumerate(self.images[number]):
                out[at, view] = images[frames[at] - self.first[number]]
        return out

    def chunks(self, frames: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Action chunks (n, T, A) that start at ``frames``, and which of their steps are valid (n, T).

        A step is valid while it belongs to the same episode and instruction, and no disturbance has started since the
        chunk's start.
        """
        index = np.minimum(frames[:, None] + np.arange(length), len(self) - 1)
        same = (self.episode[index] == self.episode[frames][:, None]) & (
            frames[:, None] + np.arange(length) < len(self)
        )
        same &= self.task[index] == self.task[frames][:, None]
        valid = np.logical_and.accumulate(same & self.clean[index], axis=1)
        return self.action[index], valid.astype(np.float32)


def load_questions(folders: tuple[str, ...]) -> Questions:
    """Read the shards of `sim.questions.generate`.

    Raises:
        DatasetError: a folder is missing or a shard is damaged.
    """
    shards = [_load_shard(file) for folder in map(Path, folders) for file in _shard_files(folder)]
    arrays = {key: [shard[key] for shard, _ in shards] for key in SHARD}
    items = [item for _, of_shard in shards for item in of_shard]
    return Questions(
        images=arrays["images"],
        shard=np.concatenate([np.full(len(of_shard), number) for number, (_, of_shard) in enumerate(shards)]),
        row=np.concatenate(arrays["picture"]),
        prompts=[item["prompt"] for item in items],
        answers=[item["answer"] for item in items],
        points=np.concatenate(arrays["points"]),
        located=np.concatenate(arrays["located"]),
        asked=np.concatenate(arrays["asked"]),
        **{name: arrays[name] for name in SIGHTED},
    )


def _shard_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise DatasetError(
            "there are no generated images",
            file=folder,
            key="data.questions",
            expected="shards *.npz with *.jsonl beside them",
            found="none" if folder.is_dir() else "no such folder",
            remedy=f"make them: python -m sim.questions --scenes 20000 --seed 2000000 --workers 2 -o {folder}",
        )
    return files


def _load_shard(file: Path) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
    """A shard's arrays by name, and its items with prompt and answer."""
    try:
        arrays = read_arrays(file, DatasetError, names=SHARD)
        return arrays, [item for _, item in read_lines(file.with_suffix(".jsonl"), DatasetError)]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            "a shard of generated images cannot be read",
            file=file,
            expected=f"{', '.join(SHARD)} and a .jsonl beside it",
            found=f"{type(error).__name__}: {error}",
            remedy="delete the shard and run python -m sim.questions again",
        ) from error


def load_demonstrations(
    folders: tuple[str, ...],
    chunk_length: int,
    annotated: bool = True,
    contract: str = "",
    image_size: tuple[int, ...] = (),
) -> Demonstrations:
    """Read LeRobotDataset folders and check that their contracts agree.

    Args:
        annotated: refuse demonstrations without annotations; otherwise missing ones are NaN, and every frame is clean.
        contract: of the folders that have none (`read_contract`).
        image_size: height and width to which images are resized; empty: their own, which is one for all cameras.

    Raises:
        DatasetError: missing or damaged, without an instruction, with cameras of different sizes, or without the
            annotations that the backbone's stage needs.
        ContractError: two datasets disagree, or one with ``contract``.
    """
    datasets = [load_dataset(folder) for folder in folders]
    if not datasets:
        raise DatasetError(
            "no demonstrations are given", key="data.demonstrations", expected="at least one folder", remedy="add one"
        )
    contracts = _contracts(folders, datasets, contract)
    layout = contracts[0]
    for folder, dataset in zip(folders, datasets, strict=True):
        require_trainable(folder, dataset, layout, any_size=bool(image_size))
    columns = [columns_of(f, dataset, layout, annotated) for f, dataset in zip(folders, datasets, strict=True)]
    texts = sorted({t for d in datasets for t in d.tasks.values()})
    number = {t: i for i, t in enumerate(texts)}
    offsets = np.cumsum([0] + [len(d.episodes) for d in datasets])

    def join(key: str) -> np.ndarray:
        return np.concatenate([c[key] for c in columns])

    views = len(layout.cameras)
    return Demonstrations(
        contract=Contract.from_dict({**layout.to_dict(), "chunk_length": chunk_length}),
        images=[[d.decode_all(name, resize=to_size(image_size)) for name in layout.camera_names] for d in datasets],
        first=np.cumsum([0] + [len(d) for d in datasets])[:-1],
        state=join(dataset_schema.STATE).astype(np.float32).reshape(-1, layout.state_dim),
        action=join(dataset_schema.ACTION).astype(np.float32).reshape(-1, layout.action_dim),
        points=join(dataset_schema.POINTS).astype(np.float32).reshape(-1, views, 2, 3),
        located=join(dataset_schema.SUBGOAL).astype(np.float32).reshape(-1, 2, 3),
        clean=join(dataset_schema.CLEAN).reshape(-1) > 0.5,
        episode=np.concatenate(
            [c["episode_index"].reshape(-1) + o for c, o in zip(columns, offsets[:-1], strict=True)]
        ),
        frame=join("frame_index").reshape(-1),
        task=np.concatenate([[number[t] for t in c["task"]] for c in columns]),
        instructions=texts,
        hashes=[d.hash for d in datasets],
    )


def _contracts(folders: tuple[str, ...], datasets: list[Dataset], given: str) -> list[Contract]:
    """The contract of each dataset, all of them alike."""
    common = read_contract(given) if given else None
    found = []
    for folder, dataset in zip(folders, datasets, strict=True):
        own = (dataset.root / dataset_schema.CONTRACT).exists()
        if common is not None and not own:
            check_contract(dataset, common)
        elif common is not None:
            common.require(dataset.contract, f"data.contract {given}", str(folder), ignore=("chunk_length",))
        found.append(dataset.contract if own or common is None else common)
    for folder, contract in zip(folders[1:], found[1:], strict=True):
        found[0].require(contract, str(folders[0]), str(folder), ignore=("chunk_length",))
    return found
