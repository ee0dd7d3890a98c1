"""Conversion of recordings: real bags (MCAP, SQLite) and HDF5 files, written here, to datasets that load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from benchmarks.inputs.baddata.good_datasets import write_all
from vla_agent.cli import main
from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.mapping import load_mapping
from vla_agent.data.convert.synchronise import longest_stretch, match, periods
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.media import encode_png
from vla_agent.errors import ContractError, DatasetError

CONFIG = Path(__file__).parents[2] / "config" / "data"
HZ, SECONDS, SIZE = 10, 2.0, 24
MAPPING = {
    "format": "bag",
    "control_hz": HZ,
    "storage": "images",
    "tolerance": 0.04,
    "cameras": [{"name": "front", "at": "/front", "height": 16, "width": 16}],
    "state": [
        {"name": "joint_position", "at": "/joints", "pick": ["b", "a"], "unit": "rad"},
        {
            "name": "ee_rotation",
            "at": "/pose",
            "pick": [f"pose.orientation.{k}" for k in "xyzw"],
            "convert": "quaternion_xyzw",
            "rotation": "matrix columns 1, 2",
            "unit": "1",
        },
    ],
    "action": [
        {"name": "joint_position", "at": "/command", "pick": ["a", "b"], "unit": "rad"},
        {"name": "gripper", "at": "/grip", "pick": ["data[0]"], "rule": "hold", "tolerance": 60, "scale": 0.01}
        | {"clip": True, "low": 0, "high": 1, "unit": "0 open to 1 closed"},
    ],
    "instruction": {"custom": "instruction"},
    "success": {"custom": "outcome"},
}


def mapping_file(folder, **changes):
    path = folder / "mapping.yaml"
    YAML().dump(json.loads(json.dumps(MAPPING | changes)), path)
    return path


class Bag:
    """Writes a bag of 2 s: joints and pose at 50 Hz, images at 10 Hz, commands at 10 Hz, the gripper twice."""

    def __init__(self, folder, storage="mcap", compressed=False, lose=(), custom=True, marks=()):
        rosbag2 = pytest.importorskip("rosbags.rosbag2")
        from rosbags.typesys import Stores, get_typestore

        self.types = get_typestore(Stores.ROS2_JAZZY)
        plugin = rosbag2.StoragePlugin.MCAP if storage == "mcap" else rosbag2.StoragePlugin.SQLITE3
        self.writer = rosbag2.Writer(folder, version=9, storage_plugin=plugin)
        self.folder, self.connections, self.compressed, self.lose, self.marks = folder, {}, compressed, lose, marks
        if custom:
            self.writer.set_custom_data("instruction", json.dumps("stack the cubes"))
            self.writer.set_custom_data("outcome", json.dumps("success"))
        with self.writer:
            for millis in range(0, int(1000 * SECONDS) + 1, 20):
                self._moment(millis)

    def _moment(self, millis):
        t = millis / 1000
        if millis not in self.lose:
            self.write("/joints", millis, "JointState", name=["a", "x", "b"], position=[t, 9.0, -t])
            half = t / 2
            pose = self.kind("geometry_msgs/msg/Pose")(
                position=self.kind("geometry_msgs/msg/Point")(x=t, y=0.0, z=0.0),
                orientation=self.kind("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=np.sin(half), w=np.cos(half)),
            )
            self.write("/pose", millis, "geometry_msgs/msg/PoseStamped", pose=pose)
        if millis % 100 == 0:
            self.image(millis)
            point = self.kind("trajectory_msgs/msg/JointTrajectoryPoint")
            zero = self.kind("builtin_interfaces/msg/Duration")(sec=0, nanosec=0)
            no = np.zeros(0)
            points = [point(np.array([t, 2 * t]), no, no, no, zero)]
            kind = "trajectory_msgs/msg/JointTrajectory"
            self.write("/command", millis + 1, kind, joint_names=["a", "b"], points=points)
        if millis in (0, 1000):
            layout = self.kind("std_msgs/msg/MultiArrayLayout")(dim=[], data_offset=0)
            data = np.array([120.0 * millis / 1000])
            self.write("/grip", millis, "std_msgs/msg/Float64MultiArray", layout=layout, data=data)
        for when, kind, value in self.marks:
            if when == millis:
                self.write(
                    "/instruction" if kind == "instruction" else "/outcome", millis, "std_msgs/msg/String", data=value
                )

    def image(self, millis):
        pixels = np.full((SIZE, SIZE, 3), (millis // 10, 30, 200), np.uint8)
        if self.compressed:
            data = np.frombuffer(encode_png(pixels), np.uint8)
            self.write("/front", millis, "sensor_msgs/msg/CompressedImage", format="png", data=data)
        else:
            sizes = {"height": SIZE, "width": SIZE, "is_bigendian": 0, "step": 3 * SIZE}
            data = pixels[:, :, ::-1].ravel()
            self.write("/front", millis, "sensor_msgs/msg/Image", encoding="bgr8", data=data, **sizes)

    def kind(self, name):
        return self.types.types[name]

    def write(self, topic, millis, kind, **values):
        if kind == "JointState":
            kind = "sensor_msgs/msg/JointState"
            values |= {"position": np.array(values["position"]), "velocity": np.zeros(0), "effort": np.zeros(0)}
        nanoseconds = 10**12 + 10**6 * millis
        fields = self.kind(kind).__dataclass_fields__
        if "header" in fields:
            stamp = self.kind("builtin_interfaces/msg/Time")(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
            values["header"] = self.kind("std_msgs/msg/Header")(stamp=stamp, frame_id="")
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.types)
        data = self.types.serialize_cdr(self.kind(kind)(**values), kind)
        self.writer.write(self.connections[topic], nanoseconds, data)


@pytest.mark.parametrize(("storage", "compressed"), [("mcap", False), ("sqlite", True)])
def test_bags_become_a_dataset_of_the_mappings_contract(storage, compressed, tmp_path, capsys):
    for name in ("one", "two"):
        Bag(tmp_path / "bags" / name, storage, compressed)
    file = mapping_file(tmp_path)
    words = ["data", "convert", str(tmp_path / "bags"), "--mapping", str(file), "-o", str(tmp_path / "made")]
    assert main(words) == 0
    assert "2 episodes, " in capsys.readouterr().out
    dataset = load(tmp_path / "made")
    assert dataset.contract == load_mapping(file).contract() and dataset.tasks == {0: "stack the cubes"}
    columns, frames = dataset.arrays(), dataset.episodes[0].length
    assert frames in (20, 21) and len(dataset.episodes) == 2
    t = np.arange(frames) / HZ
    state, action = columns["observation.state"][:frames], columns["action"][:frames]
    np.testing.assert_allclose(state[:, :2], np.stack([-t, t], 1), atol=0.021)
    turn = state[:, 1:2] * 0 + state[:, 1:2]  # the pose comes with the joints
    np.testing.assert_allclose(state[:, 2:5], np.hstack([np.cos(turn), np.sin(turn), 0 * turn]), atol=1e-5)
    np.testing.assert_allclose(state[:, 5:8], np.hstack([-np.sin(turn), np.cos(turn), 0 * turn]), atol=1e-5)
    np.testing.assert_allclose(action[:, :2], np.stack([t, 2 * t], 1), atol=1e-6)
    assert action[0, 2] == 0 and action[-1, 2] == 1, "held, scaled and clipped"
    images = dataset.frames("front", np.arange(frames))
    assert images.shape == (frames, 16, 16, 3)
    assert (images[:, 0, 0] == np.stack([10 * np.arange(frames), 0 * t + 30, 0 * t + 200], 1)).all()
    report = dataset.collection["episodes"][0]
    assert report["seconds_outside"] == pytest.approx(0.0, abs=0.01)
    assert report["from"] == "one" and report["sources"]["state.joint_position"]["hz"] == 50.0
    assert report["sources"]["state.joint_position"]["gaps"] == 0 and not list(tmp_path.glob(".*"))


def test_gaps_are_reported_and_left_out_or_cut(tmp_path):
    Bag(tmp_path / "bags" / "whole")
    Bag(tmp_path / "bags" / "holed", lose=range(500, 800))
    report = convert(tmp_path / "bags", mapping_file(tmp_path), tmp_path / "whole")
    assert [e["from"] for e in report["episodes"]] == ["whole"]
    (left,) = report["left_out"]
    assert left["from"] == "holed" and left["left_out"] == "gaps in state.joint_position, state.ee_rotation"
    joints = left["sources"]["state.joint_position"]
    assert joints["lost"] == 15 and joints["silence"] == pytest.approx(0.32) and joints["gaps"] in (2, 3)
    assert load(tmp_path / "whole").collection["left_out"] == [left]
    cut = convert(tmp_path / "bags" / "holed", mapping_file(tmp_path, gaps="longest"), tmp_path / "cut")
    assert cut["episodes"][0]["frames"] == load(tmp_path / "cut").episodes[0].length < cut["episodes"][0]["periods"]
    assert load(tmp_path / "cut").arrays()["action"][0, 0] == pytest.approx(0.8), "what came after the gap is longer"
    with pytest.raises(DatasetError, match=r"no episode is left[\s\S]*holed: gaps in"):
        convert(tmp_path / "bags" / "holed", mapping_file(tmp_path), tmp_path / "none")
    assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".*"))


def test_marks_split_a_bag_into_episodes_with_their_instructions(tmp_path):
    marks = [
        (0, "instruction", "push"),
        (1000, "instruction", "pull"),
        (900, "mark", "success"),
        (1800, "mark", "failure"),
    ]
    Bag(tmp_path / "bag", custom=False, marks=marks)
    topics = {"instruction": {"topic": "/instruction"}, "success": {"topic": "/outcome"}}
    report = convert(tmp_path / "bag", mapping_file(tmp_path, **topics), tmp_path / "good")
    assert [(e["instruction"], e["success"]) for e in report["episodes"]] == [("push", True)]
    assert [e["left_out"] for e in report["left_out"]] == ["no success"]
    every = convert(tmp_path / "bag", mapping_file(tmp_path, keep="all", **topics), tmp_path / "all")
    assert [e["instruction"] for e in every["episodes"]] == ["push", "pull"]
    with pytest.raises(DatasetError, match=r"no instruction[\s\S]*key: +instruction"):
        convert(tmp_path / "bag", mapping_file(tmp_path, success={"topic": "/outcome"}), tmp_path / "none")


def test_wrong_topics_types_and_messages_are_named(tmp_path):
    Bag(tmp_path / "bag")

    def refused(**changes):
        with pytest.raises(DatasetError) as caught:
            convert(tmp_path / "bag", mapping_file(tmp_path, **changes), tmp_path / "out")
        assert caught.value.remedy and caught.value.expected and not (tmp_path / "out").exists()
        return caught.value

    camera, state = MAPPING["cameras"][0], MAPPING["state"]
    missing = refused(cameras=[camera | {"at": "/camera/front"}])
    assert missing.key == "/camera/front" and "/front (sensor_msgs/msg/Image)" in missing.found
    kind = refused(cameras=[camera | {"at": "/joints"}])
    assert (
        kind.key == "/joints"
        and kind.found == "sensor_msgs/msg/JointState"
        and "sensor_msgs/msg/Image" in kind.expected
    )
    joint = refused(state=[state[0] | {"pick": ["elbow"]}])
    assert joint.key == "/joints: elbow" and joint.found == "a, b, x"
    path = refused(state=[state[1] | {"pick": ["pose.orientation.q"] * 4}])
    assert "/pose, message 0: pose.orientation.q" in path.key and "x, y, z, w" in path.found
    assert "no number" in refused(state=[state[1] | {"pick": ["pose.orientation"] * 4}]).what
    assert refused(action=[state[0] | {"at": "/front"}]).found == "sensor_msgs/msg/Image"
    assert refused(instruction={"custom": "sentence"}).key == "sentence"


@pytest.mark.parametrize("storage", ["mcap", "sqlite"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_a_truncated_bag_is_refused(storage, fraction, tmp_path):
    Bag(tmp_path / "bags" / "a", storage)
    shutil.copytree(tmp_path / "bags" / "a", tmp_path / "bags" / "b")
    (file,) = [p for p in (tmp_path / "bags" / "b").iterdir() if p.suffix in (".mcap", ".db3")]
    data = file.read_bytes()
    file.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(DatasetError) as caught:
        convert(tmp_path / "bags", mapping_file(tmp_path), tmp_path / "out")
    assert caught.value.file.endswith("bags/b") and "leave it out" in caught.value.remedy
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_other_files_and_bags_without_an_index_are_refused(tmp_path):
    Bag(tmp_path / "bags" / "a")
    (tmp_path / "bags" / "a" / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 9}\n")
    with pytest.raises(DatasetError, match="the bag is damaged"):
        convert(tmp_path / "bags", mapping_file(tmp_path), tmp_path / "out")
    with pytest.raises(DatasetError, match="nothing to convert"):
        convert(tmp_path / "nowhere", mapping_file(tmp_path), tmp_path / "out")


def test_all_faults_of_a_mapping_are_reported_at_once(tmp_path):
    wrong = {"control_hz": -1, "gaps": "ignore", "tolerence": 1}
    with pytest.raises(DatasetError) as caught:
        load_mapping(mapping_file(tmp_path, **wrong))
    assert all(key in caught.value.key for key in wrong) and caught.value.file.endswith("mapping.yaml")
    with pytest.raises(DatasetError, match="exactly one of text, topic"):
        load_mapping(mapping_file(tmp_path, instruction={"text": "a", "topic": "/b"}))
    with pytest.raises(DatasetError) as caught:
        load_mapping(mapping_file(tmp_path, cameras=[{"name": "front", "at": "/front", "heigth": 96, "width": 96}]))
    assert "cameras.0.heigth" in caught.value.key and "at least 1" not in caught.value.found
    with pytest.raises(DatasetError, match="cameras: Tuple should have at least 1"):
        load_mapping(mapping_file(tmp_path, cameras=[]))
    with pytest.raises(DatasetError, match="needs robot"):
        joints = MAPPING["state"][0] | {"convert": "forward_position"}
        load_mapping(mapping_file(tmp_path, state=[joints]))
    with pytest.raises(ContractError, match="impossible values"):
        load_mapping(mapping_file(tmp_path, state=[MAPPING["state"][0]] * 2))
    assert main(["data", "convert", "bags", "-o", str(tmp_path / "out")]) == 2


def test_messages_are_matched_by_their_rule():
    times = periods(0.0, 0.4, 10)
    assert times.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    stamps = np.array([0.0, 0.09, 0.19, 0.34])
    nearest, hold = (match(stamps, times, rule, 0.05) for rule in ("nearest", "hold"))
    assert nearest.index.tolist() == [0, 1, 2, 3, -1] and nearest.report["gaps"] == 1
    assert hold.index.tolist() == [0, 1, 2, -1, -1]
    assert match(stamps, times, "hold", 1.0).index.tolist() == [0, 1, 2, 2, 3]
    assert match(stamps[:0], times, "hold", 1.0).report["gaps"] == 5
    assert longest_stretch(np.array([1, 1, 0, 1, 1, 1, 0], bool)) == slice(3, 6)
    assert longest_stretch(np.zeros(3, bool)) == slice(0, 0)


def hdf5(path, demos=("demo_2", "demo_10"), rewarded=True):
    """A LIBERO file of 8 steps an episode."""
    h5py = pytest.importorskip("h5py")
    steps = np.arange(8)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "open the drawer"})
        for number, name in enumerate(demos):
            demo = data.create_group(name)
            frame = np.zeros((8, 32, 32, 3), np.uint8)
            frame[:, 0], frame[:, :, :, 2] = 250, 10 * (number + 1)
            for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{camera}"] = frame
            for key, size in (("ee_pos", 3), ("ee_ori", 3), ("gripper_states", 2), ("joint_states", 7)):
                demo[f"obs/{key}"] = np.tile(steps[:, None] / 10 + number, (1, size))
            demo["actions"] = np.tile(np.linspace(-1, 1, 8)[:, None], (1, 7))
            demo["rewards"] = (steps == 7) * int(rewarded or number)
    return path


def test_libero_files_become_a_dataset(tmp_path):
    hdf5(tmp_path / "open_drawer_demo.hdf5")
    report = convert(tmp_path, CONFIG / "libero.yaml", tmp_path / "made")
    dataset = load(tmp_path / "made")
    assert [e["from"] for e in report["episodes"]] == [f"open_drawer_demo.hdf5/data/{n}" for n in ("demo_2", "demo_10")]
    assert dataset.tasks == {0: "open the drawer"} and len(dataset) == 16
    columns, layout = dataset.arrays(), dataset.contract
    gripper = columns["action"][:8, layout.slices(layout.action)["gripper"]]
    np.testing.assert_allclose(gripper[:, 0], np.linspace(0, 1, 8), atol=1e-6)
    assert columns["action"][7, 0] == pytest.approx(0.05) and columns["observation.state"][8, 0] == 1.0
    image = dataset.frames("front", [3])[0]
    assert image.shape == (128, 128, 3) and image[-2].mean() > 140 > 30 > image[2, :, 0].mean(), "flipped"
    assert dataset.contract == load_mapping(CONFIG / "libero.yaml").contract()


def test_wrong_hdf5_files_are_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    good = hdf5(tmp_path / "good.hdf5", rewarded=False)
    report = convert(good, CONFIG / "libero.yaml", tmp_path / "made")
    assert [e["left_out"] for e in report["left_out"]] == ["no success"] and len(report["episodes"]) == 1

    def refused(spoil, match):
        bad = Path(shutil.copy(good, tmp_path / "bad.hdf5"))
        spoil(bad)
        with pytest.raises(DatasetError, match=match) as caught:
            convert(bad, CONFIG / "libero.yaml", tmp_path / "out")
        assert "bad.hdf5" in caught.value.file and caught.value.remedy and not (tmp_path / "out").exists()

    def edit(change):
        def spoil(path):
            with h5py.File(path, "a") as file:
                change(file)

        return spoil

    def replace(key, values):
        def change(file):
            del file[f"data/demo_10/{key}"]
            file[f"data/demo_10/{key}"] = values

        return edit(change)

    refused(lambda p: p.write_bytes(p.read_bytes()[:2000]), "damaged")
    refused(lambda p: p.write_text("no HDF5"), "damaged")
    refused(edit(lambda f: f.__delitem__("data/demo_10/obs/ee_pos")), r"lacks a dataset[\s\S]*obs/ee_pos")
    refused(edit(lambda f: f.move("data", "demos")), "no episodes")
    refused(edit(lambda f: f["data"].attrs.__delitem__("problem_info")), "no instruction")
    refused(replace("actions", np.zeros((8, 6))), r"at least 7[\s\S]*\(8, 6\)")
    refused(replace("actions", np.full((8, 7), np.nan)), r"actions[\s\S]*NaN")
    refused(replace("obs/ee_pos", np.zeros((7, 3))), "same number of rows")
    refused(replace("obs/agentview_rgb", np.zeros((8, 32, 32, 3), np.float32)), "uint8")


LEROBOT = {
    "format": "lerobot",
    "control_hz": 20,
    "storage": "images",
    "cameras": [{"name": "top", "at": "observation.images.front", "height": 48, "width": 48}],
    "state": [
        {"name": "joint_position", "at": "observation.state", "pick": [f"joint_position.{k}" for k in range(7)]}
        | {"unit": "rad"},
        {"name": "ee_position", "at": "observation.state", "pick": [0, 1, 2], "unit": "m", "frame": "base"},
    ],
    "action": [
        {"name": "ee_translation", "at": "observation.state", "pick": [f"ee_position.{k}" for k in range(3)]}
        | {"delta": "next", "unit": "m per period", "frame": "base"},
        {"name": "gripper", "at": "action", "pick": ["gripper"], "scale": -1, "offset": 1, "unit": "1"},
    ],
    "instruction": {"own": True},
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Datasets of another program: in both versions, without a contract."""
    from vla_agent.contract.tabletop import tabletop_contract

    folders = write_all(tmp_path_factory.mktemp("recorded"), tabletop_contract())
    for folder in folders.values():
        (folder / "meta" / "contract.json").unlink()
    return folders


