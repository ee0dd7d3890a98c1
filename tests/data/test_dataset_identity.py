"""A dataset's identity is computed from the bytes of its files; what they claim of themselves is checked first."""

import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.claims.file_claims import list_files
from vla_agent.data.lerobot.dataset_files import make_manifest
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.errors import DatasetError
from vla_agent.files.hashing import hash_file

CONTRACT = Contract(
    cameras=(Camera("front", 8, 8),),
    state=(Field("ee_position", 3, "m", "base"),),
    action=(Field("gripper", 1, ""),),
    control_hz=20.0,
    chunk_length=4,
)
DATA = "data/chunk-000/file-000.parquet"


def write(root, grey=100):
    columns = {dataset_schema.STATE: np.zeros((4, 3), np.float32), dataset_schema.ACTION: np.zeros((4, 1), np.float32)}
    images = {"front": np.full((4, 8, 8, 3), grey, np.uint8)}
    write_dataset(root, CONTRACT, [encode(Episode("go", columns, images), "images", 20)], "images", "arm", {"seed": 0})


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "dataset")
    return tmp_path / "dataset"


def replace_images(root, tmp_path):
    """Other images of equal size, with the manifest of the old ones."""
    write(tmp_path / "other", 101)
    assert (tmp_path / "other" / DATA).stat().st_size == (root / DATA).stat().st_size
    shutil.copy(tmp_path / "other" / DATA, root / DATA)


def test_the_manifest_holds_the_digest_of_every_file(root):
    manifest = json.loads((root / dataset_schema.MANIFEST).read_text())
    names = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert manifest.keys() == names - {dataset_schema.MANIFEST, dataset_schema.COLLECTION}
    for name, entry in manifest.items():
        assert entry == {"bytes": (root / name).stat().st_size, "sha256": hash_file(root / name)}
    assert make_manifest(root) == manifest


def test_images_replaced_at_equal_size_are_noticed(root, tmp_path):
    old = load(root)
    assert (old.decode_all("front", cache=tmp_path / "cache") == 100).all()
    replace_images(root, tmp_path)
    new = load(root)
    with pytest.raises(DatasetError, match="not the one that its manifest states") as refused:
        new.decode_all("front", cache=tmp_path / "cache")
    assert refused.value.file.endswith(DATA)
    with pytest.raises(DatasetError, match="manifest"):
        _ = new.hash


def test_without_a_manifest_the_identity_follows_the_bytes(root, tmp_path):
    (root / dataset_schema.MANIFEST).unlink()
    before = load(root)
    assert (before.decode_all("front", cache=tmp_path / "cache") == 100).all()
    first = before.hash
    replace_images(root, tmp_path)
    after = load(root)
    assert after.hash != first
    assert (after.decode_all("front", cache=tmp_path / "cache") == 101).all()


def test_a_manifest_that_was_edited_with_the_images_is_another_identity(root, tmp_path):
    first = load(root).hash
    replace_images(root, tmp_path)
    manifest = json.loads((root / dataset_schema.MANIFEST).read_text())
    manifest[DATA]["sha256"] = hash_file(root / DATA)
    (root / dataset_schema.MANIFEST).write_text(json.dumps(manifest))
    assert load(root).hash != first


def test_the_identity_covers_files_that_the_manifest_does_not_name(root):
    first = load(root).hash
    shutil.copy(root / DATA, root / "data/chunk-000/file-001.parquet")
    assert load(root).hash != first


def test_records_of_the_collection_are_no_part_of_it(root):
    first = load(root).hash
    (root / dataset_schema.COLLECTION).write_text("{}")
    assert load(root).hash == first


def test_a_file_that_changes_after_loading_is_noticed(root):
    dataset = load(root)
    data = (root / DATA).read_bytes()
    status = (root / DATA).stat()
    (root / DATA).write_bytes(data)  # the same bytes: only the time of change tells
    os.utime(root / DATA, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DatasetError, match="has changed while"):
        _ = dataset.hash


@pytest.mark.parametrize("change", ["written", "added", "removed"])
def test_a_folder_that_changes_is_noticed(root, change):
    dataset = load(root)
    dataset.require_unchanged()
    if change == "removed":
        (root / dataset_schema.STATS).unlink()
    else:
        (root / (dataset_schema.STATS if change == "written" else "data/new.parquet")).write_text("{}")
    with pytest.raises(DatasetError, match="has changed while"):
        dataset.require_unchanged()


