"""The dataset's layout: feature names, shapes and file names of LeRobotDataset v3.0.

A frame is one control period: the observation *before* the action, and the action.  Features (docs/architecture.md)::

    observation.images.<camera>  (H, W, 3) uint8, video or PNG       observation.state   (D,) float32
    action                       (A,) float32                        annotation.subgoal  (6,) target, goal (m, base)
    annotation.points            (12,) u, v, inside of front.target, front.goal, wrist.target, wrist.goal
    annotation.clean             (1,) 0 during an injected disturbance, when nothing is to be learned; else 1
    annotation.known             (1,) 0 where subgoal and points of this frame are not known (and hold zeros), else 1;
                                 only of datasets that have such frames
    annotation.intervention      (1,) 1 where a person commanded the robot; only of bags that may have such frames
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vla_agent.contract import Contract, Field

CODEBASE_VERSION = "v3.0"
EARLIER_VERSION = "v2.1"  # one file per episode; read, never written (`vla_agent.data.lerobot.lerobot_v21`)
EARLIER_VERSIONS = (EARLIER_VERSION, "v2.0")  # v2.0 has other statistics and is else the same
CHUNKS_SIZE = 1000  # files per chunk folder
DATA_FILES_SIZE_IN_MB = 100
VIDEO_FILES_SIZE_IN_MB = 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
CONTRACT, COLLECTION, MANIFEST = "meta/contract.json", "meta/collection.json", "meta/manifest.json"

STATE, ACTION = "observation.state", "action"
SUBGOAL, POINTS, CLEAN = "annotation.subgoal", "annotation.points", "annotation.clean"
KNOWN = "annotation.known"
INTERVENTION = "annotation.intervention"
OPTIONAL = (SUBGOAL, INTERVENTION, KNOWN)  # each says that a dataset has a kind of annotations: see `features`
IMAGE_PREFIX = "observation.images."
ROLES = ("target", "goal")
# LeRobot's own columns, in its order; every dataset has them.
INDEX_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


def image_shape(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """(H, W, channels) of an image feature: its ``names`` say which side is which, and else the side of length 3.

    LeRobot writes (H, W, 3) or (3, H, W), and others (W, H, 3); the pictures themselves are the same.
    """
    shape, names = feature["shape"], feature.get("names")
    order = "".join(str(name)[:1].lower() for name in names) if isinstance(names, (list, tuple)) else ""
    if sorted(order) != ["c", "h", "w"]:
        order = "chw" if shape[0] == 3 and shape[2] != 3 else "hwc"
    return shape[order.index("h")], shape[order.index("w")], shape[order.index("c")]


def component_names(feature: Mapping[str, Any]) -> list[str]:
    """The names of a vector feature's components; empty where there is not one for each.

    LeRobot writes a list, ``{"motors": [...]}``, or ``{"x": 0, "y": 1}``.
    """
    names, size = feature.get("names"), math.prod(feature["shape"])
    if isinstance(names, Mapping):
        places = [place for place in names.values() if type(place) is int]
        if len(places) == len(names) and sorted(places) == list(range(size)):
            names = [name for name, _ in sorted(names.items(), key=lambda pair: pair[1])]
        else:
            lists = [part for part in names.values() if isinstance(part, (list, tuple))]
            names = [name for part in lists for name in part] if len(lists) == len(names) else None
    named = isinstance(names, (list, tuple)) and len(names) == size
    return [str(name) for name in names] if named and names else []


def stated_shape(feature: Mapping[str, Any]) -> list[int]:
    """A feature's shape in the order of the contract: images as (H, W, 3)."""
    return list(image_shape(feature) if feature["dtype"] in ("image", "video") else feature["shape"])


def image_key(camera: str) -> str:
    """The feature name of a camera: ``front`` -> ``observation.images.front``."""
    return IMAGE_PREFIX + camera


def vector_features(
    contract: Contract, annotations: bool = True, interventions: bool = False, known: bool = False
) -> dict[str, dict[str, Any]]:
    """The vector features of a dataset with this contract: name -> dtype, shape, component names."""
    features = {
        STATE: _vector(_names(contract.state)),
        ACTION: _vector(_names(contract.action)),
    }
    if annotations:
        features[SUBGOAL] = _vector([f"{role}.{axis}" for role in ROLES for axis in "xyz"])
        points = [f"{c}.{r}.{n}" for c in contract.camera_names for r in ROLES for n in ("u", "v", "inside")]
        features[POINTS] = _vector(points)
    if annotations or interventions:
        features[CLEAN] = _vector(["clean"])
    if interventions:
        features[INTERVENTION] = _vector(["intervention"])
    if known:
        features[KNOWN] = _vector(["known"])
    return features


def features(
    contract: Contract, storage: str, annotations: bool = True, interventions: bool = False, known: bool = False
) -> dict[str, dict[str, Any]]:
    """All features in the order of ``info.json``.  ``storage`` is a key of `media.STORAGES`."""
    images = {
        image_key(c.name): {
            "dtype": "image" if storage == "images" else "video",
            "shape": [c.height, c.width, 3],
            "names": ["height", "width", "channels"],
        }
        for c in contract.cameras
    }
    vectors = vector_features(contract, annotations, interventions, known)
    return images | vectors | {k: dict(v) for k, v in INDEX_FEATURES.items()}


def _vector(names: list[str]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": names}


def _names(fields: tuple[Field, ...]) -> list[str]:
    return [f.name if f.size == 1 else f"{f.name}.{i}" for f in fields for i in range(f.size)]