def lerobot_mapping(folder, **changes):
    path = folder / "lerobot.yaml"
    YAML().dump(json.loads(json.dumps(LEROBOT | changes)), path)
    return path


@pytest.mark.parametrize("layout", ["v3.0 images", "v2.1 video"])
def test_a_dataset_of_another_program_gets_a_contract(layout, recorded, tmp_path):
    source = load(recorded[layout])
    with pytest.raises(DatasetError, match="has no contract") as caught:
        _ = source.contract
    assert "vla-agent data convert" in caught.value.remedy
    file = lerobot_mapping(tmp_path)
    report = convert(recorded[layout], file, tmp_path / "made")
    made = load(tmp_path / "made")
    assert made.contract == load_mapping(file).contract() and made.tasks == source.tasks
    assert [e["frames"] for e in report["episodes"]] == [e.length - 1 for e in source.episodes], "no next for the last"
    was, now = source.arrays(), made.arrays()
    for old, new in zip(source.episodes, made.episodes, strict=True):
        place, joints = was["observation.state"][:, :3], was["observation.state"][:, 10:17]
        kept = slice(old.start, old.stop - 1)
        got = slice(new.start, new.stop)
        np.testing.assert_array_equal(now["observation.state"][got], np.hstack([joints, place])[kept])
        moved = place[old.start + 1 : old.stop] - place[kept]
        np.testing.assert_allclose(now["action"][got, :3], moved, atol=1e-6)
        np.testing.assert_array_equal(now["action"][got, 3], 1 - was["action"][kept, 6])
    old, new = source.frames("front", [31])[0], made.frames("top", [30])[0]
    np.testing.assert_allclose(new.mean((0, 1)), old.mean((0, 1)), atol=0.6)
    assert new.shape == (48, 48, 3)