def test_images_that_change_while_the_cache_is_filled_are_not_kept(root, tmp_path):
    dataset = load(root)
    assert dataset.hash
    (root / DATA).touch()
    with pytest.raises(DatasetError, match="has changed while"):
        dataset.decode_all("front", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_a_file_of_the_cache_with_another_shape_is_made_again(root, tmp_path):
    dataset = load(root)
    dataset.decode_all("front", cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    for other in (np.zeros((4, 8, 8, 3), np.float32), np.zeros((4, 8, 7, 3), np.uint8)):
        np.save(file, other)
        assert (dataset.decode_all("front", cache=tmp_path / "cache") == 100).all()
    file.write_bytes(file.read_bytes()[:100])
    assert (dataset.decode_all("front", cache=tmp_path / "cache") == 100).all()


@pytest.mark.parametrize(
    "name, entry",
    [
        ("../outside", {"bytes": 1, "sha256": ""}),
        ("/etc/passwd", {"bytes": 1, "sha256": ""}),
        ("a/../../b", {"bytes": 1, "sha256": ""}),
        ("data\\x", {"bytes": 1, "sha256": ""}),
        ("x\0", {"bytes": 1, "sha256": ""}),
        ("data/x", {"bytes": "1", "sha256": ""}),
        ("data/x", {"bytes": 1}),
        ("data/x", 1),
    ],
)
def test_a_manifest_of_another_form_is_refused(root, name, entry):
    (root / dataset_schema.MANIFEST).write_text(json.dumps({name: entry}))
    with pytest.raises(DatasetError, match="manifest of the dataset is wrong"):
        load(root)


def test_a_link_out_of_the_dataset_is_refused_and_one_inside_is_not(root, tmp_path):
    outside = tmp_path / "outside.parquet"
    (root / DATA).rename(outside)
    (root / DATA).symlink_to(outside)
    with pytest.raises(DatasetError, match="no file of its own") as refused:
        load(root)
    assert "cp -rL" in refused.value.remedy
    (root / DATA).unlink()
    outside.rename(root / "data/real.parquet")
    (root / DATA).symlink_to("../real.parquet")
    assert DATA in list_files(root)


def test_a_snapshot_of_the_hub_may_link_to_its_own_blobs(root, tmp_path):
    snapshot = tmp_path / "datasets--me--mine" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    root.rename(snapshot)
    blobs = tmp_path / "datasets--me--mine" / "blobs"
    blobs.mkdir()
    (snapshot / DATA).rename(blobs / "1234")
    (snapshot / DATA).symlink_to("../../../../blobs/1234")
    assert len(load(snapshot)) == 4
    (blobs / "1234").rename(tmp_path / "1234")
    (snapshot / DATA).unlink()
    (snapshot / DATA).symlink_to(tmp_path / "1234")
    with pytest.raises(DatasetError, match="no file of its own"):
        load(snapshot)


def test_what_is_neither_file_nor_folder_is_refused(root, tmp_path):
    os.mkfifo(root / "meta" / "fifo")
    with pytest.raises(DatasetError, match="no file of its own(.|\n)*a FIFO"):
        load(root)
    (root / "meta" / "fifo").unlink()
    (tmp_path / "folder").mkdir()
    (root / "videos").symlink_to(tmp_path / "folder")
    with pytest.raises(DatasetError, match="a link to a folder"):
        load(root)


@pytest.mark.parametrize("more", [1, -1])
def test_a_file_of_another_size_than_the_manifest_states_is_refused_by_load(root, more):
    file = root / dataset_schema.STATS  # which nothing else reads while a dataset is loaded
    text = file.read_text()
    load(root)
    file.write_text(text + " " if more > 0 else text[:-1])
    with pytest.raises(DatasetError, match="is incomplete") as refused:
        load(root)
    assert refused.value.file == str(file) and refused.value.key == "size"


def test_episodes_come_in_their_order_whatever_the_order_of_their_rows(tmp_path):
    columns = {dataset_schema.STATE: np.zeros((4, 3), np.float32), dataset_schema.ACTION: np.zeros((4, 1), np.float32)}
    images = [{"front": np.full((4, 8, 8, 3), k, np.uint8)} for k in range(3)]
    episodes = [encode(Episode(f"go {k}", columns, images[k]), "images", 20) for k in range(3)]
    write_dataset(tmp_path / "d", CONTRACT, episodes, "images")
    (tmp_path / "d" / dataset_schema.MANIFEST).unlink()
    table = tmp_path / "d" / dataset_schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
    pq.write_table(pq.read_table(table).take([2, 0, 1]), table)
    dataset = load(tmp_path / "d")
    assert dataset.frames("front", range(12))[:, 0, 0, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [(e.index, e.task, e.start) for e in dataset.episodes] == [
        (0, "go 0", 0),
        (1, "go 1", 4),
        (2, "go 2", 8),
    ]
