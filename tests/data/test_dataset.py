"""Datasets: written, read back, cached, and damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode, load_part, save_part
from vla_agent.data.lerobot.frame_cache import cache_size, clear_cache
from vla_agent.data.lerobot.media import STORAGES, encode_video
from vla_agent.errors import DatasetError

SIZE = 32
CONTRACT = Contract(
    cameras=(Camera("front", SIZE, SIZE), Camera("wrist", SIZE, SIZE)),
    state=(Field("ee_position", 3, "m", "base"), Field("gripper", 1, "")),
    action=(Field("ee_translation", 3, "m", "base"), Field("gripper", 1, "")),
    control_hz=20.0,
    chunk_length=16,
)


def episode(seed: int) -> Episode:
    """An episode whose images show episode and frame: grey that brightens, with a moving coloured square."""
    rng = np.random.default_rng(seed)
    n = 11 + seed % 4
    images = {}
    for camera in ("front", "wrist"):
        frames = (
            np.full((n, SIZE, SIZE, 3), 40 + 12 * (seed % 5), np.uint8)
            + (4 * np.arange(n, dtype=np.uint8))[:, None, None, None]
        )
        for k in range(n):
            frames[k, 4:12, k : k + 8] = (200, 20, 20) if camera == "front" else (20, 20, 200)
        images[camera] = frames
    columns = {
        name: rng.normal(size=(n, d))
        for name, d in ((dataset_schema.STATE, 4), (dataset_schema.ACTION, 4), (dataset_schema.SUBGOAL, 6))
    }
    columns |= {dataset_schema.POINTS: rng.random((n, 12)), dataset_schema.CLEAN: np.ones((n, 1))}
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    return Episode(f"put object {seed % 3} away", columns, images, {"family": "test", "seed": seed})


def write(root: Path, storage: str = "images", count: int = 9) -> list[Episode]:
    episodes = [episode(seed) for seed in range(count)]
    write_dataset(root, CONTRACT, (encode(e, storage, 20) for e in episodes), storage, "arm", {"seed": 0})
    return episodes


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[Episode]]:
    root = tmp_path_factory.mktemp("dataset") / "images"
    return root, write(root)


def test_round_trip_is_exact(written, tmp_path):
    root, episodes = written
    dataset = load(root)
    columns = dataset.arrays()
    assert len(dataset) == sum(len(e.columns[dataset_schema.STATE]) for e in episodes)
    for name in dataset_schema.vector_features(CONTRACT):
        expected = np.concatenate([e.columns[name] for e in episodes])
        np.testing.assert_array_equal(columns[name], expected[:, 0] if expected.shape[1] == 1 else expected)
    assert columns["task"].tolist() == [e.task for e in episodes for _ in range(len(e.columns[dataset_schema.STATE]))]
    assert [e.origin["seed"] for e in dataset.episodes] == [e.origin["seed"] for e in episodes]
    assert dataset.contract == CONTRACT
    assert dataset.cameras == ("front", "wrist")
    for camera in dataset.cameras:
        expected = np.concatenate([e.images[camera] for e in episodes])
        order = np.random.default_rng(0).integers(len(dataset), size=30)
        np.testing.assert_array_equal(dataset.frames(camera, order), expected[order])
        np.testing.assert_array_equal(dataset.decode_all(camera, cache=tmp_path), expected)


def test_decoded_images_are_cached_by_the_dataset_hash(written, tmp_path):
    root, _ = written
    first = load(root).decode_all("front", cache=tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again = load(root).decode_all("front", cache=tmp_path)
    assert [path] == list(tmp_path.iterdir()) and path.stat().st_mtime_ns == before
    np.testing.assert_array_equal(first, again)
    assert not again.flags.writeable
    write(tmp_path / "other", count=5)
    assert load(tmp_path / "other").hash != load(root).hash


def test_the_cache_says_once_per_dataset_where_it_is_and_how_large_it_gets(written, tmp_path, capsys):
    dataset = load(written[0])
    for camera in ("front", "wrist", "front"):
        dataset.decode_all(camera, cache=tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    megabytes = 2 * len(dataset) * SIZE * SIZE * 3 / 1e6
    assert str(tmp_path) in line and str(written[0]) in line and f"{megabytes:.1f} MB" in line


def test_the_cache_is_measured_and_cleared(written, tmp_path):
    dataset, cache = load(written[0]), tmp_path / "cache"
    assert cache_size(cache) == clear_cache(cache) == 0
    images = dataset.decode_all("front", cache=cache)
    first = images[3].copy()
    (whole,) = cache.iterdir()
    unfinished = cache / f".{whole.name}.123.tmp"  # what a killed process leaves
    for name in (unfinished.name, "notes.txt"):
        (cache / name).write_bytes(bytes(7))
    assert cache_size(cache) == images.nbytes + 128 + 7  # 128: the header of a .npy file
    assert clear_cache(cache) == images.nbytes + 128 + 7
    assert [path.name for path in cache.iterdir()] == ["notes.txt"] and cache_size(cache) == 0
    np.testing.assert_array_equal(images[3], first)  # a file that is mapped stays readable
    np.testing.assert_array_equal(dataset.decode_all("front", cache=cache)[3], first)


def test_a_killed_writer_leaves_no_dataset_and_is_replaced(tmp_path):
    (tmp_path / ".images.new").mkdir()
    (tmp_path / ".images.new" / "half").write_text("written before the kill")
    write(tmp_path / "images", count=2)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert len(load(tmp_path / "images").episodes) == 2 and not (tmp_path / "images" / "half").exists()


def test_video_frames_are_the_right_ones_across_files(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_schema, "VIDEO_FILES_SIZE_IN_MB", 0.004)
    monkeypatch.setattr(dataset_schema, "DATA_FILES_SIZE_IN_MB", 0.004)
    episodes = write(tmp_path / "video", "video")
    dataset = load(tmp_path / "video")
    assert len({e.video_files["front"] for e in dataset.episodes}) > 2
    assert len({e.data_file for e in dataset.episodes}) > 2
    for camera in dataset.cameras:
        expected = np.concatenate([e.images[camera] for e in episodes])
        decoded = dataset.decode_all(camera, cache=tmp_path)
        # neighbouring frames differ by 4 grey levels on the lower half, where no colour disturbs
        assert np.abs(decoded[:, 20:].astype(int) - expected[:, 20:]).max() < 2
        order = np.arange(len(dataset))[::-3]
        np.testing.assert_array_equal(dataset.frames(camera, order), decoded[order])


def test_statistics_are_those_of_the_data(written):
    root, episodes = written
    stats = load(root).stats
    actions = np.concatenate([e.columns[dataset_schema.ACTION] for e in episodes]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0), rtol=1e-6)
    np.testing.assert_allclose(stats["action"]["q99"], np.quantile(actions, 0.99, axis=0), rtol=1e-6)
    pixels = np.concatenate([e.images["front"][::5] for e in episodes]).reshape(-1, 3) / 255
    front = stats["observation.images.front"]
    assert front["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(front["mean"].ravel(), pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(front["std"].ravel(), pixels.std(0), rtol=1e-9)
    np.testing.assert_allclose(front["q50"].ravel(), np.quantile(pixels, 0.5, axis=0), atol=1 / 255)


@pytest.mark.parametrize("storage", ["images", "video"])
def test_same_episodes_same_bytes(tmp_path, storage):
    write(tmp_path / "a", storage, 4)
    write(tmp_path / "b", storage, 4)
    assert load(tmp_path / "a").hash == load(tmp_path / "b").hash


def test_the_same_images_give_the_same_video_each_time():
    """Some parts of x264 do so only most of the time."""
    images = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    storage = STORAGES["video"]
    assert len({encode_video(images, 20, storage) for _ in range(250)}) == 1


@pytest.mark.parametrize("storage", ["images", "video"])
def test_part_file_round_trip(tmp_path, storage):
    encoded = encode(episode(3), storage, 20)
    save_part(tmp_path / "x.npz", encoded)
    again = load_part(tmp_path / "x.npz")
    assert (again.task, again.origin, again.videos, again.pngs) == (
        encoded.task,
        encoded.origin,
        encoded.videos,
        encoded.pngs,
    )
    np.testing.assert_array_equal(again.columns[dataset_schema.ACTION], encoded.columns[dataset_schema.ACTION])
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-200])
    with pytest.raises(DatasetError) as caught:
        load_part(tmp_path / "x.npz")
    assert caught.value.file and caught.value.remedy


# --- damaged datasets -------------------------------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edit(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _rewrite(path: Path, column: str, change) -> None:
    table = pq.read_table(path)
    values = table[column].to_pylist()
    change(values)
    new = table.set_column(table.column_names.index(column), column, [values])
    pq.write_table(new.cast(table.schema), path)


DATA, VIDEO = "data/chunk-000/file-000.parquet", "videos/observation.images.front/chunk-000/file-000.mp4"
DEFECTS = {
    "no folder": lambda root: shutil.rmtree(root),
    "another version": lambda root: _edit(root / dataset_schema.INFO, lambda d: d.update(codebase_version="v2.1")),
    "info without features": lambda root: _edit(root / dataset_schema.INFO, lambda d: d.pop("features")),
    "info is not JSON": lambda root: _truncate(root / dataset_schema.INFO),
    "missing table": lambda root: (root / DATA).unlink(),
    "truncated table": lambda root: _truncate(root / DATA),
    "truncated episodes": lambda root: _truncate(
        root / dataset_schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
    ),
    "NaN": lambda root: _rewrite(root / DATA, "action", lambda v: v[17].__setitem__(2, float("nan"))),
    "frames out of order": lambda root: _rewrite(root / DATA, "index", lambda v: v.reverse()),
    "unknown task index": lambda root: _rewrite(root / DATA, "task_index", lambda v: v.__setitem__(5, 99)),
    "missing camera": lambda root: _edit(
        root / dataset_schema.INFO, lambda d: d["features"].pop("observation.images.wrist")
    ),
    "missing video": lambda root: (root / VIDEO).unlink(),
    "truncated video": lambda root: _truncate(root / VIDEO),
    "a video without its last episode": lambda root: _shorten(root),
}


def _shorten(root: Path) -> None:
    write(root.with_name("shorter"), "video", 8)
    shutil.copy(root.with_name("shorter") / VIDEO, root / VIDEO)


@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "without"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_found_and_named(defect, manifest, tmp_path):
    root = tmp_path / "dataset"
    write(root, "video" if "video" in defect else "images")
    if not manifest:
        (root / dataset_schema.MANIFEST).unlink()
    load(root)
    DEFECTS[defect](root)
    with pytest.raises(DatasetError) as caught:
        load(root)
    error = caught.value
    assert error.file and error.file.startswith(str(root))
    assert error.expected is not None and error.found is not None and error.remedy


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    root = tmp_path / "dataset"
    write(root)
    (root / dataset_schema.MANIFEST).unlink()  # which would state another digest
    path = root / DATA
    data = bytearray(path.read_bytes())
    start = data.find(b"IDAT", len(data) // 2) + 10
    data[start : start + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="an image cannot be decoded"):
        load(root).decode_all("front", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_unknown_camera_and_frame(written):
    dataset = load(written[0])
    with pytest.raises(DatasetError, match="front, wrist"):
        dataset.frames("overhead", [0])
    with pytest.raises(DatasetError, match="no such frame"):
        dataset.frames("front", [len(dataset)])


def test_the_writer_refuses_what_does_not_fit(tmp_path):
    root = tmp_path / "dataset"
    good = encode(episode(0), "images", 20)
    with pytest.raises(DatasetError, match="does not fit the contract"):
        write_dataset(root, CONTRACT, [good, encode(episode(1), "video", 20)], "images")
    assert not list(tmp_path.iterdir())  # nothing half written stays
    with pytest.raises(DatasetError, match="no episodes"):
        write_dataset(root, CONTRACT, [], "images")
    broken = episode(0)
    broken.columns[dataset_schema.STATE][3, 1] = np.inf
    with pytest.raises(DatasetError, match="NaN or infinity"):
        encode(broken, "images", 20)
    write_dataset(root, CONTRACT, [good], "images")
    before = load(root).hash
    with pytest.raises(DatasetError, match="output folder exists"):
        write_dataset(root, CONTRACT, [good, good], "images")
    assert load(root).hash == before