def test_a_dataset_that_the_mapping_does_not_fit_is_named(recorded, tmp_path):
    def refused(**changes):
        with pytest.raises(DatasetError) as caught:
            convert(recorded["v3.0 images"], lerobot_mapping(tmp_path, **changes), tmp_path / "out")
        assert caught.value.remedy and caught.value.expected and not (tmp_path / "out").exists()
        return caught.value

    camera, (joints, place), (_, grip) = LEROBOT["cameras"][0], LEROBOT["state"], LEROBOT["action"]
    assert "control_hz: 20" in refused(control_hz=30).remedy
    assert "observation.images.wrist" in refused(cameras=[camera | {"at": "observation.images.top"}]).found
    assert refused(cameras=[camera | {"at": "action"}]).key == "action"
    assert refused(state=[joints | {"at": "observation.joints"}]).key == "observation.joints"
    name = refused(action=[grip | {"pick": ["jaw"]}])
    assert name.key == "action: jaw" and "6 gripper" in name.found
    assert refused(action=[grip | {"pick": [7]}]).key == "action: 7"
    assert refused(success={"dataset": "next.success"}).key == "next.success"
    assert "a state has no next value" in refused(state=[place | {"delta": "next"}]).found
    assert "'own' is not for format: bag" in refused(format="bag").found
    with pytest.raises(DatasetError, match="nothing to convert"):
        convert(tmp_path, lerobot_mapping(tmp_path), tmp_path / "out")


def test_rotations_and_joints_become_deltas():
    from scipy.spatial.transform import Rotation

    from vla_agent.data.convert.field_vectors import field_values
    from vla_agent.data.convert.mapping import FieldSource

    more = {"at": "x", "unit": "rad per period", "frame": "base", "delta": "next", "rotation": "rotation vector"}
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(size=(5, 3)))
    absolute = FieldSource(name="ee_rotation", pick=(0, 1, 2, 3), convert="quaternion_xyzw", **more)
    steps = Rotation.from_rotvec(field_values(absolute, turns.as_quat(), None, "here", {}))
    np.testing.assert_allclose((steps * turns[:-1]).as_matrix(), turns[1:].as_matrix(), atol=1e-6)

    def forward(joints):
        return np.append(joints, 0.0), np.array([1.0, 0, 0, 0])

    degrees = FieldSource(
        name="t", at="x", pick=(0, 1), convert="forward_position", scale=np.pi / 180, delta="next", unit="m"
    )
    moved = field_values(degrees, np.array([[0.0, 90.0], [180.0, 0.0]]), forward, "here", {})
    np.testing.assert_allclose(moved, [[np.pi, -np.pi / 2, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="needs rotation: rotation vector"):
        FieldSource(**(absolute.model_dump() | {"rotation": "matrix columns 1, 2"}))


def test_every_example_is_valid_and_the_recorders_is_the_simulators_contract():
    from vla_agent.contract.tabletop import tabletop_contract

    made = {path.stem: load_mapping(path) for path in sorted(CONFIG.glob("*.yaml"))}
    assert {m.format for m in made.values()} == {"bag", "hdf5", "lerobot"}
    assert made["recorder"].contract() == tabletop_contract()


def test_the_recorders_own_bags_fit_the_simulators_policies(tmp_path):
    """Wire bytes into `Recorder`, a dataset of the simulator's contract out; the end effector comes by kinematics."""
    pytest.importorskip("rosbags")
    from rosbags.typesys import Stores, get_typestore

    from sim.env import TabletopEnv
    from vla_agent.ros.recording.recorder import Recorder

    env = TabletopEnv(image_size=(96, 96))
    observation, _ = env.reset(seed=0)
    layout = env.contract.slices(env.contract.state)
    state = observation["state"]
    joints = state[layout["joint_position"]].astype(float)
    env.close()
    types = get_typestore(Stores.ROS2_JAZZY)
    image, joint, trajectory = (
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/JointState",
        "trajectory_msgs/msg/JointTrajectory",
    )
    topics = {f"/camera/{c}/image": image for c in ("front", "wrist")}
    recorder = Recorder(
        tmp_path / "recordings", topics | {"/joint_states": joint, "/policy/action": trajectory}, free=0
    )

    def made(kind, **values):
        return types.types[kind](**values)

    for outcome in ("success", "failure"):
        recorder.begin("press the red button")
        for step in range(8):
            nanoseconds = 10**12 + step * 50_000_000
            stamp = made("builtin_interfaces/msg/Time", sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
            header, no = made("std_msgs/msg/Header", stamp=stamp, frame_id=""), np.zeros(0)
            for camera in ("front", "wrist"):
                sizes = {"height": 96, "width": 96, "encoding": "rgb8", "is_bigendian": 0, "step": 288}
                message = made(image, header=header, data=observation["images"][camera].ravel(), **sizes)
                recorder.write(f"/camera/{camera}/image", nanoseconds, bytes(types.serialize_cdr(message, image)))
            names = [*(f"joint{k}" for k in range(1, 8)), "right_driver_joint"]
            places = made(joint, header=header, name=names, position=np.append(joints, 0.4), velocity=no, effort=no)
            recorder.write("/joint_states", nanoseconds, bytes(types.serialize_cdr(places, joint)))
            names = [f"{field}.{k}" for field in ("ee_translation", "ee_rotation") for k in range(3)] + ["gripper"]
            zero = made("builtin_interfaces/msg/Duration", sec=0, nanosec=50_000_000)
            row = np.arange(7) * 0.001 * step
            point = made(
                "trajectory_msgs/msg/JointTrajectoryPoint",
                positions=row,
                velocities=no,
                accelerations=no,
                effort=no,
                time_from_start=zero,
            )
            action = made(trajectory, header=header, joint_names=names, points=[point])
            recorder.write("/policy/action", nanoseconds, bytes(types.serialize_cdr(action, trajectory)))
        recorder.end(outcome)
    report = convert(tmp_path / "recordings", CONFIG / "recorder.yaml", tmp_path / "made")
    assert [e["left_out"] for e in report["left_out"]] == ["no success"]
    dataset = load(tmp_path / "made")
    assert dataset.contract == env.contract and dataset.tasks == {0: "press the red button"} and len(dataset) == 8
    columns = dataset.arrays()
    for name in ("ee_position", "ee_rotation", "joint_position"):
        rows = columns["observation.state"][:, layout[name]]
        np.testing.assert_allclose(rows, np.tile(state[layout[name]], (8, 1)), atol=2e-3)
    assert columns["observation.state"][0, layout["gripper"]] == pytest.approx(0.5)
    np.testing.assert_allclose(columns["action"], np.arange(8)[:, None] * np.arange(7) * 0.001, atol=1e-7)
    assert np.array_equal(dataset.frames("wrist", [7])[0], observation["images"]["wrist"])
